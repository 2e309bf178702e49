/*
 * http_setup.h
 *		What libcurl is told about a request before it starts.
 *
 * Layer 1, a part of http.c, and for http.c only.
 */
#ifndef CONTACTS_PUSH_HTTP_SETUP_H
#define CONTACTS_PUSH_HTTP_SETUP_H

#include "http.h"

#include <curl/curl.h>

/* Sets an option unless an earlier one failed: the first failure stays in rc. */
#define HTTP_SETOPT(rc, easy, option, value) \
	do { \
		if ((rc) == CURLE_OK) \
			(rc) = curl_easy_setopt((easy), option, value); \
	} while (0)

/* Why these params cannot become a request, a constant; NULL: they can. */
extern const char *http_setup_refuses(const HttpParams *params);

/*
 * Sets everything but the callbacks.  *headers is extended, the caller frees it
 * after the transfer, also on failure; *bearer becomes the key within it.
 */
extern CURLcode http_setup(CURL *easy, const HttpParams *params,
						   struct curl_slist **headers, const char **bearer);

#endif							/* CONTACTS_PUSH_HTTP_SETUP_H */
