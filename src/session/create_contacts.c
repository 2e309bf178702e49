/*
 * create_contacts.c
 *		chatbase_create_contacts(): one call, one request, the contacts as rows.
 *
 * It works with and without shared_preload_libraries, and touches no table of the extension.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_authid.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "chatbase/http.h"
#include "compat.h"
#include "contact/answer.h"
#include "contact/contact.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "server/budget.h"
#include "server/settings.h"
#include "server/shared.h"
#include "server/wait.h"
#include "storage/fd.h"
#include "util/clock.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/formatting.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

COMPAT_FUNCTION_INFO_V1(contacts_push_create_contacts);

/* What one call sends. */
typedef struct Call
{
	const char *chatbot_id;
	int			n;
	const char **external_ids;	/* UTF-8 */
	const char **emails;		/* in lower case; NULL: none */
	const char *key;
	uint64		key_hash;
	StringInfoData body;
} Call;

/* Open for the session, so that a series of calls shares a connection. */
static HttpPool *pool = NULL;

/* Connections kept open between calls: a session has one request at a time. */
#define SESSION_CONNECTIONS 1

/* The wait that a hint names if a 429 names none: the longest window in common use. */
#define RATE_WINDOW_SECONDS 60

/* Of contacts_push.contact. */
#define CONTACT_COLUMNS 9

static void
bad_argument(const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("%s", what)));
}

static const char *
get_chatbot_id(FunctionCallInfo fcinfo)
{
	char	   *chatbot_id;

	if (PG_ARGISNULL(0))
		bad_argument("chatbot_id must not be null");
	chatbot_id = text_to_cstring(PG_GETARG_TEXT_PP(0));
	contact_check_chatbot_id(chatbot_id);
	if (contact_to_utf8(chatbot_id) == NULL)
		bad_argument("chatbot_id has text that cannot be converted to UTF-8");
	return chatbot_id;
}

static void
add_user(Call *call, JsonbContainer *user, const char *path)
{
	char	   *why = contact_check(user, path, NULL);
	char	   *email;
	char	   *json = NULL;
	int			length = 0;

	if (why)
		bad_argument(why);
	if (contact_fits(user, SETTINGS_MAX_REQUEST_BYTES))
		json = contact_to_json(user, NULL, &length);
	else
		length = INT_MAX;
	if (length > SETTINGS_MAX_REQUEST_BYTES)
		bad_argument(psprintf("%s has more than %d bytes as JSON", path, SETTINGS_MAX_REQUEST_BYTES));
	if (json == NULL)
		bad_argument(psprintf("%s has text that cannot be converted to UTF-8", path));
	contact_body_add(&call->body, json, length);
	email = contact_member(user, "email");
	call->emails[call->n] = email ? str_tolower(email, strlen(email), DEFAULT_COLLATION_OID) : NULL;
	call->external_ids[call->n++] = contact_to_utf8(contact_member(user, "external_id"));
}

/* A user's value of a member, to find other users that have the same. */
typedef struct Occurrence
{
	const char *text;
	int			user;
} Occurrence;

static int
compare_occurrences(const void *a, const void *b)
{
	const Occurrence *left = a;
	const Occurrence *right = b;
	int			order = strcmp(left->text, right->text);

	return order != 0 ? order : left->user - right->user;
}

/* Throws for a value that two users have: Chatbase would refuse them all, and not say for whom. */
static void
check_distinct(const char *member, const char *const *texts, int n)
{
	Occurrence *found = palloc(n * sizeof(Occurrence));
	Occurrence *again = NULL;	/* the first that somebody before it has, too */
	int			nfound = 0;

	for (int i = 0; i < n; i++)
		if (texts[i])
			found[nfound++] = (Occurrence) {texts[i], i};
	qsort(found, nfound, sizeof(Occurrence), compare_occurrences);
	for (int i = 1; i < nfound; i++)
		if (strcmp(found[i - 1].text, found[i].text) == 0 &&
			(again == NULL || found[i].user < again->user))
			again = &found[i];
	if (again)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("users[%d].%s is the same as users[%d].%s",
						again->user, member, again[-1].user, member),
				 errhint("An external_id, and an e-mail (compared without case), belongs to one contact of a chatbot only.")));
	pfree(found);
}

static void
add_users(Call *call, JsonbContainer *users)
{
	uint32		n = JsonContainerSize(users);

	if (n == 0)
		bad_argument("users must not be empty");
	if (n > CONTACT_MAX_USERS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("users has %u elements, but one request takes at most %d",
						n, CONTACT_MAX_USERS),
				 errhint("Send them in several calls, or enqueue them in contacts_push.outbox.")));
	call->external_ids = palloc(n * sizeof(char *));
	call->emails = palloc(n * sizeof(char *));
	for (uint32 i = 0; i < n; i++)
	{
		JsonbValue *user = getIthJsonbValueFromContainer(users, i);
		char	   *path = psprintf("users[%u]", i);

		if (user->type != jbvBinary)
			bad_argument(psprintf("%s must be an object", path));
		CHECK_FOR_INTERRUPTS();
		add_user(call, user->val.binary.data, path);
	}
	check_distinct("external_id", call->external_ids, call->n);
	check_distinct("email", call->emails, call->n);
}

static void
read_arguments(FunctionCallInfo fcinfo, Call *call)
{
	JsonbContainer *users;

	call->chatbot_id = get_chatbot_id(fcinfo);
	if (PG_ARGISNULL(1))
		bad_argument("users must not be null");
	users = &PG_GETARG_JSONB_P(1)->root;
	call->n = 0;
	initStringInfo(&call->body);
	contact_body_begin(&call->body);
	if (JsonContainerIsObject(users))
	{
		call->external_ids = palloc(sizeof(char *));
		call->emails = palloc(sizeof(char *));
		add_user(call, users, "users");
	}
	else if (JsonContainerIsArray(users) && !JsonContainerIsScalar(users))
		add_users(call, users);
	else
		bad_argument("users must be an array of objects, or one object");
	contact_body_end(&call->body);
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

static HttpRequest *
begin_request(const Call *call)
{
	HttpRequest *request = NULL;
	HttpParams	params = {0};
	char	   *url;

	make_pool();
	/* malloc'd: nothing may throw until it is freed */
	url = http_contacts_url(settings_base_url, contact_to_utf8(call->chatbot_id));
	if (url && pool)
	{
		params.url = url;
		params.bearer = call->key;
		params.ca_file = settings_ca_file;
		params.body = call->body.data;
		params.body_len = call->body.len;
		params.connect_timeout_ms = settings_connect_timeout;
		params.request_timeout_ms = settings_request_timeout;
		params.max_response_bytes = settings_max_response_bytes;
		request = http_begin(pool, &params);
	}
	free(url);
	if (request == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory"),
				 errdetail("Failed while starting a request.")));
	return request;
}

/*
 * Gives an error about a request that did not create its contacts SQLSTATE and hint.  A refusal
 * stands, whatever became of the rest of its answer.
 */
static int
explain_failure(const HttpResult *result, const Judgement *judgement)
{
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
			return errhint("Check the chatbot_id and contacts_push.base_url.");
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
	if (judgement->unconfirmed)
		return errhint("The contacts may or may not have been created. If this repeats, look the external_ids up before sending them again.");
	if (result->status >= 300 && result->status < 400)
		return errhint("Redirects are not followed; check contacts_push.base_url.");
	if (result->outcome == HTTP_NOT_SENT)
		return errhint("Nothing was sent; check contacts_push.base_url, contacts_push.ca_file and the network.");
	return 0;
}

/* Returns what failed in words, for the primary message. */
static const char *
failure_of(const HttpResult *result, const ReadAnswer *answer)
{
	bool		refused = result->status >= 400 && result->status < 500;

	if (result->outcome != HTTP_ANSWERED && !refused)
		return answer_describe(result);
	switch (answer->judgement.verdict)
	{
		case VERDICT_PARTIAL:
			return answer->reply->is_json ? "an answer that does not name every contact" :
				"an answer that is not JSON";
		case VERDICT_KEY:
			return psprintf("the key was refused with HTTP status %d", result->status);
		default:
			return psprintf("it was answered with HTTP status %d", result->status);
	}
}

/* Throws what chatbase_create_contacts() has to say of a request that did not create its contacts. */
static void
raise_failure(const Call *call, const HttpResult *result, const ReadAnswer *answer)
{
	ereport(ERROR,
			(errmsg("could not create contacts in chatbot \"%s\": %s",
					call->chatbot_id, failure_of(result, answer)),
			 answer->from_api ? errdetail_internal("%s", answer->message) :
			 *result->error ? errdetail_internal("%s", sentence(answer->message)) : 0,
			 explain_failure(result, &answer->judgement)));
}

/* Returns a text of the answer in the database's encoding. */
static Datum
text_or_null(const char *utf8, bool *isnull)
{
	const char *text = utf8 ? answer_to_server(utf8) : NULL;

	if (utf8 && text == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_SYSTEM_ERROR),
				 errmsg("the answer has characters that the database's encoding does not have"),
				 errhint("The contacts were created.")));
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

static Datum
jsonb_or_null(const char *utf8, bool *isnull)
{
	const char *text = utf8 ? answer_to_server(utf8) : NULL;

	/* jsonb has no U+0000, so no input of ours has made an answer with one */
	*isnull = text == NULL || has_nul_escape(text);
	return *isnull ? (Datum) 0 : DirectFunctionCall1(jsonb_in, CStringGetDatum(text));
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
 * Throws unless contacts_push.contact is as put_contact() fills it.  Somebody may have altered
 * it, or the session may have loaded the library of another version.
 */
static void
check_result_type(TupleDesc desc)
{
	static const Oid types[CONTACT_COLUMNS] = {
		TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, JSONBOID, JSONBOID,
		TIMESTAMPTZOID, TIMESTAMPTZOID
	};
	bool		same = desc->natts == CONTACT_COLUMNS;

	for (int i = 0; same && i < CONTACT_COLUMNS; i++)
		same = TupleDescAttr(desc, i)->atttypid == types[i];
	if (!same)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("type contacts_push.contact is not what the library expects"),
				 errhint("Reconnect after an update of the extension. If that does not help, the type was altered: restore it, or drop and create the extension.")));
}

static void
put_contact(ReturnSetInfo *rsinfo, const Reply *reply, int i)
{
	const ReplyContact *contact = &reply->contacts[i];
	Datum		values[CONTACT_COLUMNS];
	bool		nulls[CONTACT_COLUMNS];

	values[0] = text_or_null(contact->id, &nulls[0]);
	values[1] = text_or_null(contact->external_id, &nulls[1]);
	values[2] = text_or_null(contact->name, &nulls[2]);
	values[3] = text_or_null(contact->email, &nulls[3]);
	values[4] = text_or_null(contact->phonenumber, &nulls[4]);
	values[5] = jsonb_or_null(contact->stripe_accounts, &nulls[5]);
	values[6] = jsonb_or_null(contact->custom_attributes, &nulls[6]);
	values[7] = time_or_null(contact->has_created_at, contact->created_at, &nulls[7]);
	values[8] = time_or_null(contact->has_updated_at, contact->updated_at, &nulls[8]);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

/*
 * Calls count in the key's budget and do not wait for it.  A loop of them must not keep the
 * worker from sending, which waits.
 */
static void
take_budget(const Call *call)
{
	int64		wait_us = budget_take_call(call->key_hash);
	int			seconds = (int) (wait_us / 1000000) + 1;

	if (wait_us > 0)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("could not create contacts in chatbot \"%s\": calls have used their half of the key's budget",
						call->chatbot_id),
				 errdetail("Contacts in the outbox wait for the other half of contacts_push.requests_per_second."),
				 errhint_plural("Try again in %d second, or leave the contacts to contacts_push.enqueue().",
								"Try again in %d seconds, or leave the contacts to contacts_push.enqueue().",
								seconds, seconds)));
}

/*
 * Sends the request, waits for the answer, and puts the rows.  The caller cleans request and
 * answer up, even if this throws.
 */
static void
exchange(Call *call, ReturnSetInfo *rsinfo,
		 HttpRequest *volatile *request, ReadAnswer *answer)
{
	int64		left_at = clock_us();
	const HttpResult *result;

	call->key = find_key(call->chatbot_id);
	call->key_hash = budget_key_hash(call->key);
	take_budget(call);
	*request = begin_request(call);
	while (!http_is_done(*request))
	{
		wait_for_http(pool, -1);
		CHECK_FOR_INTERRUPTS();
	}
	result = http_result(*request);
	answer_read(answer, result, call->key, call->body.data, call->external_ids, call->n);
	if (answer->judgement.verdict == VERDICT_RATE)
		budget_throttled(call->key_hash, left_at, answer->judgement.wait_ms < 0 ? -1 :
						 answer->judgement.wait_ms * 1000);
	else if (answer->judgement.verdict != VERDICT_NETWORK)
		budget_answered(call->key_hash);
	if (answer->judgement.verdict != VERDICT_CREATED)
		raise_failure(call, result, answer);
	for (int i = 0; i < call->n; i++)
		put_contact(rsinfo, answer->reply, answer->match[i]);
}

/*
 * chatbase_create_contacts(chatbot_id text, users jsonb)
 *		RETURNS SETOF contacts_push.contact
 */
Datum
contacts_push_create_contacts(PG_FUNCTION_ARGS)
{
	HttpRequest *volatile request = NULL;
	ReadAnswer	answer = {0};
	Call		call;

	InitMaterializedSRF(fcinfo, 0);
	check_result_type(((ReturnSetInfo *) fcinfo->resultinfo)->setDesc);
	read_arguments(fcinfo, &call);
	PG_TRY();
	{
		exchange(&call, (ReturnSetInfo *) fcinfo->resultinfo, &request, &answer);
	}
	PG_FINALLY();
	{
		http_end(request);
		answer_free(&answer);
	}
	PG_END_TRY();
	return (Datum) 0;
}
