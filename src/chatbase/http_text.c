/*
 * http_text.c
 *		Text that goes into a request, and words about it that come out.
 *
 * Pure functions of strings; no locale, nothing of PostgreSQL, nothing that waits.
 */
#include "chatbase/http.h"
#include "chatbase/http_text.h"

#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

bool
http_text_is_header(const char *text)
{
	for (; *text != '\0'; text++)
	{
		if ((unsigned char) *text < 0x20 || *text == 0x7F)
			return false;
	}
	return true;
}

void
http_text_reason(char *out, size_t size, const char *words, const char *secret)
{
	size_t		n = 0;

	if (secret != NULL && secret[0] != '\0' && strstr(words, secret) != NULL)
		words = "the request failed";
	for (; words[n] != '\0' && n < size - 1; n++)
	{
		unsigned char c = words[n];

		out[n] = c < 0x20 ? ' ' : c < 0x7F ? (char) c : '?';
	}
	while (n > 0 && out[n - 1] == ' ')
		n--;
	out[n] = '\0';
}

static bool
is_unreserved(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
		c == '-' || c == '.' || c == '_' || c == '~';
}

char *
http_text_escape(const char *text)
{
	static const char digits[] = "0123456789ABCDEF";
	size_t		len = strlen(text);
	char	   *escaped;
	char	   *p;

	if (len > SIZE_MAX / 3 - 1 || (escaped = malloc(len * 3 + 1)) == NULL)
		return NULL;
	for (p = escaped; *text != '\0'; text++)
	{
		if (is_unreserved(*text))
			*p++ = *text;
		else
		{
			*p++ = '%';
			*p++ = digits[(unsigned char) *text >> 4];
			*p++ = digits[(unsigned char) *text & 0xF];
		}
	}
	*p = '\0';
	return escaped;
}

char *
http_contacts_url(const char *base, const char *chatbot_id)
{
	static const char format[] = "%.*s/chatbots/%s/contacts";
	size_t		base_len = strlen(base);
	char	   *segment;
	char	   *url;
	size_t		size;

	if (base_len > 0 && base[base_len - 1] == '/')
		base_len--;
	if (base_len > INT_MAX || (segment = http_text_escape(chatbot_id)) == NULL)
		return NULL;
	size = sizeof(format) + base_len + strlen(segment);
	url = malloc(size);
	if (url != NULL)
		snprintf(url, size, format, (int) base_len, base, segment);
	free(segment);
	return url;
}

bool
http_text_is_https(const char *url)
{
	return strncasecmp(url, "https://", 8) == 0;
}

const char *
http_text_refuses(const char *url, const char *bearer)
{
	if (!http_text_is_https(url) && strncasecmp(url, "http://", 7) != 0)
		return "the URL is neither http nor https";
	if (!http_text_is_header(bearer))
		return "the key has characters that a header cannot carry";
	return NULL;
}

char *
http_text_authorization(const char *key)
{
	size_t		size = sizeof(HTTP_TEXT_BEARER) + strlen(key);
	char	   *line = malloc(size);

	if (line != NULL)
		snprintf(line, size, HTTP_TEXT_BEARER "%s", key);
	return line;
}
