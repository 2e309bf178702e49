/*
 * test_http_parts.c
 *		The parts of http.c that need no connection: what is kept of an answer, and
 *		what is said about a request.
 */
#include "chatbase/http_answer.h"
#include "chatbase/http_text.h"
#include "tap.h"

#include <stdlib.h>

/* Feeds lines of a head, each with its end, as one text. */
static bool
feed(HttpAnswer *answer, const char *head)
{
	bool		accepted = true;

	while (*head != '\0')
	{
		const char *end = strchr(head, '\n') + 1;

		accepted = http_answer_header(answer, head, end - head);
		head = end;
	}
	return accepted;
}

static void
test_heads(void)
{
	HttpAnswer	answer = {0};

	feed(&answer, "HTTP/1.1 103 Early Hints\r\nRetry-After: 9\r\n\r\n");
	ok(!answer.headers_complete, "an interim answer is not the answer");
	feed(&answer, "HTTP/1.1 429 \r\nRETRY-after:\t 5 \t\r\nX-RateLimit-Reset:7\r\n"
		 "Retry-Afterwards: 1\r\nX-Retry-After: 2\r\nRetry-After 3\r\n");
	ok(!answer.headers_complete, "nor is a head without its end");
	feed(&answer, "\r\n");
	ok(answer.headers_complete, "with it, it is");
	is_str(answer.retry_after, "5", "Retry-After");
	is_str(answer.ratelimit_reset, "7", "X-RateLimit-Reset");
	feed(&answer, "Retry-After: 11\r\n\r\n");
	is_str(answer.retry_after, "5", "a trailer does not count");
	feed(&answer, "HTTP/1.1 200 OK\r\n");
	ok(answer.retry_after[0] == '\0' && answer.ratelimit_reset[0] == '\0' &&
	   !answer.headers_complete, "a new status line starts anew");
	feed(&answer, "HTTP/1.1\r\nHTTP/\n");
	ok(!answer.headers_complete, "a status line without a status");
}

static void
test_values(void)
{
	HttpAnswer	answer = {0};
	char		line[1024];
	char		expected[HTTP_ANSWER_VALUE_SIZE];

	feed(&answer, "Retry-After: 1\r\nRetry-After: 2\r\n");
	is_str(answer.retry_after, "2", "the last of several");
	feed(&answer, "Retry-After:\r\n");
	is_str(answer.retry_after, "", "an empty one");
	snprintf(line, sizeof(line), "Retry-After: %0800d\r\n", 0);
	feed(&answer, line);
	memset(expected, '0', sizeof(expected) - 1);
	expected[sizeof(expected) - 1] = '\0';
	is_str(answer.retry_after, expected, "a long one is cut");
}

static void
test_limits(void)
{
	HttpAnswer	answer = {.max_body_bytes = 100000};
	char		data[1000];
	bool		whole = true;
	int			lines = 0;

	memset(data, 'x', sizeof(data));
	for (int i = 0; i < 100; i++)
		whole = whole && http_answer_body(&answer, data, sizeof(data));
	ok(whole && answer.body_len == 100000 && strlen(answer.body) == 100000, "a body of its limit");
	ok(http_answer_body(&answer, data, 0) && !answer.too_large, "an empty piece fits");
	ok(!http_answer_body(&answer, data, 1) && answer.too_large && answer.body_len == 100000,
	   "a byte more does not");
	http_answer_free(&answer);
	ok(answer.body == NULL, "freed");

	memset(&answer, 0, sizeof(answer));
	while (lines < 1000 && http_answer_header(&answer, data, sizeof(data)))
		lines++;
	ok(lines == 307 && answer.too_large, "headers of 300 kB");
}

static void
test_reason(void)
{
	char		out[64];
	char		small[5];

	http_text_reason(out, sizeof(out), "a\r\nb\tc\xc3\xa4\x7f \n", "key");
	is_str(out, "a  b c???", "one line of printable ASCII");
	http_text_reason(out, sizeof(out), "the server said: sk-123!", "sk-123");
	is_str(out, "the request failed", "never the key");
	http_text_reason(out, sizeof(out), "without", "");
	is_str(out, "without", "an empty key is in nothing");
	http_text_reason(out, sizeof(out), "without", NULL);
	is_str(out, "without", "nor is none");
	http_text_reason(small, sizeof(small), "longer", NULL);
	is_str(small, "long", "cut to fit");
	http_text_reason(out, sizeof(out), out, NULL);
	is_str(out, "without", "in place");
}

static void
test_header_text(void)
{
	ok(http_text_is_header("sk-123 \xc3\xa4") && http_text_is_header(""), "fit for a header");
	ok(!http_text_is_header("a\nb") && !http_text_is_header("a\r") &&
	   !http_text_is_header("\t") && !http_text_is_header("\x7f"), "not fit");
}

static void
test_escape(void)
{
	char	   *escaped = http_text_escape("aZ09-._~ /?#%\x80\xff");

	is_str(escaped, "aZ09-._~%20%2F%3F%23%25%80%FF", "percent-encoding");
	free(escaped);
	escaped = http_text_escape("");
	is_str(escaped, "", "of nothing");
	free(escaped);
}

int
main(void)
{
	test_heads();
	test_values();
	test_limits();
	test_reason();
	test_header_text();
	test_escape();
	return done_testing();
}
