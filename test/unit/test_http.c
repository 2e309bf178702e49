/*
 * test_http.c
 *		Whether http.c tells what may have reached the server from what has not.
 *
 * Against a server that plays a script byte for byte.  Nothing here waits for a
 * time to pass but where a time-out is what is tested; a watchdog ends a program
 * that hangs.
 */
#include "hanging_resolver.h"
#include "chatbase/http.h"
#include "http_driver.h"
#include "scripted_server.h"
#include "tap.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <time.h>

#define OK_ANSWER "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
#define STEP(text, after) {text, sizeof(text) - 1, after, 0}

/* One request against a script of one step, on a connection of its own. */
static void
check_step(const Step *step, HttpOutcome outcome, int status, const char *name)
{
	Server		server;
	HttpPool   *pool = http_pool_create(4);
	HttpParams	params;
	HttpRequest *request;

	server_start(&server, step, 1);
	params = params_for(server_url(server.port, "http"));
	request = perform(pool, &params);
	is_outcome(request, outcome, status, name);
	http_end(request);
	http_pool_free(pool);
	server_stop(&server);
}

/* Whether a request that was not sent came as far as that. */
static void
is_reached(HttpRequest *request, HttpReached reached, const char *name)
{
	is_int(http_result(request)->reached, reached, name);
}

/* ---- the tests ---- */

static void
test_plain(void)
{
	static const Step steps[] = {STEP("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n"
									  "retry-AFTER:  120 \r\nX-Ratelimit-Reset: 1700000000\r\n"
									  "\r\n{\"a\":\"\0\"}", KEEP)};
	Server		server;
	HttpPool   *pool = http_pool_create(4);
	HttpParams	params;
	HttpRequest *request;
	const HttpResult *result;
	const char *text;
	unsigned long generation;
	int			n;

	http_sockets(pool, &n, &generation);
	ok(n == 0 && http_timeout_ms(pool) == -1 && http_next_done(pool) == NULL,
	   "a fresh pool has nothing to wait for");
	server_start(&server, steps, 1);
	params = params_for(server_url(server.port, "http"));
	request = perform(pool, &params);
	result = http_result(request);
	is_outcome(request, HTTP_ANSWERED, 200, "a plain answer");
	is_reached(request, HTTP_REACHED_SERVER, "the server is reached");
	is_str(result->address, "127.0.0.1", "at its address");
	ok(result->body_len == 9 && memcmp(result->body, "{\"a\":\"\0\"}", 10) == 0,
	   "the body is whole, NUL included, and terminated");
	is_int(result->retry_after, 120, "Retry-After in any case, trimmed");
	is_int(result->ratelimit_reset, 1700000000, "X-RateLimit-Reset");
	ok(http_next_done(pool) == request && http_next_done(pool) == NULL, "handed out once");

	text = server.requests[0];
	ok(strncmp(text, "POST /api/chatbots/c1/contacts HTTP/1.1\r\n", 41) == 0, "request line");
	ok(strstr(text, "\r\nAuthorization: Bearer " KEY "\r\n") != NULL, "bearer key");
	ok(strstr(text, "\r\nContent-Type: application/json\r\n") != NULL, "Content-Type");
	ok(strstr(text, "\r\nAccept: application/json\r\n") != NULL, "Accept");
	ok(strstr(text, "\r\nUser-Agent: contacts_push/") != NULL, "User-Agent");
	ok(strstr(text, "\r\nContent-Length: 12\r\n") != NULL, "Content-Length");
	ok(strcasestr(text, "\r\nExpect") == NULL, "no Expect");
	ok(strstr(text, "\r\n\r\n{\"users\":[]}") != NULL, "body");
	http_end(request);
	http_pool_free(pool);
	server_stop(&server);
}

/* Other methods, with a body and without. */
static void
test_methods(void)
{
	static const Step steps[] = {STEP(OK_ANSWER, KEEP), STEP(OK_ANSWER, KEEP),
	STEP("HTTP/1.1 204 No Content\r\n\r\n", KEEP), STEP(OK_ANSWER, KEEP)};
	static const char *const methods[] = {"GET", "PATCH", "DELETE", NULL};
	static const char *const lines[] = {"GET /api/", "PATCH /api/", "DELETE /api/", "POST /api/"};
	Server		server;
	HttpPool   *pool = http_pool_create(4);

	server_start(&server, steps, 4);
	for (int i = 0; i < 4; i++)
	{
		HttpParams	params = params_for(server_url(server.port, "http"));
		HttpRequest *request;
		bool		has_body = i % 2 == 1;

		params.method = methods[i];
		if (!has_body)
			params.body = NULL;
		request = perform(pool, &params);
		is_outcome(request, HTTP_ANSWERED, i == 2 ? 204 : 200, lines[i]);
		ok(strncmp(server.requests[i], lines[i], strlen(lines[i])) == 0, "request line");
		ok((strstr(server.requests[i], "\r\n\r\n{\"users\":[]}") != NULL) == has_body &&
		   (strstr(server.requests[i], "\r\nContent-Length: 12\r\n") != NULL) == has_body, "a body, or none");
		http_end(request);
	}
	is_int(server_count(&server, &server.accepts), 1, "over one connection");
	http_pool_free(pool);
	server_stop(&server);
}

static void
test_reuse(void)
{
	static const Step steps[] = {STEP(OK_ANSWER, KEEP), STEP(OK_ANSWER, KEEP),
	STEP("HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n", KEEP), STEP(OK_ANSWER, KEEP), STEP(OK_ANSWER, KEEP)};
	static const int statuses[] = {200, 200, 500, 200, 200};
	Server		server;
	HttpPool   *pool = http_pool_create(4);
	HttpParams	params;

	server_start(&server, steps, 5);
	params = params_for(server_url(server.port, "http"));
	for (int i = 0; i < 5; i++)
	{
		HttpRequest *request;

		params.anew = i == 4;
		request = perform(pool, &params);

		is_outcome(request, HTTP_ANSWERED, statuses[i], "one after the other");
		ok(http_result(request)->retry_after == -1 && http_result(request)->ratelimit_reset == -1,
		   "nothing is left of an earlier one");
		http_end(request);
	}
	is_int(server_count(&server, &server.accepts), 2, "one connection for all but the one that wants its own");
	http_pool_free(pool);
	server_stop(&server);
}

static void
test_large_body(void)
{
	static const Step steps[] = {STEP(OK_ANSWER, KEEP), STEP(OK_ANSWER, KEEP)};
	size_t		len = 4 << 20;
	char	   *body = malloc(len);
	Server		server;
	HttpPool   *pool = http_pool_create(4);
	HttpParams	params;

	for (size_t i = 0; i < len; i++)
		body[i] = "0123456789abcdefg"[i % 17];
	server_start(&server, steps, 2);
	params = params_for(server_url(server.port, "http"));
	params.body = body;
	params.body_len = len;
	for (int i = 0; i < 2; i++)
	{
		HttpRequest *request = perform(pool, &params);

		is_outcome(request, HTTP_ANSWERED, 200, "a request of 4 MB");
		ok(server.lengths[i] > len &&
		   memcmp(server.requests[i] + server.lengths[i] - len, body, len) == 0,
		   "arrives as it was");
		http_end(request);
	}
	http_pool_free(pool);
	server_stop(&server);
	free(body);
}

static void
test_cuts(void)
{
	static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
		"Content-Length: 13\r\n\r\n{\"message\":1}";
	static const char chunked[] = "HTTP/1.1 409 Conflict\r\nTransfer-Encoding: chunked\r\n"
		"\r\n2\r\n{\"\r\n3\r\na\":\r\n2\r\n1}\r\n0\r\nRetry-After: 7\r\n\r\n";
	static const char head_end[] = "\r\n\r\n";
	Step		step = {answer, 0, CLOSE, 0};

	for (; step.len < sizeof(answer) - 1; step.len++)
		/* libcurl knows the status as soon as its line is whole */
		check_step(&step, HTTP_LOST, step.len > strlen("HTTP/1.1 200 OK\r\n") - 1 ? 200 : 0,
				   "an answer cut short is lost");
	check_step(&step, HTTP_ANSWERED, 200, "uncut, it is an answer");

	step.answer = chunked;
	step.len = strstr(chunked, head_end) + strlen(head_end) - chunked;
	for (; step.len < strstr(chunked, "0\r\nRetry") - chunked + (size_t) 3; step.len++)
		check_step(&step, HTTP_LOST, 409, "a chunked answer cut short is lost");
	step.len = sizeof(chunked) - 1;
	check_step(&step, HTTP_ANSWERED, 409, "uncut, it is an answer");
}

static void
test_heads(void)
{
	static const Step hints = STEP("HTTP/1.1 103 Early Hints\r\nRetry-After: 9\r\n\r\n"
								   "HTTP/1.1 429 Slow\r\nContent-Length: 0\r\n\r\n", KEEP);
	static const Step only_hints = STEP("HTTP/1.1 103 Early Hints\r\nRetry-After: 9\r\n\r\n", CLOSE);
	static const Step until_close = STEP("HTTP/1.1 200 OK\r\n\r\n{}", CLOSE);
	static const Step ancient = STEP("{}", CLOSE);
	Server		server;
	HttpPool   *pool = http_pool_create(1);
	HttpParams	params;
	HttpRequest *request;

	server_start(&server, &hints, 1);
	params = params_for(server_url(server.port, "http"));
	request = perform(pool, &params);
	is_outcome(request, HTTP_ANSWERED, 429, "an interim answer is passed over");
	ok(http_result(request)->retry_after == -1, "and its headers, too");
	http_end(request);
	http_pool_free(pool);
	server_stop(&server);
	check_step(&only_hints, HTTP_LOST, 0, "an interim answer is not an answer");
	check_step(&until_close, HTTP_ANSWERED, 200, "an answer that ends with its connection");
	check_step(&ancient, HTTP_LOST, 0, "HTTP/0.9 is not an answer");
}

/* Seconds that an answer with this value of Retry-After says to wait. */
static int64_t
retry_after(const char *value)
{
	char		answer[256];
	Step		step = {answer, 0, KEEP, 0};
	Server		server;
	HttpPool   *pool = http_pool_create(1);
	HttpParams	params;
	HttpRequest *request;
	int64_t		seconds;

	step.len = snprintf(answer, sizeof(answer), "HTTP/1.1 503 Slow\r\nContent-Length: 0\r\n"
						"Retry-After: %s\r\n\r\n", value);
	server_start(&server, &step, 1);
	params = params_for(server_url(server.port, "http"));
	request = perform(pool, &params);
	seconds = http_result(request)->retry_after;
	http_end(request);
	http_pool_free(pool);
	server_stop(&server);
	return seconds;
}

static void
test_retry_after(void)
{
	/* of a date: IMF-fixdate, RFC 850, asctime (RFC 9110, 5.6.7) */
	static const char *const formats[] = {
		"%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"
	};
	static const char *const absurd[] = {
		"", "-1", "+1", "1.5", "1e3", "soon", "Sun", "Sun, 06 Nov", "Sun, 06 Okt 2099 08:49:37 GMT",
		"Sun, 06 Nov 2099 24:00:00 GMT"
	};

	is_int(retry_after("0"), 0, "no seconds");
	is_int(retry_after("7"), 7, "seconds");
	ok(retry_after("99999999999999999999999999") == INT64_MAX, "more seconds than there are");
	for (size_t i = 0; i < sizeof(formats) / sizeof(formats[0]); i++)
	{
		/* the second in which it is asked for and that in which it is read may differ by many */
		time_t		before = time(NULL);
		time_t		date = before + 100000;
		char		value[64];
		int64_t		seconds;

		strftime(value, sizeof(value), formats[i], gmtime(&date));
		seconds = retry_after(value);
		ok(seconds <= 100000 && seconds >= date - time(NULL), "%s", value);
		date = before - 1;
		strftime(value, sizeof(value), formats[i], gmtime(&date));
		is_int(retry_after(value), -1, "a date that is past");
	}
	for (size_t i = 0; i < sizeof(absurd) / sizeof(absurd[0]); i++)
		ok(retry_after(absurd[i]) == -1, "\"%s\" says nothing", absurd[i]);
}

static void
test_closed_connections(void)
{
	static const Step fresh = STEP("", CLOSE);
	static const Step steps[] = {STEP(OK_ANSWER, KEEP), STEP("", CLOSE), STEP(OK_ANSWER, KEEP)};
	Server		server;
	HttpPool   *pool = http_pool_create(4);
	HttpParams	params;
	HttpRequest *request;

	check_step(&fresh, HTTP_LOST, 0, "closed before an answer, fresh connection");

	server_start(&server, steps, 3);
	params = params_for(server_url(server.port, "http"));
	http_end(perform(pool, &params));
	params.body = "{\"users\":[1]}";
	params.body_len = strlen(params.body);
	request = perform(pool, &params);
	is_outcome(request, HTTP_LOST, 0, "closed before an answer, connection used again");
	is_str(http_result(request)->error, "the connection broke before an answer arrived",
		   "and the words say so");
	http_end(request);
	/* had it left again, it would stand before this one */
	params.body = "{\"users\":[2]}";
	request = perform(pool, &params);
	is_outcome(request, HTTP_ANSWERED, 200, "the next one goes well");
	http_end(request);
	is_int(server_count(&server, &server.arrived), 3, "the lost one was sent once only");
	ok(strstr(server.requests[2], "{\"users\":[2]}") != NULL, "and not again with the next");
	http_pool_free(pool);
	server_stop(&server);
}

static void
test_not_sent(void)
{
	static const char *const urls[] = {"", "nonsense", "ftp://127.0.0.1/", "file:///etc/passwd",
		"http://", "http://127.0.0.1:99999/", "http://[::1/", "http://me:" KEY "@127.0.0.1/",
	"https://127.0.0.1 /"};
	static const char *const keys[] = {KEY "\r\nX-Evil: 1", "a\nb", "a\r", "\t", "\x7f"};
	HttpPool   *pool = http_pool_create(4);
	HttpParams	params;
	HttpRequest *request;
	int			port;
	int			fd = bind_loopback(&port);

	params = params_for(server_url(port, "http"));
	request = perform(pool, &params);
	is_outcome(request, HTTP_NOT_SENT, 0, "nobody listens");
	is_reached(request, HTTP_REACHED_ADDRESS, "the address is known");
	http_end(request);
	for (size_t i = 0; i < sizeof(urls) / sizeof(urls[0]); i++)
	{
		params.url = urls[i];
		request = http_begin(pool, &params);
		ok(http_is_done(request) && http_next_done(pool) == request, "done at once");
		is_outcome(request, HTTP_NOT_SENT, 0, urls[i]);
		is_reached(request, HTTP_REACHED_NOTHING, "nothing is known");
		http_end(request);
	}
	params = params_for(server_url(port, "http"));
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
	{
		params.bearer = keys[i];
		request = http_begin(pool, &params);
		is_outcome(request, HTTP_NOT_SENT, 0, "a key that no header can carry");
		ok(strstr(http_result(request)->error, "the key") != NULL, "and the words say so");
		http_end(request);
	}
	http_pool_free(pool);
	close(fd);
}

/* A port that takes no further connection: its queue is full. */
static int
fill_port(int *port, int *fillers, int nfillers)
{
	struct sockaddr_in address = {.sin_family = AF_INET};
	int			fd = bind_loopback(port);

	if (listen(fd, 0) != 0)
		fail_setup("listen");
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	address.sin_port = htons(*port);
	for (int i = 0; i < nfillers; i++)
	{
		fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
		if (connect(fillers[i], (struct sockaddr *) &address, sizeof(address)) != 0 &&
			errno != EINPROGRESS)
			fail_setup("connect");
	}
	return fd;
}

static void
test_timeouts(void)
{
	static const Step hold = STEP("", HOLD);
	static const Step half = STEP("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n{", HOLD);
	const Step *const steps[] = {&hold, &half};
	HttpPool   *pool = http_pool_create(4);
	Server		server;
	HttpParams	params;
	HttpRequest *request;
	int			fillers[4];
	int			port;
	int			fd = fill_port(&port, fillers, 4);

	params = params_for(server_url(port, "http"));
	params.connect_timeout_ms = 100;
	request = perform(pool, &params);
	is_outcome(request, HTTP_NOT_SENT, 0, "no connection in time");
	is_reached(request, HTTP_REACHED_ADDRESS, "the address is known");
	http_end(request);
	close(fd);
	for (int i = 0; i < 4; i++)
		close(fillers[i]);

	for (int i = 0; i < 2; i++)
	{
		server_start(&server, steps[i], 1);
		params = params_for(server_url(server.port, "http"));
		/* long enough for any machine to have sent it */
		params.request_timeout_ms = 1500;
		request = perform(pool, &params);
		is_outcome(request, HTTP_TIMED_OUT, i == 0 ? 0 : 200, "no answer in time");
		ok(http_result(request)->duration_ms >= 1400, "and not before that time");
		is_reached(request, HTTP_REACHED_SERVER, "it has left");
		http_end(request);
		server_stop(&server);
	}
	/* the server waits for the end of a head that is a TLS greeting */
	server_start(&server, &hold, 1);
	params = params_for(server_url(server.port, "https"));
	params.connect_timeout_ms = 500;
	request = perform(pool, &params);
	is_outcome(request, HTTP_NOT_SENT, 0, "no TLS in time");
	is_reached(request, HTTP_REACHED_HOST, "the connection is open");
	http_end(request);
	http_pool_free(pool);
	server_stop(&server);
}

static void
test_limits(void)
{
	static const char head[] = "HTTP/1.1 200 OK\r\nContent-Length: 1048577\r\n\r\n";
	size_t		len = sizeof(head) - 1 + (1 << 20) + 1;
	char	   *text = malloc(2 << 20);
	Step		step = {text, len, KEEP, 0};

	memset(text, ' ', 2 << 20);
	memcpy(text, head, sizeof(head) - 1);
	check_step(&step, HTTP_TOO_LARGE, 200, "a byte more than is accepted");
	memcpy(strstr(text, "1048577"), "1048576", 7);
	step.len--;
	check_step(&step, HTTP_ANSWERED, 200, "as much as is accepted");

	/* many short headers, since libcurl has a limit of its own on one */
	step.len = sprintf(text, "HTTP/1.1 200 OK\r\n");
	while (step.len < 310 * 1024)
		step.len += sprintf(text + step.len, "X-Filler: %060d\r\n", 0);
	step.len += sprintf(text + step.len, "Content-Length: 0\r\n\r\n");
	check_step(&step, HTTP_TOO_LARGE, 200, "too many headers");
	free(text);
}

static void
test_redirect(void)
{
	static const Step never = STEP(OK_ANSWER, KEEP);
	Server		elsewhere;
	char		answer[256];
	Step		step = {answer, 0, KEEP, 0};

	server_start(&elsewhere, &never, 1);
	for (int status = 301; status <= 308; status += 1 + 5 * (status == 302))
	{
		step.len = snprintf(answer, sizeof(answer), "HTTP/1.1 %d Moved\r\nContent-Length: 0\r\n"
							"Location: http://127.0.0.1:%d/\r\n\r\n", status, elsewhere.port);
		check_step(&step, HTTP_ANSWERED, status, "a redirect is an answer");
	}
	is_int(server_count(&elsewhere, &elsewhere.accepts), 0, "and is not followed");
	server_stop(&elsewhere);
}

static void
test_several(void)
{
	enum
	{
		N = 8
	};
	Step		steps[N];
	char		answers[N][64];
	bool		seen[N] = {false};
	HttpRequest *requests[N];
	HttpRequest *request;
	Server		server;
	HttpPool   *pool = http_pool_create(N);
	HttpParams	params;
	int			ndone = 0;
	bool		right = true;

	for (int i = 0; i < N; i++)
	{
		steps[i].answer = answers[i];
		steps[i].len = sprintf(answers[i], "HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n", 400 + i);
		steps[i].after = KEEP;
		steps[i].wait_for = N;
	}
	server_start(&server, steps, N);
	params = params_for(server_url(server.port, "http"));
	for (int i = 0; i < N; i++)
		requests[i] = http_begin(pool, &params);
	while (ndone < N)
	{
		turn(pool);
		while ((request = http_next_done(pool)) != NULL)
		{
			int			status = http_result(request)->status;

			right = right && status >= 400 && status < 400 + N && !seen[status - 400];
			if (right)
				seen[status - 400] = true;
			ndone++;
		}
	}
	ok(right, "eight at once, each with an answer of its own");
	is_int(server_count(&server, &server.accepts), N, "on as many connections");
	for (int i = 0; i < N; i++)
		http_end(requests[i]);
	http_pool_free(pool);
	server_stop(&server);
}

static void
test_end(void)
{
	static const Step steps[] = {STEP("HTTP/1.1 200 OK\r\n", HOLD), STEP("", HOLD),
	STEP(OK_ANSWER, KEEP)};
	Server		server;
	HttpPool   *pool = http_pool_create(4);
	HttpParams	params;
	HttpRequest *first;
	HttpRequest *second;
	HttpRequest *third;

	server_start(&server, steps, 3);
	params = params_for(server_url(server.port, "http"));
	first = http_begin(pool, &params);
	while (server_count(&server, &server.arrived) < 1)
		turn_at_most(pool, LOOK_MS);
	second = http_begin(pool, &params);
	while (server_count(&server, &server.arrived) < 2)
		turn_at_most(pool, LOOK_MS);
	http_end(first);
	server_wait(&server, &server.hangups, 1);
	ok(!http_is_done(second), "one is ended, its connection closed, the other goes on");
	third = perform(pool, &params);
	is_outcome(third, HTTP_ANSWERED, 200, "and so does a new one");
	http_end(third);
	http_end(NULL);
	http_pool_free(pool);
	http_pool_free(NULL);
	server_wait(&server, &server.hangups, 2);
	ok(true, "freeing the pool ends what is under way");
	server_stop(&server);
}

static void
test_hanging_resolver(void)
{
	HttpPool   *pool = http_pool_create(4);
	HttpParams	params = params_for("https://hang.test/");
	HttpRequest *request;
	sigset_t	before;
	sigset_t	after;

	sigemptyset(&before);
	sigaddset(&before, SIGUSR2);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	request = http_begin(pool, &params);
	resolver_wait(&resolver_entered, 1);
	http_end(request);
	ok(resolver_left == 0, "a request is ended while its name is being looked up");
	params.connect_timeout_ms = 100;
	request = perform(pool, &params);
	is_outcome(request, HTTP_NOT_SENT, 0, "a look-up that takes too long");
	is_reached(request, HTTP_REACHED_NOTHING, "nothing is known");
	http_end(request);
	http_pool_free(pool);
	ok(resolver_left == 0, "and the pool is freed meanwhile");
	pthread_sigmask(SIG_SETMASK, NULL, &after);
	ok(sigismember(&after, SIGUSR2) && !sigismember(&after, SIGTERM) &&
	   !sigismember(&after, SIGUSR1), "the signal mask is as it was");
	ok(!resolver_open_to_signals, "the resolver's thread takes no signals");
	pthread_mutex_lock(&resolver_lock);
	resolver_released = true;
	pthread_cond_broadcast(&resolver_changed);
	pthread_mutex_unlock(&resolver_lock);
	resolver_wait(&resolver_left, resolver_entered);
}

static void
test_urls(void)
{
	static const struct
	{
		const char *base;
		const char *id;
		const char *url;
	}			cases[] = {
		{"https://x.test/api/v1", "ckl1", "https://x.test/api/v1/chatbots/ckl1/contacts"},
		{"https://x.test/", "A-Z_.~09", "https://x.test/chatbots/A-Z_.~09/contacts"},
		{"http://x", "a/b?c#d%\"\n e", "http://x/chatbots/a%2Fb%3Fc%23d%25%22%0A%20e/contacts"},
		{"http://x", "\xc3\xa4", "http://x/chatbots/%C3%A4/contacts"},
		{"http://x", "aZ09-._~ /?#%\x80\xff", "http://x/chatbots/aZ09-._~%20%2F%3F%23%25%80%FF/contacts"},
		{"", "", "/chatbots//contacts"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		char	   *url = http_contacts_url(cases[i].base, cases[i].id);

		is_str(url, cases[i].url, cases[i].base);
		free(url);
	}
	for (int i = 0; i < 3; i++)
	{
		static const char *const urls[] = {
			"https://x.test/chatbots/a%2Fb/contacts/%C3%A4%3F%2F",
			"https://x.test/v1/chatbots/a%20b/contacts?page=2147483647&per_page=1000",
			"https://x.test/v1/chatbots/a%2Fb/custom-attributes"
		};
		static const char *const names[] = {"of a contact", "of a page", "of the custom attributes"};
		char	   *url = i == 0 ? http_contact_url("https://x.test/", "a/b", "ä?/") :
			i == 1 ? http_page_url("https://x.test/v1", "a b", 2147483647, 1000) :
			http_attributes_url("https://x.test/v1/", "a/b");

		is_str(url, urls[i], names[i]);
		free(url);
	}
}

/*
 * Takes the watchdog's signal: libcurl is entered with all signals blocked, so a
 * hang within it could not be ended otherwise.
 */
static void *
take_signals(void *arg)
{
	for (;;)
		pause();
	return arg;
}

int
main(void)
{
	pthread_t	watchdog;

	if (pthread_create(&watchdog, NULL, take_signals, NULL) != 0)
		fail_setup("pthread_create");
	pthread_detach(watchdog);
	alarm(WATCHDOG_SECONDS);
	signal(SIGPIPE, SIG_IGN);
	/* plain http must not be led astray by this */
	setenv("http_proxy", "http://127.0.0.1:1", 1);
	unsetenv("no_proxy");
	unsetenv("NO_PROXY");
	/* these would lead https to it, as they should */
	unsetenv("https_proxy");
	unsetenv("HTTPS_PROXY");
	unsetenv("all_proxy");
	unsetenv("ALL_PROXY");
	test_plain();
	test_methods();
	test_reuse();
	test_large_body();
	test_cuts();
	test_heads();
	test_retry_after();
	test_closed_connections();
	test_not_sent();
	test_timeouts();
	test_limits();
	test_redirect();
	test_several();
	test_end();
	test_hanging_resolver();
	test_urls();
	return done_testing();
}
