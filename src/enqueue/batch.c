/*
 * batch.c
 *		Rows of row triggers, held back to be appended together; what the statement is that they
 *		fire for.
 *
 * A statement's AFTER triggers fire in ExecutorFinish, or inside of COPY.  That stretch is a
 * frame; statements that triggers run have frames of their own.  All triggers of a frame fire
 * at one level of subtransactions, and an error that leaves the frame undoes the statement.  So
 * the intents of a frame are appended when it ends, and forgotten when an error ends it.
 *
 * Logical replication applies rows without statements.  There the transaction is the frame.  It
 * has no subtransactions of its own, except in a parallel worker, where nothing is held back.
 */
#include "postgres.h"

#include "access/xact.h"
#include "commands/trigger.h"
#include "compat.h"
#include "enqueue/batch.h"
#include "enqueue/failures.h"
#include "enqueue/order.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "replication/logicalworker.h"
#include "server/try.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rls.h"
#include "utils/snapmgr.h"

/* Rows that are appended together, and of how much memory. */
#define BATCH_ROWS 500
#define BATCH_BYTES (256 * 1024)

/* An intent that is held back; in the context of its frame. */
typedef struct HeldIntent
{
	OutboxIntent intent;
	CommandId	statement;
	bool		deleted;
} HeldIntent;

/* A row that an update has taken out of a partition, see contacts_push_batch_leave(). */
typedef struct Leaving
{
	Datum		chatbot;
	Oid			table;
	Datum		external_id;
} Leaving;

typedef struct Frame
{
	struct Frame *outer;
	const PlannedStmt *statement;	/* NULL: COPY, or apply */
	List	   *leaving;		/* one for each chatbot and table, in TopTransactionContext */
	bool		has_fired;
	MemoryContext context;		/* NULL: nothing was held back yet */
	List	   *intents;
	Size		bytes;
} Frame;

static Frame *frame = NULL;

/* The frame of logical replication's apply, and whose triggers its intents are of. */
static Frame applied;
static Oid	applied_user;
static int	applied_security;

static ExecutorFinish_hook_type prev_executor_finish_hook = NULL;
static ProcessUtility_hook_type prev_process_utility_hook = NULL;

bool
contacts_push_batch_hands_on(bool by_row)
{
	const Plan *plan;

	if (frame == NULL || frame->statement == NULL)
		return false;
	if (frame->statement->commandType != CMD_INSERT || frame->statement->hasModifyingCTE)
		return true;
	plan = frame->statement->planTree;
	return by_row && IsA(plan, ModifyTable) &&
		((const ModifyTable *) plan)->onConflictAction == ONCONFLICT_UPDATE;
}

void
contacts_push_batch_leave(Datum chatbot, Oid table, Datum external_id)
{
	MemoryContext old;
	Leaving    *leaving;

	/* from a part of a table rows may also move to the others, and rows of those arrive */
	if (frame == NULL || get_rel_relispartition(table))
		return;
	old = MemoryContextSwitchTo(TopTransactionContext);
	leaving = palloc(sizeof(Leaving));
	leaving->chatbot = datumCopy(chatbot, false, -1);
	leaving->table = table;
	leaving->external_id = datumCopy(external_id, false, -1);
	frame->leaving = lappend(frame->leaving, leaving);
	MemoryContextSwitchTo(old);
}

Datum
contacts_push_batch_arrive(Datum chatbot, Oid table)
{
	ListCell   *cell;

	if (frame == NULL)
		return (Datum) 0;
	foreach(cell, frame->leaving)
	{
		Leaving    *leaving = lfirst(cell);
		Datum		external_id = leaving->external_id;

		if (leaving->table != table || !datumIsEqual(leaving->chatbot, chatbot, false, -1))
			continue;
		frame->leaving = foreach_delete_current(frame->leaving, cell);
		pfree(DatumGetPointer(leaving->chatbot));
		pfree(leaving);
		return external_id;
	}
	return (Datum) 0;
}

/* Copies a varlena, and adds to the bytes held; 0: there is none. */
static Datum
keep(Datum value)
{
	if (value == (Datum) 0)
		return value;
	frame->bytes += VARSIZE_ANY(DatumGetPointer(value));
	return datumCopy(value, false, -1);
}

void
contacts_push_batch_add(const OutboxIntent *intent, CommandId statement, bool deleted)
{
	MemoryContext old;
	HeldIntent *held;

	if (frame->context == NULL)
		frame->context = AllocSetContextCreate(TopTransactionContext, "contacts_push batch",
											   ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(frame->context);
	held = palloc(sizeof(HeldIntent));
	held->intent.seq = 0;
	held->intent.chatbot_id = keep(intent->chatbot_id);
	held->intent.external_id = keep(intent->external_id);
	held->intent.relation = intent->relation;
	held->intent.previous_external_id = keep(intent->previous_external_id);
	held->intent.contact = keep(intent->contact);
	held->statement = statement;
	held->deleted = deleted;
	frame->intents = lappend(frame->intents, held);
	MemoryContextSwitchTo(old);
}

/* Appends a list of intents, without those that a later statement has enqueued meanwhile. */
static void
append_intents(void *arg)
{
	OutboxAppend *append = NULL;
	ListCell   *cell;

	foreach(cell, (List *) arg)
	{
		HeldIntent *held = lfirst(cell);

		if (contacts_push_order_is_noted(held->intent.chatbot_id, held->intent.external_id,
										 held->statement + 1))
			continue;
		if (append == NULL)
			append = outbox_append_begin(false);
		outbox_append_row(append, &held->intent);
	}
	if (append)
		(void) outbox_append_end(append);
}

/* Returns whether the current user may be told the words of an error about the table's rows. */
static bool
may_read(Oid relation)
{
	return pg_class_aclcheck(relation, GetUserId(), ACL_SELECT) == ACLCHECK_OK &&
		check_enable_rls(relation, InvalidOid, true) != RLS_ENABLED;
}

/* Appends a list one by one, because some of it cannot be appended. */
static void
append_each(List *intents)
{
	ListCell   *cell;

	foreach(cell, intents)
	{
		HeldIntent *held = lfirst(cell);
		Failures	failures = {.relation = held->intent.relation,.by_row = true,
		.deleted = held->deleted,.tell_reason = may_read(held->intent.relation)};
		char	   *reason;

		CHECK_FOR_INTERRUPTS();
		if (try_run(append_intents, list_make1(held), &reason))
			continue;
		failures.chatbot_id = TextDatumGetCString(held->intent.chatbot_id);
		contacts_push_failures_add(&failures, 1, reason);
		contacts_push_failures_report(&failures);
	}
}

void
contacts_push_batch_flush(bool all)
{
	MemoryContext context;
	MemoryContext old;
	List	   *intents;
	char	   *reason;

	if (frame == NULL || frame->context == NULL ||
		(!all && list_length(frame->intents) < BATCH_ROWS && frame->bytes < BATCH_BYTES))
		return;
	/* a trigger of the outbox may run statements, which must not find these intents here */
	context = frame->context;
	intents = frame->intents;
	frame->context = NULL;
	frame->intents = NIL;
	frame->bytes = 0;
	old = MemoryContextSwitchTo(context);
	if (!try_run(append_intents, intents, &reason))
		append_each(intents);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
}

static void
begin_frame(Frame *new, const PlannedStmt *statement)
{
	memset(new, 0, sizeof(Frame));
	new->outer = frame;
	new->statement = statement;
	frame = new;
}

/* Ends a frame; forgets its intents if an error has left it. */
static void
end_frame(Frame *ended)
{
	frame = ended->outer;
	if (ended->context)
		MemoryContextDelete(ended->context);
}

/* Appends what apply has held back, as the user whose triggers have fired. */
static void
flush_applied(void)
{
	Oid			user;
	int			security;

	GetUserIdAndSecContext(&user, &security);
	SetUserIdAndSecContext(applied_user, applied_security);
	contacts_push_batch_flush(true);
	SetUserIdAndSecContext(user, security);
}

/* Ends the frame of apply with its transaction. */
static void
end_applied(XactEvent event, void *arg)
{
	if (frame != &applied)
		return;
	if (event == XACT_EVENT_PRE_COMMIT || event == XACT_EVENT_PRE_PREPARE)
	{
		PushActiveSnapshot(GetTransactionSnapshot());
		flush_applied();
		PopActiveSnapshot();
		/* the server has fired those before */
		AfterTriggerFireDeferred();
		end_frame(&applied);
	}
	else if (event == XACT_EVENT_ABORT)
		end_frame(&applied);
}

/* Begins the frame of apply unless there is one, or has the one that there is append as this user. */
static void
begin_applied(void)
{
	static bool registered = false;
	Oid			user;
	int			security;

	if (!registered)
	{
		RegisterXactCallback(end_applied, NULL);
		registered = true;
	}
	GetUserIdAndSecContext(&user, &security);
	if (frame == NULL)
		begin_frame(&applied, NULL);
	else if (user != applied_user || security != applied_security)
		flush_applied();
	applied_user = user;
	applied_security = security;
}

bool
contacts_push_batch_is_open(void)
{
	bool		is_open;

	if ((frame == NULL || frame == &applied) && IsLogicalWorker() && !IsLogicalParallelApplyWorker())
		begin_applied();
	is_open = frame && frame->has_fired;
	if (frame)
		frame->has_fired = true;
	return is_open;
}

static void
on_executor_finish(QueryDesc *query)
{
	Frame		mine;

	begin_frame(&mine, query->plannedstmt);
	PG_TRY();
	{
		if (prev_executor_finish_hook)
			prev_executor_finish_hook(query);
		else
			standard_ExecutorFinish(query);
		contacts_push_batch_flush(true);
	}
	PG_FINALLY();
	{
		end_frame(&mine);
	}
	PG_END_TRY();
}

static void
on_utility(PlannedStmt *statement, const char *source, bool read_only,
		   ProcessUtilityContext context, ParamListInfo params, QueryEnvironment *environment,
		   DestReceiver *dest, QueryCompletion *completion)
{
	ProcessUtility_hook_type run = prev_process_utility_hook ? prev_process_utility_hook :
		standard_ProcessUtility;
	Frame		mine;

	if (!IsA(statement->utilityStmt, CopyStmt))
	{
		run(statement, source, read_only, context, params, environment, dest, completion);
		return;
	}
	begin_frame(&mine, NULL);
	PG_TRY();
	{
		run(statement, source, read_only, context, params, environment, dest, completion);
		contacts_push_batch_flush(true);
	}
	PG_FINALLY();
	{
		end_frame(&mine);
	}
	PG_END_TRY();
}

void
contacts_push_batch_install(void)
{
	prev_executor_finish_hook = ExecutorFinish_hook;
	ExecutorFinish_hook = on_executor_finish;
	prev_process_utility_hook = ProcessUtility_hook;
	ProcessUtility_hook = on_utility;
}
