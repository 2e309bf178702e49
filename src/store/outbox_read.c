/*
 * outbox_read.c
 *		Rows of contacts_push.outbox in the order of their numbers.
 *
 * Along the index of the primary key, or any that has the same columns first: while one
 * is rebuilt, its successor is there before it goes.  What is found is what a statement
 * would find; which plan it would have depends on nothing here.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_index.h"
#include "catalog/pg_opfamily.h"
#include "compat.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "store/outbox_read.h"
#include "store/transaction.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

struct OutboxScan
{
	MemoryContext context;		/* where it was begun: what it needs is kept there */
	Relation	outbox;
	const OutboxLayout *layout;
	Snapshot	snapshot;
	int64		drawn;			/* asked after the snapshot was taken: what it sees above is ahead */
	Relation	by_seq_index;
	IndexScanDesc by_seq;
	TupleTableSlot *slot;
	/* of outbox_scan_has_others(); NULL: it was not called yet */
	Relation	by_contact_index;
	IndexScanDesc by_contact;
	TupleTableSlot *other;
};

/* ---- the table and its indexes ---- */

/*
 * True if the index has all rows in the order of these columns, as the server's own
 * operators compare them: no code of others is run by reading it.  One that was made only
 * now may not serve snapshots that are older than it; ours are taken later.
 */
static bool
serves(const OutboxScan *scan, Relation index, const OutboxField *fields, int n, Oid family)
{
	Form_pg_index form = index->rd_index;
	bool		fits = form->indisvalid && form->indnkeyatts >= n &&
		heap_attisnull(index->rd_indextuple, Anum_pg_index_indpred, NULL);

	for (int i = 0; fits && i < n; i++)
		fits = form->indkey.values[i] == scan->layout->place[fields[i]] + 1 &&
			index->rd_opfamily[i] == family && index->rd_indoption[i] == 0 &&
			(index->rd_indcollation[i] == InvalidOid || index->rd_indcollation[i] == C_COLLATION_OID);
	return fits;
}

/* An index that serves, opened.  What a transaction has seen of them stays until it ends. */
static Relation
open_index(const OutboxScan *scan, const OutboxField *fields, int n, Oid family, const char *definition)
{
	List	   *indexes = RelationGetIndexList(scan->outbox);
	ListCell   *cell;

	foreach(cell, indexes)
	{
		Relation	index = index_open(lfirst_oid(cell), AccessShareLock);

		if (serves(scan, index, fields, n, family))
		{
			list_free(indexes);
			return index;
		}
		index_close(index, AccessShareLock);
	}
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("contacts_push.outbox has no valid index on (%s)", definition),
			 errhint("Create it: its rows cannot be found without it.")));
}

/* ---- the sequence ---- */

int64
outbox_last_seq(void)
{
	Oid			schema = get_rel_namespace(outbox_relation());
	Oid			sequence = get_relname_relid("outbox_seq_seq", schema);
	int64		last;
	LOCAL_FCINFO(call, 1);

	if (!OidIsValid(sequence))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("sequence contacts_push.outbox_seq_seq does not exist")));
	InitFunctionCallInfoData(*call, NULL, 1, InvalidOid, NULL, NULL);
	call->args[0].value = ObjectIdGetDatum(sequence);
	call->args[0].isnull = false;
	last = DatumGetInt64(pg_sequence_last_value(call));
	return call->isnull ? 0 : last;
}

/* ---- reading along the numbers ---- */

OutboxScan *
outbox_scan_begin(void)
{
	static const OutboxField fields[] = {FIELD_SEQ};
	OutboxScan *scan = palloc0(sizeof(OutboxScan));
	Oid			outbox = outbox_relation();

	if (pg_class_aclcheck(outbox, GetUserId(), ACL_SELECT) != ACLCHECK_OK)
		aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_TABLE, "outbox");
	scan->context = CurrentMemoryContext;
	scan->outbox = table_open(outbox, AccessShareLock);
	scan->layout = outbox_layout(scan->outbox);
	if (!scan->layout->is_plain)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("contacts_push.outbox has no longer the columns that the extension has given it"),
				 errhint("Undo what was changed in the table, or create the extension anew.")));
	scan->by_seq_index = open_index(scan, fields, lengthof(fields), INTEGER_BTREE_FAM_OID, "seq");
	/* after the indexes, see serves(); and with what was written so far */
	CommandCounterIncrement();
	scan->snapshot = RegisterSnapshot(GetTransactionSnapshot());
	scan->drawn = outbox_last_seq();
	scan->by_seq = compat_index_beginscan(scan->outbox, scan->by_seq_index, scan->snapshot, 2);
	scan->slot = table_slot_create(scan->outbox, NULL);
	return scan;
}

void
outbox_scan_end(OutboxScan *scan)
{
	if (scan->by_contact)
	{
		index_endscan(scan->by_contact);
		ExecDropSingleTupleTableSlot(scan->other);
		index_close(scan->by_contact_index, NoLock);
	}
	index_endscan(scan->by_seq);
	ExecDropSingleTupleTableSlot(scan->slot);
	UnregisterSnapshot(scan->snapshot);
	index_close(scan->by_seq_index, NoLock);
	table_close(scan->outbox, NoLock);
	pfree(scan);
}

int64
outbox_scan_drawn(const OutboxScan *scan)
{
	return scan->drawn;
}

void
outbox_scan_range(OutboxScan *scan, int64 low, int64 high)
{
	ScanKeyData keys[2];

	ScanKeyInit(&keys[0], 1, BTGreaterEqualStrategyNumber, F_INT8GE, Int64GetDatum(low));
	ScanKeyInit(&keys[1], 1, BTLessEqualStrategyNumber, F_INT8LE, Int64GetDatum(high));
	index_rescan(scan->by_seq, keys, lengthof(keys), NULL, 0);
}

/* Settled without having been sent. */
static bool
is_unsent(OutboxStatus status)
{
	return status == OUTBOX_SUPERSEDED || status == OUTBOX_SKIPPED || status == OUTBOX_WITHDRAWN;
}

/* A column of the row that was read last; those before it are taken apart, too. */
static Datum
get(const OutboxScan *scan, OutboxField field, bool *isnull)
{
	return slot_getattr(scan->slot, scan->layout->place[field] + 1, isnull);
}

bool
outbox_scan_next(OutboxScan *scan, OutboxRow *row)
{
	MemoryContext old = MemoryContextSwitchTo(scan->context);
	bool		found = index_getnext_slot(scan->by_seq, ForwardScanDirection, scan->slot);
	bool		isnull;

	MemoryContextSwitchTo(old);
	if (!found)
		return false;
	row->status = outbox_status_of(scan->layout, DatumGetObjectId(get(scan, FIELD_STATUS, &isnull)));
	row->seq = DatumGetInt64(get(scan, FIELD_SEQ, &isnull));
	row->tid = scan->slot->tts_tid;
	row->is_ahead = row->seq > scan->drawn;
	row->unsent_since = row->changed_since = DT_NOEND;
	if (is_unsent(row->status) || row->status == OUTBOX_UPDATED || row->status == OUTBOX_DELETED)
	{
		TimestampTz settled_at = DatumGetTimestampTz(get(scan, FIELD_SETTLED_AT, &isnull));

		if (!isnull)
			*(is_unsent(row->status) ? &row->unsent_since : &row->changed_since) = settled_at;
	}
	if (row->status != OUTBOX_PENDING)
		return true;
	row->enqueued_at = DatumGetTimestampTz(get(scan, FIELD_ENQUEUED_AT, &isnull));
	row->chatbot_id = get(scan, FIELD_CHATBOT_ID, &isnull);
	row->external_id = get(scan, FIELD_EXTERNAL_ID, &isnull);
	(void) get(scan, FIELD_PREVIOUS_EXTERNAL_ID, &isnull);
	row->is_moved = !isnull;
	row->contact = get(scan, FIELD_CONTACT, &row->withdrawal);
	row->attempts = DatumGetInt32(get(scan, FIELD_ATTEMPTS, &isnull));
	row->unconfirmed = DatumGetBool(get(scan, FIELD_UNCONFIRMED, &isnull));
	row->next_attempt_at = DatumGetTimestampTz(get(scan, FIELD_NEXT_ATTEMPT_AT, &isnull));
	if (isnull)
		row->next_attempt_at = DT_NOBEGIN;
	return true;
}

/* ---- other rows of a contact ---- */

static void
begin_by_contact(OutboxScan *scan)
{
	static const OutboxField fields[] = {FIELD_CHATBOT_ID, FIELD_EXTERNAL_ID};

	scan->by_contact_index = open_index(scan, fields, lengthof(fields), TEXT_BTREE_FAM_OID,
										"chatbot_id, external_id");
	scan->by_contact = compat_index_beginscan(scan->outbox, scan->by_contact_index, scan->snapshot, 2);
	scan->other = table_slot_create(scan->outbox, NULL);
}

static bool
has_others(OutboxScan *scan, const OutboxRow *row)
{
	ScanKeyData keys[2];
	bool		isnull;

	if (scan->by_contact == NULL)
		begin_by_contact(scan);
	ScanKeyInit(&keys[0], 1, BTEqualStrategyNumber, F_TEXTEQ, row->chatbot_id);
	ScanKeyInit(&keys[1], 2, BTEqualStrategyNumber, F_TEXTEQ, row->external_id);
	index_rescan(scan->by_contact, keys, lengthof(keys), NULL, 0);
	/* A single entry is that of the row itself. */
	if (index_getnext_tid(scan->by_contact, ForwardScanDirection) == NULL ||
		index_getnext_tid(scan->by_contact, ForwardScanDirection) == NULL)
		return false;
	index_rescan(scan->by_contact, keys, lengthof(keys), NULL, 0);
	while (index_getnext_slot(scan->by_contact, ForwardScanDirection, scan->other))
		if (DatumGetInt64(slot_getattr(scan->other, scan->layout->place[FIELD_SEQ] + 1,
									   &isnull)) != row->seq)
			return true;
	return false;
}

bool
outbox_scan_has_others(OutboxScan *scan, const OutboxRow *row)
{
	MemoryContext old = MemoryContextSwitchTo(scan->context);
	bool		found = has_others(scan, row);

	ExecClearTuple(scan->other);
	MemoryContextSwitchTo(old);
	return found;
}
