/*
 * check.c
 *		What contacts_push.check() asks: the key of a chatbot, and how far a request comes.
 *
 * Neither fails for what it finds: that is for the rows of check().
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_authid.h"
#include "compat.h"
#include "contact/contact.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "server/settings.h"
#include "session/call.h"
#include "utils/acl.h"
#include "utils/builtins.h"

COMPAT_FUNCTION_INFO_V1(contacts_push_key_trouble);
COMPAT_FUNCTION_INFO_V1(contacts_push_probe);

#define PROBE_COLUMNS 6

/* Contacts that a probe asks for: the fewest that the API gives. */
#define PROBE_CONTACTS 10

static const Call probe_call = {
	.method = "GET",
	.doing = "list contacts",
	.instead = "",
	.page = 1,
	.per_page = PROBE_CONTACTS,
	.anew = true
};

/*
 * contacts_push_internal.key_trouble(chatbot_id text) RETURNS text: why the session has no key
 * for the chatbot; NULL: it has one.  Only who may see the settings is told of the file.
 */
Datum
contacts_push_key_trouble(PG_FUNCTION_ARGS)
{
	char	   *chatbot_id = text_to_cstring(PG_GETARG_TEXT_PP(0));
	char	   *why;
	char	   *key;

	contact_check_chatbot_id(chatbot_id);
	settings_check_refused();
	key = settings_find_key(chatbot_id, &why);
	if (key)
	{
		pfree(key);
		PG_RETURN_NULL();
	}
	if (!has_privs_of_role(GetUserId(), ROLE_PG_READ_ALL_SETTINGS))
		why = "there is none; members of pg_read_all_settings are told why";
	PG_RETURN_TEXT_P(cstring_to_text(why));
}

/*
 * contacts_push_internal.probe(chatbot_id text): asks for the first contacts of the chatbot, by
 * a connection of its own, and returns how far that came and what was answered.  It throws if
 * nothing could be asked: no key, or the budget is used up.
 */
Datum
contacts_push_probe(PG_FUNCTION_ARGS)
{
	Datum		values[PROBE_COLUMNS];
	bool		nulls[PROBE_COLUMNS] = {0};
	const HttpResult *result;
	TupleDesc	desc;
	HeapTuple	row;
	Call	   *call;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	call = call_begin(&probe_call, fcinfo);
	call_exchange(call);
	result = call->result;
	values[0] = Int32GetDatum(result->reached);
	nulls[1] = result->address[0] == '\0';
	values[1] = CStringGetTextDatum(result->address);
	nulls[2] = result->status == 0;
	values[2] = Int32GetDatum(result->status);
	values[3] = BoolGetDatum(result->outcome == HTTP_ANSWERED && call->answer.reply->is_json);
	values[4] = BoolGetDatum(call->answer.judgement.verdict == VERDICT_CREATED &&
							 call->answer.reply->has_list);
	values[5] = CStringGetTextDatum(call->answer.message);
	row = heap_form_tuple(BlessTupleDesc(desc), values, nulls);
	call_end(call);
	return HeapTupleGetDatum(row);
}
