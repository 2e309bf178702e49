/*
 * fuzz_answer.c
 *		Whatever a server sends, http_answer.c keeps within its limits, verdict.c judges
 *		within its own, and words about it are fit to be shown.
 *
 * The input: a byte for how the exchange ended, one for what the body is, two for the
 * status; then the lines of a head, an empty one, and the body.
 */
#include "fuzz.h"
#include "chatbase/http_answer.h"
#include "chatbase/verdict.h"

#include <stdlib.h>
#include <string.h>

#define PREFIX 4

/* Smaller than inputs get, so that both sides of the limit are tried. */
#define MAX_BODY 256

/* 2023-11-14 22:13:20 UTC: dates before and after it can be written. */
#define NOW 1700000000

/* Feeds the head line by line; returns where the body begins. */
static const uint8_t *
feed_head(HttpAnswer *answer, const uint8_t *at, const uint8_t *end)
{
	while (at < end)
	{
		const uint8_t *newline = memchr(at, '\n', end - at);
		const uint8_t *behind = newline ? newline + 1 : end;

		if (!http_answer_header(answer, (const char *) at, behind - at))
		{
			require(answer->too_large, "a head is refused for its size only");
			return end;
		}
		if (newline == at || (newline == at + 1 && *at == '\r'))
			return behind;
		at = behind;
	}
	return end;
}

static void
check_judgement(const Answer *answer)
{
	Judgement	judgement = verdict_judge(answer);

	require(judgement.wait_ms >= -1 && judgement.wait_ms <= VERDICT_MAX_WAIT * INT64_C(1000),
			"a wait is none or at most an hour");
	require(strcmp(verdict_name(judgement.verdict), "") != 0, "a verdict has a name");
	require((judgement.verdict == VERDICT_NETWORK) == (answer->http->outcome == HTTP_NOT_SENT),
			"what was not sent is the network's fault, and nothing else is");
	require(judgement.verdict != VERDICT_CREATED ||
			(answer->http->outcome == HTTP_ANSWERED && answer->http->status == 200 &&
			 answer->names_all),
			"created is what a whole 200 names");
	require(!judgement.unconfirmed || answer->http->outcome != HTTP_NOT_SENT,
			"what was not sent has not been created");
}

static void
check_words(const char *text)
{
	char		words[64];

	http_answer_reason(words, sizeof(words), text);
	require(strlen(words) < sizeof(words), "words are cut");
	for (const char *c = words; *c != '\0'; c++)
		require(*c >= 0x20 && *c < 0x7F, "words are printable ASCII");
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	HttpAnswer	head = {0};
	HttpResult	http = {0};
	Answer		answer = {.http = &http};
	const uint8_t *body;

	if (size < PREFIX)
		return 0;
	head.max_body_bytes = MAX_BODY;
	body = feed_head(&head, data + PREFIX, data + size);
	if (!http_answer_body(&head, (const char *) body, data + size - body))
		require(head.too_large || head.out_of_memory, "a body is refused for its size only");
	require(head.body_len <= MAX_BODY, "a body keeps within its limit");
	require(head.body == NULL || head.body[head.body_len] == '\0', "a body is terminated");

	http.outcome = data[0] % (HTTP_TOO_LARGE + 1);
	http.status = (data[2] << 8 | data[3]) % 1000;
	http.retry_after = http_answer_number(head.retry_after);
	http.ratelimit_reset = http_answer_number(head.ratelimit_reset);
	answer.is_json = data[1] & 1;
	answer.names_all = data[1] & 2;
	answer.message = head.body;
	answer.names_contact = data[1] & 4;
	/* as if the head had been sent: a word of it may be repeated in the body */
	answer.sent = data[1] & 8 ? head.retry_after : NULL;
	answer.now = NOW;
	check_judgement(&answer);
	check_words(head.body ? head.body : "");
	free(head.body);
	return 0;
}
