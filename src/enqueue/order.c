/*
 * order.c
 *		Which statement of this transaction has enqueued a contact last, for triggers that
 *		fire out of order.
 *
 * Notes end with their transaction, or with their subtransaction when that is rolled back.
 */
#include "postgres.h"

#include "access/xact.h"
#include "common/hashfn.h"
#include "compat.h"
#include "enqueue/order.h"
#include "executor/executor.h"
#include "nodes/parsenodes.h"
#include "parser/parsetree.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

/* The last statement that has enqueued a contact. */
typedef struct Noted
{
	const char *ids;			/* see key_of() */
	CommandId	statement;
	char		status;			/* of the hash */
} Noted;

#define SH_PREFIX noted
#define SH_ELEMENT_TYPE Noted
#define SH_KEY_TYPE const char *
#define SH_KEY ids
#define SH_HASH_KEY(tb, key) hash_bytes((const unsigned char *) (key), strlen(key))
#define SH_EQUAL(tb, a, b) (strcmp(a, b) == 0)
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

/* What a note has replaced, to be restored when its subtransaction is rolled back. */
typedef struct Undo
{
	struct Undo *older;
	const char *ids;
	CommandId	before;			/* InvalidCommandId: there was none */
	SubTransactionId subtransaction;
} Undo;

/* In TopTransactionContext; NULL: nothing is noted. */
static noted_hash *noted = NULL;

/* The newest first, in a context of their own; only those of open subtransactions. */
static Undo *undos = NULL;
static MemoryContext undo_context = NULL;

/* A statement that writes and is running; it may call functions that run others. */
typedef struct Running
{
	struct Running *outer;
	List	   *relations;		/* its range table */
} Running;

static Running *running = NULL;

/*
 * Changes that a foreign key has made in a table.  Their triggers fire together with those of
 * the statement that has caused them, and under its snapshot.
 */
typedef struct Cascade
{
	Oid			relation;
	int			depth;			/* of triggers */
	Running    *inside;
	CommandId	statement;		/* the last one */
} Cascade;

/* In TopTransactionContext. */
static List *cascades = NIL;
static ExecutorRun_hook_type prev_executor_run_hook = NULL;

/* Undoes a subtransaction and those inside of it, which have higher numbers. */
static void
undo_subtransaction(SubTransactionId aborted)
{
	while (undos && undos->subtransaction >= aborted)
	{
		Undo	   *undo = undos;

		if (undo->before != InvalidCommandId)
			noted_lookup(noted, undo->ids)->statement = undo->before;
		else
			(void) noted_delete(noted, undo->ids);
		undos = undo->older;
		pfree(undo);
	}
}

static void
end_subtransaction(SubXactEvent event, SubTransactionId ended,
				   SubTransactionId parent, void *arg)
{
	if (undos == NULL)
		return;
	if (event == SUBXACT_EVENT_ABORT_SUB)
		undo_subtransaction(ended);
	else if (event == SUBXACT_EVENT_COMMIT_SUB && parent == TopSubTransactionId)
	{
		/* from here on only the whole transaction can be rolled back */
		undos = NULL;
		MemoryContextReset(undo_context);
	}
}

/* The memory goes with the transaction. */
static void
forget_transaction(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
	{
		noted = NULL;
		undos = NULL;
		undo_context = NULL;
		cascades = NIL;
	}
}

static void
create_table(void)
{
	static bool registered = false;

	if (!registered)
	{
		RegisterXactCallback(forget_transaction, NULL);
		RegisterSubXactCallback(end_subtransaction, NULL);
		registered = true;
	}
	undo_context = AllocSetContextCreate(TopTransactionContext, "contacts_push order undo",
										 ALLOCSET_SMALL_SIZES);
	noted = noted_create(TopTransactionContext, 64, NULL);
}

static int
trigger_depth(void)
{
	return DatumGetInt32(DirectFunctionCall1(pg_trigger_depth, (Datum) 0));
}

/* Finds the cascade of a relation whose triggers fire here; NULL: there is none. */
static Cascade *
find_cascade(Oid relation, int depth)
{
	ListCell   *cell;

	foreach(cell, cascades)
	{
		Cascade    *cascade = lfirst(cell);

		if (cascade->relation == relation && cascade->depth == depth && cascade->inside == running)
			return cascade;
	}
	return NULL;
}

/* Notes what a foreign key changes; before the first note of a contact no order matters. */
static void
note_cascade(QueryDesc *query)
{
	int			depth = trigger_depth();
	Bitmapset  *written;
	int			index = -1;

	if (noted == NULL)
		return;
	written = compat_result_relations(query->plannedstmt);
	while ((index = bms_next_member(written, index)) >= 0)
	{
		Oid			relation = rt_fetch(index, query->plannedstmt->rtable)->relid;
		Cascade    *cascade = find_cascade(relation, depth);

		if (cascade == NULL)
		{
			MemoryContext old = MemoryContextSwitchTo(TopTransactionContext);

			cascade = palloc(sizeof(Cascade));
			cascade->relation = relation;
			cascade->depth = depth;
			cascade->inside = running;
			cascades = lappend(cascades, cascade);
			MemoryContextSwitchTo(old);
		}
		cascade->statement = query->snapshot->curcid;
	}
}

/* AFTER triggers fire under their statement's snapshot, which has its number, except in cascades. */
CommandId
contacts_push_order_statement(Oid relation)
{
	CommandId	statement = GetActiveSnapshot()->curcid;
	Cascade    *cascade = cascades ? find_cascade(relation, trigger_depth()) : NULL;

	return cascade ? Max(statement, cascade->statement) : statement;
}

bool
contacts_push_order_is_nested(Oid relation, Oid table)
{
	for (Running *statement = running; statement; statement = statement->outer)
	{
		ListCell   *cell;

		foreach(cell, statement->relations)
		{
			Oid			named = lfirst_node(RangeTblEntry, cell)->relid;

			if (named == relation || named == table)
				return true;
		}
	}
	return trigger_depth() > 1;
}

/* Makes one string of both ids; no two contacts have the same. */
static char *
key_of(Datum chatbot_id, Datum external_id)
{
	text	   *one = DatumGetTextPP(chatbot_id);
	text	   *other = DatumGetTextPP(external_id);
	int			length = VARSIZE_ANY_EXHDR(one);

	return psprintf("%d %.*s%.*s", length, length, VARDATA_ANY(one), (int) VARSIZE_ANY_EXHDR(other),
					VARDATA_ANY(other));
}

void
contacts_push_order_note(Datum chatbot_id, Datum external_id, CommandId statement)
{
	MemoryContext old;
	Noted	   *entry;
	Undo	   *undo;
	char	   *ids;
	bool		found;

	if (noted == NULL)
		create_table();
	undo = MemoryContextAlloc(undo_context, sizeof(Undo));
	old = MemoryContextSwitchTo(TopTransactionContext);
	ids = key_of(chatbot_id, external_id);
	MemoryContextSwitchTo(old);
	entry = noted_insert(noted, ids, &found);
	if (found)
		pfree(ids);
	/* one that began later has had its say, and keeps it */
	if (found && entry->statement >= statement)
	{
		pfree(undo);
		return;
	}
	undo->older = undos;
	undo->ids = entry->ids;
	undo->before = found ? entry->statement : InvalidCommandId;
	undo->subtransaction = GetCurrentSubTransactionId();
	undos = undo;
	entry->statement = statement;
}

bool
contacts_push_order_is_noted(Datum chatbot_id, Datum external_id, CommandId statement)
{
	Noted	   *entry;
	char	   *ids;

	if (noted == NULL)
		return false;
	ids = key_of(chatbot_id, external_id);
	entry = noted_lookup(noted, ids);
	pfree(ids);
	return entry && entry->statement >= statement;
}

/*
 * Keeps the list of running statements that write.  A statement's own triggers fire when it has
 * left the list, those of a statement in a function that it calls while it is still there.
 */
static void
on_executor_run(COMPAT_EXECUTOR_RUN_PARAMETERS)
{
	ExecutorRun_hook_type run = prev_executor_run_hook ? prev_executor_run_hook : standard_ExecutorRun;
	Running		mine = {running, query->plannedstmt->rtable};

	if (query->operation == CMD_SELECT && !query->plannedstmt->hasModifyingCTE)
	{
		run(COMPAT_EXECUTOR_RUN_ARGUMENTS);
		return;
	}
	if (query->estate->es_top_eflags & EXEC_FLAG_SKIP_TRIGGERS)
		note_cascade(query);
	running = &mine;
	PG_TRY();
	{
		run(COMPAT_EXECUTOR_RUN_ARGUMENTS);
	}
	PG_FINALLY();
	{
		running = mine.outer;
	}
	PG_END_TRY();
}

void
contacts_push_order_install(void)
{
	prev_executor_run_hook = ExecutorRun_hook;
	ExecutorRun_hook = on_executor_run;
}
