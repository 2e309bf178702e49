/*
 * answer.c
 *		What a finished request means: its HTTP result, its reply and the verdict
 *		in one.
 *
 * What is to be done about it stays with the callers.
 */
#include "postgres.h"

#include <time.h>

#include "catalog/namespace.h"
#include "common/hashfn.h"
#include "common/string.h"
#include "contact/answer.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "utils/memutils.h"

/* True if the text is the same in the database's encoding. */
static bool
needs_no_conversion(const char *utf8)
{
	int			encoding = GetDatabaseEncoding();

	return encoding == PG_UTF8 || encoding == PG_SQL_ASCII || pg_is_ascii(utf8);
}

char *
answer_convert(const char *utf8, bool *exact)
{
	int			length = strlen(utf8);
	int			encoding = GetDatabaseEncoding();
	Oid			proc;
	StringInfoData out;

	*exact = true;
	if (needs_no_conversion(utf8))
		return pstrdup(utf8);

	proc = FindDefaultConversionProc(PG_UTF8, encoding);
	initStringInfo(&out);
	while (length > 0)
	{
		int			chunk = Min(length, 1024);
		char	   *buffer;
		int			done = 0;

		/* A chunk ends where a character does. */
		chunk = pg_encoding_mbcliplen(PG_UTF8, utf8, length, chunk);
		buffer = palloc(chunk * MAX_CONVERSION_GROWTH + 1);
		if (OidIsValid(proc))
			done = pg_do_encoding_conversion_buf(proc, PG_UTF8, encoding,
												 (unsigned char *) utf8, chunk,
												 (unsigned char *) buffer,
												 chunk * MAX_CONVERSION_GROWTH + 1, true);
		if (done > 0)
			appendStringInfoString(&out, buffer);
		if (done < chunk)
		{
			*exact = false;
			appendStringInfoChar(&out, '?');
			done += pg_utf_mblen((const unsigned char *) utf8 + done);
		}
		pfree(buffer);
		utf8 += done;
		length -= done;
	}
	return out.data;
}

/*
 * Foreign UTF-8 text in the database's encoding, palloc'd: control characters become spaces,
 * what the encoding does not have becomes "?", and it is cut to ANSWER_MAX_MESSAGE.
 */
static char *
clean(const char *utf8)
{
	bool		exact;
	char	   *text = answer_convert(utf8, &exact);

	text[pg_mbcliplen(text, strlen(text), ANSWER_MAX_MESSAGE)] = '\0';
	for (char *p = text; *p; p++)
		if ((unsigned char) *p < 0x20 || *p == 0x7f)
			*p = ' ';
	return text;
}

const char *
answer_to_server(const char *utf8)
{
	bool		exact;
	char	   *text;

	if (needs_no_conversion(utf8))
		return utf8;
	text = answer_convert(utf8, &exact);
	if (exact)
		return text;
	pfree(text);
	return NULL;
}

/* An index from external_id to position, open addressing, half full at most. */
typedef struct IdIndex
{
	const char *const *ids;
	int			n;
	int		   *slots;			/* position + 1; 0: free; NULL: not built yet */
	int		   *next;			/* a further position with the same id, or -1 */
	uint32		mask;
} IdIndex;

static uint32
find_slot(const IdIndex *index, const char *id)
{
	uint32		slot = hash_bytes((const unsigned char *) id, strlen(id)) & index->mask;

	while (index->slots[slot] && strcmp(index->ids[index->slots[slot] - 1], id) != 0)
		slot = (slot + 1) & index->mask;
	return slot;
}

static void
build_index(IdIndex *index)
{
	index->mask = 1;
	while (index->mask < (uint32) index->n * 2)
		index->mask <<= 1;
	index->slots = palloc0(index->mask * sizeof(int));
	index->next = palloc(index->n * sizeof(int));
	index->mask--;
	for (int i = index->n - 1; i >= 0; i--)
	{
		uint32		slot = find_slot(index, index->ids[i]);

		index->next[i] = index->slots[slot] - 1;
		index->slots[slot] = i + 1;
	}
}

bool
answer_can_be_kept(const char *id)
{
	return *id != '\0' && strlen(id) <= ANSWER_MAX_ID && answer_to_server(id) != NULL;
}

/*
 * The API promises the contacts, not their order; the index is for an answer that has
 * them in another.  A contact counts as named only with an id: without one there is
 * nothing that says it was created.
 */
static void
match_contacts(ReadAnswer *answer, const char *const *external_ids, int n)
{
	const Reply *reply = answer->reply;
	IdIndex		index = {.ids = external_ids,.n = n};
	int			at = -1;

	answer->named = 0;
	answer->match = palloc(n * sizeof(int));
	for (int i = 0; i < n; i++)
		answer->match[i] = -1;
	for (int i = 0; i < reply->ncontacts; i++)
	{
		const ReplyContact *contact = &reply->contacts[i];

		if (contact->id == NULL || contact->external_id == NULL || !answer_can_be_kept(contact->id))
			continue;
		/* most often it is the one behind the last */
		at++;
		if (at >= n || answer->match[at] >= 0 ||
			strcmp(external_ids[at], contact->external_id) != 0)
		{
			if (index.slots == NULL)
				build_index(&index);
			at = index.slots[find_slot(&index, contact->external_id)] - 1;
			while (at >= 0 && answer->match[at] >= 0)
				at = index.next[at];
		}
		if (at >= 0)
		{
			answer->match[at] = i;
			answer->named++;
		}
	}
	if (index.slots)
	{
		pfree(index.slots);
		pfree(index.next);
	}
}

/*
 * Some servers repeat the key they refuse: it must not get into a log that way, even where
 * the cut would go through it.
 */
static char *
clean_message(const char *message, const char *key)
{
	char	   *copy = pstrdup(message);
	size_t		length = strlen(key);

	for (char *p = strstr(copy, key); length > 0 && p; p = strstr(p, key))
	{
		memset(p, '*', length);
		p += length;
	}
	return clean(copy);
}

/* The issues in a line; NULL: there are none. */
static char *
list_issues(const Reply *reply, const char *key)
{
	StringInfoData text;

	if (reply->nissues == 0)
		return NULL;
	initStringInfo(&text);
	for (int i = 0; i < reply->nissues; i++)
	{
		const ReplyIssue *issue = &reply->issues[i];

		appendStringInfo(&text, "%s%s%s%s", i > 0 ? "; " : "", issue->field ? issue->field : "",
						 issue->field && issue->message ? ": " : "", issue->message ? issue->message : "");
	}
	return clean_message(text.data, key);
}

void
answer_read(ReadAnswer *answer, const HttpResult *result, const char *key,
			const char *sent, const char *const *external_ids, int n)
{
	Answer		facts = {0};

	memset(answer, 0, sizeof(*answer));
	answer->reply = reply_parse(result->body, result->body_len);
	if (answer->reply == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory"),
				 errdetail("Failed while reading an answer of %zu bytes.",
						   result->body_len)));
	match_contacts(answer, external_ids, n);

	facts.http = result;
	facts.is_json = answer->reply->is_json;
	facts.names_all = answer->named == n;
	facts.message = answer->reply->message;
	facts.names_contact = answer->reply->culprit >= 0;
	facts.sent = sent;
	facts.now = (int64_t) time(NULL);
	answer->judgement = verdict_judge(&facts);

	answer->issues = list_issues(answer->reply, key);
	answer->from_api = answer->reply->message != NULL;
	if (answer->from_api || *result->error)
		answer->message = clean_message(answer->from_api ? answer->reply->message : result->error, key);
	else if (answer->judgement.verdict == VERDICT_PARTIAL)
		answer->message = psprintf("HTTP status %d with %s", result->status,
								   answer->reply->is_json ?
								   "an answer that does not name every contact" :
								   "a body that is not JSON");
	else
		answer->message = psprintf("HTTP status %d", result->status);
}

void
answer_free(ReadAnswer *answer)
{
	if (answer->reply)
		reply_free(answer->reply);
	answer->reply = NULL;
	if (answer->match)
		pfree(answer->match);
	answer->match = NULL;
}

char *
answer_in_words(const HttpResult *result, const ReadAnswer *answer)
{
	return answer->from_api ? psprintf("%d %s", result->status, answer->message) :
		pstrdup(answer->message);
}

const char *
answer_describe(const HttpResult *result)
{
	switch (result->outcome)
	{
		case HTTP_ANSWERED:
			return psprintf("HTTP status %d", result->status);
		case HTTP_NOT_SENT:
			return "no connection";
		case HTTP_TIMED_OUT:
			return "no answer in time";
		case HTTP_LOST:
			return "connection lost";
		case HTTP_TOO_LARGE:
			return "answer too large";
	}
	return "";
}
