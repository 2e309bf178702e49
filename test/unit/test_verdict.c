/*
 * test_verdict.c
 *		The table of whose fault an answer is, row by row, and the waits.
 */
#include "chatbase/verdict.h"
#include "tap.h"

#include <stdlib.h>

/* 2024-01-01 00:00:00 UTC */
#define NEW_YEAR INT64_C(1704067200)

#define HOUR_MS (VERDICT_MAX_WAIT * INT64_C(1000))
#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

typedef struct Row
{
	HttpOutcome outcome;
	int			status;
	bool		is_json;
	bool		names_all;
	Verdict		verdict;
	bool		unconfirmed;
} Row;

static const Row rows[] = {
	{HTTP_ANSWERED, 200, true, true, VERDICT_CREATED, false},
	{HTTP_ANSWERED, 200, true, false, VERDICT_PARTIAL, true},
	{HTTP_ANSWERED, 200, false, false, VERDICT_PARTIAL, true},
	{HTTP_ANSWERED, 200, false, true, VERDICT_PARTIAL, true},
	{HTTP_TOO_LARGE, 200, false, false, VERDICT_PARTIAL, true},
	{HTTP_LOST, 200, false, false, VERDICT_PARTIAL, true},
	{HTTP_LOST, 200, true, true, VERDICT_PARTIAL, true},

	{HTTP_ANSWERED, 400, true, false, VERDICT_CONTACT, false},
	{HTTP_ANSWERED, 400, false, false, VERDICT_CONTACT, false},
	{HTTP_ANSWERED, 409, true, false, VERDICT_CONTACT, false},
	{HTTP_ANSWERED, 422, true, false, VERDICT_CONTACT, false},
	{HTTP_LOST, 409, false, false, VERDICT_CONTACT, false},
	{HTTP_TOO_LARGE, 409, false, false, VERDICT_CONTACT, false},
	{HTTP_TIMED_OUT, 409, false, false, VERDICT_CONTACT, false},

	{HTTP_ANSWERED, 401, true, false, VERDICT_KEY, false},
	{HTTP_ANSWERED, 403, true, false, VERDICT_KEY, false},
	{HTTP_TOO_LARGE, 403, false, false, VERDICT_KEY, false},
	{HTTP_ANSWERED, 404, true, false, VERDICT_CHATBOT, false},
	{HTTP_ANSWERED, 413, true, false, VERDICT_BATCH, false},
	{HTTP_ANSWERED, 429, true, false, VERDICT_RATE, false},
	{HTTP_LOST, 429, false, false, VERDICT_RATE, false},

	{HTTP_ANSWERED, 300, false, false, VERDICT_CHATBOT, false},
	{HTTP_ANSWERED, 301, false, false, VERDICT_CHATBOT, false},
	{HTTP_ANSWERED, 304, false, false, VERDICT_CHATBOT, false},
	{HTTP_ANSWERED, 308, true, true, VERDICT_CHATBOT, false},
	{HTTP_ANSWERED, 402, true, false, VERDICT_CHATBOT, false},
	{HTTP_ANSWERED, 405, true, false, VERDICT_CHATBOT, false},
	{HTTP_ANSWERED, 410, true, false, VERDICT_CHATBOT, false},
	{HTTP_ANSWERED, 415, true, false, VERDICT_CHATBOT, false},
	{HTTP_ANSWERED, 451, true, false, VERDICT_CHATBOT, false},
	{HTTP_ANSWERED, 600, true, false, VERDICT_CHATBOT, false},
	{HTTP_ANSWERED, 999, true, false, VERDICT_CHATBOT, false},

	{HTTP_ANSWERED, 408, true, false, VERDICT_SERVER, true},
	{HTTP_ANSWERED, 425, true, false, VERDICT_SERVER, true},
	{HTTP_ANSWERED, 500, true, false, VERDICT_SERVER, true},
	{HTTP_ANSWERED, 502, false, false, VERDICT_SERVER, true},
	{HTTP_ANSWERED, 503, false, false, VERDICT_SERVER, true},
	{HTTP_ANSWERED, 504, false, false, VERDICT_SERVER, true},
	{HTTP_ANSWERED, 599, false, false, VERDICT_SERVER, true},
	{HTTP_ANSWERED, 201, true, true, VERDICT_SERVER, true},
	{HTTP_ANSWERED, 202, true, true, VERDICT_SERVER, true},
	{HTTP_ANSWERED, 204, false, false, VERDICT_SERVER, true},
	{HTTP_ANSWERED, 299, true, true, VERDICT_SERVER, true},
	{HTTP_TOO_LARGE, 500, false, false, VERDICT_SERVER, true},
	{HTTP_TIMED_OUT, 0, false, false, VERDICT_SERVER, true},
	{HTTP_TIMED_OUT, 200, false, false, VERDICT_SERVER, true},
	{HTTP_TIMED_OUT, 503, false, false, VERDICT_SERVER, true},
	{HTTP_LOST, 0, false, false, VERDICT_SERVER, true},
	{HTTP_TOO_LARGE, 0, false, false, VERDICT_SERVER, true},

	{HTTP_NOT_SENT, 0, false, false, VERDICT_NETWORK, false},
};

static void
test_table(void)
{
	for (size_t i = 0; i < LENGTH(rows); i++)
	{
		const Row  *row = &rows[i];
		HttpResult	http = {
			.outcome = row->outcome, .status = row->status, .retry_after = -1, .ratelimit_reset = -1
		};
		Answer		answer = {.http = &http, .is_json = row->is_json, .names_all = row->names_all,
		.now = NEW_YEAR};
		Judgement	judgement = verdict_judge(&answer);

		if (!ok(judgement.verdict == row->verdict && judgement.unconfirmed == row->unconfirmed &&
				judgement.wait_ms == -1, "outcome %d, status %d, JSON %d, all named %d",
				row->outcome, row->status, row->is_json, row->names_all))
			diag("got %s, unconfirmed %d", verdict_name(judgement.verdict), judgement.unconfirmed);
	}
}

static Verdict
verdict_of(int status, const char *message)
{
	Answer		answer = {.http = &(HttpResult) {.status = status}, .is_json = true,
	.message = message, .now = NEW_YEAR};

	return verdict_judge(&answer).verdict;
}

static void
test_quota(void)
{
	static const char *const quota[] = {
		"Contact limit reached",
		"You have exceeded your plan's contact limit, please upgrade.",
		"QUOTA EXCEEDED",
		"quota",
		"Limits of your subscription do not allow more contacts",
		"Please upgrade to add more contacts",
		"Your plan is limited to 1000 contacts",
		"This would exceed 5000 contacts",
		"You have reached the maximum number of contacts",
		"Users limit reached",
	};
	static const char *const contact[] = {
		"",
		"Invalid request data",
		"name exceeds the limit of 100 characters",
		"users[3].email: exceeds",
		"users.3: limit exceeded",
		"Limit: 255 bytes",
		"custom_attributes: at most 50, limit exceeded",
		"String must contain at most 255 character(s)",
		"External ID exceeds maximum length",
		"E-mail could not be reached",
		"The maximum is 1000",
		"Value out of limits",
		"Too many contacts, limit is 1000 per request",
		"unlimited illimited limitless requota",
		"over_limit", "limit2",
		"\xff\xfe\x80 \xc3\xa4",
	};

	for (size_t i = 0; i < LENGTH(quota); i++)
		ok(verdict_of(400, quota[i]) == VERDICT_QUOTA, "quota: %s", quota[i]);
	for (size_t i = 0; i < LENGTH(contact); i++)
		ok(verdict_of(400, contact[i]) == VERDICT_CONTACT, "contact %d", (int) i);
	ok(verdict_of(400, NULL) == VERDICT_CONTACT, "no message");
	ok(verdict_of(409, "Contact limit reached") == VERDICT_CONTACT &&
	   verdict_of(422, "Contact limit reached") == VERDICT_CONTACT, "a 400 only");
}

/* Words that an answer may have repeated from what was sent. */
static void
test_repeated_words(void)
{
	static const struct
	{
		const char *message;
		const char *sent;
		Verdict		verdict;
	}			cases[] = {
		{"Invalid company: Acme Limited", "{\"users\":[{\"name\":\"Acme Limited\"}]}", VERDICT_CONTACT},
		{"invalid: acme limited", "{\"users\":[{\"name\":\"ACME LIMITED\"}]}", VERDICT_CONTACT},
		{"Invalid company: Acme Limited", "{\"users\":[{\"name\":\"Acme\\nLimited\"}]}", VERDICT_CONTACT},
		{"Invalid company: Acme Limited", "{\"users\":[{\"name\":\"Acme\\u000bLimited\"}]}", VERDICT_CONTACT},
		{"Invalid company: Acme Limited", "{\"users\":[{\"name\":\"Acme\\\\Limited\"}]}", VERDICT_CONTACT},
		{"Invalid company: Acme Limited", "{\"users\":[{\"name\":\"Bert\"}]}", VERDICT_QUOTA},
		{"Invalid company: Acme Limited", NULL, VERDICT_QUOTA},
		{"Contact limit reached", "{\"users\":[{\"name\":\"Limited Unlimited limits\"}]}", VERDICT_QUOTA},
		{"Contact limit reached", "{\"users\":[{\"custom_attributes\":{\"limit\":1}}]}", VERDICT_CONTACT},
		{"Contact limit exceeded", "{\"users\":[{\"custom_attributes\":{\"limit\":1}}]}", VERDICT_QUOTA},
		{"maximum reached", "{\"users\":[{\"name\":\"Maximum\"}]}", VERDICT_CONTACT},
		{"maximum reached", "{\"users\":[{\"name\":\"Max Reached\"}]}", VERDICT_CONTACT},
		{"maximum reached", "\\", VERDICT_QUOTA},
		{"maximum reached", "\\u00", VERDICT_QUOTA},
	};

	for (size_t i = 0; i < LENGTH(cases); i++)
	{
		Answer		answer = {.http = &(HttpResult) {.status = 400}, .is_json = true,
		.message = cases[i].message, .sent = cases[i].sent, .now = NEW_YEAR};

		ok(verdict_judge(&answer).verdict == cases[i].verdict, "'%s' after %s",
		   cases[i].message, cases[i].sent ? cases[i].sent : "nothing");
		answer.names_contact = true;
		ok(verdict_judge(&answer).verdict == VERDICT_CONTACT, "and with a contact that it names");
	}
}

/* An answer that repeats a contact with such a word many times, at the end of a large request. */
static void
test_many_words(void)
{
	enum {WORDS = 200000, SENT = 4000000};
	static char message[WORDS * 6 + 1];
	static char sent[SENT + 1];
	Answer		answer = {.http = &(HttpResult) {.status = 400}, .is_json = true,
	.message = message, .sent = sent, .now = NEW_YEAR};

	for (int i = 0; i < WORDS; i++)
		memcpy(message + i * 6, "limit ", 6);
	memset(sent, '-', SENT);
	memcpy(sent + SENT - 5, "Limit", 5);
	ok(verdict_judge(&answer).verdict == VERDICT_CONTACT, "a word that is repeated many times");
	sent[SENT - 1] = 's';
	ok(verdict_judge(&answer).verdict == VERDICT_QUOTA, "and one that was not sent");
}

static void
test_names(void)
{
	static const char *const names[] = {"created", "partial", "contact", "quota", "key",
	"chatbot", "batch", "rate", "server", "network"};

	for (int i = 0; i < (int) LENGTH(names); i++)
		is_str(verdict_name((Verdict) i), names[i], names[i]);
	ok(VERDICT_NETWORK + 1 == LENGTH(names), "every verdict has a name");
}

typedef struct Wait
{
	int64_t		retry_after;
	int64_t		reset;
	int64_t		wait_ms;
} Wait;

static const Wait waits[] = {
	{-1, -1, -1},

	/* Retry-After */
	{0, -1, 0},
	{1, -1, 1000},
	{3599, -1, 3599000},
	{3600, -1, HOUR_MS},
	{86401, -1, HOUR_MS},
	{INT64_MAX, -1, HOUR_MS},

	/* X-RateLimit-Reset */
	{-1, NEW_YEAR + 30, 30000},
	{-1, NEW_YEAR * 1000 + 250, 250},
	{-1, NEW_YEAR * 1000 + 60000, 60000},
	{-1, NEW_YEAR, 0},
	{-1, NEW_YEAR - 1, -1},
	{-1, NEW_YEAR * 1000 - 1, -1},
	{-1, 30, 30000},
	{-1, 0, 0},
	{-1, 999999999, HOUR_MS},
	{-1, 2019600000, HOUR_MS},
	{-1, INT64_C(2019600000000), HOUR_MS},
	{-1, INT64_MAX, HOUR_MS},

	/* which of the two */
	{5, NEW_YEAR + 30, 5000},
	{0, NEW_YEAR + 30, 0},
};

static void
test_waits(void)
{
	HttpResult	http = {.status = 429, .retry_after = 7, .ratelimit_reset = -1};
	Answer		answer = {.http = &http, .now = NEW_YEAR};

	is_int(verdict_judge(&answer).wait_ms, 7000, "a judgement has the wait");
	http.status = 503;
	is_int(verdict_judge(&answer).wait_ms, 7000, "of every answer");
	for (size_t i = 0; i < LENGTH(waits); i++)
	{
		const Wait *wait = &waits[i];

		http.retry_after = wait->retry_after;
		http.ratelimit_reset = wait->reset;
		is_int(verdict_judge(&answer).wait_ms, wait->wait_ms, "a wait");
	}
}

int
main(void)
{
	test_table();
	test_quota();
	test_repeated_words();
	test_many_words();
	test_names();
	test_waits();
	return done_testing();
}
