/*
 * reply_token.c
 *		The tokens of JSON text.
 *
 * A part of reply.c that needs no json-c: that notices neither all that is not JSON nor
 * what is not UTF-8.
 */
#include "chatbase/reply_token.h"

#include <string.h>

/* Characters of an escape that is a UTF-16 unit. */
#define UNIT_LENGTH 6

char *
reply_skip_space(char *at)
{
	while (*at == ' ' || *at == '\t' || *at == '\n' || *at == '\r')
		at++;
	return at;
}

/* Bytes of the character of more than one that p begins with; 0: not UTF-8 (RFC 3629, 4). */
static int
utf8_length(const unsigned char *p)
{
	int			n = p[0] < 0xC2 ? 0 : p[0] < 0xE0 ? 2 : p[0] < 0xF0 ? 3 : p[0] < 0xF5 ? 4 : 0;
	unsigned char low = 0x80;
	unsigned char high = 0xBF;

	/* overlong forms, surrogates and what lies above U+10FFFF */
	if (p[0] == 0xE0)
		low = 0xA0;
	else if (p[0] == 0xED)
		high = 0x9F;
	else if (p[0] == 0xF0)
		low = 0x90;
	else if (p[0] == 0xF4)
		high = 0x8F;

	if (n == 0 || p[1] < low || p[1] > high)
		return 0;
	for (int i = 2; i < n; i++)
	{
		if ((p[i] & 0xC0) != 0x80)
			return 0;
	}
	return n;
}

/* Bytes of the escape that p begins with; 0: there is no such escape. */
static int
escape_length(const char *p)
{
	if (p[1] == 'u')
		return strspn(p + 2, "0123456789abcdefABCDEF") >= 4 ? UNIT_LENGTH : 0;
	return p[1] != '\0' && strchr("\"\\/bfnrt", p[1]) ? 2 : 0;
}

char *
reply_skip_string(char *at, bool *escaped)
{
	*escaped = false;
	if (*at++ != '"')
		return NULL;
	while (*at != '"')
	{
		unsigned char c = *at;
		int			n = 1;

		if (c == '\\')
		{
			n = escape_length(at);
			*escaped = true;
		}
		else if (c >= 0x80)
			n = utf8_length((const unsigned char *) at);
		if (c < 0x20 || n == 0)
			return NULL;
		at += n;
	}
	return at + 1;
}

static char *
skip_digits(char *at)
{
	if (*at < '0' || *at > '9')
		return NULL;
	while (*at >= '0' && *at <= '9')
		at++;
	return at;
}

char *
reply_skip_number(char *at)
{
	if (*at == '-')
		at++;
	at = *at == '0' ? at + 1 : skip_digits(at);
	if (at && *at == '.')
		at = skip_digits(at + 1);
	if (at && (*at == 'e' || *at == 'E'))
	{
		at++;
		at = skip_digits(*at == '+' || *at == '-' ? at + 1 : at);
	}
	return at;
}

char *
reply_skip_word(char *at, const char *word)
{
	size_t		length = strlen(word);

	return strncmp(at, word, length) == 0 ? at + length : NULL;
}

/* Does p begin with the escape of a unit that is D and one of these, then anything? */
static bool
is_unit(const char *p, const char *these)
{
	return p[0] == '\\' && p[1] == 'u' && (p[2] == 'd' || p[2] == 'D') && strchr(these, p[3]);
}

void
reply_mend_surrogates(char *json)
{
	for (char *p = strchr(json, '\\'); p; p = strchr(p, '\\'))
	{
		bool		high = is_unit(p, "89abAB");
		bool		low = is_unit(p, "cdefCDEF");

		if (high && is_unit(p + UNIT_LENGTH, "cdefCDEF"))
			p += UNIT_LENGTH;
		else if (high || low)
			memcpy(p + 2, "fffd", 4);
		p += escape_length(p);
	}
}
