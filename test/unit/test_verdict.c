/*
 * test_verdict.c
 *		The table of whose fault an answer is, row by row, and the waits.
 */
#include "chatbase/verdict.h"
#include "tap.h"

#include <stdlib.h>

/* Sun, 06 Nov 1994 08:49:37 GMT, the example of RFC 9110 */
#define EXAMPLE INT64_C(784111777)

/* 2024-01-01 00:00:00 UTC */
#define NEW_YEAR INT64_C(1704067200)

#define HOUR_MS (VERDICT_MAX_WAIT * INT64_C(1000))
#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

typedef struct Row
{
	AnswerKind	kind;
	int			status;
	bool		is_json;
	bool		names_all;
	Verdict		verdict;
	bool		unconfirmed;
} Row;

static const Row rows[] = {
	{ANSWER_COMPLETE, 200, true, true, VERDICT_CREATED, false},
	{ANSWER_COMPLETE, 200, true, false, VERDICT_PARTIAL, true},
	{ANSWER_COMPLETE, 200, false, false, VERDICT_PARTIAL, true},
	{ANSWER_COMPLETE, 200, false, true, VERDICT_PARTIAL, true},
	{ANSWER_TOO_LARGE, 200, false, false, VERDICT_PARTIAL, true},
	{ANSWER_LOST, 200, false, false, VERDICT_PARTIAL, true},
	{ANSWER_LOST, 200, true, true, VERDICT_PARTIAL, true},

	{ANSWER_COMPLETE, 400, true, false, VERDICT_CONTACT, false},
	{ANSWER_COMPLETE, 400, false, false, VERDICT_CONTACT, false},
	{ANSWER_COMPLETE, 409, true, false, VERDICT_CONTACT, false},
	{ANSWER_COMPLETE, 422, true, false, VERDICT_CONTACT, false},
	{ANSWER_LOST, 409, false, false, VERDICT_CONTACT, false},
	{ANSWER_TOO_LARGE, 409, false, false, VERDICT_CONTACT, false},
	{ANSWER_TIMED_OUT, 409, false, false, VERDICT_CONTACT, false},

	{ANSWER_COMPLETE, 401, true, false, VERDICT_KEY, false},
	{ANSWER_COMPLETE, 403, true, false, VERDICT_KEY, false},
	{ANSWER_TOO_LARGE, 403, false, false, VERDICT_KEY, false},
	{ANSWER_COMPLETE, 404, true, false, VERDICT_CHATBOT, false},
	{ANSWER_COMPLETE, 413, true, false, VERDICT_BATCH, false},
	{ANSWER_COMPLETE, 429, true, false, VERDICT_RATE, false},
	{ANSWER_LOST, 429, false, false, VERDICT_RATE, false},

	{ANSWER_COMPLETE, 300, false, false, VERDICT_CHATBOT, false},
	{ANSWER_COMPLETE, 301, false, false, VERDICT_CHATBOT, false},
	{ANSWER_COMPLETE, 304, false, false, VERDICT_CHATBOT, false},
	{ANSWER_COMPLETE, 308, true, true, VERDICT_CHATBOT, false},
	{ANSWER_COMPLETE, 402, true, false, VERDICT_CHATBOT, false},
	{ANSWER_COMPLETE, 405, true, false, VERDICT_CHATBOT, false},
	{ANSWER_COMPLETE, 410, true, false, VERDICT_CHATBOT, false},
	{ANSWER_COMPLETE, 415, true, false, VERDICT_CHATBOT, false},
	{ANSWER_COMPLETE, 451, true, false, VERDICT_CHATBOT, false},
	{ANSWER_COMPLETE, 600, true, false, VERDICT_CHATBOT, false},
	{ANSWER_COMPLETE, 999, true, false, VERDICT_CHATBOT, false},

	{ANSWER_COMPLETE, 408, true, false, VERDICT_SERVER, true},
	{ANSWER_COMPLETE, 425, true, false, VERDICT_SERVER, true},
	{ANSWER_COMPLETE, 500, true, false, VERDICT_SERVER, true},
	{ANSWER_COMPLETE, 502, false, false, VERDICT_SERVER, true},
	{ANSWER_COMPLETE, 503, false, false, VERDICT_SERVER, true},
	{ANSWER_COMPLETE, 504, false, false, VERDICT_SERVER, true},
	{ANSWER_COMPLETE, 599, false, false, VERDICT_SERVER, true},
	{ANSWER_COMPLETE, 201, true, true, VERDICT_SERVER, true},
	{ANSWER_COMPLETE, 202, true, true, VERDICT_SERVER, true},
	{ANSWER_COMPLETE, 204, false, false, VERDICT_SERVER, true},
	{ANSWER_COMPLETE, 299, true, true, VERDICT_SERVER, true},
	{ANSWER_TOO_LARGE, 500, false, false, VERDICT_SERVER, true},
	{ANSWER_TIMED_OUT, 0, false, false, VERDICT_SERVER, true},
	{ANSWER_TIMED_OUT, 200, false, false, VERDICT_SERVER, true},
	{ANSWER_TIMED_OUT, 503, false, false, VERDICT_SERVER, true},
	{ANSWER_LOST, 0, false, false, VERDICT_SERVER, true},
	{ANSWER_TOO_LARGE, 0, false, false, VERDICT_SERVER, true},

	{ANSWER_NOT_SENT, 0, false, false, VERDICT_NETWORK, false},
};

static void
test_table(void)
{
	for (size_t i = 0; i < LENGTH(rows); i++)
	{
		const Row  *row = &rows[i];
		Answer		answer = {.kind = row->kind, .status = row->status, .is_json = row->is_json,
		.names_all = row->names_all, .now = NEW_YEAR};
		Judgement	judgement = verdict_judge(&answer);

		if (!ok(judgement.verdict == row->verdict && judgement.unconfirmed == row->unconfirmed &&
				judgement.wait_ms == -1, "kind %d, status %d, JSON %d, all named %d",
				row->kind, row->status, row->is_json, row->names_all))
			diag("got %s, unconfirmed %d", verdict_name(judgement.verdict), judgement.unconfirmed);
	}
}

static Verdict
verdict_of(int status, const char *message)
{
	Answer		answer = {.kind = ANSWER_COMPLETE, .status = status, .is_json = true,
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
		Answer		answer = {.kind = ANSWER_COMPLETE, .status = 400, .is_json = true,
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
	Answer		answer = {.kind = ANSWER_COMPLETE, .status = 400, .is_json = true,
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
	const char *retry_after;
	const char *reset;
	int64_t		now;
	int64_t		wait_ms;
} Wait;

static const Wait waits[] = {
	{NULL, NULL, NEW_YEAR, -1},
	{"", "", NEW_YEAR, -1},
	{"  ", "\t", NEW_YEAR, -1},

	/* seconds */
	{"0", NULL, NEW_YEAR, 0},
	{"1", NULL, NEW_YEAR, 1000},
	{" 120 ", NULL, NEW_YEAR, 120000},
	{"007", NULL, NEW_YEAR, 7000},
	{"86400", NULL, NEW_YEAR, HOUR_MS},
	{"86401", NULL, NEW_YEAR, HOUR_MS},
	{"315360000", NULL, NEW_YEAR, HOUR_MS},
	{"9223372036854775807", NULL, NEW_YEAR, HOUR_MS},
	{"99999999999999999999999999999999999999999", NULL, NEW_YEAR, HOUR_MS},
	{"-1", NULL, NEW_YEAR, -1},
	{"+1", NULL, NEW_YEAR, -1},
	{"1.5", NULL, NEW_YEAR, -1},
	{"1 2", NULL, NEW_YEAR, -1},
	{"1e3", NULL, NEW_YEAR, -1},
	{"0x10", NULL, NEW_YEAR, -1},
	{"soon", NULL, NEW_YEAR, -1},

	/* dates in all three forms */
	{"Sun, 06 Nov 1994 08:49:37 GMT", NULL, EXAMPLE - 5, 5000},
	{"Sunday, 06-Nov-94 08:49:37 GMT", NULL, EXAMPLE - 5, 5000},
	{"Sun Nov  6 08:49:37 1994", NULL, EXAMPLE - 5, 5000},
	{"Wed Nov 16 08:49:37 1994", NULL, EXAMPLE + 10 * 86400 - 5, 5000},
	{" Sun, 06 Nov 1994 08:49:37 GMT\t", NULL, EXAMPLE - 5, 5000},
	{"Sun, 06 Nov 1994 08:49:37 GMT", NULL, EXAMPLE, 0},
	{"Sun, 06 Nov 1994 08:49:37 GMT", NULL, EXAMPLE + 1, -1},
	{"Sun, 06 Nov 1994 08:49:37 GMT", NULL, NEW_YEAR, -1},
	{"Sun, 06 Nov 1994 08:49:37 GMT", NULL, EXAMPLE - 86401, HOUR_MS},
	{"Thu, 29 Feb 2024 00:00:00 GMT", NULL, NEW_YEAR + 59 * 86400 - 60, 60000},
	{"Fri, 01 Mar 2024 00:00:00 GMT", NULL, NEW_YEAR + 60 * 86400 - 60, 60000},
	{"Tue, 29 Feb 2000 00:00:00 GMT", NULL, 951782400 - 1, 1000},
	{"Sat, 31 Dec 2016 23:59:60 GMT", NULL, 1483228799, 1000},
	{"Thu, 01 Jan 1970 00:00:01 GMT", NULL, 0, 1000},
	{"Thu, 01 Jan 2034 00:00:00 GMT", NULL, NEW_YEAR, HOUR_MS},
	{"Fri, 31 Dec 9999 23:59:59 GMT", NULL, NEW_YEAR, HOUR_MS},
	{"Mon, 01 Jan 0001 00:00:00 GMT", NULL, NEW_YEAR, -1},

	/* two digits: within 50 years from now */
	{"Monday, 01-Jan-24 00:00:09 GMT", NULL, NEW_YEAR, 9000},
	{"Monday, 01-Jan-73 00:00:00 GMT", NULL, NEW_YEAR, HOUR_MS},
	{"Tuesday, 01-Jan-75 00:00:00 GMT", NULL, NEW_YEAR, -1},
	{"Friday, 01-Jan-00 00:00:09 GMT", NULL, INT64_C(4102444800), 9000},
	{"Friday, 01-Jan-00 00:00:09 GMT", NULL, INT64_C(4102444800) - 86400, HOUR_MS},

	/* nearly dates */
	{"Sun, 06 Nov 1994 08:49:37", NULL, EXAMPLE - 5, -1},
	{"Sun, 06 Nov 1994 08:49:37 CET", NULL, EXAMPLE - 5, -1},
	{"Sun, 06 Nov 1994 08:49:37 GMT+1", NULL, EXAMPLE - 5, -1},
	{"Sun, 6 Nov 1994 08:49:37 GMT", NULL, EXAMPLE - 5, -1},
	{"Son, 06 Nov 1994 08:49:37 GMT", NULL, EXAMPLE - 5, -1},
	{"Sun, 06 Okt 1994 08:49:37 GMT", NULL, EXAMPLE - 5, -1},
	{"Sun, 00 Nov 1994 08:49:37 GMT", NULL, EXAMPLE - 500000, -1},
	{"Sun, 31 Nov 1994 08:49:37 GMT", NULL, EXAMPLE - 5, -1},
	{"Wed, 29 Feb 2023 00:00:00 GMT", NULL, 1677600000, -1},
	{"Thu, 29 Feb 1900 00:00:00 GMT", NULL, -2203891200 - 5, -1},
	{"Sun, 06 Nov 1994 24:00:00 GMT", NULL, EXAMPLE - 5, -1},
	{"Sun, 06 Nov 1994 08:60:37 GMT", NULL, EXAMPLE - 5, -1},
	{"Sun, 06 Nov 1994 08:49:61 GMT", NULL, EXAMPLE - 5, -1},
	{"Sun, 06 Nov 0000 08:49:37 GMT", NULL, EXAMPLE - 5, -1},
	{"Sun Nov 06 08:49:37 94", NULL, EXAMPLE - 5, -1},
	{"1994-11-06T08:49:37Z", NULL, EXAMPLE - 5, -1},
	{"Sun, 06 Nov", NULL, EXAMPLE - 5, -1},
	{"Sun", NULL, EXAMPLE - 5, -1},

	/* X-RateLimit-Reset */
	{NULL, "1704067230", NEW_YEAR, 30000},
	{NULL, "1704067200250", NEW_YEAR, 250},
	{NULL, "1704067260000", NEW_YEAR, 60000},
	{NULL, " 1704067230 ", NEW_YEAR, 30000},
	{NULL, "1704067200", NEW_YEAR, 0},
	{NULL, "1704067199", NEW_YEAR, -1},
	{NULL, "1704067199999", NEW_YEAR, -1},
	{NULL, "30", NEW_YEAR, 30000},
	{NULL, "0", NEW_YEAR, 0},
	{NULL, "999999999", NEW_YEAR, HOUR_MS},
	{NULL, "2019600000", NEW_YEAR, HOUR_MS},
	{NULL, "2019600000000", NEW_YEAR, HOUR_MS},
	{NULL, "99999999999999999999999999", NEW_YEAR, HOUR_MS},
	{NULL, "-5", NEW_YEAR, -1},
	{NULL, "1704067230.5", NEW_YEAR, -1},
	{NULL, "later", NEW_YEAR, -1},
	{NULL, "Mon, 01 Jan 2024 00:00:09 GMT", NEW_YEAR, -1},

	/* which of the two */
	{"5", "1704067230", NEW_YEAR, 5000},
	{"0", "1704067230", NEW_YEAR, 0},
	{"soon", "1704067230", NEW_YEAR, 30000},
	{"-1", "1704067230", NEW_YEAR, 30000},
	{"Sun, 06 Nov 1994 08:49:37 GMT", "1704067230", NEW_YEAR, 30000},
};

static void
test_waits(void)
{
	Answer		answer = {.kind = ANSWER_COMPLETE, .status = 429, .retry_after = "7", .now = NEW_YEAR};

	for (size_t i = 0; i < LENGTH(waits); i++)
	{
		const Wait *wait = &waits[i];
		int64_t		got = verdict_wait_ms(wait->retry_after, wait->reset, wait->now);

		if (!ok(got == wait->wait_ms, "\"%s\", \"%s\"", wait->retry_after ? wait->retry_after : "",
				wait->reset ? wait->reset : ""))
			diag("got %lld, expected %lld", (long long) got, (long long) wait->wait_ms);
	}
	is_int(verdict_judge(&answer).wait_ms, 7000, "a judgement has the wait");
	answer.status = 503;
	is_int(verdict_judge(&answer).wait_ms, 7000, "of every answer");
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
