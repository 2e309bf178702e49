/*
 * fuzz_keys.c
 *		Whatever is in a file of keys, key_lines.c reads lines that mean what they say.
 */
#include "fuzz.h"
#include "chatbase/key_lines.h"

#include <string.h>

/* Writes the line as it would be written by hand, behind a comment; malloc'd. */
static char *
write_line(const KeyLine *line)
{
	const char *id = line->chatbot_id ? line->chatbot_id : "*";
	char	   *text = malloc(2 * strlen(id) + strlen(line->key) + 20);
	char	   *to;

	if (text == NULL)
		abort();
	to = text + sprintf(text, "# a comment\r\n\t ");
	for (; *id != '\0'; id++)
	{
		if (*id == ':' || *id == '\\')
			*to++ = '\\';
		*to++ = *id;
	}
	sprintf(to, ":%s \n", line->key);
	return text;
}

/* What was read, written again, is read as the same. */
static void
check_again(const KeyLine *line)
{
	char	   *text = write_line(line);
	char	   *rest = text;
	KeyLine		again;

	require(key_lines_next(&rest, &again), "a line that was read is one");
	require((again.chatbot_id == NULL) == (line->chatbot_id == NULL), "it is for all, or is not");
	require(line->chatbot_id == NULL || strcmp(again.chatbot_id, line->chatbot_id) == 0,
			"it is for the same chatbot");
	require(strcmp(again.key, line->key) == 0, "it has the same key");
	require(!key_lines_next(&rest, &again), "it is one line");
	free(text);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char	   *text = malloc(size + 1);
	char	   *rest = text;
	KeyLine		line;

	if (text == NULL)
		return 0;
	memcpy(text, data, size);
	text[size] = '\0';
	while (key_lines_next(&rest, &line))
	{
		size_t		n = strlen(line.key);

		require(line.key >= text && line.key + n <= text + size, "a key is within the text");
		require(n == 0 || strchr(" \t", line.key[n - 1]) == NULL, "no blank is behind a key");
		require(strpbrk(line.key, "\r\n") == NULL, "a key is on one line");
		require(line.chatbot_id == NULL || strpbrk(line.chatbot_id, "\r\n") == NULL,
				"a chatbot is on one line");
		check_again(&line);
	}
	require(rest == NULL, "the text is read to its end");
	free(text);
	return 0;
}
