/*
 * http.c
 *		HTTP POSTs over kept-alive connections, driven from somebody else's loop.
 *
 * A thin layer over libcurl's multi interface.  What it adds is certainty about
 * what may have reached the server: a POST leaves at most once, and a request
 * that has not left is told from one that may have.
 *
 * curl enters no other file.  postgres.h must not enter this one: the callbacks are
 * run by libcurl, which cannot be left by a longjmp, and nothing here waits.
 */
#include "chatbase/http.h"
#include "chatbase/http_answer.h"
#include "chatbase/http_sockets.h"
#include "chatbase/http_system.h"
#include "chatbase/http_text.h"
#include "util/clock.h"

#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <curl/curl.h>

/* 7.80.0 brought CURLOPT_PREREQFUNCTION, without which a POST may leave twice. */
#if LIBCURL_VERSION_NUM < 0x075000
#error "contacts_push needs libcurl 7.80.0 or later"
#endif

#ifndef CONTACTS_PUSH_VERSION
#define CONTACTS_PUSH_VERSION "1.0"
#endif

/*
 * Seconds for which an idle connection may be used again.  Below what common
 * front ends keep one for (60 in Amazon's load balancer, 75 in nginx), so that
 * it is rarely they who have closed it.
 */
#define MAX_IDLE_SECONDS 30L

/* Sets an option unless an earlier one failed: the first failure stays in rc. */
#define SETOPT(rc, easy, option, value) \
	do { \
		if ((rc) == CURLE_OK) \
			(rc) = curl_easy_setopt((easy), option, value); \
	} while (0)

/* Room for the reason of a failure; libcurl's own buffer has as much. */
#define ERROR_SIZE CURL_ERROR_SIZE

struct HttpRequest
{
	HttpPool   *pool;
	HttpRequest *next;			/* in the pool's list of all */
	CURL	   *easy;			/* NULL once done */
	struct curl_slist *headers;

	int			departures;		/* how often libcurl was about to send it */
	HttpAnswer	answer;
	char	   *authorization;	/* header with the key; NULL before */
	char		error[ERROR_SIZE];

	int64_t		started_at;		/* ms, monotonic */
	bool		done;
	bool		handed_out;
	unsigned long done_order;
	HttpResult	result;
};

struct HttpPool
{
	CURLM	   *multi;
	HttpRequest *requests;		/* all that were not ended */
	unsigned long done_count;

	CURL	  **idle;			/* easy handles to be used again */
	int			nidle;
	int			max_idle;

	HttpSockets sockets;
	int64_t		deadline;		/* ms, monotonic; -1: none */
};

/* ---- callbacks of libcurl: they never leave but by returning ---- */

/* A socket is to be watched, otherwise or no longer.  -1: out of memory. */
static int
on_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *socket_arg)
{
	HttpPool   *pool = arg;
	bool		in = what == CURL_POLL_IN || what == CURL_POLL_INOUT;
	bool		out = what == CURL_POLL_OUT || what == CURL_POLL_INOUT;

	(void) easy;
	(void) socket_arg;
	if (what == CURL_POLL_REMOVE)
		http_sockets_forget(&pool->sockets, fd);
	else if (!http_sockets_watch(&pool->sockets, fd, in, out))
		return -1;
	return 0;
}

static int
on_timer(CURLM *multi, long timeout_ms, void *arg)
{
	HttpPool   *pool = arg;

	(void) multi;
	pool->deadline = timeout_ms < 0 ? -1 : (clock_us() / 1000) + timeout_ms;
	return 0;
}

/*
 * The connection is up and the request is about to leave.  libcurl sends a
 * request again by itself when a connection it had kept breaks before an answer;
 * the server may have acted on the first one, so a POST must not leave again.
 */
static int
on_departure(void *arg, char *remote_ip, char *local_ip, int remote_port, int local_port)
{
	HttpRequest *request = arg;

	(void) remote_ip;
	(void) local_ip;
	(void) remote_port;
	(void) local_port;
	return ++request->departures > 1 ? CURL_PREREQFUNC_ABORT : CURL_PREREQFUNC_OK;
}

/* Returning less than the size of what has come breaks the transfer off. */
static size_t
on_header(char *line, size_t size, size_t n, void *answer)
{
	return http_answer_header(answer, line, size * n) ? size * n : 0;
}

static size_t
on_body(char *data, size_t size, size_t n, void *answer)
{
	return http_answer_body(answer, data, size * n) ? size * n : 0;
}

/* A new socket must not get into the programs that the process starts. */
static int
on_new_socket(void *arg, curl_socket_t fd, curlsocktype purpose)
{
	(void) arg;
	(void) purpose;
	http_system_close_on_exec(fd);
	return CURL_SOCKOPT_OK;
}

/* What libcurl calls, and with what. */
static CURLcode
set_callbacks(HttpRequest *request)
{
	CURL	   *easy = request->easy;
	CURLcode	rc = CURLE_OK;

	SETOPT(rc, easy, CURLOPT_PRIVATE, request);
	SETOPT(rc, easy, CURLOPT_ERRORBUFFER, request->error);
	SETOPT(rc, easy, CURLOPT_PREREQFUNCTION, on_departure);
	SETOPT(rc, easy, CURLOPT_PREREQDATA, request);
	SETOPT(rc, easy, CURLOPT_HEADERFUNCTION, on_header);
	SETOPT(rc, easy, CURLOPT_HEADERDATA, &request->answer);
	SETOPT(rc, easy, CURLOPT_WRITEFUNCTION, on_body);
	SETOPT(rc, easy, CURLOPT_WRITEDATA, &request->answer);
	SETOPT(rc, easy, CURLOPT_SOCKOPTFUNCTION, on_new_socket);
	return rc;
}

/* ---- what libcurl is told of a request ---- */

/* Where to, and how the connection is made and kept. */
static CURLcode
set_connection(CURL *easy, const HttpParams *params, bool https)
{
	CURLcode	rc = CURLE_OK;

	SETOPT(rc, easy, CURLOPT_URL, params->url);
	SETOPT(rc, easy, CURLOPT_PATH_AS_IS, 1L);
	SETOPT(rc, easy, CURLOPT_NOSIGNAL, 1L);
	SETOPT(rc, easy, CURLOPT_TCP_NODELAY, 1L);
	SETOPT(rc, easy, CURLOPT_HTTP_VERSION, (long) CURL_HTTP_VERSION_1_1);
	SETOPT(rc, easy, CURLOPT_MAXAGE_CONN, MAX_IDLE_SECONDS);
	SETOPT(rc, easy, CURLOPT_CONNECTTIMEOUT_MS, params->connect_timeout_ms);
	SETOPT(rc, easy, CURLOPT_TIMEOUT_MS, params->request_timeout_ms);
#if LIBCURL_VERSION_NUM >= 0x075700
	/* else breaking a request off would wait for its resolver thread */
	SETOPT(rc, easy, CURLOPT_QUICK_EXIT, 1L);
#endif
	/* plain http goes to this machine only: never by way of a proxy */
	if (!https)
		SETOPT(rc, easy, CURLOPT_PROXY, "");
	return rc;
}

/* Whom to trust, and that nothing is taken or given that was not asked for. */
static CURLcode
set_security(CURL *easy, const HttpParams *params, bool https)
{
	CURLcode	rc = CURLE_OK;

	SETOPT(rc, easy, CURLOPT_FOLLOWLOCATION, 0L);
#if LIBCURL_VERSION_NUM >= 0x075500
	SETOPT(rc, easy, CURLOPT_PROTOCOLS_STR, https ? "https" : "http");
#else
	SETOPT(rc, easy, CURLOPT_PROTOCOLS, https ? (long) CURLPROTO_HTTPS : (long) CURLPROTO_HTTP);
#endif
	SETOPT(rc, easy, CURLOPT_DISALLOW_USERNAME_IN_URL, 1L);
	SETOPT(rc, easy, CURLOPT_NETRC, (long) CURL_NETRC_IGNORED);
	SETOPT(rc, easy, CURLOPT_HEADEROPT, (long) CURLHEADER_SEPARATE);
	SETOPT(rc, easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
	SETOPT(rc, easy, CURLOPT_SSL_VERIFYPEER, 1L);
	SETOPT(rc, easy, CURLOPT_SSL_VERIFYHOST, 2L);
	SETOPT(rc, easy, CURLOPT_SSLVERSION, (long) CURL_SSLVERSION_TLSv1_2);
	if (params->ca_file != NULL && params->ca_file[0] != '\0')
	{
		SETOPT(rc, easy, CURLOPT_CAINFO, params->ca_file);
		/* in its place, not beside the directory that libcurl was built with */
		SETOPT(rc, easy, CURLOPT_CAPATH, NULL);
		if (rc == CURLE_NOT_BUILT_IN)
			rc = CURLE_OK;		/* a TLS library that knows no such directory */
	}
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

/* The request itself.  An empty "Expect:" keeps libcurl from asking for leave to
 * send a large body, and waiting up to a second for it. */
static CURLcode
set_message(HttpRequest *request, const HttpParams *params)
{
	CURL	   *easy = request->easy;
	CURLcode	rc = CURLE_OK;

	if (!add_header(&request->headers, "Content-Type: application/json") ||
		!add_header(&request->headers, "Accept: application/json") ||
		!add_header(&request->headers, "Expect:") ||
		(request->authorization = http_text_authorization(params->bearer)) == NULL ||
		!add_header(&request->headers, request->authorization))
		return CURLE_OUT_OF_MEMORY;
	SETOPT(rc, easy, CURLOPT_HTTPHEADER, request->headers);
	SETOPT(rc, easy, CURLOPT_USERAGENT, "contacts_push/" CONTACTS_PUSH_VERSION);
	SETOPT(rc, easy, CURLOPT_POST, 1L);
	SETOPT(rc, easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t) params->body_len);
	SETOPT(rc, easy, CURLOPT_POSTFIELDS, params->body);
	return rc;
}

/* Sets everything but the callbacks. */
static CURLcode
set_options(HttpRequest *request, const HttpParams *params)
{
	bool		https = http_text_is_https(params->url);
	CURLcode	rc = set_connection(request->easy, params, https);

	if (rc == CURLE_OK)
		rc = set_security(request->easy, params, https);
	if (rc == CURLE_OK)
		rc = set_message(request, params);
	return rc;
}

/* ---- the end of a transfer ---- */

/* Takes the transfer out of the pool and keeps its handle for the next one. */
static void
release_handle(HttpRequest *request)
{
	HttpPool   *pool = request->pool;

	if (request->easy == NULL)
		return;
	curl_multi_remove_handle(pool->multi, request->easy);
	curl_easy_reset(request->easy);
	if (pool->nidle < pool->max_idle)
		pool->idle[pool->nidle++] = request->easy;
	else
		curl_easy_cleanup(request->easy);
	request->easy = NULL;
}

/* The request is over with rc: fixes its result.  Signals are blocked. */
static void
finish(HttpRequest *request, CURLcode rc)
{
	HttpResult *result = &request->result;
	long		status = 0;

	result->outcome = http_answer_outcome(&request->answer, request->departures, rc == CURLE_OK,
										  rc == CURLE_OPERATION_TIMEDOUT);
	if (request->departures > 0)
		curl_easy_getinfo(request->easy, CURLINFO_RESPONSE_CODE, &status);
	/* an interim answer is none */
	result->status = status >= 200 ? (int) status : 0;
	result->body = "";
	if (result->outcome == HTTP_ANSWERED && request->answer.body != NULL)
	{
		result->body = request->answer.body;
		result->body_len = request->answer.body_len;
	}
	if (result->outcome == HTTP_ANSWERED)
		request->error[0] = '\0';
	else
	{
		const char *words = http_answer_words(&request->answer, request->departures, rc == CURLE_OK);

		if (words == NULL)
			words = request->error[0] != '\0' ? request->error : curl_easy_strerror(rc);
		http_text_reason(request->error, sizeof(request->error), words, request->authorization ?
						 request->authorization + strlen(HTTP_TEXT_BEARER) : NULL);
	}
	result->error = request->error;
	result->retry_after = request->answer.retry_after[0] ? request->answer.retry_after : NULL;
	result->ratelimit_reset = request->answer.ratelimit_reset[0] ?
		request->answer.ratelimit_reset : NULL;
	result->duration_ms = (long) ((clock_us() / 1000) - request->started_at);

	release_handle(request);
	request->done = true;
	request->done_order = request->pool->done_count++;
}

/*
 * Lets libcurl go on, and finishes what is over.  A failure of the multi handle
 * itself (out of memory) leaves the transfers undefined, so it ends them all.
 */
static void
advance(HttpPool *pool, curl_socket_t fd, int events)
{
	CURLMsg    *message;
	int			n;
	CURLMcode	mrc;

	/* it is one-shot; on_timer() is told of the next one, even if it is the same */
	if (fd == CURL_SOCKET_TIMEOUT)
		pool->deadline = -1;
	mrc = curl_multi_socket_action(pool->multi, fd, events, &n);
	while ((message = curl_multi_info_read(pool->multi, &n)) != NULL)
	{
		CURLcode	rc = message->data.result;
		char	   *request = NULL;

		if (message->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &request);
		finish((HttpRequest *) request, rc);
	}
	if (mrc == CURLM_OK)
		return;
	for (HttpRequest *request = pool->requests; request != NULL; request = request->next)
	{
		if (!request->done)
			finish(request, CURLE_ABORTED_BY_CALLBACK);
	}
}

/* ---- the interface ---- */

/* False: out of memory.  Once a process; nothing undoes it. */
static bool
init_library(void)
{
	static bool initialized = false;

	if (!initialized)
		initialized = curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK;
	return initialized;
}

/* NULL: out of memory. */
static CURLM *
create_multi(HttpPool *pool, int max_connections)
{
	CURLM	   *multi = curl_multi_init();

	if (multi == NULL)
		return NULL;
	if (curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, on_socket) != CURLM_OK ||
		curl_multi_setopt(multi, CURLMOPT_SOCKETDATA, pool) != CURLM_OK ||
		curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, on_timer) != CURLM_OK ||
		curl_multi_setopt(multi, CURLMOPT_TIMERDATA, pool) != CURLM_OK ||
		curl_multi_setopt(multi, CURLMOPT_PIPELINING, (long) CURLPIPE_NOTHING) != CURLM_OK ||
#if LIBCURL_VERSION_NUM >= 0x081400
	/* since 8.20.0 the resolver's threads belong to the pool: freeing it waits for none */
		curl_multi_setopt(multi, CURLMOPT_QUICK_EXIT, 1L) != CURLM_OK ||
#endif
		curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, (long) max_connections) != CURLM_OK)
	{
		curl_multi_cleanup(multi);
		return NULL;
	}
	return multi;
}

HttpPool *
http_pool_create(int max_connections)
{
	HttpPool   *pool = calloc(1, sizeof(HttpPool));
	sigset_t	saved;

	if (pool == NULL)
		return NULL;
	if (max_connections < 1)
		max_connections = 1;
	pool->deadline = -1;
	pool->max_idle = max_connections;
	pool->idle = calloc(max_connections, sizeof(CURL *));
	http_system_block(&saved);
	if (pool->idle != NULL && init_library())
		pool->multi = create_multi(pool, max_connections);
	http_system_restore(&saved);
	if (pool->multi == NULL)
	{
		free(pool->idle);
		free(pool);
		return NULL;
	}
	return pool;
}

void
http_pool_free(HttpPool *pool)
{
	sigset_t	saved;

	if (pool == NULL)
		return;
	while (pool->requests != NULL)
		http_end(pool->requests);
	http_system_block(&saved);
	while (pool->nidle > 0)
		curl_easy_cleanup(pool->idle[--pool->nidle]);
	curl_multi_cleanup(pool->multi);
	http_system_restore(&saved);
	free(pool->idle);
	free(pool->sockets.sockets);
	free(pool);
}

/* Hands the request to libcurl.  False: *words says why it could not be. */
static bool
start(HttpRequest *request, const HttpParams *params, const char **words)
{
	HttpPool   *pool = request->pool;
	CURLcode	rc = CURLE_OUT_OF_MEMORY;
	CURLMcode	mrc;

	*words = http_text_refuses(params->url, params->bearer);
	if (*words != NULL)
		return false;
	request->easy = pool->nidle > 0 ? pool->idle[--pool->nidle] : curl_easy_init();
	if (request->easy != NULL)
		rc = set_callbacks(request);
	if (rc == CURLE_OK)
		rc = set_options(request, params);
	*words = curl_easy_strerror(rc);
	if (rc != CURLE_OK)
		return false;
	mrc = curl_multi_add_handle(pool->multi, request->easy);
	*words = curl_multi_strerror(mrc);
	return mrc == CURLM_OK;
}

HttpRequest *
http_begin(HttpPool *pool, const HttpParams *params)
{
	HttpRequest *request = calloc(1, sizeof(HttpRequest));
	const char *words;
	sigset_t	saved;

	if (request == NULL)
		return NULL;
	request->pool = pool;
	request->started_at = (clock_us() / 1000);
	request->answer.max_body_bytes = params->max_response_bytes;
	request->next = pool->requests;
	pool->requests = request;

	http_system_block(&saved);
	if (start(request, params, &words))
		/* a kept connection takes it at once, before the caller's next wait */
		advance(pool, CURL_SOCKET_TIMEOUT, 0);
	else
	{
		finish(request, CURLE_FAILED_INIT);
		http_text_reason(request->error, sizeof(request->error), words, params->bearer);
	}
	http_system_restore(&saved);
	return request;
}

const HttpSocket *
http_sockets(HttpPool *pool, int *count, unsigned long *generation)
{
	*count = pool->sockets.n;
	*generation = pool->sockets.generation;
	return pool->sockets.sockets;
}

long
http_timeout_ms(const HttpPool *pool)
{
	int64_t		left;

	if (pool->deadline < 0)
		return -1;
	left = pool->deadline - (clock_us() / 1000);
	if (left <= 0)
		return 0;
	return left < LONG_MAX ? (long) left : LONG_MAX;
}

void
http_step(HttpPool *pool, int fd, int events)
{
	int			mask = 0;
	sigset_t	saved;

	if (events & HTTP_STEP_READABLE)
		mask |= CURL_CSELECT_IN;
	if (events & HTTP_STEP_WRITABLE)
		mask |= CURL_CSELECT_OUT;
	if (events & HTTP_STEP_ERROR)
		mask |= CURL_CSELECT_ERR;
	http_system_block(&saved);
	advance(pool, fd < 0 ? CURL_SOCKET_TIMEOUT : fd, fd < 0 ? 0 : mask);
	http_system_restore(&saved);
}

HttpRequest *
http_next_done(HttpPool *pool)
{
	HttpRequest *first = NULL;

	for (HttpRequest *request = pool->requests; request != NULL; request = request->next)
	{
		if (request->done && !request->handed_out &&
			(first == NULL || request->done_order < first->done_order))
			first = request;
	}
	if (first != NULL)
		first->handed_out = true;
	return first;
}

bool
http_is_done(const HttpRequest *request)
{
	return request->done;
}

const HttpResult *
http_result(const HttpRequest *request)
{
	return &request->result;
}

void
http_end(HttpRequest *request)
{
	HttpRequest **link;
	sigset_t	saved;

	if (request == NULL)
		return;
	for (link = &request->pool->requests; *link != request; link = &(*link)->next)
		;
	*link = request->next;
	http_system_block(&saved);
	release_handle(request);
	curl_slist_free_all(request->headers);
	http_system_restore(&saved);
	http_answer_free(&request->answer);
	free(request->authorization);
	free(request);
}
