/*
 * enqueue.c
 *		Ways into the outbox: the triggers of watched tables, and enqueue().
 *
 * The application's statement must not fail and not wait because of what
 * is done here: a mapping that raises costs its row, never the statement, and
 * nothing but appending happens to the tables of the extension.
 */
#include "postgres.h"

#include "commands/trigger.h"
#include "common/hashfn.h"
#include "compat.h"
#include "contact/contact.h"
#include "enqueue/enqueue.h"
#include "enqueue/enqueue_map.h"
#include "enqueue/recent.h"
#include "executor/executor.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "server/shared.h"
#include "server/try.h"
#include "server/wake.h"
#include "store/outbox.h"
#include "store/outbox_append.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/timestamp.h"
#include "utils/varlena.h"

COMPAT_FUNCTION_INFO_V1(contacts_push_enqueue);
COMPAT_FUNCTION_INFO_V1(contacts_push_enqueue_rows);
COMPAT_FUNCTION_INFO_V1(contacts_push_wake_worker);
COMPAT_FUNCTION_INFO_V1(contacts_push_announce_installation);

/*
 * A statement's transition table has the rows of children as well, and nothing to tell
 * them by.  watch() makes a row trigger where there are children.
 */
#define HAS_CHILDREN \
	"The table has got children by inheritance since it was watched."

/* palloc'd; NULL: it has none. */
static char *
external_id_of(TupleTableSlot *slot)
{
	bool		isnull;
	Datum		value = slot_getattr(slot, 1, &isnull);

	return isnull ? NULL : TextDatumGetCString(value);
}

/* Contacts without their contents: withdrawals of the same external_ids. */
static Tuplestorestate *
to_withdrawals(Tuplestorestate *rows)
{
	Tuplestorestate *withdrawals = outbox_rows_create();
	TupleTableSlot *slot = MakeSingleTupleTableSlot(outbox_rows_desc(), &TTSOpsMinimalTuple);

	while (tuplestore_gettupleslot(rows, true, false, slot))
	{
		char	   *external_id = external_id_of(slot);

		if (external_id)
			outbox_rows_add(withdrawals, external_id, (Datum) 0, true);
	}
	ExecDropSingleTupleTableSlot(slot);
	tuplestore_end(rows);
	return withdrawals;
}

/* The external_id of the first row, palloc'd, or NULL; the rows stay. */
static char *
first_external_id(Tuplestorestate *rows)
{
	TupleTableSlot *slot = MakeSingleTupleTableSlot(outbox_rows_desc(), &TTSOpsMinimalTuple);
	char	   *external_id = NULL;

	if (tuplestore_gettupleslot(rows, true, false, slot))
		external_id = external_id_of(slot);
	ExecDropSingleTupleTableSlot(slot);
	tuplestore_rescan(rows);
	return external_id;
}

/* The rows but those that a statement has enqueued which began later. */
static Tuplestorestate *
without_outdated(Firing *firing, Tuplestorestate *rows)
{
	Tuplestorestate *kept;
	TupleTableSlot *slot;

	if (recent_is_empty())
		return rows;
	kept = outbox_rows_create();
	slot = MakeSingleTupleTableSlot(outbox_rows_desc(), &TTSOpsMinimalTuple);
	while (tuplestore_gettupleslot(rows, true, false, slot))
	{
		char	   *external_id = external_id_of(slot);

		if (!external_id ||
			!recent_by_later(firing->chatbot_id, external_id, firing->statement))
			tuplestore_puttupleslot(kept, slot);
	}
	ExecDropSingleTupleTableSlot(slot);
	tuplestore_end(rows);
	return kept;
}

static void
note_all(Firing *firing, Tuplestorestate *rows)
{
	TupleTableSlot *slot = MakeSingleTupleTableSlot(outbox_rows_desc(), &TTSOpsMinimalTuple);

	tuplestore_rescan(rows);
	while (tuplestore_gettupleslot(rows, true, false, slot))
	{
		char	   *external_id = external_id_of(slot);

		if (external_id)
			recent_note(firing->chatbot_id, external_id, firing->statement);
	}
	ExecDropSingleTupleTableSlot(slot);
}

/* Rows on their way into the outbox. */
typedef struct Appending
{
	const char *chatbot_id;
	Oid			relation;		/* that they come from, or InvalidOid */
	Tuplestorestate *rows;
	int64		appended;		/* how many of them can stand in the outbox */
} Appending;

/* True for an external_id that can stand in the outbox. */
static bool
is_external_id(Datum value)
{
	struct varlena *text = PG_DETOAST_DATUM_PACKED(value);
	Size		bytes = VARSIZE_ANY_EXHDR(text);

	return bytes >= 1 && bytes <= CONTACT_MAX_EXTERNAL_ID;
}

static void
append_rows(void *arg)
{
	Appending  *appending = arg;
	Datum		chatbot_id = CStringGetTextDatum(appending->chatbot_id);
	TupleTableSlot *slot = MakeSingleTupleTableSlot(outbox_rows_desc(), &TTSOpsMinimalTuple);
	OutboxAppend *append = outbox_append_begin();

	while (tuplestore_gettupleslot(appending->rows, true, false, slot))
	{
		slot_getallattrs(slot);
		if (slot->tts_isnull[0] || !is_external_id(slot->tts_values[0]) ||
			(!slot->tts_isnull[1] && !JB_ROOT_IS_OBJECT(DatumGetJsonbP(slot->tts_values[1]))))
			continue;
		outbox_append_row(append, chatbot_id, slot->tts_values[0], appending->relation, NULL,
						  slot->tts_isnull[1] ? NULL : &slot->tts_values[1]);
		appending->appended++;
	}
	outbox_append_end(append);
	ExecDropSingleTupleTableSlot(slot);
}

/*
 * Appends rows and lets go of them: those that no later statement has had its say on
 * already.  count: as failures if they cannot stand in the outbox.  What an operator's
 * constraint, trigger or lock on the outbox refuses is a failure of the push as well.
 */
static void
append(Firing *firing, Tuplestorestate *rows, bool count)
{
	Appending	appending = {firing->chatbot_id};
	char	   *reason;
	int64		n;

	rows = without_outdated(firing, rows);
	n = tuplestore_tuple_count(rows);
	appending.rows = rows;
	appending.relation = enqueue_watched_table(firing->trigger);
	if (n > 0 && !try_run(append_rows, &appending, &reason))
		enqueue_count_failure(firing, n, reason);
	else if (count)
		enqueue_count_failure(firing, n - appending.appended, ENQUEUE_INVALID);
	if (firing->nested)
		note_all(firing, rows);
	tuplestore_end(rows);
}

/*
 * A row that fails to be mapped now is left out like any other, and withdraws
 * nothing: its user is still there, and what was enqueued of it is still to be sent.
 */
static void
enqueue_update(Firing *firing)
{
	Tuplestorestate *new_rows = enqueue_map_one(firing, firing->trigger->tg_newtuple);
	Tuplestorestate *old_rows = outbox_rows_create();
	char	   *new_id = first_external_id(new_rows);
	char	   *old_id = NULL;

	if (new_id && *new_id && strlen(new_id) <= CONTACT_MAX_EXTERNAL_ID)
	{
		/* An old row that cannot be mapped: there is no telling what it was. */
		(void) enqueue_map_quietly(firing, firing->trigger->tg_trigtuple, old_rows);
		old_id = first_external_id(old_rows);
	}
	if (old_id && strcmp(old_id, new_id) != 0)
	{
		/* What the statement has just given that key to keeps it. */
		if (!recent_by_same(firing->chatbot_id, old_id, firing->statement))
			append(firing, to_withdrawals(old_rows), false);
		else
			tuplestore_end(old_rows);
		recent_note(firing->chatbot_id, new_id, firing->statement);
	}
	else
		tuplestore_end(old_rows);
	append(firing, new_rows, true);
}

static void
fire(Firing *firing)
{
	TriggerData *trigger = firing->trigger;
	bool		set = TRIGGER_FIRED_FOR_STATEMENT(trigger->tg_event);

	if (TRIGGER_FIRED_BY_INSERT(trigger->tg_event))
		append(firing, set ? enqueue_map_all(firing, trigger->tg_newtable)
			   : enqueue_map_one(firing, trigger->tg_trigtuple), true);
	else if (TRIGGER_FIRED_BY_UPDATE(trigger->tg_event))
		enqueue_update(firing);
	else if (set && trigger->tg_relation->rd_rel->relhassubclass)
		enqueue_count_failure(firing, tuplestore_tuple_count(trigger->tg_oldtable), HAS_CHILDREN);
	else
		append(firing, to_withdrawals(set ? enqueue_map_all(firing, trigger->tg_oldtable)
									  : enqueue_map_one(firing, trigger->tg_trigtuple)), false);
}

/* True if the trigger has what its event is worked off with. */
static bool
is_one_of_ours(const TriggerData *trigger)
{
	if (!TRIGGER_FIRED_AFTER(trigger->tg_event) || trigger->tg_trigger->tgnargs != 2)
		return false;
	if (TRIGGER_FIRED_FOR_ROW(trigger->tg_event))
		return true;
	if (TRIGGER_FIRED_BY_INSERT(trigger->tg_event))
		return trigger->tg_newtable != NULL;
	return TRIGGER_FIRED_BY_DELETE(trigger->tg_event) && trigger->tg_oldtable != NULL;
}

static void
check_trigger(FunctionCallInfo fcinfo)
{
	if (!CALLED_AS_TRIGGER(fcinfo) || !is_one_of_ours((TriggerData *) fcinfo->context))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("contacts_push_internal.enqueue_rows() was not called by a trigger of contacts_push.watch()")));
}

char *
enqueue_quote_mapping(const char *name)
{
	List	   *names;
	char	   *copy = pstrdup(name);

	if (!SplitIdentifierString(copy, '.', &names) || list_length(names) != 2)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("\"%s\" is not the qualified name of a mapping", name)));
	return psprintf("%s.%s", quote_identifier(linitial(names)),
					quote_identifier(lsecond(names)));
}

/*
 * True for the first failure of row triggers in a statement of the client: they fire
 * for each row, those of partitions in turns, and one warning for each chatbot and
 * mapping is enough.
 */
static bool
is_first_in_statement(const Firing *firing)
{
	typedef struct Warned
	{
		uint64		key;
		TimestampTz statement;
	} Warned;
	static HTAB *warned = NULL;
	TimestampTz statement = GetCurrentStatementStartTimestamp();
	char	   *name = psprintf("%s %s", firing->mapping, firing->chatbot_id);
	uint64		key = hash_bytes_extended((unsigned char *) name, strlen(name), 0);
	Warned	   *entry;
	bool		known;
	bool		first;

	if (warned == NULL)
	{
		HASHCTL		control = {0};

		control.keysize = sizeof(uint64);
		control.entrysize = sizeof(Warned);
		control.hcxt = TopMemoryContext;
		warned = hash_create("contacts_push warnings", 16, &control,
							 HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	entry = hash_search(warned, &key, HASH_ENTER, &known);
	first = !known || entry->statement != statement;
	entry->statement = statement;
	return first;
}

/* The warning about rows that were not enqueued. */
static void
warn_of_rows(const Firing *firing, const char *name)
{
	bool		row = TRIGGER_FIRED_FOR_ROW(firing->trigger->tg_event);

	ereport(WARNING,
			(errcode(ERRCODE_WARNING),
			 row ? errmsg("a row of \"%s\" was not enqueued for chatbot \"%s\"",
						  name, firing->chatbot_id) :
			 errmsg_plural("%lld row of \"%s\" was not enqueued for chatbot \"%s\"",
						   "%lld rows of \"%s\" were not enqueued for chatbot \"%s\"",
						   firing->failures, (long long) firing->failures,
						   name, firing->chatbot_id),
			 errdetail_internal("%s", firing->reason),
			 row ? errhint("Mend the rows or the mapping, then call contacts_push.backfill(). Further rows of this statement are counted in contacts_push.progress.") :
			 errhint("Mend the rows or the mapping, then call contacts_push.backfill().")));
}

/* The same about deleted rows, which may be pending. */
static void
warn_of_deleted_rows(const Firing *firing, const char *name)
{
	bool		row = TRIGGER_FIRED_FOR_ROW(firing->trigger->tg_event);

	ereport(WARNING,
			(errcode(ERRCODE_WARNING),
			 row ?
			 errmsg("a deleted row of \"%s\" was not withdrawn from chatbot \"%s\"",
					name, firing->chatbot_id) :
			 errmsg_plural("%lld deleted row of \"%s\" was not withdrawn from chatbot \"%s\"",
						   "%lld deleted rows of \"%s\" were not withdrawn from chatbot \"%s\"",
						   firing->failures, (long long) firing->failures,
						   name, firing->chatbot_id),
			 errdetail_internal("%s", firing->reason),
			 errhint("%sWhat of them is still pending is withdrawn by INSERT INTO contacts_push.outbox (chatbot_id, external_id) VALUES (%s, '...'), with the external_id of each.",
					 row || !firing->trigger->tg_relation->rd_rel->relhassubclass ? "" :
					 "Call contacts_push.unwatch() and contacts_push.watch() again. ",
					 quote_literal_cstr(firing->chatbot_id))));
}

static void
append_failure(void *arg)
{
	Firing	   *firing = arg;
	Relation	relation = firing->trigger->tg_relation;

	outbox_append_failure(firing->chatbot_id,
						  quote_qualified_identifier(get_namespace_name(RelationGetNamespace(relation)),
													 RelationGetRelationName(relation)),
						  firing->failures, firing->reason);
}

/*
 * One warning a statement, and a row that counts them for contacts_push.progress.  Where
 * even that cannot be appended the warning is all there is.
 */
static void
report_failures(Firing *firing)
{
	const char *name = RelationGetRelationName(firing->trigger->tg_relation);
	char	   *reason;

	(void) try_run(append_failure, firing, &reason);
	if (TRIGGER_FIRED_FOR_ROW(firing->trigger->tg_event) && !is_first_in_statement(firing))
		return;
	if (TRIGGER_FIRED_BY_DELETE(firing->trigger->tg_event))
		warn_of_deleted_rows(firing, name);
	else
		warn_of_rows(firing, name);
}

/*
 * contacts_push_internal.enqueue_rows(): trigger with the arguments chatbot_id and mapping.
 */
Datum
contacts_push_enqueue_rows(PG_FUNCTION_ARGS)
{
	Firing		firing = {0};

	check_trigger(fcinfo);
	firing.trigger = (TriggerData *) fcinfo->context;
	firing.chatbot_id = firing.trigger->tg_trigger->tgargs[0];
	firing.mapping = enqueue_quote_mapping(firing.trigger->tg_trigger->tgargs[1]);
	enqueue_map_begin(&firing);
	fire(&firing);
	if (firing.failures > 0)
		report_failures(&firing);
	return PointerGetDatum(NULL);
}

/* One element of enqueue()'s argument. */
static void
add_contact(Tuplestorestate *rows, const JsonbValue *value, const char *path)
{
	JsonbContainer *contact = value->type == jbvBinary ? value->val.binary.data : NULL;
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
	outbox_rows_add(rows, external_id,
					JsonbPGetDatum(JsonbValueToJsonb(unconstify(JsonbValue *, value))), false);
}

/*
 * contacts_push.enqueue(chatbot_id text, contact jsonb) RETURNS bigint
 *
 * Checks what the outbox needs; the rest is the worker's, so that a contact that
 * is refused is seen where all the others are.
 */
Datum
contacts_push_enqueue(PG_FUNCTION_ARGS)
{
	Appending	appending = {0};
	char	   *chatbot_id;
	JsonbContainer *contacts;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("chatbot_id and contact must not be null")));
	chatbot_id = text_to_cstring(PG_GETARG_TEXT_PP(0));
	if (*chatbot_id == '\0' || strlen(chatbot_id) > CONTACT_MAX_EXTERNAL_ID ||
		strcmp(chatbot_id, ".") == 0 || strcmp(chatbot_id, "..") == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("chatbot_id must have 1 to %d bytes, and cannot be \".\" or \"..\"",
						CONTACT_MAX_EXTERNAL_ID)));
	contacts = &PG_GETARG_JSONB_P(1)->root;
	appending.chatbot_id = chatbot_id;
	appending.rows = outbox_rows_create();
	if (JsonContainerIsArray(contacts) && !JsonContainerIsScalar(contacts))
	{
		for (uint32 i = 0; i < JsonContainerSize(contacts); i++)
			add_contact(appending.rows, getIthJsonbValueFromContainer(contacts, i),
						psprintf("contact[%u]", i));
	}
	else
	{
		JsonbValue	whole = {.type = jbvBinary};

		whole.val.binary.data = contacts;
		whole.val.binary.len = VARSIZE(PG_GETARG_JSONB_P(1)) - VARHDRSZ;
		add_contact(appending.rows, &whole, "contact");
	}
	append_rows(&appending);
	tuplestore_end(appending.rows);
	PG_RETURN_INT64(appending.appended);
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
