/*
 * http_url.c
 *		The URLs of the API.
 *
 * A part of http.c that needs no libcurl.
 */
#include "chatbase/http.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The longest query: two numbers and their names. */
#define QUERY_SIZE 64

/* Writes the text as one path segment; returns its end.  RFC 3986's unreserved characters stay. */
static char *
write_segment(char *out, const char *text)
{
	static const char unreserved[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";

	for (; *text != '\0'; text++)
	{
		if (strchr(unreserved, *text))
			*out++ = *text;
		else
			out += sprintf(out, "%%%02X", (unsigned char) *text);
	}
	*out = '\0';
	return out;
}

/* of: what of the chatbot, "/contacts"; external_id NULL: all of them. */
static char *
make_url(const char *base, const char *chatbot_id, const char *of, const char *external_id,
		 const char *query)
{
	static const char chatbots[] = "/chatbots/";
	size_t		length = strlen(base);
	char	   *url = malloc(length + strlen(chatbots) + strlen(of) + 3 * strlen(chatbot_id) +
							 (external_id ? 3 * strlen(external_id) + 1 : 0) + strlen(query) + 1);
	char	   *out;

	if (url == NULL)
		return NULL;
	if (length > 0 && base[length - 1] == '/')
		length--;
	memcpy(url, base, length);
	out = stpcpy(url + length, chatbots);
	out = stpcpy(write_segment(out, chatbot_id), of);
	if (external_id)
	{
		*out++ = '/';
		out = write_segment(out, external_id);
	}
	strcpy(out, query);
	return url;
}

char *
http_contacts_url(const char *base, const char *chatbot_id)
{
	return make_url(base, chatbot_id, "/contacts", NULL, "");
}

char *
http_contact_url(const char *base, const char *chatbot_id, const char *external_id)
{
	return make_url(base, chatbot_id, "/contacts", external_id, "");
}

char *
http_page_url(const char *base, const char *chatbot_id, int page, int per_page)
{
	char		query[QUERY_SIZE];

	snprintf(query, sizeof(query), "?page=%d&per_page=%d", page, per_page);
	return make_url(base, chatbot_id, "/contacts", NULL, query);
}

char *
http_attributes_url(const char *base, const char *chatbot_id)
{
	return make_url(base, chatbot_id, "/custom-attributes", NULL, "");
}
