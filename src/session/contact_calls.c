/*
 * contact_calls.c
 *		chatbase_list_contacts(), _get_contact(), _update_contact() and _delete_contact().
 *
 * The API's reference leaves open what these answer in some cases; each reading must do.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "common/hashfn.h"
#include "compat.h"
#include "contact/contact.h"
#include "funcapi.h"
#include "session/call.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/jsonb.h"
#include "utils/tuplestore.h"

COMPAT_FUNCTION_INFO_V1(contacts_push_list_contacts);
COMPAT_FUNCTION_INFO_V1(contacts_push_get_contact);
COMPAT_FUNCTION_INFO_V1(contacts_push_update_contact);
COMPAT_FUNCTION_INFO_V1(contacts_push_delete_contact);

/* Contacts of a page: the fewest that the API gives. */
#define PROBE_CONTACTS 10

#define NOTHING_CHANGED "The request changes nothing at Chatbase: the call can be repeated."
#define CHECK_CHATBOT "Check the chatbot_id and contacts_push.base_url."

static const Call list_call = {
	.method = "GET",
	.doing = "list contacts",
	.promised = "an answer that is no list of contacts with ids",
	.doubt = NOTHING_CHANGED,
	.instead = "",
	.not_found = CHECK_CHATBOT
};

static const Call get_call = {
	.method = "GET",
	.doing = "get contact",
	.promised = "an answer that does not have the contact",
	.doubt = NOTHING_CHANGED,
	.instead = "",
	.not_found = CHECK_CHATBOT
};

static const Call update_call = {
	.method = "PATCH",
	.doing = "update contact",
	.promised = "an answer that does not have the contact",
	.doubt = "The contact may or may not have been updated. The call can be repeated, unless it changes the external_id.",
	.done = "The contact was updated.",
	.instead = "",
	.not_found = "Check the external_id, the chatbot_id and contacts_push.base_url."
};

static const Call delete_call = {
	.method = "DELETE",
	.doing = "delete contact",
	.promised = "an answer that has another contact",
	.doubt = "The contact may or may not have been deleted. The call can be repeated: it returns false if there is no such contact any more.",
	.instead = "",
	.not_found = CHECK_CHATBOT
};

/* ---- one contact ---- */

/* Makes a call for the contact whose external_id is the second argument. */
static Call *
begin_contact_call(const Call *what, FunctionCallInfo fcinfo)
{
	Call	   *call = call_begin(what, fcinfo);
	const char *utf8;

	if (PG_ARGISNULL(1))
		call_bad_argument("external_id must not be null");
	call->external_id = text_to_cstring(PG_GETARG_TEXT_PP(1));
	/* no segment of a path can be one of these, see contact_check_chatbot_id() */
	if (*call->external_id == '\0' || strcmp(call->external_id, ".") == 0 ||
		strcmp(call->external_id, "..") == 0)
		call_bad_argument("external_id must not be empty, and cannot be \".\" or \"..\"");
	utf8 = contact_to_utf8(call->external_id);
	if (utf8 == NULL)
		call_bad_argument("external_id has text that cannot be converted to UTF-8");
	call->expected = memcpy(palloc(sizeof(char *)), &utf8, sizeof(char *));
	call->nexpected = 1;
	return call;
}

/*
 * Returns whether a 404 says that there is no such contact, and throws if it says that there is
 * no such chatbot.  "Resource not found" is said of either: whether the chatbot has a list tells
 * which.
 */
static bool
is_absent(Call *call)
{
	static const char contact[] = "contact not found";
	static const char chatbot[] = "chatbot not found";
	const char *said = call->answer.reply->message;

	if (call->result->status != 404)
		return false;
	if (said && pg_strncasecmp(said, contact, strlen(contact)) == 0)
		return true;
	if (said && pg_strncasecmp(said, chatbot, strlen(chatbot)) == 0)
		call_fail(call);
	call->method = list_call.method;
	call->promised = list_call.promised;
	call->doubt = list_call.doubt;
	call->page = 1;
	call->per_page = PROBE_CONTACTS;
	call->nexpected = 0;
	call_exchange(call);
	if (call->answer.judgement.verdict != VERDICT_CREATED)
		call_fail(call);
	if (!call->answer.reply->has_list)
		call_fail_broken(call);
	return true;
}

/*
 * chatbase_get_contact(chatbot_id text, external_id text)
 *		RETURNS SETOF contacts_push.contact
 */
Datum
contacts_push_get_contact(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Datum		values[CALL_COLUMNS];
	bool		nulls[CALL_COLUMNS];
	Call	   *call;

	InitMaterializedSRF(fcinfo, 0);
	call_check_type(rsinfo->setDesc);
	call = begin_contact_call(&get_call, fcinfo);
	call_exchange(call);
	if (!is_absent(call))
	{
		if (call->answer.judgement.verdict != VERDICT_CREATED)
			call_fail(call);
		call_contact(call, &call->answer.reply->contacts[call->answer.match[0]], values, nulls);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	call_end(call);
	return (Datum) 0;
}

/* Makes the request's body of the third argument, and has the answer name the contact as it says. */
static void
read_changes(FunctionCallInfo fcinfo, Call *call)
{
	JsonbContainer *changes;
	StringInfoData body;
	char	   *why;
	char	   *json;
	const char *external_id;
	int			length;

	if (PG_ARGISNULL(2))
		call_bad_argument("contact must not be null");
	changes = &PG_GETARG_JSONB_P(2)->root;
	why = contact_check_changes(changes, "contact");
	if (why)
		call_bad_argument(why);
	json = call_contact_json(changes, "contact", &length);
	initStringInfo(&body);
	appendStringInfoString(&body, "{\"data\":");
	appendBinaryStringInfo(&body, json, length);
	appendStringInfoChar(&body, '}');
	call->body = body.data;
	call->body_len = body.len;
	external_id = contact_member(changes, "external_id");
	if (external_id)
	{
		external_id = contact_to_utf8(external_id);
		call->expected = memcpy(palloc(sizeof(char *)), &external_id, sizeof(char *));
	}
}

/*
 * chatbase_update_contact(chatbot_id text, external_id text, contact jsonb)
 *		RETURNS contacts_push.contact
 */
Datum
contacts_push_update_contact(PG_FUNCTION_ARGS)
{
	Datum		values[CALL_COLUMNS];
	bool		nulls[CALL_COLUMNS];
	TupleDesc	desc;
	HeapTuple	row;
	Call	   *call;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	call_check_type(desc);
	call = begin_contact_call(&update_call, fcinfo);
	read_changes(fcinfo, call);
	call_exchange(call);
	if (call->answer.judgement.verdict != VERDICT_CREATED)
		call_fail(call);
	call_contact(call, &call->answer.reply->contacts[call->answer.match[0]], values, nulls);
	row = heap_form_tuple(BlessTupleDesc(desc), values, nulls);
	call_end(call);
	return HeapTupleGetDatum(row);
}

/* True if the answer has a contact that is not the one that was asked for. */
static bool
has_another(const Call *call)
{
	const Reply *reply = call->answer.reply;

	return reply->ncontacts > 0 && (reply->contacts[0].external_id == NULL ||
									strcmp(reply->contacts[0].external_id, call->expected[0]) != 0);
}

/*
 * chatbase_delete_contact(chatbot_id text, external_id text)
 *		RETURNS boolean
 */
Datum
contacts_push_delete_contact(PG_FUNCTION_ARGS)
{
	Call	   *call = begin_contact_call(&delete_call, fcinfo);
	const HttpResult *result;
	bool		deleted;

	call_exchange(call);
	result = call->result;
	deleted = result->outcome == HTTP_ANSWERED &&
		(result->status == 204 || (result->status == 200 && call->answer.reply->is_json));
	if (deleted && has_another(call))
		call_fail_broken(call);
	if (!deleted && !is_absent(call))
		call_fail(call);
	call_end(call);
	return BoolGetDatum(deleted);
}

/* ---- all contacts ---- */

/* A contact that was returned already, known by its id. */
typedef struct SeenId
{
	uint64		hash[2];
} SeenId;

/* A list from one row to the next. */
typedef struct ContactList
{
	Call	   *call;			/* its answer is the page at hand */
	int			next;			/* in it */
	bool		last;			/* it is the last one */
	bool		any;			/* it has had a row */
	HTAB	   *seen;			/* SeenId */
} ContactList;

/* True if the id is new.  Two ids of one hash are as likely as two equal UUIDs. */
static bool
add_seen(ContactList *list, const char *id)
{
	SeenId		seen;
	bool		found;

	for (int i = 0; i < 2; i++)
		seen.hash[i] = hash_bytes_extended((const unsigned char *) id, strlen(id), i + 1);
	hash_search(list->seen, &seen, HASH_ENTER, &found);
	return !found;
}

/*
 * Asks for the next page.  The server says how many there are; without that, the last one is the
 * one that has nothing new.  Contacts may have gone meanwhile, and a page with them: that is
 * answered with 400.
 */
static void
read_page(ContactList *list)
{
	Call	   *call = list->call;
	const Reply *reply;

	call->page++;
	list->next = 0;
	list->any = false;
	call_exchange(call);
	reply = call->answer.reply;
	if (call->page > 1 && call->result->status == 400)
	{
		call_end(call);
		list->last = true;
		return;
	}
	if (call->answer.judgement.verdict != VERDICT_CREATED)
		call_fail(call);
	if (!reply->has_list)
		call_fail_broken(call);
	for (int i = 0; i < reply->ncontacts; i++)
		if (reply->contacts[i].id == NULL)
			call_fail_broken(call);
	list->last = reply->ncontacts == 0 ||
		(reply->total_pages >= 0 && call->page >= reply->total_pages);
}

/* Returns the next contact; NULL: there is none. */
static const ReplyContact *
next_contact(ContactList *list)
{
	for (;;)
	{
		const Reply *reply = list->call->answer.reply;

		while (reply && list->next < reply->ncontacts)
		{
			const ReplyContact *contact = &reply->contacts[list->next++];

			if (add_seen(list, contact->id))
			{
				list->any = true;
				return contact;
			}
		}
		if (list->last || (reply && reply->total_pages < 0 && !list->any))
			return NULL;
		read_page(list);
	}
}

static ContactList *
begin_list(FunctionCallInfo fcinfo)
{
	ContactList *list = palloc0(sizeof(ContactList));
	HASHCTL		ctl = {.keysize = sizeof(SeenId),.entrysize = sizeof(SeenId),.hcxt = CurrentMemoryContext};

	list->call = call_begin(&list_call, fcinfo);
	list->call->per_page = CONTACT_PAGE;
	list->seen = hash_create("contacts of a list", CONTACT_PAGE, &ctl,
							 HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	return list;
}

/*
 * chatbase_list_contacts(chatbot_id text)
 *		RETURNS SETOF contacts_push.contact
 *
 * A row a call, so that pages that nobody wants are not asked for.
 */
Datum
contacts_push_list_contacts(PG_FUNCTION_ARGS)
{
	FuncCallContext *context;
	const ReplyContact *contact;
	MemoryContext caller;
	ContactList *list;

	if (SRF_IS_FIRSTCALL())
	{
		TupleDesc	desc;

		context = SRF_FIRSTCALL_INIT();
		caller = MemoryContextSwitchTo(context->multi_call_memory_ctx);
		if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
			elog(ERROR, "return type must be a row type");
		call_check_type(desc);
		context->tuple_desc = BlessTupleDesc(desc);
		context->user_fctx = begin_list(fcinfo);
		MemoryContextSwitchTo(caller);
	}
	context = SRF_PERCALL_SETUP();
	list = context->user_fctx;
	caller = MemoryContextSwitchTo(context->multi_call_memory_ctx);
	contact = next_contact(list);
	MemoryContextSwitchTo(caller);
	if (contact)
	{
		Datum		values[CALL_COLUMNS];
		bool		nulls[CALL_COLUMNS];

		call_contact(list->call, contact, values, nulls);
		SRF_RETURN_NEXT(context,
						HeapTupleGetDatum(heap_form_tuple(context->tuple_desc, values, nulls)));
	}
	SRF_RETURN_DONE(context);
}
