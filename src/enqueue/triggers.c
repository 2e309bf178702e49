/*
 * triggers.c
 *		The trigger of watched tables: appends the contacts of written rows to the outbox.
 *
 * The application's statement must neither fail nor wait because of this trigger.  The view
 * may raise, and so may the outbox, on which an operator may have put constraints and triggers.
 * Both run in a subtransaction, some hundred rows at a time; if that raises, the rows are
 * taken one by one, and the bad ones left out.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "commands/trigger.h"
#include "compat.h"
#include "enqueue/batch.h"
#include "enqueue/failures.h"
#include "enqueue/mapping.h"
#include "enqueue/order.h"
#include "enqueue/watched.h"
#include "executor/executor.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "server/try.h"
#include "store/outbox_append.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/tuplestore.h"

COMPAT_FUNCTION_INFO_V1(contacts_push_enqueue_rows);

/* Rows in one subtransaction: so many that its cost does not count. */
#define CHUNK_ROWS 1000

/*
 * A statement's transition table has the rows of children as well, and nothing to tell
 * them by.  watch() makes a row trigger where there are children.
 */
#define HAS_CHILDREN "The table has got children by inheritance since it was watched."

/* One firing of the trigger. */
typedef struct Firing
{
	TriggerData *trigger;
	Datum		chatbot;		/* its id, text */
	Mapping    *mapping;		/* held; NULL: there is none */
	CommandId	statement;		/* see order.h */
	bool		nested;			/* the statement runs inside of another one */
	bool		held_back;		/* what is enqueued goes into a batch */
	Failures	failures;
	OutboxAppend *append;		/* of the subtransaction; NULL: it has no row yet */
	MemoryContext scratch;		/* of the subtransaction */
	TupleTableSlot *slot;		/* for rows of a transition table; NULL: there is none */
} Firing;

/* Rows of a transition table that are tried together. */
typedef struct Chunk
{
	Firing	   *firing;
	Tuplestorestate *table;
	int			most;			/* rows to take */
	int			taken;
} Chunk;

/* A row by itself, see enqueue_row(). */
typedef struct Change
{
	Firing	   *firing;
	TupleTableSlot *old;
	TupleTableSlot *new;
} Change;

/* The rows of a statement's trigger; NULL: it fires for a row. */
static Tuplestorestate *
transition_table(const TriggerData *trigger)
{
	return trigger->tg_newtable ? trigger->tg_newtable : trigger->tg_oldtable;
}

/*
 * Runs a function in a subtransaction, and frees its memory.  If it raises, counts so many
 * rows as failures, and keeps the first reason.
 */
static bool
try_in_scratch(Firing *firing, void (*run) (void *), void *arg, int64 failures)
{
	MemoryContext old = MemoryContextSwitchTo(firing->scratch);
	char	   *reason;
	bool		done;

	firing->append = NULL;
	done = try_run(run, arg, &reason);
	MemoryContextSwitchTo(old);
	if (!done)
		contacts_push_failures_add(&firing->failures, failures, reason);
	if (firing->mapping)
		contacts_push_mapping_reset(firing->mapping);
	if (firing->slot)
		ExecClearTuple(firing->slot);
	MemoryContextReset(firing->scratch);
	return done;
}

/*
 * Appends an intent, or holds it back.  An append begins with its first row, so that triggers
 * of the outbox do not fire for none.
 */
static void
append(Firing *firing, const MappedRow *row, Datum previous, Datum contact)
{
	OutboxIntent intent = {.chatbot_id = firing->chatbot,.external_id = row->external_id,
		.relation = contacts_push_mapping_table(firing->mapping),.previous_external_id = previous,
		.contact = contact};

	if (firing->held_back)
		contacts_push_batch_add(&intent, firing->statement, firing->failures.deleted);
	else
	{
		if (firing->append == NULL)
			firing->append = outbox_append_begin(false);
		outbox_append_row(firing->append, &intent);
	}
}

static void
end_append(Firing *firing)
{
	if (firing->append)
		(void) outbox_append_end(firing->append);
}

/*
 * Appends a contact, unless a later statement has enqueued it.  key: an update has given the row
 * this id.
 */
static void
enqueue(Firing *firing, const MappedRow *row, Datum previous, bool key)
{
	if (contacts_push_order_is_noted(firing->chatbot, row->external_id, firing->statement + 1))
		return;
	append(firing, row, previous, row->contact);
	if (firing->nested || key)
		contacts_push_order_note(firing->chatbot, row->external_id, firing->statement);
}

/* Appends a withdrawal, unless this statement or a later one has given the id to another row. */
static void
withdraw(Firing *firing, const MappedRow *row)
{
	if (contacts_push_order_is_noted(firing->chatbot, row->external_id, firing->statement))
		return;
	append(firing, row, (Datum) 0, (Datum) 0);
	if (firing->nested)
		contacts_push_order_note(firing->chatbot, row->external_id, firing->statement);
}

static bool
is_equal(Datum a, Datum b)
{
	return VARSIZE_ANY_EXHDR(DatumGetPointer(a)) == VARSIZE_ANY_EXHDR(DatumGetPointer(b)) &&
		memcmp(VARDATA_ANY(DatumGetPointer(a)), VARDATA_ANY(DatumGetPointer(b)),
			   VARSIZE_ANY_EXHDR(DatumGetPointer(a))) == 0;
}

/*
 * Enqueues what has become of a row.  old: what it was, NULL if it was no contact or is the
 * same one; new: what it is, NULL if it was deleted.
 */
static void
enqueue_row(Firing *firing, TupleTableSlot *old_slot, TupleTableSlot *new_slot)
{
	MappedRow	old = {false};
	MappedRow	new = {false};
	Oid			table = contacts_push_mapping_table(firing->mapping);
	Datum		previous = (Datum) 0;
	bool		by_row = TRIGGER_FIRED_FOR_ROW(firing->trigger->tg_event);
	bool		key;

	/* whatever follows, what left its partition before does not arrive later */
	if (old_slot == NULL || new_slot == NULL)
		previous = contacts_push_batch_arrive(firing->chatbot, table);
	if (new_slot)
		contacts_push_mapping_evaluate(firing->mapping, new_slot, true, &new);
	if (old_slot)
	{
		contacts_push_mapping_evaluate(firing->mapping, old_slot, false, &old);
		previous = old.is_contact ? old.external_id : (Datum) 0;
		key = !old.is_contact;
	}
	else
		key = TRIGGER_FIRED_BY_INSERT(firing->trigger->tg_event) &&
			contacts_push_batch_hands_on(by_row);
	if (previous && new.is_contact && is_equal(previous, new.external_id))
		previous = (Datum) 0;
	if (old.is_contact && (previous || !new.is_contact))
		withdraw(firing, &old);
	if (new.is_contact)
		enqueue(firing, &new, previous, key || previous);
	else if (old.is_contact && new_slot == NULL && by_row &&
			 HeapTupleHeaderIndicatesMovedPartitions(firing->trigger->tg_trigtuple->t_data))
		contacts_push_batch_leave(firing->chatbot, table, old.external_id);
	contacts_push_mapping_reset(firing->mapping);
}

static void
enqueue_chunk(void *arg)
{
	Chunk	   *chunk = arg;
	Firing	   *firing = chunk->firing;
	bool		deleted = TRIGGER_FIRED_BY_DELETE(firing->trigger->tg_event);

	while (chunk->taken < chunk->most &&
		   tuplestore_gettupleslot(chunk->table, true, false, firing->slot))
	{
		CHECK_FOR_INTERRUPTS();
		chunk->taken++;
		enqueue_row(firing, deleted ? firing->slot : NULL, deleted ? NULL : firing->slot);
	}
	end_append(firing);
}

/*
 * Enqueues the rows of a transition table.  It is not copied, because that could use up what
 * the session may have in temporary files.  A second read pointer keeps where the chunk
 * begins, in case its rows have to be taken one by one.
 */
static void
enqueue_table(Firing *firing, Tuplestorestate *table)
{
	TupleDesc	desc = RelationGetDescr(firing->trigger->tg_relation);
	int			reader = tuplestore_alloc_read_pointer(table, EXEC_FLAG_REWIND);
	int			begin = tuplestore_alloc_read_pointer(table, EXEC_FLAG_REWIND);
	Chunk		chunk = {firing, table};

	firing->slot = MakeSingleTupleTableSlot(desc, &TTSOpsMinimalTuple);
	tuplestore_select_read_pointer(table, reader);
	tuplestore_rescan(table);
	do
	{
		tuplestore_copy_read_pointer(table, reader, begin);
		chunk.taken = 0;
		chunk.most = CHUNK_ROWS;
		if (!try_in_scratch(firing, enqueue_chunk, &chunk, 0))
		{
			int64		left = CHUNK_ROWS;

			tuplestore_copy_read_pointer(table, begin, reader);
			chunk.most = 1;
			do
			{
				CHECK_FOR_INTERRUPTS();
				chunk.taken = 0;
				(void) try_in_scratch(firing, enqueue_chunk, &chunk, 1);
			} while (chunk.taken > 0 && --left > 0);
		}
	} while (chunk.taken == chunk.most);
	tuplestore_select_read_pointer(table, 0);
	ExecDropSingleTupleTableSlot(firing->slot);
	firing->slot = NULL;
}

static void
enqueue_change(void *arg)
{
	Change	   *change = arg;

	enqueue_row(change->firing, change->old, change->new);
	end_append(change->firing);
}

/*
 * Tries a row.  A function that somebody replaces by one in another language may fail in the
 * statements that are about to call it.  That is not the row's fault, so it is tried again.
 */
static bool
try_change(Firing *firing, Change *change, int64 failures)
{
	if (try_in_scratch(firing, enqueue_change, change, failures))
		return true;
	if (!contacts_push_mapping_is_outdated(firing->mapping))
		return false;
	firing->failures.rows = 0;
	firing->failures.reason = NULL;
	return try_in_scratch(firing, enqueue_change, change, failures);
}

/*
 * Enqueues the rows that the trigger fires for.  If the view raises for the old version of a row,
 * only the new one counts.  A row whose new version cannot be mapped is left out and withdraws
 * nothing: its user is still there, and what was enqueued before is still to be sent.
 */
static void
fire(Firing *firing, MappingChange change)
{
	TriggerData *trigger = firing->trigger;
	bool		updated = TRIGGER_FIRED_BY_UPDATE(trigger->tg_event);
	Change		row = {firing};

	if (firing->failures.has_grown)
		contacts_push_failures_add(&firing->failures, tuplestore_tuple_count(transition_table(trigger)),
								   HAS_CHILDREN);
	else if (TRIGGER_FIRED_FOR_STATEMENT(trigger->tg_event))
	{
		/* in the order of the triggers */
		contacts_push_batch_flush(true);
		enqueue_table(firing, transition_table(trigger));
	}
	else
	{
		if (TRIGGER_FIRED_BY_DELETE(trigger->tg_event) || (updated && change == MAPPING_KEY))
			row.old = trigger->tg_trigslot;
		if (!TRIGGER_FIRED_BY_DELETE(trigger->tg_event))
			row.new = updated ? trigger->tg_newslot : trigger->tg_trigslot;
		if (updated && row.old)
		{
			if (try_change(firing, &row, 0))
				return;
			row.old = NULL;
		}
		(void) try_change(firing, &row, 1);
	}
}

static void
make_mapping(void *arg)
{
	Firing	   *firing = arg;

	firing->mapping = contacts_push_mapping_make(firing->trigger->tg_trigger,
												 firing->trigger->tg_relation);
}

/* Returns whether the trigger is as watch() makes it. */
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

/* Does all but the quick way out of an update that changes no mapped column. */
static void
fire_with_mapping(TriggerData *trigger, Mapping *cached, MappingChange change)
{
	Firing		firing = {trigger};
	Failures   *failures = &firing.failures;

	failures->chatbot_id = trigger->tg_trigger->tgargs[WATCHED_CHATBOT];
	firing.chatbot = CStringGetTextDatum(failures->chatbot_id);
	firing.statement = contacts_push_order_statement(RelationGetRelid(trigger->tg_relation));
	failures->relation = RelationGetRelid(trigger->tg_relation);
	failures->by_row = TRIGGER_FIRED_FOR_ROW(trigger->tg_event);
	failures->deleted = TRIGGER_FIRED_BY_DELETE(trigger->tg_event);
	failures->has_grown = trigger->tg_oldtable && trigger->tg_relation->rd_rel->relhassubclass;
	failures->tell_reason = true;
	firing.held_back = failures->by_row && contacts_push_batch_is_open();
	firing.scratch = AllocSetContextCreate(CurrentMemoryContext, "contacts_push rows",
										   ALLOCSET_DEFAULT_SIZES);
	if (cached && contacts_push_mapping_hold(cached))
		firing.mapping = cached;
	else
		(void) try_in_scratch(&firing, make_mapping, &firing, failures->by_row ? 1 :
							  tuplestore_tuple_count(transition_table(trigger)));
	PG_TRY();
	{
		if (firing.mapping && TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) && cached == NULL)
			change = contacts_push_mapping_compare(firing.mapping, trigger->tg_trigslot,
												   trigger->tg_newslot);
		if (firing.mapping && change != MAPPING_SAME)
		{
			Oid			table = contacts_push_mapping_table(firing.mapping);

			firing.nested = contacts_push_order_is_nested(failures->relation, table);
			fire(&firing, change);
			failures->relation = table;
			if (failures->rows > 0)
				failures->tell_reason = contacts_push_mapping_is_readable(firing.mapping);
		}
	}
	PG_FINALLY();
	{
		if (firing.mapping)
			contacts_push_mapping_release(firing.mapping);
	}
	PG_END_TRY();
	if (failures->rows > 0)
		contacts_push_failures_report(failures);
	if (firing.held_back)
		contacts_push_batch_flush(false);
	MemoryContextDelete(firing.scratch);
}

/*
 * contacts_push_internal.enqueue_rows(): trigger with the arguments chatbot_id and view.
 */
Datum
contacts_push_enqueue_rows(PG_FUNCTION_ARGS)
{
	TriggerData *trigger;
	Mapping    *mapping;
	MappingChange change = MAPPING_KEY;

	check_trigger(fcinfo);
	trigger = (TriggerData *) fcinfo->context;
	mapping = contacts_push_mapping_find(trigger->tg_trigger, trigger->tg_relation);
	if (mapping && TRIGGER_FIRED_BY_UPDATE(trigger->tg_event))
		change = contacts_push_mapping_compare(mapping, trigger->tg_trigslot, trigger->tg_newslot);
	if (change != MAPPING_SAME)
		fire_with_mapping(trigger, mapping, change);
	return PointerGetDatum(NULL);
}
