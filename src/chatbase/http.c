/*
 * http.c
 *		HTTP requests over kept-alive connections, driven from somebody else's loop.
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
#include "util/clock.h"

#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

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

struct HttpRequest
{
	HttpPool   *pool;
	HttpRequest *next;			/* in the pool's list of all */
	CURL	   *easy;			/* NULL once done */
	struct curl_slist *headers;

	int			departures;		/* how often libcurl was about to send it */
	HttpAnswer	answer;
	char		error[CURL_ERROR_SIZE];

	int64_t		started_at;		/* ms, monotonic */
	bool		done;
	bool		handed_out;
	HttpResult	result;
};

struct HttpPool
{
	CURLM	   *multi;
	HttpRequest *requests;		/* all that were not ended */

	HttpSocket *sockets;		/* to be watched */
	int			nsockets;
	int			sockets_allocated;
	unsigned long generation;	/* of the set of sockets */
	int64_t		deadline;		/* ms, monotonic; -1: none */
};

static int64_t
now_ms(void)
{
	return clock_us() / 1000;
}

/* Blocks all signals for this thread, and for threads it starts meanwhile. */
static void
block_signals(sigset_t *saved)
{
	sigset_t	all;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, saved);
}

static void
restore_signals(const sigset_t *saved)
{
	pthread_sigmask(SIG_SETMASK, saved, NULL);
}

/* ---- callbacks of libcurl: they never leave but by returning ---- */

/* Called when a socket is to be watched, otherwise or no longer.  -1: out of memory. */
static int
on_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *socket_arg)
{
	HttpPool   *pool = arg;
	int			i = 0;

	(void) easy;
	(void) socket_arg;
	pool->generation++;
	while (i < pool->nsockets && pool->sockets[i].fd != fd)
		i++;
	if (what == CURL_POLL_REMOVE)
	{
		if (i < pool->nsockets)
			pool->sockets[i] = pool->sockets[--pool->nsockets];
		return 0;
	}
	if (i == pool->sockets_allocated)
	{
		int			n = i ? i * 2 : 8;
		HttpSocket *larger = realloc(pool->sockets, n * sizeof(HttpSocket));

		if (larger == NULL)
			return -1;
		pool->sockets = larger;
		pool->sockets_allocated = n;
	}
	if (i == pool->nsockets)
		pool->nsockets++;
	pool->sockets[i].fd = fd;
	pool->sockets[i].readable = what == CURL_POLL_IN || what == CURL_POLL_INOUT;
	pool->sockets[i].writable = what == CURL_POLL_OUT || what == CURL_POLL_INOUT;
	return 0;
}

static int
on_timer(CURLM *multi, long timeout_ms, void *arg)
{
	HttpPool   *pool = arg;

	(void) multi;
	pool->deadline = timeout_ms < 0 ? -1 : now_ms() + timeout_ms;
	return 0;
}

/*
 * Called when the connection is up and the request is about to leave.  libcurl sends a request
 * again by itself when a connection that it has kept breaks before an answer; the server may
 * have acted on the first one, so no request leaves again.
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

/* Keeps a new socket from the programs that the process starts. */
static int
on_new_socket(void *arg, curl_socket_t fd, curlsocktype purpose)
{
	(void) arg;
	(void) purpose;
	/* best effort: a socket without it works as well */
	(void) fcntl(fd, F_SETFD, FD_CLOEXEC);
	return CURL_SOCKOPT_OK;
}

/* ---- what libcurl is told of a request ---- */

static bool
is_https(const char *url)
{
	return strncasecmp(url, "https://", strlen("https://")) == 0;
}

/* Tells libcurl where to connect to, how, and whom to trust. */
static CURLcode
set_connection(CURL *easy, const HttpParams *params)
{
	bool		https = is_https(params->url);
	CURLcode	rc = CURLE_OK;

	SETOPT(rc, easy, CURLOPT_URL, params->url);
	SETOPT(rc, easy, CURLOPT_PATH_AS_IS, 1L);
	SETOPT(rc, easy, CURLOPT_NOSIGNAL, 1L);
	SETOPT(rc, easy, CURLOPT_TCP_NODELAY, 1L);
	SETOPT(rc, easy, CURLOPT_HTTP_VERSION, (long) CURL_HTTP_VERSION_1_1);
	SETOPT(rc, easy, CURLOPT_MAXAGE_CONN, MAX_IDLE_SECONDS);
	SETOPT(rc, easy, CURLOPT_CONNECTTIMEOUT_MS, params->connect_timeout_ms);
	SETOPT(rc, easy, CURLOPT_TIMEOUT_MS, params->request_timeout_ms);
	SETOPT(rc, easy, CURLOPT_SOCKOPTFUNCTION, on_new_socket);
	SETOPT(rc, easy, CURLOPT_FRESH_CONNECT, (long) params->anew);
	SETOPT(rc, easy, CURLOPT_DNS_CACHE_TIMEOUT, params->anew ? 0L : MAX_IDLE_SECONDS);
#if LIBCURL_VERSION_NUM >= 0x075700
	/* else breaking a request off would wait for its resolver thread */
	SETOPT(rc, easy, CURLOPT_QUICK_EXIT, 1L);
#endif
	/* plain http goes to this machine only: never by way of a proxy */
	if (!https)
		SETOPT(rc, easy, CURLOPT_PROXY, "");

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

/*
 * Gives libcurl the request, and what to call.  An empty "Expect:" keeps it from asking
 * for leave to send a large body, and waiting up to a second for it.
 */
static CURLcode
set_message(HttpRequest *request, const HttpParams *params)
{
	const char *lines[] = {
		"Content-Type: application/json", "Accept: application/json", "Expect:", NULL
	};
	CURL	   *easy = request->easy;
	CURLcode	rc = CURLE_OK;
	char	   *authorization;

	/* RFC 6750, 2.1 */
	if (asprintf(&authorization, "Authorization: Bearer %s", params->bearer) < 0)
		return CURLE_OUT_OF_MEMORY;
	lines[3] = authorization;
	for (int i = 0; rc == CURLE_OK && i < 4; i++)
	{
		struct curl_slist *longer = curl_slist_append(request->headers, lines[i]);

		if (longer == NULL)
			rc = CURLE_OUT_OF_MEMORY;
		else
			request->headers = longer;
	}
	free(authorization);
	SETOPT(rc, easy, CURLOPT_HTTPHEADER, request->headers);
	SETOPT(rc, easy, CURLOPT_USERAGENT, "contacts_push/" CONTACTS_PUSH_VERSION);
	if (params->body != NULL)
	{
		SETOPT(rc, easy, CURLOPT_POST, 1L);
		SETOPT(rc, easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t) params->body_len);
		SETOPT(rc, easy, CURLOPT_POSTFIELDS, params->body);
	}
	if (params->method != NULL)
		SETOPT(rc, easy, CURLOPT_CUSTOMREQUEST, params->method);
	SETOPT(rc, easy, CURLOPT_PRIVATE, request);
	SETOPT(rc, easy, CURLOPT_ERRORBUFFER, request->error);
	SETOPT(rc, easy, CURLOPT_PREREQFUNCTION, on_departure);
	SETOPT(rc, easy, CURLOPT_PREREQDATA, request);
	SETOPT(rc, easy, CURLOPT_HEADERFUNCTION, on_header);
	SETOPT(rc, easy, CURLOPT_HEADERDATA, &request->answer);
	SETOPT(rc, easy, CURLOPT_WRITEFUNCTION, on_body);
	SETOPT(rc, easy, CURLOPT_WRITEDATA, &request->answer);
	return rc;
}

/* ---- the end of a transfer ---- */

/* Takes the transfer out of the pool; its connection stays there. */
static void
release_handle(HttpRequest *request)
{
	if (request->easy == NULL)
		return;
	curl_multi_remove_handle(request->pool->multi, request->easy);
	curl_easy_cleanup(request->easy);
	request->easy = NULL;
}

/* Returns the seconds that Retry-After says to wait (RFC 9110, 10.2.3); -1: none, or past. */
static int64_t
retry_after(const HttpAnswer *answer)
{
	int64_t		seconds = http_answer_number(answer->retry_after);

	if (seconds < 0 && answer->retry_after[0] != '\0')
		seconds = (int64_t) curl_getdate(answer->retry_after, NULL) - (int64_t) time(NULL);
	return seconds < 0 ? -1 : seconds;
}

/* Returns how far a request that is over has come, and notes the address of the other end. */
static HttpReached
find_reached(HttpRequest *request)
{
	curl_off_t	resolved = 0;
	long		connected = 0;
	char	   *ip = NULL;

	curl_easy_getinfo(request->easy, CURLINFO_NAMELOOKUP_TIME_T, &resolved);
	curl_easy_getinfo(request->easy, CURLINFO_NUM_CONNECTS, &connected);
	curl_easy_getinfo(request->easy, CURLINFO_PRIMARY_IP, &ip);
	snprintf(request->result.address, HTTP_ADDRESS_SIZE, "%s", ip != NULL ? ip : "");
	return request->departures > 0 ? HTTP_REACHED_SERVER :
		connected > 0 ? HTTP_REACHED_HOST : resolved > 0 ? HTTP_REACHED_ADDRESS : HTTP_REACHED_NOTHING;
}

/*
 * Puts the result of a request together that is over with rc.  words: why, NULL: libcurl knows.
 * Signals are blocked.
 */
static void
finish(HttpRequest *request, CURLcode rc, const char *words)
{
	HttpResult *result = &request->result;
	HttpAnswer *answer = &request->answer;
	bool		complete = rc == CURLE_OK;
	long		status = 0;

	if (request->departures > 0)
		curl_easy_getinfo(request->easy, CURLINFO_RESPONSE_CODE, &status);
	/* an interim answer is none */
	result->status = status >= 200 ? (int) status : 0;
	result->outcome = http_answer_outcome(answer, request->departures, complete,
										  rc == CURLE_OPERATION_TIMEDOUT);
	result->reached = find_reached(request);
	result->body = "";
	if (result->outcome == HTTP_ANSWERED)
	{
		request->error[0] = '\0';
		result->body = answer->body != NULL ? answer->body : "";
		result->body_len = answer->body_len;
	}
	else
	{
		if (words == NULL)
			words = http_answer_words(answer, request->departures, complete);
		if (words == NULL)
			words = request->error[0] != '\0' ? request->error : curl_easy_strerror(rc);
		http_answer_reason(request->error, sizeof(request->error), words);
	}
	result->error = request->error;
	result->retry_after = retry_after(answer);
	result->ratelimit_reset = http_answer_number(answer->ratelimit_reset);
	http_answer_reason(answer->request_id, sizeof(answer->request_id), answer->request_id);
	result->request_id = answer->request_id;
	result->duration_ms = (long) (now_ms() - request->started_at);
	release_handle(request);
	request->done = true;
}

/*
 * Lets libcurl go on, and finishes the requests that are over.  A failure of the multi handle
 * itself (out of memory) leaves its transfers undefined, so it ends them all.
 */
static void
advance(HttpPool *pool, curl_socket_t fd, int events)
{
	CURLMsg    *message;
	int			n;
	CURLMcode	mrc;

	/* the deadline is used up; libcurl tells on_timer() of the next one, even of the same */
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
		finish((HttpRequest *) request, rc, NULL);
	}
	if (mrc == CURLM_OK)
		return;
	for (HttpRequest *request = pool->requests; request != NULL; request = request->next)
	{
		if (!request->done)
			finish(request, CURLE_ABORTED_BY_CALLBACK, NULL);
	}
}

/* ---- the interface ---- */

HttpPool *
http_pool_create(int max_connections)
{
	static bool initialized = false;
	HttpPool   *pool = calloc(1, sizeof(HttpPool));
	CURLM	   *multi;
	sigset_t	saved;

	if (pool == NULL)
		return NULL;
	pool->deadline = -1;
	block_signals(&saved);
	/* once a process; nothing undoes it */
	if (!initialized)
		initialized = curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK;
	multi = pool->multi = initialized ? curl_multi_init() : NULL;
	if (multi == NULL ||
		curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, on_socket) != CURLM_OK ||
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
		http_pool_free(pool);
		pool = NULL;
	}
	restore_signals(&saved);
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
	block_signals(&saved);
	curl_multi_cleanup(pool->multi);
	restore_signals(&saved);
	free(pool->sockets);
	free(pool);
}

/* Hands the request to libcurl; returns NULL, or why that was not possible. */
static const char *
start(HttpRequest *request, const HttpParams *params)
{
	CURLcode	rc = CURLE_OUT_OF_MEMORY;
	CURLMcode	mrc;

	if (!is_https(params->url) && strncasecmp(params->url, "http://", strlen("http://")) != 0)
		return "the URL is neither http nor https";
	/* a line break would make several headers of it */
	for (const char *p = params->bearer; *p != '\0'; p++)
		if ((unsigned char) *p < 0x20 || *p == 0x7F)
			return "the key has characters that a header cannot carry";
	request->easy = curl_easy_init();
	if (request->easy != NULL)
		rc = set_connection(request->easy, params);
	if (rc == CURLE_OK)
		rc = set_message(request, params);
	if (rc != CURLE_OK)
		return curl_easy_strerror(rc);
	mrc = curl_multi_add_handle(request->pool->multi, request->easy);
	return mrc == CURLM_OK ? NULL : curl_multi_strerror(mrc);
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
	request->started_at = now_ms();
	request->answer.max_body_bytes = params->max_response_bytes;
	request->next = pool->requests;
	pool->requests = request;

	block_signals(&saved);
	words = start(request, params);
	if (words != NULL)
		finish(request, CURLE_FAILED_INIT, words);
	else
		/* a kept connection takes it at once, before the caller's next wait */
		advance(pool, CURL_SOCKET_TIMEOUT, 0);
	restore_signals(&saved);
	return request;
}

const HttpSocket *
http_sockets(HttpPool *pool, int *count, unsigned long *generation)
{
	*count = pool->nsockets;
	*generation = pool->generation;
	return pool->sockets;
}

long
http_timeout_ms(const HttpPool *pool)
{
	int64_t		left = pool->deadline - now_ms();

	if (pool->deadline < 0)
		return -1;
	return left <= 0 ? 0 : left < LONG_MAX ? (long) left : LONG_MAX;
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
	block_signals(&saved);
	advance(pool, fd < 0 ? CURL_SOCKET_TIMEOUT : fd, fd < 0 ? 0 : mask);
	restore_signals(&saved);
}

HttpRequest *
http_next_done(HttpPool *pool)
{
	for (HttpRequest *request = pool->requests; request != NULL; request = request->next)
	{
		if (request->done && !request->handed_out)
		{
			request->handed_out = true;
			return request;
		}
	}
	return NULL;
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
	block_signals(&saved);
	release_handle(request);
	curl_slist_free_all(request->headers);
	restore_signals(&saved);
	free(request->answer.body);
	free(request);
}
