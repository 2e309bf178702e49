/*
 * order.c
 *		What statements of the transaction at hand have enqueued, for triggers that fire
 *		out of order.
 *
 * Nothing of this outlives the transaction, and nothing of a subtransaction
 * that was rolled back stays.
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

/* What a note has replaced, for when its subtransaction is rolled back. */
typedef struct Undo
{
	struct Undo *older;
	const char *ids;
	CommandId	before;			/* InvalidCommandId: there was none */
	SubTransactionId subtransaction;
} Undo;

/* In TopTransactionContext; NULL: nothing is noted. */
static noted_hash *noted = NULL;

/* The latest first, in a context of their own; only what can still be rolled back to. */
static Undo *undos = NULL;
static MemoryContext undo_context = NULL;

/* A statement that writes and is being run: it may call functions of the user's. */
typedef struct Running
{
	struct Running *outer;
	List	   *relations;		/* its range table */
} Running;

static Running *running = NULL;

/*
 * What a foreign key has changed in a table.  Triggers of such changes fire with those of the
 * statement that has led to them, and under its snapshot.
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

/* Subtransactions are numbered in order, so those inside of one have higher numbers. */
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
		/* from here on it is all or nothing */
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

/* The entry of a relation where its triggers are to fire; NULL: there is none. */
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

/* Before anything is noted in the transaction, no order can matter. */
static void
note_cascade(QueryDesc *query)
{
	int			depth = trigger_depth();
	ListCell   *cell;

	if (noted == NULL)
		return;
	foreach(cell, query->plannedstmt->resultRelations)
	{
		Oid			relation = rt_fetch(lfirst_int(cell), query->plannedstmt->rtable)->relid;
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

/*
 * After triggers fire under their statement's snapshot, which says what number its
 * changes have, but for those of cascades.
 */
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

/* Both ids in one string; no two contacts have the same. */
static char *
key_of(const char *chatbot_id, Datum external_id)
{
	text	   *id = DatumGetTextPP(external_id);

	return psprintf("%zu %s%.*s", strlen(chatbot_id), chatbot_id, (int) VARSIZE_ANY_EXHDR(id),
					VARDATA_ANY(id));
}

void
contacts_push_order_note(const char *chatbot_id, Datum external_id, CommandId statement)
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

CommandId
contacts_push_order_last(const char *chatbot_id, Datum external_id)
{
	Noted	   *entry;
	char	   *ids;

	if (noted == NULL)
		return InvalidCommandId;
	ids = key_of(chatbot_id, external_id);
	entry = noted_lookup(noted, ids);
	pfree(ids);
	return entry ? entry->statement : InvalidCommandId;
}

/*
 * Keeps statements that write while they run: their own triggers fire when that is over,
 * those of statements in functions that they call, before.
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
