/*
 * call.c
 *		What the calls of the API have in common: one request, the answer as rows.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_authid.h"
#include "catalog/pg_type.h"
#include "compat.h"
#include "contact/contact.h"
#include "miscadmin.h"
#include "server/budget.h"
#include "server/settings.h"
#include "server/shared.h"
#include "server/wait.h"
#include "session/call.h"
#include "storage/fd.h"
#include "util/clock.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"

/* Open for the session, so that a series of calls shares a connection. */
static HttpPool *pool = NULL;

/* Connections kept open between calls: a session has one request at a time. */
#define SESSION_CONNECTIONS 1

/* The wait that a hint names if a 429 names none: the longest window in common use. */
#define RATE_WINDOW_SECONDS 60

void
call_bad_argument(const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("%s", what)));
}

void
call_end(Call *call)
{
	http_end(call->request);
	call->request = NULL;
	answer_free(&call->answer);
}

static void
clean_up(void *call)
{
	call_end(call);
}

Call *
call_begin(const Call *what, FunctionCallInfo fcinfo)
{
	Call	   *call = palloc(sizeof(Call));

	*call = *what;
	call->cleanup.func = clean_up;
	call->cleanup.arg = call;
	MemoryContextRegisterResetCallback(CurrentMemoryContext, &call->cleanup);
	if (PG_ARGISNULL(0))
		call_bad_argument("chatbot_id must not be null");
	call->chatbot_id = text_to_cstring(PG_GETARG_TEXT_PP(0));
	contact_check_chatbot_id(call->chatbot_id);
	if (contact_to_utf8(call->chatbot_id) == NULL)
		call_bad_argument("chatbot_id has text that cannot be converted to UTF-8");
	return call;
}

char *
call_contact_json(JsonbContainer *contact, const char *path, int *length)
{
	char	   *json = NULL;

	if (contact_fits(contact, SETTINGS_MAX_REQUEST_BYTES))
		json = contact_to_json(contact, NULL, length);
	else
		*length = INT_MAX;
	if (*length > SETTINGS_MAX_REQUEST_BYTES)
		call_bad_argument(psprintf("%s has more than %d bytes as JSON", path, SETTINGS_MAX_REQUEST_BYTES));
	if (json == NULL)
		call_bad_argument(psprintf("%s has text that cannot be converted to UTF-8", path));
	return json;
}

/* Makes a sentence, for a DETAIL, of words that stand behind a colon elsewhere. */
static char *
sentence(const char *words)
{
	char	   *text = psprintf("%s%s", words, words[strlen(words) - 1] == '.' ? "" : ".");

	/* but the name of a setting stays what it is */
	if (strncmp(text, "contacts_push.", strlen("contacts_push.")) != 0)
		text[0] = pg_toupper((unsigned char) text[0]);
	return text;
}

/* Finds the key, or throws; only who may see the setting is told where the key file is. */
static char *
find_key(const char *chatbot_id)
{
	char	   *why;
	char	   *key;

	settings_check_refused();
	key = settings_find_key(chatbot_id, &why);
	if (key == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("no API key is configured for chatbot \"%s\"", chatbot_id),
				 has_privs_of_role(GetUserId(), ROLE_PG_READ_ALL_SETTINGS) ?
				 errdetail_internal("%s", sentence(why)) :
				 errdetail_log("%s", sentence(why)),
				 errhint("Set contacts_push.api_key_file (or contacts_push.api_key) in postgresql.conf, see to it that the server can read the file, and reload the configuration.")));
	return key;
}

/* The session's pool, made at the first call. */
static void
make_pool(void)
{
	if (pool != NULL)
		return;
	/* announces the connection, which lasts as long as the session, as the pool does */
	if (!AcquireExternalFD())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
				 errmsg("could not open a connection to Chatbase: too many files are open in this session"),
				 errhint("Raise max_files_per_process or the limit of the operating system.")));
	pool = http_pool_create(SESSION_CONNECTIONS);
	if (pool == NULL)
		ReleaseExternalFD();
}

static void
begin_request(Call *call, const char *key)
{
	const char *chatbot_id = contact_to_utf8(call->chatbot_id);
	const char *external_id = call->external_id ? contact_to_utf8(call->external_id) : NULL;
	HttpParams	params = {0};
	char	   *url;

	make_pool();
	/* malloc'd: nothing may throw until it is freed */
	url = call->of_schema ? http_attributes_url(settings_base_url, chatbot_id) :
		call->page > 0 ? http_page_url(settings_base_url, chatbot_id, call->page, call->per_page) :
		external_id ? http_contact_url(settings_base_url, chatbot_id, external_id) :
		http_contacts_url(settings_base_url, chatbot_id);
	if (url && pool)
	{
		params.method = call->method;
		params.url = url;
		params.bearer = key;
		params.ca_file = settings_ca_file;
		params.body = call->body;
		params.body_len = call->body_len;
		params.connect_timeout_ms = settings_connect_timeout;
		params.request_timeout_ms = settings_request_timeout;
		params.max_response_bytes = settings_max_response_bytes;
		params.anew = call->anew;
		call->request = http_begin(pool, &params);
	}
	free(url);
	if (call->request == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory"),
				 errdetail("Failed while starting a request.")));
}

/* Returns what could not be done, for the beginning of a message. */
static char *
failed_call(const Call *call)
{
	return call->external_id ?
		psprintf("could not %s \"%s\" in chatbot \"%s\"", call->doing, call->external_id, call->chatbot_id) :
		psprintf("could not %s in chatbot \"%s\"", call->doing, call->chatbot_id);
}

/*
 * Calls count in the key's budget and do not wait for it.  A loop of them must not keep the
 * worker from sending, which waits.
 */
static void
take_budget(const Call *call, uint64 key_hash)
{
	int64		wait_us = budget_take_call(key_hash);
	int			seconds = (int) (wait_us / 1000000) + 1;

	if (wait_us > 0)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("%s: calls have used their half of the key's budget", failed_call(call)),
				 errdetail("Contacts in the outbox wait for the other half of contacts_push.requests_per_second."),
				 errhint_plural("Try again in %d second%s.", "Try again in %d seconds%s.",
								seconds, seconds, call->instead)));
}

void
call_exchange(Call *call)
{
	char	   *key = find_key(call->chatbot_id);
	uint64		key_hash = budget_key_hash(key);
	ReadAnswer *answer = &call->answer;
	int64		left_at = clock_us();

	call_end(call);
	take_budget(call, key_hash);
	PG_TRY();
	{
		begin_request(call, key);
		while (!http_is_done(call->request))
		{
			wait_for_http(pool, -1, WAIT_ANSWER);
			CHECK_FOR_INTERRUPTS();
		}
		call->result = http_result(call->request);
		answer_read(answer, call->result, key, call->body, call->expected, call->nexpected);
	}
	PG_CATCH();
	{
		/* at once, and not when the memory goes */
		call_end(call);
		PG_RE_THROW();
	}
	PG_END_TRY();
	if (answer->judgement.verdict == VERDICT_RATE)
		(void) budget_throttled(key_hash, left_at, answer->judgement.wait_ms < 0 ? -1 :
						 answer->judgement.wait_ms * 1000);
	else if (answer->judgement.verdict != VERDICT_NETWORK)
		budget_answered(key_hash);
}

/*
 * Gives an error about a request that did not do what it should SQLSTATE and hint.  A refusal
 * stands, whatever became of the rest of its answer.
 */
static int
explain_failure(const Call *call)
{
	const HttpResult *result = call->result;
	const Judgement *judgement = &call->answer.judgement;
	int			seconds = (int) ((judgement->wait_ms + 999) / 1000);

	switch (result->status)
	{
		case 400:
		case 422:
			return errcode(ERRCODE_INVALID_PARAMETER_VALUE);
		case 401:
		case 403:
			errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION);
			return errhint("Check contacts_push.api_key and contacts_push.api_key_file.");
		case 404:
			errcode(ERRCODE_UNDEFINED_OBJECT);
			return errhint("%s", call->not_found);
		case 409:
			return errcode(ERRCODE_UNIQUE_VIOLATION);
		case 429:
			errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED);
			seconds = judgement->wait_ms < 0 ? RATE_WINDOW_SECONDS : Max(seconds, 1);
			return errhint_plural("Try again in %d second.", "Try again in %d seconds.",
								  seconds, seconds);
	}
	errcode(result->outcome == HTTP_ANSWERED || result->outcome == HTTP_TOO_LARGE ?
			ERRCODE_SYSTEM_ERROR : ERRCODE_IO_ERROR);
	if (result->status == 405 || result->status == 501)
		return errhint("The server at contacts_push.base_url may not have this call.");
	if (judgement->unconfirmed)
		return errhint("%s", call->doubt);
	if (result->status >= 300 && result->status < 400)
		return errhint("Redirects are not followed; check contacts_push.base_url.");
	if (result->outcome == HTTP_NOT_SENT)
		return errhint("Nothing was sent; check contacts_push.base_url, contacts_push.ca_file and the network.");
	return 0;
}

/* Returns what failed in words, for the primary message. */
static const char *
failure_of(const Call *call)
{
	const HttpResult *result = call->result;
	const ReadAnswer *answer = &call->answer;
	bool		refused = result->status >= 400 && result->status < 500;

	if (result->outcome != HTTP_ANSWERED && !refused)
		return answer_describe(result);
	switch (answer->judgement.verdict)
	{
		case VERDICT_PARTIAL:
			return answer->reply->is_json ? call->promised : "an answer that is not JSON";
		case VERDICT_KEY:
			return psprintf("the key was refused with HTTP status %d", result->status);
		default:
			return psprintf("it was answered with HTTP status %d", result->status);
	}
}

void
call_fail(Call *call)
{
	const ReadAnswer *answer = &call->answer;

	ereport(ERROR,
			(errmsg("%s: %s", failed_call(call), failure_of(call)),
			 answer->issues ? errdetail_internal("%s (%s)", answer->message, answer->issues) :
			 answer->from_api ? errdetail_internal("%s", answer->message) :
			 *call->result->error ? errdetail_internal("%s", sentence(answer->message)) : 0,
			 explain_failure(call)));
}

void
call_fail_broken(Call *call)
{
	call->answer.judgement.verdict = VERDICT_PARTIAL;
	call->answer.judgement.unconfirmed = true;
	call_fail(call);
}

/* Returns a text of the answer in the database's encoding. */
static Datum
text_or_null(const Call *call, const char *utf8, bool *isnull)
{
	const char *text = utf8 ? answer_to_server(utf8) : NULL;

	if (utf8 && text == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_SYSTEM_ERROR),
				 errmsg("the answer has characters that the database's encoding does not have"),
				 call->done ? errhint("%s", call->done) : 0));
	*isnull = text == NULL;
	return text ? CStringGetTextDatum(text) : (Datum) 0;
}

/* True if a string in the JSON text has U+0000; an escaped backslash before "u0000" is none. */
static bool
has_nul_escape(const char *json)
{
	for (const char *p = strchr(json, '\\'); p && p[1] != '\0'; p = strchr(p + 2, '\\'))
	{
		if (strncmp(p, "\\u0000", 6) == 0)
			return true;
	}
	return false;
}

/* Makes the answer's fault of what jsonb cannot hold: an escape that the encoding lacks, a number. */
static void
explain_json(void *arg)
{
	const Call *call = arg;

	if (ERRCODE_TO_CATEGORY(geterrcode()) != ERRCODE_DATA_EXCEPTION)
		return;
	errcode(ERRCODE_SYSTEM_ERROR);
	if (call->done)
		errhint("%s", call->done);
}

Datum
call_jsonb(const Call *call, const char *text, bool *isnull)
{
	ErrorContextCallback callback;
	Datum		value;

	/* jsonb has no U+0000, so no input of ours has made an answer with one */
	*isnull = text == NULL || has_nul_escape(text);
	if (*isnull)
		return (Datum) 0;
	callback.callback = explain_json;
	callback.arg = unconstify(Call *, call);
	callback.previous = error_context_stack;
	error_context_stack = &callback;
	value = DirectFunctionCall1(jsonb_in, CStringGetDatum(text));
	error_context_stack = callback.previous;
	return value;
}

static Datum
jsonb_or_null(const Call *call, const char *utf8, bool *isnull)
{
	return call_jsonb(call, utf8 ? answer_to_server(utf8) : NULL, isnull);
}

/* Returns seconds since 1970 as timestamptz; null if they are beyond its range. */
static Datum
time_or_null(bool given, double seconds, bool *isnull)
{
	double		usecs = (seconds - (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) *
						 (double) SECS_PER_DAY) * USECS_PER_SEC;

	*isnull = !given || !(usecs >= (double) MIN_TIMESTAMP && usecs < (double) END_TIMESTAMP);
	return *isnull ? (Datum) 0 : TimestampTzGetDatum((TimestampTz) rint(usecs));
}

/*
 * Somebody may have altered the type, or the session may have loaded the library of another
 * version.
 */
void
call_check_type(TupleDesc desc)
{
	static const Oid types[CALL_COLUMNS] = {
		TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, JSONBOID, JSONBOID,
		TIMESTAMPTZOID, TIMESTAMPTZOID
	};
	bool		same = desc->natts == CALL_COLUMNS;

	for (int i = 0; same && i < CALL_COLUMNS; i++)
		same = TupleDescAttr(desc, i)->atttypid == types[i];
	if (!same)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("type contacts_push.contact is not what the library expects"),
				 errhint("Reconnect after an update of the extension. If that does not help, the type was altered: restore it, or drop and create the extension.")));
}

void
call_contact(Call *call, const ReplyContact *contact, Datum *values, bool *nulls)
{
	values[0] = text_or_null(call, contact->id, &nulls[0]);
	values[1] = text_or_null(call, contact->external_id, &nulls[1]);
	values[2] = text_or_null(call, contact->name, &nulls[2]);
	values[3] = text_or_null(call, contact->email, &nulls[3]);
	values[4] = text_or_null(call, contact->phonenumber, &nulls[4]);
	values[5] = jsonb_or_null(call, contact->stripe_accounts, &nulls[5]);
	values[6] = jsonb_or_null(call, contact->custom_attributes, &nulls[6]);
	values[7] = time_or_null(contact->has_created_at, contact->created_at, &nulls[7]);
	values[8] = time_or_null(contact->has_updated_at, contact->updated_at, &nulls[8]);
}
