/*
 * outbox_write.c
 *		The one way in which the worker writes rows of contacts_push.outbox.
 *
 * A row whose tid is known is updated there, through the table access method, as the
 * executor would, which costs a fraction of a planned UPDATE over arrays.
 * That is for the good path alone.  Wherever anything is unusual about the row or the table,
 * or something raises, one SQL statement writes what is left, and whatever is wrong with a
 * row is found out and raised by that.  What a row becomes is not decided in here.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "compat.h"
#include "executor/executor.h"
#include "server/shared.h"
#include "server/try.h"
#include "storage/bufmgr.h"
#include "store/outbox.h"
#include "store/outbox_write.h"
#include "store/transaction.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

/*
 * Another session can lock a row between the look at it and its update only, which is
 * some microseconds: long enough to be waited for now and then, and short enough that no
 * deadlock is ever looked for.
 */
#define LOCK_TIMEOUT "10ms"

/* Changes that belong together. */
typedef struct Batch
{
	int			n;
	RowChange **changes;
	TimestampTz now;			/* settled_at */
} Batch;

/* ---- by tid ---- */

typedef struct Writer
{
	Relation	outbox;
	const OutboxLayout *layout;
	BlockNumber blocks;			/* that there are; a tid may be older than a truncation */
	Snapshot	snapshot;
	CommandId	command;
	TimestampTz now;
	TupleTableSlot *old;
	TupleTableSlot *new;
	EState	   *estate;
	ResultRelInfo *relinfo;		/* NULL: its indexes are not open */
} Writer;

static void
put(Writer *writer, OutboxField field, bool isnull, Datum value)
{
	int			place = writer->layout->place[field];

	writer->new->tts_isnull[place] = isnull;
	writer->new->tts_values[place] = isnull ? (Datum) 0 : value;
}

static void
put_text(Writer *writer, OutboxField field, const char *text)
{
	put(writer, field, text == NULL, text ? CStringGetTextDatum(text) : (Datum) 0);
}

static Datum
get(const Writer *writer, OutboxField field)
{
	return writer->old->tts_values[writer->layout->place[field]];
}

static bool
is_refused(OutboxStatus status)
{
	return status == OUTBOX_CONFLICT || status == OUTBOX_REJECTED || status == OUTBOX_FAILED;
}

/* True if that text stands in the row as it is. */
static bool
is_text(const Writer *writer, OutboxField field, const char *expected)
{
	text	   *value = DatumGetTextPP(get(writer, field));
	Size		length = VARSIZE_ANY_EXHDR(value);

	return strlen(expected) == length && memcmp(VARDATA_ANY(value), expected, length) == 0;
}

/*
 * Reads the row where it was last seen.  False: it is not there, or not as expected, or
 * some session has or had it locked.  One that is visible to our snapshot can't be pruned.
 */
static bool
find_row(Writer *writer, RowChange *change)
{
	HeapTuple	tuple;

	if (!ItemPointerIsValid(&change->tid) ||
		ItemPointerGetBlockNumber(&change->tid) >= writer->blocks ||
		!table_tuple_fetch_row_version(writer->outbox, &change->tid, writer->snapshot, writer->old))
		return false;
	tuple = ExecFetchSlotHeapTuple(writer->old, false, NULL);
	if (!(tuple->t_data->t_infomask & HEAP_XMAX_INVALID))
		return false;
	slot_getallattrs(writer->old);
	if (DatumGetInt64(get(writer, FIELD_SEQ)) != change->seq ||
		!is_text(writer, FIELD_CHATBOT_ID, change->chatbot_id) ||
		(change->external_id && !is_text(writer, FIELD_EXTERNAL_ID, change->external_id)))
		return false;
	change->was = outbox_status_of(writer->layout, DatumGetObjectId(get(writer, FIELD_STATUS)));
	return change->expects_refused ? is_refused(change->was) : change->was == OUTBOX_PENDING;
}

/* True if a CHECK constraint may not allow for the change. */
static bool
is_checked(const Writer *writer, const RowChange *change)
{
	uint32		changed = FIELD_BIT(FIELD_STATUS) | FIELD_BIT(FIELD_CONTACT) |
		FIELD_BIT(FIELD_UNCONFIRMED) | FIELD_BIT(FIELD_HTTP_STATUS) | FIELD_BIT(FIELD_ERROR) |
		FIELD_BIT(FIELD_CONTACT_ID) | FIELD_BIT(FIELD_CONTACT_HASH) |
		FIELD_BIT(FIELD_CONTACT_MEMBERS) | FIELD_BIT(FIELD_SETTLED_AT);

	if (change->attempts >= 0)
		changed |= FIELD_BIT(FIELD_ATTEMPTS);
	if (change->delay_ms >= 0 ||
		!writer->old->tts_isnull[writer->layout->place[FIELD_NEXT_ATTEMPT_AT]])
		changed |= FIELD_BIT(FIELD_NEXT_ATTEMPT_AT);
	return (changed & writer->layout->checked) != 0;
}

/* The row as it becomes, in the other slot. */
static void
make_row(Writer *writer, const RowChange *change)
{
	TupleDesc	desc = RelationGetDescr(writer->outbox);
	TupleTableSlot *new = writer->new;

	ExecClearTuple(new);
	memcpy(new->tts_values, writer->old->tts_values, desc->natts * sizeof(Datum));
	memcpy(new->tts_isnull, writer->old->tts_isnull, desc->natts * sizeof(bool));
	for (int i = 0; i < desc->natts; i++)
		if (TupleDescAttr(desc, i)->attisdropped)
			new->tts_isnull[i] = true;
	put(writer, FIELD_STATUS, false, ObjectIdGetDatum(writer->layout->status[change->status]));
	if (!change->keeps_contact)
		put(writer, FIELD_CONTACT, true, (Datum) 0);
	if (!change->expects_refused)
	{
		put(writer, FIELD_HTTP_STATUS, change->http_status == 0, Int32GetDatum(change->http_status));
		put_text(writer, FIELD_ERROR, change->error);
		put_text(writer, FIELD_CONTACT_ID, change->contact_id);
		put(writer, FIELD_CONTACT_HASH, change->contact_hash == 0,
			Int64GetDatum(change->contact_hash));
		put(writer, FIELD_CONTACT_MEMBERS, change->contact_members == NULL,
			PointerGetDatum(change->contact_members));
	}
	if (change->attempts >= 0)
		put(writer, FIELD_ATTEMPTS, false, Int32GetDatum(change->attempts));
	put(writer, FIELD_NEXT_ATTEMPT_AT, change->delay_ms < 0,
		TimestampTzGetDatum(writer->now + change->delay_ms * 1000));
	put(writer, FIELD_UNCONFIRMED, false, BoolGetDatum(change->unconfirmed));
	if (change->status != OUTBOX_PENDING)
		put(writer, FIELD_SETTLED_AT, false, TimestampTzGetDatum(writer->now));
	ExecStoreVirtualTuple(new);
}

static void
add_index_entries(Writer *writer, CompatUpdateIndexes indexes)
{
	if (writer->relinfo == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(writer->estate->es_query_cxt);

		writer->relinfo = makeNode(ResultRelInfo);
		InitResultRelInfo(writer->relinfo, writer->outbox, 0, NULL, 0);
		ExecOpenIndices(writer->relinfo, false);
		MemoryContextSwitchTo(old);
	}
	/* What a deferred constraint would have checked again is for triggers, which don't fire. */
	(void) compat_update_index_tuples(writer->relinfo, writer->new, writer->estate, indexes);
}

/* Writes a row as an UPDATE would; false: it is left to one. */
static bool
write_row(Writer *writer, RowChange *change)
{
	TM_FailureData failure;
	LockTupleMode mode;
	CompatUpdateIndexes indexes;

	if (!find_row(writer, change) || is_checked(writer, change))
		return false;
	make_row(writer, change);
	if (compat_tuple_update(writer->outbox, &change->tid, writer->new, writer->command,
							writer->snapshot, &failure, &mode, &indexes) != TM_Ok)
		return false;
	if (indexes)
		add_index_entries(writer, indexes);
	change->new_tid = writer->new->tts_tid;
	return true;
}

/*
 * Writes those that can be written by tid, in a subtransaction.  There is no lock of a row
 * before its update, which would be another WAL record.  So whoever locks it between the
 * look at it and the update is waited for, a moment; then all of it is rolled back: the
 * worker does not wait for other sessions while it holds locks on rows itself.
 */
static void
write_by_tid(void *arg)
{
	Batch	   *batch = arg;
	Relation	outbox = table_open(outbox_relation(), RowExclusiveLock);
	const OutboxLayout *layout = outbox_layout(outbox);
	Writer		writer = {.outbox = outbox, .layout = layout, .now = batch->now};
	MemoryContext old = CurrentMemoryContext;
	MemoryContext context;

	if (!layout->updates_are_plain)
	{
		table_close(outbox, NoLock);
		return;
	}
	CheckCmdReplicaIdentity(outbox, CMD_UPDATE);
	/* until the subtransaction ends */
	(void) set_config_option("lock_timeout", LOCK_TIMEOUT, PGC_SUSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	PushActiveSnapshot(GetTransactionSnapshot());
	writer.snapshot = GetActiveSnapshot();
	writer.command = GetCurrentCommandId(true);
	writer.blocks = RelationGetNumberOfBlocks(outbox);
	writer.old = table_slot_create(outbox, NULL);
	writer.new = MakeSingleTupleTableSlot(RelationGetDescr(outbox), &TTSOpsVirtual);
	writer.estate = CreateExecutorState();
	context = GetPerTupleMemoryContext(writer.estate);
	for (int i = 0; i < batch->n; i++)
	{
		RowChange  *change = batch->changes[i];

		MemoryContextSwitchTo(context);
		if (write_row(&writer, change))
			change->result = ROW_WRITTEN;
		MemoryContextSwitchTo(old);
		ResetPerTupleExprContext(writer.estate);
	}
	ExecDropSingleTupleTableSlot(writer.old);
	ExecDropSingleTupleTableSlot(writer.new);
	if (writer.relinfo)
		ExecCloseIndices(writer.relinfo);
	FreeExecutorState(writer.estate);
	PopActiveSnapshot();
	table_close(outbox, NoLock);
}

/* ---- by SQL ---- */

/*
 * Rows are locked with SKIP LOCKED before they are updated by the ctid under which that
 * found them: waiting for somebody's lock while holding others' could stall or deadlock
 * the worker, and one that has moved meanwhile is left out as if it were locked.  OFFSET 0
 * and the ctid leave the planner no choice, see outbox_sql.h.
 */

/*
 * The row p of a change v, if it is that contact's and has the status for it.  In a CASE, as
 * the index of contacts must not serve it.
 */
#define TO_BE_WRITTEN \
	"p.seq = v.seq AND CASE" \
	" WHEN p.chatbot_id <> v.chatbot_id OR p.external_id <> v.external_id THEN false" \
	" WHEN v.expects_refused THEN p.status = ANY ('{conflict,rejected,failed}')" \
	" ELSE p.status = 'pending' END"

/* What becomes of rows $1[i] at the time $15; of those written: i, former status, ctid. */
static OutboxSql write_rows = {
	"UPDATE contacts_push.outbox o SET status = v.status::contacts_push.status,"
	" contact = CASE WHEN v.keeps_contact THEN o.contact END,"
	" http_status = CASE WHEN v.expects_refused THEN o.http_status ELSE nullif(v.http_status, 0) END,"
	" error = CASE WHEN v.expects_refused THEN o.error ELSE v.error END,"
	" contact_id = CASE WHEN v.expects_refused THEN o.contact_id ELSE v.contact_id END,"
	" contact_hash = CASE WHEN v.expects_refused THEN o.contact_hash ELSE nullif(v.contact_hash, 0) END,"
	" contact_members = CASE WHEN v.expects_refused THEN o.contact_members ELSE v.contact_members END,"
	" attempts = CASE WHEN v.attempts < 0 THEN o.attempts ELSE v.attempts END,"
	" next_attempt_at = CASE WHEN v.delay_ms >= 0 THEN $15 + v.delay_ms * interval '1 ms' END,"
	" unconfirmed = v.unconfirmed,"
	" settled_at = CASE WHEN v.status = 'pending' THEN o.settled_at ELSE $15 END"
	" FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12,"
	" $13, $14) WITH ORDINALITY"
	" AS v(seq, chatbot_id, external_id, expects_refused, status, keeps_contact, http_status,"
	" error, contact_id, attempts, delay_ms, unconfirmed, contact_hash, contact_members, place)"
	" CROSS JOIN LATERAL (SELECT p.ctid, p.status FROM contacts_push.outbox p"
	" WHERE " TO_BE_WRITTEN " FOR NO KEY UPDATE SKIP LOCKED) AS l"
	" WHERE o.ctid = l.ctid RETURNING v.place, l.status::text, o.ctid",
	15, {INT8ARRAYOID, TEXTARRAYOID, TEXTARRAYOID, BOOLARRAYOID, TEXTARRAYOID, BOOLARRAYOID,
	INT4ARRAYOID, TEXTARRAYOID, TEXTARRAYOID, INT4ARRAYOID, INT8ARRAYOID, BOOLARRAYOID,
	INT8ARRAYOID, BYTEAARRAYOID, TIMESTAMPTZOID}
};

/* Those i whose rows $1[i] are still as $2[i], $3[i] and $4[i] expect. */
static OutboxSql find_unwritten = {
	"SELECT v.place FROM unnest($1, $2, $3, $4) WITH ORDINALITY"
	" AS v(seq, chatbot_id, external_id, expects_refused, place)"
	" CROSS JOIN LATERAL (SELECT FROM contacts_push.outbox p"
	" WHERE " TO_BE_WRITTEN " OFFSET 0) AS o",
	4, {INT8ARRAYOID, TEXTARRAYOID, TEXTARRAYOID, BOOLARRAYOID}
};

static void
note_locked(Batch *batch, Datum *values)
{
	uint64		n = outbox_run_sql(&find_unwritten, values, NULL);

	for (uint64 i = 0; i < n; i++)
	{
		RowChange  *change = batch->changes[outbox_get_int64(i, 1) - 1];

		if (change->result != ROW_WRITTEN)
			change->result = ROW_LOCKED;
	}
}

/* Writes all that nobody holds locked. */
static void
write_by_sql(void *arg)
{
	Batch	   *batch = arg;
	int			n = batch->n;
	int64	   *seqs = palloc(n * sizeof(int64));
	const char **chatbot_ids = palloc(n * sizeof(char *));
	const char **external_ids = palloc(n * sizeof(char *));
	bool	   *expects_refused = palloc(n * sizeof(bool));
	const char **statuses = palloc(n * sizeof(char *));
	bool	   *keeps_contact = palloc(n * sizeof(bool));
	int		   *http_statuses = palloc(n * sizeof(int));
	const char **errors = palloc(n * sizeof(char *));
	const char **contact_ids = palloc(n * sizeof(char *));
	int		   *attempts = palloc(n * sizeof(int));
	int64	   *delays_ms = palloc(n * sizeof(int64));
	bool	   *unconfirmed = palloc(n * sizeof(bool));
	int64	   *hashes = palloc(n * sizeof(int64));
	bytea	  **members = palloc(n * sizeof(bytea *));
	Datum		values[15];
	uint64		written;

	for (int i = 0; i < n; i++)
	{
		RowChange  *change = batch->changes[i];

		seqs[i] = change->seq;
		chatbot_ids[i] = change->chatbot_id;
		external_ids[i] = change->external_id;
		expects_refused[i] = change->expects_refused;
		statuses[i] = outbox_status_name(change->status);
		keeps_contact[i] = change->keeps_contact;
		http_statuses[i] = change->http_status;
		errors[i] = change->error;
		contact_ids[i] = change->contact_id;
		attempts[i] = change->attempts;
		delays_ms[i] = change->delay_ms;
		unconfirmed[i] = change->unconfirmed;
		hashes[i] = change->contact_hash;
		members[i] = change->contact_members;
		change->result = ROW_CHANGED;
	}
	values[0] = outbox_int8_array(seqs, n);
	values[1] = outbox_text_array(unconstify(char **, chatbot_ids), n);
	values[2] = outbox_text_array(unconstify(char **, external_ids), n);
	values[3] = outbox_bool_array(expects_refused, n);
	values[4] = outbox_text_array(unconstify(char **, statuses), n);
	values[5] = outbox_bool_array(keeps_contact, n);
	values[6] = outbox_int4_array(http_statuses, n);
	values[7] = outbox_text_array(unconstify(char **, errors), n);
	values[8] = outbox_text_array(unconstify(char **, contact_ids), n);
	values[9] = outbox_int4_array(attempts, n);
	values[10] = outbox_int8_array(delays_ms, n);
	values[11] = outbox_bool_array(unconfirmed, n);
	values[12] = outbox_int8_array(hashes, n);
	values[13] = outbox_bytea_array(members, n);
	values[14] = TimestampTzGetDatum(batch->now);
	written = outbox_run_sql(&write_rows, values, NULL);
	for (uint64 i = 0; i < written; i++)
	{
		RowChange  *change = batch->changes[outbox_get_int64(i, 1) - 1];
		bool		isnull;

		change->result = ROW_WRITTEN;
		change->was = outbox_status_named(outbox_get_text(i, 2));
		change->new_tid = *(ItemPointer) DatumGetPointer(outbox_get(i, 3, &isnull));
	}
	if (written < (uint64) n)
		note_locked(batch, values);
}

/* ---- where a row may make it fail ---- */

/*
 * Has a row rejected that cannot be written as it should be, for the reason why; whether
 * Chatbase has the contact is not known any more.  One that cannot even be rejected stays
 * as it is, and keeps nothing else.
 */
static void
set_aside(RowChange *change, const char *why, TimestampTz now)
{
	RowChange	aside = *change;
	RowChange  *only = &aside;
	Batch		batch = {1, &only, now};
	char	   *reason;

	aside.status = OUTBOX_REJECTED;
	aside.keeps_contact = true;
	aside.error = psprintf("it could not be settled: %s", why);
	aside.contact_id = NULL;
	aside.contact_hash = 0;
	aside.contact_members = NULL;
	aside.attempts = -1;
	aside.delay_ms = -1;
	aside.unconfirmed = true;
	change->result = ROW_LOCKED;
	if (!change->expects_refused && try_run(write_by_sql, &batch, &reason))
	{
		change->status = aside.status;
		change->result = aside.result;
		change->was = aside.was;
		change->new_tid = aside.new_tid;
	}
	ereport(WARNING,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("contacts_push: row %lld of contacts_push.outbox %s: %s",
					(long long) change->seq,
					change->result == ROW_WRITTEN ? "is rejected, as it could not be settled"
					: "cannot be settled", why)));
}

static void
write_one_by_one(Batch *batch)
{
	for (int i = 0; i < batch->n; i++)
	{
		Batch		one = {1, &batch->changes[i], batch->now};
		char	   *why;

		if (!try_run(write_by_sql, &one, &why))
			set_aside(batch->changes[i], why, batch->now);
	}
}

/* Takes out what has been written by tid. */
static void
keep_unwritten(Batch *batch)
{
	int			n = 0;

	for (int i = 0; i < batch->n; i++)
		if (batch->changes[i]->result != ROW_WRITTEN)
			batch->changes[n++] = batch->changes[i];
	batch->n = n;
}

void
outbox_write(RowChange *changes, int n)
{
	MemoryContext old = CurrentMemoryContext;
	MemoryContext context;
	Batch		batch = {.n = n, .now = GetCurrentTimestamp()};
	int64		low = PG_INT64_MAX;
	int64		high = PG_INT64_MIN;
	char	   *reason;

	if (n == 0)
		return;
	context = AllocSetContextCreate(old, "contacts_push rows to write", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(context);
	batch.changes = palloc(n * sizeof(RowChange *));
	for (int i = 0; i < n; i++)
	{
		batch.changes[i] = &changes[i];
		changes[i].result = ROW_LOCKED;
		low = Min(low, changes[i].seq);
		high = Max(high, changes[i].seq);
	}
	shared_enter(OUTBOX_STEP_WRITE, low, high);
	if (shared_is_suspect(OUTBOX_STEP_WRITE, low, high))
		write_one_by_one(&batch);
	else
	{
		if (try_run(write_by_tid, &batch, &reason))
			keep_unwritten(&batch);
		if (batch.n > 0)
			write_by_sql(&batch);
	}
	shared_enter(0, 0, 0);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
}
