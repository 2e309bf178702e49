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
#include "utils/fmgrprotos.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

/* A contact: the ids follow each other. */
typedef struct Contact
{
	const char *ids;
	Size		chatbot_length;
	Size		length;			/* of both */
} Contact;

typedef struct Noted
{
	Contact		contact;
	CommandId	statement;		/* the last one that has enqueued it */
} Noted;

/* What a note has replaced, for when its subtransaction is rolled back. */
typedef struct Undo
{
	struct Undo *older;
	Noted	   *entry;
	CommandId	before;			/* InvalidCommandId: there was none */
	SubTransactionId subtransaction;
} Undo;

/* In TopTransactionContext; NULL: nothing is noted. */
static HTAB *noted = NULL;

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

static uint32
hash_contact(const void *key, Size size)
{
	const Contact *contact = key;

	return hash_bytes((const unsigned char *) contact->ids, contact->length);
}

static int
compare_contacts(const void *a, const void *b, Size size)
{
	const Contact *one = a;
	const Contact *other = b;

	return one->chatbot_length != other->chatbot_length || one->length != other->length ||
		memcmp(one->ids, other->ids, one->length) != 0;
}

/* Subtransactions are numbered in order, so those inside of one have higher numbers. */
static void
undo_subtransaction(SubTransactionId aborted)
{
	while (undos && undos->subtransaction >= aborted)
	{
		Undo	   *undo = undos;

		if (undo->before != InvalidCommandId)
			undo->entry->statement = undo->before;
		else
			(void) hash_search(noted, &undo->entry->contact, HASH_REMOVE, NULL);
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
	HASHCTL		control = {0};

	if (!registered)
	{
		RegisterXactCallback(forget_transaction, NULL);
		RegisterSubXactCallback(end_subtransaction, NULL);
		registered = true;
	}
	undo_context = AllocSetContextCreate(TopTransactionContext, "contacts_push order undo",
										 ALLOCSET_SMALL_SIZES);
	control.keysize = sizeof(Contact);
	control.entrysize = sizeof(Noted);
	control.hash = hash_contact;
	control.match = compare_contacts;
	control.hcxt = TopTransactionContext;
	noted = hash_create("contacts_push order", 64, &control,
						HASH_ELEM | HASH_FUNCTION | HASH_COMPARE | HASH_CONTEXT);
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

/* Finds or makes the entry of a contact; NULL: there is none. */
static Noted *
search(const char *chatbot_id, Datum external_id, HASHACTION action, bool *found)
{
	text	   *id = DatumGetTextPP(external_id);
	Contact		contact;
	char	   *ids;
	Noted	   *entry;

	contact.chatbot_length = strlen(chatbot_id);
	contact.length = contact.chatbot_length + VARSIZE_ANY_EXHDR(id);
	ids = palloc(contact.length);
	memcpy(ids, chatbot_id, contact.chatbot_length);
	memcpy(ids + contact.chatbot_length, VARDATA_ANY(id), VARSIZE_ANY_EXHDR(id));
	contact.ids = ids;
	entry = hash_search(noted, &contact, action, found);
	if (entry && !*found)
	{
		char	   *kept = MemoryContextAlloc(TopTransactionContext, contact.length);

		memcpy(kept, ids, contact.length);
		entry->contact.ids = kept;
	}
	pfree(ids);
	return entry;
}

void
contacts_push_order_note(const char *chatbot_id, Datum external_id, CommandId statement)
{
	Noted	   *entry;
	Undo	   *undo;
	bool		found;

	if (noted == NULL)
		create_table();
	undo = MemoryContextAlloc(undo_context, sizeof(Undo));
	entry = search(chatbot_id, external_id, HASH_ENTER, &found);
	/* one that began later has had its say, and keeps it */
	if (found && entry->statement >= statement)
	{
		pfree(undo);
		return;
	}
	undo->older = undos;
	undo->entry = entry;
	undo->before = found ? entry->statement : InvalidCommandId;
	undo->subtransaction = GetCurrentSubTransactionId();
	undos = undo;
	entry->statement = statement;
}

CommandId
contacts_push_order_last(const char *chatbot_id, Datum external_id)
{
	Noted	   *entry;
	bool		found;

	if (noted == NULL)
		return InvalidCommandId;
	entry = search(chatbot_id, external_id, HASH_FIND, &found);
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
