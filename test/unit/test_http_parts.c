/*
 * test_http_parts.c
 *		The parts of http.c that need no connection: what is kept of an answer, and
 *		what is said about it.
 */
#include "chatbase/http_answer.h"
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
	free(answer.body);

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

	http_answer_reason(out, sizeof(out), "a\r\nb\tc\xc3\xa4\x7f \n");
	is_str(out, "a  b c???", "one line of printable ASCII");
	http_answer_reason(small, sizeof(small), "longer");
	is_str(small, "long", "cut to fit");
	http_answer_reason(out, sizeof(out), out);
	is_str(out, "a  b c???", "in place");
}

static void
test_numbers(void)
{
	static const struct
	{
		const char *value;
		int64_t		number;
	}			cases[] = {
		{"", -1}, {"0", 0}, {"1", 1}, {"007", 7}, {"1704067200250", INT64_C(1704067200250)},
		{"9223372036854775807", INT64_MAX}, {"99999999999999999999999999999999", INT64_MAX},
		{"-1", -1}, {"+1", -1}, {"1.5", -1}, {"1 2", -1}, {" 1", -1}, {"1e3", -1}, {"0x10", -1},
		{"soon", -1}, {"Mon, 01 Jan 2024 00:00:09 GMT", -1},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		ok(http_answer_number(cases[i].value) == cases[i].number, "\"%s\" as a number",
		   cases[i].value);
}

int
main(void)
{
	test_heads();
	test_values();
	test_limits();
	test_reason();
	test_numbers();
	return done_testing();
}
