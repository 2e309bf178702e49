/*
 * http_answer.c
 *		What has arrived of an answer, within limits.
 *
 * Called by http.c from libcurl's callbacks, so nothing of PostgreSQL and nothing
 * that could throw or wait may enter.
 */
#include "chatbase/http_answer.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* What libcurl itself accepts of headers in all since 8.3.0. */
#define MAX_HEADER_BYTES (300 * 1024)

/* First allocation for a body: an error's message, or 50 contacts. */
#define FIRST_BODY_BYTES 16384

/* Keeps the value if the line is a header of that name. */
static void
keep_header(const char *line, size_t len, const char *name, char *value)
{
	size_t		name_len = strlen(name);

	if (len <= name_len || line[name_len] != ':' || strncasecmp(line, name, name_len) != 0)
		return;
	line += name_len + 1;
	len -= name_len + 1;
	while (len > 0 && (*line == ' ' || *line == '\t'))
	{
		line++;
		len--;
	}
	while (len > 0 && strchr(" \t\r\n", line[len - 1]) != NULL)
		len--;
	if (len > HTTP_ANSWER_VALUE_SIZE - 1)
		len = HTTP_ANSWER_VALUE_SIZE - 1;
	memcpy(value, line, len);
	value[len] = '\0';
}

bool
http_answer_header(HttpAnswer *answer, const char *line, size_t len)
{
	answer->header_bytes += len;
	if (answer->header_bytes > MAX_HEADER_BYTES)
	{
		answer->too_large = true;
		return false;
	}
	if (len >= 5 && memcmp(line, "HTTP/", 5) == 0)
	{
		const char *space = memchr(line, ' ', len - 1);

		/* what an interim answer (1xx) said is not the answer's */
		answer->interim = space != NULL && space[1] == '1';
		answer->headers_complete = false;
		answer->retry_after[0] = '\0';
		answer->ratelimit_reset[0] = '\0';
		answer->request_id[0] = '\0';
	}
	else if (answer->headers_complete)
		return true;
	else if (len == 0 || line[0] == '\r' || line[0] == '\n')
		answer->headers_complete = !answer->interim;
	else
	{
		keep_header(line, len, "Retry-After", answer->retry_after);
		keep_header(line, len, "X-RateLimit-Reset", answer->ratelimit_reset);
		keep_header(line, len, "X-Request-Id", answer->request_id);
	}
	return true;
}

/* Makes room for len more bytes and the terminator.  False: out of memory. */
static bool
reserve(HttpAnswer *answer, size_t len)
{
	size_t		wanted = answer->body_len + len + 1;
	char	   *larger;

	if (wanted <= answer->body_allocated)
		return true;
	if (wanted < answer->body_allocated * 2)
		wanted = answer->body_allocated * 2;
	if (wanted < FIRST_BODY_BYTES)
		wanted = FIRST_BODY_BYTES;
	larger = realloc(answer->body, wanted);
	if (larger == NULL)
	{
		answer->out_of_memory = true;
		return false;
	}
	answer->body = larger;
	answer->body_allocated = wanted;
	return true;
}

bool
http_answer_body(HttpAnswer *answer, const char *data, size_t len)
{
	if (len > answer->max_body_bytes - answer->body_len)
	{
		answer->too_large = true;
		return false;
	}
	if (!reserve(answer, len))
		return false;
	memcpy(answer->body + answer->body_len, data, len);
	answer->body_len += len;
	answer->body[answer->body_len] = '\0';
	return true;
}

HttpOutcome
http_answer_outcome(const HttpAnswer *answer, int departures, bool complete, bool timed_out)
{
	if (departures == 0)
		return HTTP_NOT_SENT;
	if (answer->too_large)
		return HTTP_TOO_LARGE;
	if (timed_out)
		return HTTP_TIMED_OUT;
	/* libcurl calls an answer cut within its head a success */
	return complete && answer->headers_complete ? HTTP_ANSWERED : HTTP_LOST;
}

const char *
http_answer_words(const HttpAnswer *answer, int departures, bool complete)
{
	if (answer->too_large)
		return "the answer is larger than is accepted";
	if (answer->out_of_memory)
		return "out of memory";
	if (departures > 1)
		return "the connection broke before an answer arrived";
	if (complete)
		return "the connection broke within the head of the answer";
	return NULL;
}

void
http_answer_reason(char *out, size_t size, const char *words)
{
	size_t		n;

	for (n = 0; words[n] != '\0' && n < size - 1; n++)
	{
		unsigned char c = words[n];

		out[n] = c < 0x20 ? ' ' : c < 0x7F ? (char) c : '?';
	}
	while (n > 0 && out[n - 1] == ' ')
		n--;
	out[n] = '\0';
}

int64_t
http_answer_number(const char *value)
{
	size_t		digits = strspn(value, "0123456789");

	/* one that is too large is LLONG_MAX */
	return digits > 0 && value[digits] == '\0' ? strtoll(value, NULL, 10) : -1;
}
