/*
 * enqueue_map.c
 *		Rows of a watched table to contacts, by its mapping.
 *
 * A mapping that raises costs its row, never the statement.  Nothing is
 * appended in here.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_trigger.h"
#include "compat.h"
#include "enqueue/enqueue.h"
#include "enqueue/enqueue_map.h"
#include "enqueue/recent.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "server/try.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/hsearch.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/resowner.h"

/* The plans of a trigger, kept for the session; the key is the trigger's OID. */
struct MappingPlans
{
	Oid			trigger;
	char	   *mapping;		/* that they call: the trigger may be replaced */
	OutboxPlan	plan_set;		/* over the transition table; NULL: none, or in use */
	OutboxPlan	plan_row;		/* over one row; the same */
};

/* What is mapped at once: the transition table, or one row. */
typedef struct Pass
{
	Firing	   *firing;
	HeapTuple	tuple;
	OutboxPlan	plan;
	Tuplestorestate *rows;		/* where the contacts go */
} Pass;

static MappingPlans *
find_plans(Oid trigger, const char *mapping)
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
		plans->mapping = NULL;
		plans->plan_set = NULL;
		plans->plan_row = NULL;
	}
	if (plans->mapping == NULL || strcmp(plans->mapping, mapping) != 0)
	{
		char	   *copy = MemoryContextStrdup(TopMemoryContext, mapping);

		outbox_forget_plan(&plans->plan_set);
		outbox_forget_plan(&plans->plan_row);
		if (plans->mapping)
			pfree(plans->mapping);
		plans->mapping = copy;
	}
	return plans;
}

/* Maps the whole transition table. */
static void
map_set(void *arg)
{
	Pass	   *pass = arg;
	Firing	   *firing = pass->firing;

	if (pass->plan == NULL)
		pass->plan = outbox_plan_set(firing->mapping, firing->trigger);
	outbox_run_mapping(pass->plan, firing->trigger, NULL, pass->rows);
}

/* The table that a trigger was made on; *parent: the trigger that it is a clone of, or 0. */
static Oid
trigger_relation(Relation triggers, Oid trigger, Oid *parent)
{
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	Oid			relation = InvalidOid;

	ScanKeyInit(&key, Anum_pg_trigger_oid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(trigger));
	scan = systable_beginscan(triggers, TriggerOidIndexId, true, NULL, 1, &key);
	*parent = InvalidOid;
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
	{
		relation = ((Form_pg_trigger) GETSTRUCT(tuple))->tgrelid;
		*parent = ((Form_pg_trigger) GETSTRUCT(tuple))->tgparentid;
	}
	systable_endscan(scan);
	return relation;
}

/* Whatever that table has become a partition of. */
Oid
enqueue_watched_table(const TriggerData *trigger)
{
	Oid			relation = RelationGetRelid(trigger->tg_relation);
	Oid			oid = trigger->tg_trigger->tgoid;
	Relation	triggers;

	if (!trigger->tg_trigger->tgisclone)
		return relation;
	triggers = table_open(TriggerRelationId, AccessShareLock);
	while (OidIsValid(oid))
		relation = trigger_relation(triggers, oid, &oid);
	table_close(triggers, AccessShareLock);
	return relation;
}

/* Maps one row, as one of the watched table, whatever functions a partition's own type has. */
static void
map_row(void *arg)
{
	Pass	   *pass = arg;
	Firing	   *firing = pass->firing;
	Relation	relation = firing->trigger->tg_relation;
	Datum		row = heap_copy_tuple_as_datum(pass->tuple, RelationGetDescr(relation));

	if (pass->plan == NULL)
		pass->plan = outbox_plan_row(firing->mapping, relation->rd_rel->reltype,
									 get_rel_type_id(enqueue_watched_table(firing->trigger)));
	outbox_run_mapping(pass->plan, NULL, &row, pass->rows);
}

/*
 * try_run() with a plan from the cache, which the pass has for itself meanwhile: the
 * mapping may write the same table, and whoever fires then makes another one.  keep:
 * false if the plan may be to blame when it fails.
 */
static bool
try_mapping(void (*run) (void *), Pass *pass, OutboxPlan *cached, bool keep, char **reason)
{
	volatile bool mapped = false;

	pass->plan = *cached;
	*cached = NULL;
	if (pass->plan && !outbox_plan_is_valid(pass->plan))
		outbox_forget_plan(&pass->plan);
	PG_TRY();
	{
		mapped = try_run(run, pass, reason);
	}
	PG_CATCH();
	{
		outbox_forget_plan(&pass->plan);
		PG_RE_THROW();
	}
	PG_END_TRY();
	if (!mapped && !keep)
		outbox_forget_plan(&pass->plan);
	outbox_forget_plan(cached);
	*cached = pass->plan;
	return mapped;
}

static bool
try_set(Pass *pass, char **reason)
{
	/* It may be the plan that fails: the table was renamed, say. */
	return try_mapping(map_set, pass, &pass->firing->plans->plan_set, false, reason);
}

static bool
try_row(Pass *pass, char **reason)
{
	return try_mapping(map_row, pass, &pass->firing->plans->plan_row, true, reason);
}

void
enqueue_count_failure(Firing *firing, int64 failures, const char *reason)
{
	if (failures > 0 && firing->reason == NULL)
		firing->reason = pstrdup(reason);
	firing->failures += failures;
}

bool
enqueue_map_quietly(Firing *firing, HeapTuple tuple, Tuplestorestate *rows)
{
	Pass		pass = {firing, tuple, NULL, rows};
	char	   *reason;

	return try_row(&pass, &reason);
}

Tuplestorestate *
enqueue_map_one(Firing *firing, HeapTuple tuple)
{
	Pass		pass = {firing, tuple, NULL, outbox_rows_create()};
	char	   *reason;

	if (!try_row(&pass, &reason))
		enqueue_count_failure(firing, 1, reason);
	return pass.rows;
}

/* Maps the row in the slot; what that takes is allocated in row_context. */
static void
map_slot(Firing *firing, TupleTableSlot *slot, Tuplestorestate *rows,
		 MemoryContext row_context)
{
	MemoryContext context = MemoryContextSwitchTo(row_context);
	bool		free_tuple;
	Pass		pass = {firing, ExecFetchSlotHeapTuple(slot, true, &free_tuple), NULL, rows};
	char	   *reason;
	bool		mapped = try_row(&pass, &reason);

	MemoryContextSwitchTo(context);
	if (!mapped)
		enqueue_count_failure(firing, 1, reason);
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

Tuplestorestate *
enqueue_map_all(Firing *firing, Tuplestorestate *table)
{
	Pass		pass = {firing, NULL, NULL, outbox_rows_create()};
	char	   *reason;

	if (!try_set(&pass, &reason))
	{
		tuplestore_clear(pass.rows);
		map_each(firing, table, pass.rows);
	}
	return pass.rows;
}

void
enqueue_map_begin(Firing *firing)
{
	firing->plans = find_plans(firing->trigger->tg_trigger->tgoid, firing->mapping);
	firing->statement = recent_statement();
	firing->nested = recent_is_nested();
}
