/*
 * key_lines.c
 *		The lines of a file of API keys.
 */
#include "chatbase/key_lines.h"

#include <stddef.h>
#include <string.h>

/* True if \ and the character behind it stand for that one. */
static bool
is_escape(const char *at)
{
	return at[0] == '\\' && (at[1] == ':' || at[1] == '\\');
}

/* Returns the colon behind the chatbot's id, or NULL. */
static char *
find_colon(char *line)
{
	while (*line != '\0' && *line != ':')
		line += is_escape(line) ? 2 : 1;
	return *line == ':' ? line : NULL;
}

static void
unescape(char *text)
{
	char	   *to = text;

	for (const char *from = text; *from != '\0'; from++)
	{
		if (is_escape(from))
			from++;
		*to++ = *from;
	}
	*to = '\0';
}

bool
key_lines_next(char **rest, KeyLine *line)
{
	char	   *text;

	while ((text = strsep(rest, "\r\n")) != NULL)
	{
		char	   *colon;

		text += strspn(text, " \t");
		for (size_t n = strlen(text); n > 0 && strchr(" \t", text[n - 1]); n--)
			text[n - 1] = '\0';
		if (*text == '\0' || *text == '#')
			continue;
		colon = find_colon(text);
		line->chatbot_id = NULL;
		line->key = text;
		if (colon)
		{
			*colon = '\0';
			unescape(text);
			line->key = colon + 1;
			if (strcmp(text, "*") != 0)
				line->chatbot_id = text;
		}
		return true;
	}
	return false;
}
