/*
 * verdict.c
 *		From an answer to whose fault it is, and what is to be done about it.
 *
 * One table, and the words by which a refusal is told from an exhausted plan.  Pure
 * functions: no state, clock, locale or library may enter.
 */
#include "chatbase/verdict.h"

#include <stddef.h>
#include <string.h>

/*
 * Words of a refusal that is about what the plan allows, whatever the contacts
 * are.  The API page shows no example; these are what such messages have in
 * common ("You have exceeded your plan's contact limit, please upgrade").  The last two
 * count together only.
 */
static const char *const quota_words[] = {
	"exceed", "exceeded", "exceeding", "exceeds", "limit", "limits", "limited",
	"quota", "quotas", "upgrade", "maximum", "reached"
};
#define QUOTA_WORDS (LENGTH(quota_words))
#define MAXIMUM (QUOTA_WORDS - 2)
#define REACHED (QUOTA_WORDS - 1)

/*
 * Words for a part of a contact (ContactInput's members, and what is said of
 * values), or of a request: with one of them a limit is about that.
 */
static const char *const part_words[] = {
	"attribute", "attributes", "body", "byte", "bytes", "char", "character",
	"characters", "chars", "custom_attribute", "custom_attributes", "digits", "email",
	"emails", "external", "external_id", "external_ids", "field", "fields", "item",
	"items", "key", "keys", "label", "length", "long", "longer", "name", "names",
	"payload", "phone", "phonenumber", "property", "request", "size", "string",
	"stripe", "stripe_accounts", "stripe_email", "stripe_id", "text", "value", "values"
};

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

/* X-RateLimit-Reset: as seconds since 1970 it is 2001; what is smaller counts from now. */
#define FIRST_TIME INT64_C(1000000000)

/* As seconds it would be the year 5138, as milliseconds it is 1973. */
#define FIRST_MILLISECONDS INT64_C(100000000000)

#define MAX_WAIT_MS (VERDICT_MAX_WAIT * INT64_C(1000))

static char
lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char) (c - 'A' + 'a') : c;
}

static bool
is_word_char(char c)
{
	return (lower(c) >= 'a' && lower(c) <= 'z') || (c >= '0' && c <= '9') || c == '_';
}

/* True if the len bytes at word are the lower-case word expected, in any case. */
static bool
is_word(const char *word, size_t len, const char *expected)
{
	for (size_t i = 0; i < len; i++)
	{
		if (expected[i] == '\0' || lower(word[i]) != expected[i])
			return false;
	}
	return expected[len] == '\0';
}

/* Which of n words it is; n: none. */
static size_t
index_of(const char *word, size_t len, const char *const *words, size_t n)
{
	size_t		i = 0;

	while (i < n && !is_word(word, len, words[i]))
		i++;
	return i;
}

/* True for what follows "users" in users[3] and users.3. */
static bool
is_index(const char *text)
{
	return (text[0] == '[' || text[0] == '.') && text[1] >= '0' && text[1] <= '9';
}

/* Length of the word that text begins with; 0: there is none. */
static size_t
word_length(const char *text)
{
	size_t		len = 0;

	while (is_word_char(text[len]))
		len++;
	return len;
}

/* True if the JSON has the len bytes at word as a word, in any case. */
static bool
stands_in(const char *json, const char *word, size_t len)
{
	size_t		step;

	for (const char *p = json; *p != '\0'; p += step)
	{
		step = word_length(p);
		if (step == len)
		{
			size_t		same = 0;

			while (same < len && lower(p[same]) == lower(word[same]))
				same++;
			if (same == len)
				return true;
		}
		/* an escape (\n, \u000b) is no part of the word behind it */
		if (step == 0)
			step = strnlen(p, p[0] != '\\' ? 1 : p[1] == 'u' ? 6 : 2);
	}
	return false;
}

/*
 * The rule that verdict.h states at verdict_judge().  What was sent is searched once for
 * each word: an answer may repeat thousands of them.
 */
static bool
speaks_of_quota(const char *message, const char *sent)
{
	bool		found[QUOTA_WORDS + 1] = {false};	/* the last: any other word */
	bool		quota = false;
	size_t		len;

	for (const char *p = message; *p != '\0'; p += len)
	{
		len = word_length(p);
		if (len == 0)
		{
			len = 1;
			continue;
		}
		if (index_of(p, len, part_words, LENGTH(part_words)) < LENGTH(part_words) ||
			(is_word(p, len, "users") && is_index(p + len)))
			return false;
		found[index_of(p, len, quota_words, QUOTA_WORDS)] = true;
	}
	for (size_t i = 0; i < QUOTA_WORDS; i++)
	{
		if (found[i] && sent && stands_in(sent, quota_words[i], strlen(quota_words[i])))
			found[i] = false;
		quota |= found[i] && i < MAXIMUM;
	}
	return quota || (found[MAXIMUM] && found[REACHED]);
}

/* A refusal of the request: a contact's fault, unless the plan is at its end. */
static Verdict
judge_refusal(const Answer *answer)
{
	return answer->message && !answer->names_contact &&
		speaks_of_quota(answer->message, answer->sent) ? VERDICT_QUOTA : VERDICT_CONTACT;
}

static Verdict
judge_ok(const Answer *answer)
{
	if (answer->http->outcome == HTTP_TIMED_OUT)
		return VERDICT_SERVER;
	if (answer->http->outcome == HTTP_ANSWERED && answer->is_json && answer->names_all)
		return VERDICT_CREATED;
	return VERDICT_PARTIAL;
}

/*
 * The milliseconds that an answer says to wait, by Retry-After or else X-RateLimit-Reset
 * (seconds or milliseconds since 1970; a number too small to be a time is seconds from
 * now); -1: none.
 */
static int64_t
wait_ms_of(const HttpResult *http, int64_t now)
{
	int64_t		reset = http->ratelimit_reset;
	int64_t		wait_ms = -1;

	if (http->retry_after >= VERDICT_MAX_WAIT)
		wait_ms = MAX_WAIT_MS;
	else if (http->retry_after >= 0)
		wait_ms = http->retry_after * 1000;
	else if (reset >= FIRST_MILLISECONDS)
		wait_ms = reset - now * 1000;
	else if (reset >= FIRST_TIME)
		wait_ms = (reset - now) * 1000;
	else if (reset >= 0)
		wait_ms = reset * 1000;
	if (wait_ms < 0)
		return -1;
	return wait_ms < MAX_WAIT_MS ? wait_ms : MAX_WAIT_MS;
}

/* The table of whose fault an answer is. */
static Verdict
judge_status(const Answer *answer)
{
	int			status = answer->http->status;

	switch (status)
	{
		case 200:
			return judge_ok(answer);
		case 400:
			return judge_refusal(answer);
		case 401:
		case 403:
			return VERDICT_KEY;
		case 404:
			return VERDICT_CHATBOT;
		case 408:
		case 425:
			return VERDICT_SERVER;
		case 409:
		case 422:
			return VERDICT_CONTACT;
		case 413:
			return VERDICT_BATCH;
		case 429:
			return VERDICT_RATE;
		default:
			if ((status > 200 && status < 300) || (status >= 500 && status < 600))
				return VERDICT_SERVER;
			return VERDICT_CHATBOT;
	}
}

Judgement
verdict_judge(const Answer *answer)
{
	Judgement	judgement;

	if (answer->http->outcome == HTTP_NOT_SENT)
		judgement.verdict = VERDICT_NETWORK;
	else if (answer->http->outcome != HTTP_ANSWERED && answer->http->status == 0)
		judgement.verdict = VERDICT_SERVER;
	else
		judgement.verdict = judge_status(answer);
	judgement.unconfirmed = judgement.verdict == VERDICT_SERVER ||
		judgement.verdict == VERDICT_PARTIAL;
	judgement.wait_ms = wait_ms_of(answer->http, answer->now);
	return judgement;
}

const char *
verdict_name(Verdict verdict)
{
	static const char *const names[] = {
		[VERDICT_CREATED] = "created",
		[VERDICT_PARTIAL] = "partial",
		[VERDICT_CONTACT] = "contact",
		[VERDICT_QUOTA] = "quota",
		[VERDICT_KEY] = "key",
		[VERDICT_CHATBOT] = "chatbot",
		[VERDICT_BATCH] = "batch",
		[VERDICT_RATE] = "rate",
		[VERDICT_SERVER] = "server",
		[VERDICT_NETWORK] = "network",
	};

	return names[verdict];
}
