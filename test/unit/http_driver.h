/*
 * http_driver.h
 *		Drives a pool of http.c with poll(), for its tests.
 */
#ifndef CONTACTS_PUSH_HTTP_DRIVER_H
#define CONTACTS_PUSH_HTTP_DRIVER_H

#include "chatbase/http.h"
#include "tap.h"

#include <poll.h>
#include <stdlib.h>

#define KEY "sk-very-secret"

/* Far beyond what all of it takes, under valgrind as well. */
#define WATCHDOG_SECONDS 300

/* Between two looks at what the server has seen, of which the pool is not told, ms. */
#define LOOK_MS 10

/* Valid until the next call. */
static inline const char *
server_url(int port, const char *scheme)
{
	static char url_buffer[256];

	snprintf(url_buffer, sizeof(url_buffer), "%s://127.0.0.1:%d/api/chatbots/c1/contacts",
			 scheme, port);
	return url_buffer;
}

static inline HttpParams
params_for(const char *url)
{
	HttpParams	params = {0};

	params.url = url;
	params.bearer = KEY;
	params.body = "{\"users\":[]}";
	params.body_len = strlen(params.body);
	params.connect_timeout_ms = WATCHDOG_SECONDS * 1000L;
	params.request_timeout_ms = WATCHDOG_SECONDS * 1000L;
	params.max_response_bytes = 1 << 20;
	return params;
}

/* Waits at most so many ms (-1: however long the pool says) and lets the pool go on. */
static inline void
turn_at_most(HttpPool *pool, int most)
{
	int			timeout = (int) http_timeout_ms(pool);
	struct pollfd fds[64];
	unsigned long generation;
	int			n;
	const HttpSocket *sockets = http_sockets(pool, &n, &generation);

	for (int i = 0; i < n; i++)
	{
		fds[i].fd = sockets[i].fd;
		fds[i].events = (sockets[i].readable ? POLLIN : 0) | (sockets[i].writable ? POLLOUT : 0);
	}
	if (most >= 0 && (timeout < 0 || timeout > most))
		timeout = most;
	if (poll(fds, n, timeout) == 0 && http_timeout_ms(pool) == 0)
		http_step(pool, -1, 0);
	for (int i = 0; i < n; i++)
	{
		if (fds[i].revents != 0)
			http_step(pool, fds[i].fd,
					  (fds[i].revents & POLLIN ? HTTP_STEP_READABLE : 0) |
					  (fds[i].revents & POLLOUT ? HTTP_STEP_WRITABLE : 0) |
					  (fds[i].revents & (POLLERR | POLLHUP) ? HTTP_STEP_ERROR : 0));
	}
}

/* Waits for something to happen and lets the pool go on. */
static inline void
turn(HttpPool *pool)
{
	turn_at_most(pool, -1);
}

static inline HttpRequest *
perform(HttpPool *pool, const HttpParams *params)
{
	HttpRequest *request = http_begin(pool, params);

	if (request == NULL)
	{
		diag("out of memory");
		exit(2);
	}
	while (!http_is_done(request))
		turn(pool);
	return request;
}

/* One test: how it ended, and that the words about it are fit to be shown. */
static inline void
is_outcome(HttpRequest *request, HttpOutcome outcome, int status, const char *name)
{
	const HttpResult *result = http_result(request);
	bool		worded = (result->error[0] == '\0') == (outcome == HTTP_ANSWERED);
	bool		clean = strstr(result->error, KEY) == NULL && strchr(result->error, '\n') == NULL &&
		strlen(result->error) <= 255;

	if (!ok(result->outcome == outcome && result->status == status && worded && clean &&
			result->duration_ms >= 0, "%s", name))
		diag("outcome %d, status %d, error \"%s\"; expected outcome %d, status %d",
			 result->outcome, result->status, result->error, outcome, status);
}

#endif							/* CONTACTS_PUSH_HTTP_DRIVER_H */
