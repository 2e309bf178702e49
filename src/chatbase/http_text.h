/*
 * http_text.h
 *		Text that goes into a request, and words about it that come out.
 *
 * A part of http.c that needs no libcurl.
 */
#ifndef CONTACTS_PUSH_HTTP_TEXT_H
#define CONTACTS_PUSH_HTTP_TEXT_H

#include <stdbool.h>
#include <stddef.h>

/* True if a header can carry the text: a line break would make it several. */
extern bool http_text_is_header(const char *text);

/* True if the URL's scheme is https. */
extern bool http_text_is_https(const char *url);

/* Why these cannot become a request, a constant; NULL: they can. */
extern const char *http_text_refuses(const char *url, const char *bearer);

/* What stands before the key in its header (RFC 6750, 2.1). */
#define HTTP_TEXT_BEARER "Authorization: Bearer "

/* The header with the key, malloc'd; NULL when out of memory. */
extern char *http_text_authorization(const char *key);

/*
 * Makes one line of printable ASCII of words, cut to size - 1 bytes; words that
 * hold the secret (NULL or "": none) are replaced as a whole.  out may be words.
 */
extern void http_text_reason(char *out, size_t size, const char *words,
							 const char *secret);

/*
 * The text with all but RFC 3986's unreserved characters percent-encoded,
 * malloc'd; NULL when out of memory.  "." and ".." come back as they are.
 */
extern char *http_text_escape(const char *text);

#endif							/* CONTACTS_PUSH_HTTP_TEXT_H */
