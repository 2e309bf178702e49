/*
 * http_answer.h
 *		What has arrived of an answer, within limits.
 *
 * The part of http.c that needs no libcurl: it takes lines of the head and pieces of the body,
 * and keeps what is needed of them.
 */
#ifndef CONTACTS_PUSH_HTTP_ANSWER_H
#define CONTACTS_PUSH_HTTP_ANSWER_H

#include <stdbool.h>
#include <stddef.h>

#include "chatbase/http.h"

/* Room for a header's value: dates, numbers and UUIDs have at most 36 characters. */
#define HTTP_ANSWER_VALUE_SIZE 256

/* All zero is an empty answer; max_body_bytes is the caller's to set. */
typedef struct HttpAnswer
{
	size_t		max_body_bytes;
	bool		interim;		/* the head at hand is that of a 1xx */
	bool		headers_complete;	/* of the answer proper */
	bool		too_large;
	bool		out_of_memory;
	size_t		header_bytes;
	char	   *body;			/* malloc'd, NUL-terminated; NULL while empty */
	size_t		body_len;
	size_t		body_allocated;
	char		retry_after[HTTP_ANSWER_VALUE_SIZE];	/* "": absent */
	char		ratelimit_reset[HTTP_ANSWER_VALUE_SIZE];
	char		request_id[HTTP_ANSWER_VALUE_SIZE];
} HttpAnswer;

/*
 * Takes a line of the head, its line end included; lines behind the head (trailers) only count
 * for the limit.  False: too large.
 */
extern bool http_answer_header(HttpAnswer *answer, const char *line, size_t len);

/* Takes the next piece of the body.  False: too large, or out of memory. */
extern bool http_answer_body(HttpAnswer *answer, const char *data, size_t len);

/*
 * Returns how an exchange ended of which this has arrived.  departures: how often the request
 * was about to be sent; complete and timed_out: how libcurl says that it ended.
 */
extern HttpOutcome http_answer_outcome(const HttpAnswer *answer, int departures,
									   bool complete, bool timed_out);

/* Returns what failed, a constant; NULL: libcurl knows more about it. */
extern const char *http_answer_words(const HttpAnswer *answer, int departures, bool complete);

/*
 * Makes one line of printable ASCII of words, which libcurl may have in any language, cut
 * to size - 1 bytes.  out may be words.
 */
extern void http_answer_reason(char *out, size_t size, const char *words);

/* Returns a header's value as a number, at most LLONG_MAX; -1: it is none. */
extern int64_t http_answer_number(const char *value);

#endif							/* CONTACTS_PUSH_HTTP_ANSWER_H */
