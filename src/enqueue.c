/*
 * enqueue.c
 *		Ways into the outbox: the triggers of watched tables, and enqueue().
 *
 * Layer 3.  The application's statement must not fail and not wait because of what
 * is done here: a mapping that raises costs its row, never the statement, and
 * nothing but appending happens to the tables of the extension.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "commands/trigger.h"
#include "compat.h"
#include "contact.h"
#include "enqueue.h"
#include "executor/executor.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "outbox.h"
#include "shared.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/resowner.h"
#include "utils/timestamp.h"
#include "utils/varlena.h"
#include "wake.h"

PG_FUNCTION_INFO_V1(contacts_push_enqueue);
PG_FUNCTION_INFO_V1(contacts_push_enqueue_rows);
PG_FUNCTION_INFO_V1(contacts_push_wake_worker);
PG_FUNCTION_INFO_V1(contacts_push_announce_installation);

/* The plans of a trigger, kept for the session; the key is the trigger's OID. */
typedef struct MappingPlans
{
	Oid			trigger;
	char		event;			/* of plan_set: one trigger fires on one event */
	OutboxPlan	plan_set;		/* over the transition table; NULL: none yet */
	OutboxPlan	plan_row;		/* over one row */
} MappingPlans;

/* One firing of a trigger. */
typedef struct Firing
{
	TriggerData *trigger;
	const char *chatbot_id;
	char	   *mapping;		/* qualified and quoted */
	MappingPlans *plans;
	int64		failures;		/* rows left out */
	char	   *reason;			/* of the first */
} Firing;

/* What is mapped at once: the transition table, or one row. */
typedef struct Pass
{
	Firing	   *firing;
	HeapTuple	tuple;
	Tuplestorestate *rows;		/* where the contacts go */
} Pass;

static MappingPlans *
find_plans(Oid trigger)
{
	static HTAB *cache = NULL;
	MappingPlans *plans;
	bool		found;

	if (cache == NULL)
	{
		HASHCTL		control = {0};

		control.keysize = sizeof(Oid);
		control.entrysize = sizeof(MappingPlans);
		control.hcxt = TopMemoryContext;
		cache = hash_create("contacts_push mappings", 16, &control,
							HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	plans = hash_search(cache, &trigger, HASH_ENTER, &found);
	if (!found)
	{
		plans->plan_set = NULL;
		plans->plan_row = NULL;
	}
	return plans;
}

/* Maps the whole transition table. */
static void
map_set(void *arg)
{
	Pass	   *pass = arg;
	Firing	   *firing = pass->firing;
	Trigger    *trigger = firing->trigger->tg_trigger;

	if (firing->plans->plan_set == NULL)
	{
		Oid			type = firing->trigger->tg_relation->rd_rel->reltype;
		const char *table = quote_identifier(trigger->tgnewtable ? trigger->tgnewtable
											 : trigger->tgoldtable);
		char	   *call = psprintf("%s(ROW(t.*)::%s)", firing->mapping,
									format_type_extended(type, -1, FORMAT_TYPE_FORCE_QUALIFY));
		char	   *from = psprintf(" FROM %s t", table);

		firing->plans->plan_set = outbox_plan_mapping(psprintf(ENQUEUE_MAPPED, call, from),
													  firing->trigger, InvalidOid);
	}
	outbox_run_mapping(firing->plans->plan_set, firing->trigger, NULL, pass->rows);
}

/* Maps one row. */
static void
map_row(void *arg)
{
	Pass	   *pass = arg;
	Firing	   *firing = pass->firing;
	Relation	relation = firing->trigger->tg_relation;
	Datum		row = heap_copy_tuple_as_datum(pass->tuple, RelationGetDescr(relation));

	if (firing->plans->plan_row == NULL)
		firing->plans->plan_row =
			outbox_plan_mapping(psprintf(ENQUEUE_MAPPED, psprintf("%s($1)", firing->mapping), ""),
								NULL, relation->rd_rel->reltype);
	outbox_run_mapping(firing->plans->plan_row, NULL, &row, pass->rows);
}

/*
 * Errors that are about the session or the machine and not about a row: they stay
 * what they are.
 */
static bool
must_pass_on(int sqlerrcode)
{
	if (ERRCODE_TO_CATEGORY(sqlerrcode) == ERRCODE_TRANSACTION_ROLLBACK)
		return true;
	switch (sqlerrcode)
	{
		case ERRCODE_QUERY_CANCELED:
		case ERRCODE_ADMIN_SHUTDOWN:
		case ERRCODE_CRASH_SHUTDOWN:
		case ERRCODE_DATABASE_DROPPED:
		case ERRCODE_OUT_OF_MEMORY:
		case ERRCODE_DISK_FULL:
			return true;
		default:
			return false;
	}
}

bool
enqueue_try(void (*run) (void *), void *arg, char **reason)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	volatile bool done = false;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		run(arg);
		ReleaseCurrentSubTransaction();
		done = true;
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		if (must_pass_on(error->sqlerrcode))
			ReThrowError(error);
		*reason = error->message ? error->message : "unknown error";
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	return done;
}

static void
count_failure(Firing *firing, int64 failures, const char *reason)
{
	if (failures > 0 && firing->reason == NULL)
		firing->reason = pstrdup(reason);
	firing->failures += failures;
}

static Tuplestorestate *
map_one(Firing *firing, HeapTuple tuple)
{
	Pass		pass = {firing, tuple, outbox_rows_create()};
	char	   *reason;

	if (!enqueue_try(map_row, &pass, &reason))
		count_failure(firing, 1, reason);
	return pass.rows;
}

/* Maps the row in the slot; what that takes is allocated in row_context. */
static void
map_slot(Firing *firing, TupleTableSlot *slot, Tuplestorestate *rows,
		 MemoryContext row_context)
{
	MemoryContext context = MemoryContextSwitchTo(row_context);
	bool		free_tuple;
	Pass		pass = {firing, ExecFetchSlotHeapTuple(slot, true, &free_tuple), rows};
	char	   *reason;
	bool		mapped = enqueue_try(map_row, &pass, &reason);

	MemoryContextSwitchTo(context);
	if (!mapped)
		count_failure(firing, 1, reason);
}

/*
 * Row by row, because some row makes the mapping raise.  What a row takes is freed
 * before the next: the trigger's memory lasts until all of them are through.
 */
static void
map_each(Firing *firing, Tuplestorestate *table, Tuplestorestate *rows)
{
	MemoryContext row_context = AllocSetContextCreate(CurrentMemoryContext,
													  "contacts_push row",
													  ALLOCSET_DEFAULT_SIZES);
	TupleDesc	desc = RelationGetDescr(firing->trigger->tg_relation);
	TupleTableSlot *slot = MakeSingleTupleTableSlot(desc, &TTSOpsMinimalTuple);
	int			reader = tuplestore_alloc_read_pointer(table, EXEC_FLAG_REWIND);

	tuplestore_select_read_pointer(table, reader);
	tuplestore_rescan(table);
	while (tuplestore_gettupleslot(table, true, false, slot))
	{
		CHECK_FOR_INTERRUPTS();
		map_slot(firing, slot, rows, row_context);
		MemoryContextReset(row_context);
		tuplestore_select_read_pointer(table, reader);
	}
	tuplestore_select_read_pointer(table, 0);
	ExecDropSingleTupleTableSlot(slot);
	MemoryContextDelete(row_context);
}

static Tuplestorestate *
map_all(Firing *firing, Tuplestorestate *table)
{
	Pass		pass = {firing, NULL, outbox_rows_create()};
	char	   *reason;

	if (!enqueue_try(map_set, &pass, &reason))
	{
		/* It may be the plan that fails: the table was renamed, say. */
		outbox_forget_plan(&firing->plans->plan_set);
		tuplestore_clear(pass.rows);
		map_each(firing, table, pass.rows);
	}
	return pass.rows;
}

/* Contacts without their contents: withdrawals of the same external_ids. */
static Tuplestorestate *
to_withdrawals(Tuplestorestate *rows, const char *except)
{
	Tuplestorestate *withdrawals = outbox_rows_create();
	TupleTableSlot *slot = MakeSingleTupleTableSlot(outbox_rows_desc(), &TTSOpsMinimalTuple);

	while (tuplestore_gettupleslot(rows, true, false, slot))
	{
		bool		isnull;
		Datum		value = slot_getattr(slot, 1, &isnull);
		char	   *external_id = isnull ? NULL : TextDatumGetCString(value);

		if (external_id && (except == NULL || strcmp(external_id, except) != 0))
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
	{
		bool		isnull;
		Datum		value = slot_getattr(slot, 1, &isnull);

		external_id = isnull ? NULL : TextDatumGetCString(value);
	}
	ExecDropSingleTupleTableSlot(slot);
	tuplestore_rescan(rows);
	return external_id;
}

/* Appends rows and lets go of them. */
static void
append(Firing *firing, Tuplestorestate *rows, bool count)
{
	int64		n = tuplestore_tuple_count(rows);
	int64		left_out = n > 0 ? n - outbox_append(firing->chatbot_id, rows) : 0;

	if (count)
		count_failure(firing, left_out, ENQUEUE_INVALID);
	tuplestore_end(rows);
}

/*
 * A row that fails to be mapped now is left out like any other, and withdraws
 * nothing: its user is still there, and what was enqueued of it is still to be sent.
 */
static void
enqueue_update(Firing *firing)
{
	Tuplestorestate *new_rows = map_one(firing, firing->trigger->tg_newtuple);
	Pass		old = {firing, firing->trigger->tg_trigtuple, outbox_rows_create()};
	char	   *external_id = first_external_id(new_rows);
	char	   *reason;

	if (external_id && *external_id && strlen(external_id) <= CONTACT_MAX_EXTERNAL_ID)
	{
		/* An old row that could not be mapped was not enqueued either. */
		(void) enqueue_try(map_row, &old, &reason);
	}
	append(firing, to_withdrawals(old.rows, external_id), false);
	append(firing, new_rows, true);
}

static void
enqueue_delete(Firing *firing, Tuplestorestate *rows)
{
	append(firing, to_withdrawals(rows, NULL), false);
	/* What can't be mapped was not enqueued: nothing is missing. */
	firing->failures = 0;
}

static void
fire(Firing *firing)
{
	TriggerData *trigger = firing->trigger;
	bool		set = TRIGGER_FIRED_FOR_STATEMENT(trigger->tg_event);

	if (TRIGGER_FIRED_BY_INSERT(trigger->tg_event))
		append(firing, set ? map_all(firing, trigger->tg_newtable)
			   : map_one(firing, trigger->tg_trigtuple), true);
	else if (TRIGGER_FIRED_BY_DELETE(trigger->tg_event))
		enqueue_delete(firing, set ? map_all(firing, trigger->tg_oldtable)
					   : map_one(firing, trigger->tg_trigtuple));
	else
		enqueue_update(firing);
}

static void
check_trigger(FunctionCallInfo fcinfo)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_AFTER(trigger->tg_event) ||
		trigger->tg_trigger->tgnargs != 2 ||
		(TRIGGER_FIRED_FOR_STATEMENT(trigger->tg_event) &&
		 !trigger->tg_newtable && !trigger->tg_oldtable))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("contacts_push.enqueue_rows() was not called by a trigger of contacts_push.watch()")));
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
 * True for the first failure of a row trigger in a statement of the client: it
 * fires for each row, and one warning is enough.
 */
static bool
is_first_in_statement(Oid trigger)
{
	static Oid	last_trigger = InvalidOid;
	static TimestampTz last_statement = 0;
	TimestampTz statement = GetCurrentStatementStartTimestamp();
	bool		first = trigger != last_trigger || statement != last_statement;

	last_trigger = trigger;
	last_statement = statement;
	return first;
}

/* One warning a statement, and a row that counts them for contacts_push.progress. */
static void
report_failures(Firing *firing)
{
	Relation	relation = firing->trigger->tg_relation;
	const char *name = RelationGetRelationName(relation);
	bool		row = TRIGGER_FIRED_FOR_ROW(firing->trigger->tg_event);

	outbox_append_failure(firing->chatbot_id,
						  quote_qualified_identifier(get_namespace_name(RelationGetNamespace(relation)), name),
						  firing->failures, firing->reason);
	if (row && !is_first_in_statement(firing->trigger->tg_trigger->tgoid))
		return;
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

/*
 * contacts_push.enqueue_rows(): trigger with the arguments chatbot_id and mapping.
 */
Datum
contacts_push_enqueue_rows(PG_FUNCTION_ARGS)
{
	Firing		firing = {0};
	Trigger    *trigger;

	check_trigger(fcinfo);
	firing.trigger = (TriggerData *) fcinfo->context;
	trigger = firing.trigger->tg_trigger;
	firing.chatbot_id = trigger->tgargs[0];
	firing.mapping = enqueue_quote_mapping(trigger->tgargs[1]);
	firing.plans = find_plans(trigger->tgoid);
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
	Tuplestorestate *rows;
	char	   *chatbot_id;
	JsonbContainer *contacts;
	int64		n;

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
	rows = outbox_rows_create();
	if (JsonContainerIsArray(contacts) && !JsonContainerIsScalar(contacts))
	{
		for (uint32 i = 0; i < JsonContainerSize(contacts); i++)
			add_contact(rows, getIthJsonbValueFromContainer(contacts, i),
						psprintf("contact[%u]", i));
	}
	else
	{
		JsonbValue	whole = {.type = jbvBinary};

		whole.val.binary.data = contacts;
		whole.val.binary.len = VARSIZE(PG_GETARG_JSONB_P(1)) - VARHDRSZ;
		add_contact(rows, &whole, "contact");
	}
	n = tuplestore_tuple_count(rows) > 0 ? outbox_append(chatbot_id, rows) : 0;
	tuplestore_end(rows);
	PG_RETURN_INT64(n);
}

/* contacts_push.wake_worker(): statement trigger of contacts_push.outbox */
Datum
contacts_push_wake_worker(PG_FUNCTION_ARGS)
{
	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("contacts_push.wake_worker() was not called by a trigger")));
	wake_worker_at_commit();
	return PointerGetDatum(NULL);
}

/* contacts_push.announce_installation(): called by the extension's script */
Datum
contacts_push_announce_installation(PG_FUNCTION_ARGS)
{
	if (shared_available())
		wake_launcher_at_commit();
	else if (!IsBinaryUpgrade)
		ereport(WARNING,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("contacts_push is not preloaded: no worker will send what is enqueued"),
				 errhint("Add contacts_push to shared_preload_libraries in postgresql.conf and restart the server.")));
	PG_RETURN_VOID();
}
