/*
 * reply_ascii.c
 *		A JSON text with everything that is not ASCII escaped.
 *
 * json-c is given nothing else: one version (0.18, which Debian 13 has) refuses every
 * other character in its strict mode, and none notices all that is not UTF-8.  A part
 * of reply.c that needs no json-c.
 */
#include "chatbase/reply_ascii.h"

#include <stdint.h>
#include <stdlib.h>

/* A character of two bytes becomes six, one of four bytes twelve. */
#define MAX_GROWTH 3

/* The first code point that UTF-16 writes as two units. */
#define SUPPLEMENTARY 0x10000

/* Bytes of the character that p begins with; 0: not UTF-8 (RFC 3629, 4). */
static int
utf8_length(const unsigned char *p, size_t left)
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

	if (n == 0 || left < (size_t) n || p[1] < low || p[1] > high)
		return 0;
	for (int i = 2; i < n; i++)
	{
		if ((p[i] & 0xC0) != 0x80)
			return 0;
	}
	return n;
}

/* The code point of a character of n bytes, which are two to four. */
static uint32_t
utf8_decode(const unsigned char *p, int n)
{
	uint32_t	code = p[0] & (0x7F >> n);

	for (int i = 1; i < n; i++)
		code = code << 6 | (p[i] & 0x3F);
	return code;
}

/* Writes \uXXXX; returns what is behind it. */
static char *
write_unit(char *to, uint32_t unit)
{
	static const char digits[] = "0123456789abcdef";

	*to++ = '\\';
	*to++ = 'u';
	for (int shift = 12; shift >= 0; shift -= 4)
		*to++ = digits[unit >> shift & 0xF];
	return to;
}

static char *
write_escape(char *to, uint32_t code)
{
	if (code < SUPPLEMENTARY)
		return write_unit(to, code);
	code -= SUPPLEMENTARY;
	to = write_unit(to, 0xD800 | code >> 10);
	return write_unit(to, 0xDC00 | (code & 0x3FF));
}

/* Writes the text in ASCII; returns what is behind it, NULL: it is refused. */
static char *
write_text(char *to, const unsigned char *at, const unsigned char *end)
{
	while (at < end)
	{
		int			n;

		if (*at < 0x80)
		{
			/* else the backslash would make the escape's a literal one */
			if (*at == '\\' && at + 1 < end)
			{
				*to++ = *at++;
				if (*at >= 0x80)
					return NULL;
			}
			*to++ = *at++;
			continue;
		}
		n = utf8_length(at, end - at);
		if (n == 0)
			return NULL;
		to = write_escape(to, utf8_decode(at, n));
		at += n;
	}
	return to;
}

/* Bytes that the text in ASCII takes at most. */
static size_t
room_for(const unsigned char *text, size_t len)
{
	size_t		others = 0;

	for (size_t i = 0; i < len; i++)
		others += text[i] >= 0x80;
	return len - others + others * MAX_GROWTH;
}

char *
reply_to_ascii(const char *text, size_t len, size_t *ascii_len, bool *out_of_memory)
{
	const unsigned char *bytes = (const unsigned char *) text;
	char	   *ascii = malloc(room_for(bytes, len) + 1);
	char	   *behind;

	*out_of_memory = ascii == NULL;
	if (ascii == NULL)
		return NULL;
	behind = write_text(ascii, bytes, bytes + len);
	if (behind == NULL)
	{
		free(ascii);
		return NULL;
	}
	*ascii_len = behind - ascii;
	return ascii;
}
