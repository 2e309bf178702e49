/*
 * http_setup.c
 *		What libcurl is told about a request before it starts.
 *
 * A part of http.c: options only, each with its reason; no transfer is started,
 * watched or ended here.
 */
#include "http_setup.h"
#include "http_text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#ifndef CONTACTS_PUSH_VERSION
#define CONTACTS_PUSH_VERSION "1.0"
#endif

/*
 * Seconds for which an idle connection may be used again.  Below what common
 * front ends keep one for (60 in Amazon's load balancer, 75 in nginx), so that
 * it is rarely they who have closed it.
 */
#define MAX_IDLE_SECONDS 30L

/* Where to, and how the connection is made and kept. */
static CURLcode
set_connection(CURL *easy, const HttpParams *params, bool https)
{
	CURLcode	rc = CURLE_OK;

	HTTP_SETOPT(rc, easy, CURLOPT_URL, params->url);
	HTTP_SETOPT(rc, easy, CURLOPT_PATH_AS_IS, 1L);
	HTTP_SETOPT(rc, easy, CURLOPT_NOSIGNAL, 1L);
	HTTP_SETOPT(rc, easy, CURLOPT_TCP_NODELAY, 1L);
	HTTP_SETOPT(rc, easy, CURLOPT_HTTP_VERSION, (long) CURL_HTTP_VERSION_1_1);
	HTTP_SETOPT(rc, easy, CURLOPT_MAXAGE_CONN, MAX_IDLE_SECONDS);
	HTTP_SETOPT(rc, easy, CURLOPT_CONNECTTIMEOUT_MS, params->connect_timeout_ms);
	HTTP_SETOPT(rc, easy, CURLOPT_TIMEOUT_MS, params->request_timeout_ms);
#if LIBCURL_VERSION_NUM >= 0x075700
	/* else breaking a request off would wait for its resolver thread */
	HTTP_SETOPT(rc, easy, CURLOPT_QUICK_EXIT, 1L);
#endif
	/* plain http goes to this machine only: never by way of a proxy */
	if (!https)
		HTTP_SETOPT(rc, easy, CURLOPT_PROXY, "");
	return rc;
}

/* Whom to trust, and that nothing is taken or given that was not asked for. */
static CURLcode
set_security(CURL *easy, const HttpParams *params, bool https)
{
	CURLcode	rc = CURLE_OK;

	HTTP_SETOPT(rc, easy, CURLOPT_FOLLOWLOCATION, 0L);
#if LIBCURL_VERSION_NUM >= 0x075500
	HTTP_SETOPT(rc, easy, CURLOPT_PROTOCOLS_STR, https ? "https" : "http");
#else
	HTTP_SETOPT(rc, easy, CURLOPT_PROTOCOLS, https ? (long) CURLPROTO_HTTPS : (long) CURLPROTO_HTTP);
#endif
	HTTP_SETOPT(rc, easy, CURLOPT_DISALLOW_USERNAME_IN_URL, 1L);
	HTTP_SETOPT(rc, easy, CURLOPT_NETRC, (long) CURL_NETRC_IGNORED);
	HTTP_SETOPT(rc, easy, CURLOPT_HEADEROPT, (long) CURLHEADER_SEPARATE);
	HTTP_SETOPT(rc, easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
	HTTP_SETOPT(rc, easy, CURLOPT_SSL_VERIFYPEER, 1L);
	HTTP_SETOPT(rc, easy, CURLOPT_SSL_VERIFYHOST, 2L);
	HTTP_SETOPT(rc, easy, CURLOPT_SSLVERSION, (long) CURL_SSLVERSION_TLSv1_2);
	if (params->ca_file != NULL && params->ca_file[0] != '\0')
		HTTP_SETOPT(rc, easy, CURLOPT_CAINFO, params->ca_file);
	return rc;
}

/* Appends a line to *headers.  False: out of memory. */
static bool
add_header(struct curl_slist **headers, const char *line)
{
	struct curl_slist *longer = curl_slist_append(*headers, line);

	if (longer == NULL)
		return false;
	*headers = longer;
	return true;
}

/* The same for the key; *bearer is where it then lies. */
static bool
add_bearer(struct curl_slist **headers, const char *key, const char **bearer)
{
	static const char name[] = "Authorization: Bearer ";
	size_t		size = sizeof(name) + strlen(key);
	char	   *line = malloc(size);
	struct curl_slist *last;
	bool		added;

	if (line == NULL)
		return false;
	snprintf(line, size, "%s%s", name, key);
	added = add_header(headers, line);
	free(line);
	if (!added)
		return false;
	for (last = *headers; last->next != NULL; last = last->next)
		;
	*bearer = last->data + strlen(name);
	return true;
}

/* The request itself.  An empty "Expect:" keeps libcurl from asking for leave to
 * send a large body, and waiting up to a second for it. */
static CURLcode
set_message(CURL *easy, const HttpParams *params, struct curl_slist **headers,
			const char **bearer)
{
	CURLcode	rc = CURLE_OK;

	if (!add_header(headers, "Content-Type: application/json") ||
		!add_header(headers, "Accept: application/json") ||
		!add_header(headers, "Expect:") ||
		!add_bearer(headers, params->bearer, bearer))
		return CURLE_OUT_OF_MEMORY;
	HTTP_SETOPT(rc, easy, CURLOPT_HTTPHEADER, *headers);
	HTTP_SETOPT(rc, easy, CURLOPT_USERAGENT, "contacts_push/" CONTACTS_PUSH_VERSION);
	HTTP_SETOPT(rc, easy, CURLOPT_POST, 1L);
	HTTP_SETOPT(rc, easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t) params->body_len);
	HTTP_SETOPT(rc, easy, CURLOPT_POSTFIELDS, params->body);
	return rc;
}

static bool
is_https(const char *url)
{
	return strncasecmp(url, "https://", 8) == 0;
}

const char *
http_setup_refuses(const HttpParams *params)
{
	if (!is_https(params->url) && strncasecmp(params->url, "http://", 7) != 0)
		return "the URL is neither http nor https";
	if (!http_text_is_header(params->bearer))
		return "the key has characters that a header cannot carry";
	return NULL;
}

CURLcode
http_setup(CURL *easy, const HttpParams *params, struct curl_slist **headers,
		   const char **bearer)
{
	bool		https = is_https(params->url);
	CURLcode	rc = set_connection(easy, params, https);

	if (rc == CURLE_OK)
		rc = set_security(easy, params, https);
	if (rc == CURLE_OK)
		rc = set_message(easy, params, headers, bearer);
	return rc;
}
