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
#include "chatbase/http_text.h"
#include "chatbase/verdict.h"

#include <string.h>

#define PREFIX 4

/* Smaller than inputs get, so that both sides of the limit are tried. */
#define MAX_BODY 256

/* Keys are longer. */
#define SECRET_LENGTH 16

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
			"a wait is none or at most a day");
	require(strcmp(verdict_name(judgement.verdict), "") != 0, "a verdict has a name");
	require((judgement.verdict == VERDICT_NETWORK) == (answer->kind == ANSWER_NOT_SENT),
			"what was not sent is the network's fault, and nothing else is");
	require(judgement.verdict != VERDICT_CREATED ||
			(answer->kind == ANSWER_COMPLETE && answer->status == 200 && answer->names_all),
			"created is what a whole 200 names");
	require(!judgement.unconfirmed || answer->kind != ANSWER_NOT_SENT,
			"what was not sent has not been created");
}

static void
check_words(const char *text, const char *secret)
{
	char		words[64];

	http_text_reason(words, sizeof(words), text, secret);
	require(strlen(words) < sizeof(words), "words are cut");
	for (const char *c = words; *c != '\0'; c++)
		require(*c >= 0x20 && *c < 0x7F, "words are printable ASCII");
	/* a shorter one may be in what the words are replaced by */
	require(strlen(secret) < SECRET_LENGTH || strstr(words, secret) == NULL,
			"words do not hold the secret");
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	HttpAnswer	head = {0};
	Answer		answer = {0};
	const uint8_t *body;

	if (size < PREFIX)
		return 0;
	head.max_body_bytes = MAX_BODY;
	body = feed_head(&head, data + PREFIX, data + size);
	if (!http_answer_body(&head, (const char *) body, data + size - body))
		require(head.too_large || head.out_of_memory, "a body is refused for its size only");
	require(head.body_len <= MAX_BODY, "a body keeps within its limit");
	require(head.body == NULL || head.body[head.body_len] == '\0', "a body is terminated");

	answer.kind = data[0] % (ANSWER_TOO_LARGE + 1);
	answer.is_json = data[1] & 1;
	answer.names_all = data[1] & 2;
	answer.status = (data[2] << 8 | data[3]) % 1000;
	answer.message = head.body;
	answer.names_contact = data[1] & 4;
	/* as if the head had been sent: a word of it may be repeated in the body */
	answer.sent = data[1] & 8 ? head.retry_after : NULL;
	answer.retry_after = head.retry_after[0] ? head.retry_after : NULL;
	answer.ratelimit_reset = head.ratelimit_reset[0] ? head.ratelimit_reset : NULL;
	answer.now = NOW;
	check_judgement(&answer);
	check_words(head.body ? head.body : "", head.retry_after);
	http_answer_free(&head);
	return 0;
}
