/*
 * enqueue.c
 *		Ways into the outbox other than watched tables: enqueue(), and the trigger that wakes
 *		the worker for a plain INSERT.
 */
#include "postgres.h"

#include "commands/trigger.h"
#include "compat.h"
#include "contact/contact.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "server/shared.h"
#include "server/wake.h"
#include "store/outbox_append.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"

COMPAT_FUNCTION_INFO_V1(contacts_push_enqueue);
COMPAT_FUNCTION_INFO_V1(contacts_push_wake_worker);
COMPAT_FUNCTION_INFO_V1(contacts_push_announce_installation);

/* Appends one element of enqueue()'s argument; path: names it, for messages. */
static void
add_contact(OutboxAppend *append, Datum chatbot_id, const JsonbValue *value, const char *path)
{
	JsonbContainer *contact = value->type == jbvBinary ? value->val.binary.data : NULL;
	OutboxIntent intent = {.chatbot_id = chatbot_id};
	char	   *external_id;

	if (contact == NULL || !JsonContainerIsObject(contact))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must be an object", path)));
	external_id = contact_member(contact, "external_id");
	if (external_id == NULL || *external_id == '\0' ||
		strlen(external_id) > CONTACT_MAX_EXTERNAL_ID)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s.external_id must be a string of 1 to %d bytes",
						path, CONTACT_MAX_EXTERNAL_ID)));
	intent.external_id = CStringGetTextDatum(external_id);
	intent.contact = JsonbPGetDatum(JsonbValueToJsonb(unconstify(JsonbValue *, value)));
	outbox_append_row(append, &intent);
}

/*
 * contacts_push.enqueue(chatbot_id text, contact jsonb) RETURNS bigint
 *
 * Checks only what the outbox needs.  The worker checks the rest, so that a contact that is
 * refused is seen where all the others are.
 */
Datum
contacts_push_enqueue(PG_FUNCTION_ARGS)
{
	OutboxAppend *append;
	JsonbContainer *contacts;
	int64		n = 1;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("chatbot_id and contact must not be null")));
	contact_check_chatbot_id(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	contacts = &PG_GETARG_JSONB_P(1)->root;
	append = outbox_append_begin(false);
	if (JsonContainerIsArray(contacts) && !JsonContainerIsScalar(contacts))
	{
		n = JsonContainerSize(contacts);
		for (int64 i = 0; i < n; i++)
			add_contact(append, PG_GETARG_DATUM(0), getIthJsonbValueFromContainer(contacts, i),
						psprintf("contact[%lld]", (long long) i));
	}
	else
	{
		JsonbValue	whole = {.type = jbvBinary};

		whole.val.binary.data = contacts;
		whole.val.binary.len = VARSIZE(PG_GETARG_JSONB_P(1)) - VARHDRSZ;
		add_contact(append, PG_GETARG_DATUM(0), &whole, "contact");
	}
	(void) outbox_append_end(append);
	PG_RETURN_INT64(n);
}

/* contacts_push_internal.wake_worker(): statement trigger of contacts_push.outbox */
Datum
contacts_push_wake_worker(PG_FUNCTION_ARGS)
{
	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("contacts_push_internal.wake_worker() was not called by a trigger")));
	wake_for_rows_at_commit();
	return PointerGetDatum(NULL);
}

/* contacts_push_internal.announce_installation(): called by the extension's script */
Datum
contacts_push_announce_installation(PG_FUNCTION_ARGS)
{
	if (shared_available())
		wake_launcher_at_commit(MyDatabaseId);
	else if (!IsBinaryUpgrade)
		ereport(WARNING,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("contacts_push is not preloaded: no worker will send what is enqueued"),
				 errhint("Add contacts_push to shared_preload_libraries in postgresql.conf and restart the server.")));
	PG_RETURN_VOID();
}
