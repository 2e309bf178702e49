/*
 * backfill.c
 *		The rows that a watched table has, block by block: contacts_push.backfill(), missing(),
 *		and what reconcile() compares.
 *
 * The mapping runs as the owner of the watched table, who chose it, as in the server's own
 * maintenance commands: neither with the rights of whoever backfills, nor with those of
 * somebody who owns a partition.
 *
 * A backfill locks no row, so no writer of the table waits for it.  The order of its steps
 * keeps an outdated contact from becoming the newest intent: it draws the numbers, then waits
 * for all who may be writing the table, then reads the rows.  A change that it does not see
 * draws its number later.
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "commands/trigger.h"
#include "compat.h"
#include "enqueue/failures.h"
#include "enqueue/mapping.h"
#include "enqueue/watched.h"
#include "executor/executor.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "nodes/value.h"
#include "server/try.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "store/blocks.h"
#include "store/outbox.h"
#include "tcop/pquery.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

COMPAT_FUNCTION_INFO_V1(contacts_push_backfill);
COMPAT_FUNCTION_INFO_V1(contacts_push_missing);
COMPAT_FUNCTION_INFO_V1(contacts_push_watched_contacts);

/* Blocks in a transaction: some thousand rows, and memory for no more. */
#define CHUNK_BLOCKS 64

/* What is backfilled: the table for one chatbot. */
typedef struct Backfill
{
	Oid			table;
	const char *chatbot_id;
	bool		keys_only;		/* only the external_ids are wanted */
	bool		replace;		/* replace what another mapping has made and is not created */
	int64		enqueued;		/* in this pass */
	int64		total;			/* in the passes before */
	Failures	failures;		/* of this pass */
	MemoryContext scratch;		/* of a chunk */
} Backfill;

/* Some blocks of the table or of one of its partitions. */
typedef struct Chunk
{
	Backfill   *backfill;
	Mapping    *mapping;		/* NULL: not yet */
	const Trigger *trigger;
	Relation	part;
	Tuplestorestate *raw;		/* its rows */
	TupleTableSlot *slot;
	Tuplestorestate *contacts;	/* of these rows */
} Chunk;

/* Maps the row in the slot. */
static void
map_row(void *arg)
{
	Chunk	   *chunk = arg;
	bool		whole = !chunk->backfill->keys_only;
	MappedRow	row;

	contacts_push_mapping_evaluate(chunk->mapping, chunk->slot, whole, &row);
	if (!whole)
		row.contact = DirectFunctionCall1(jsonb_in, CStringGetDatum("{}"));
	if (row.is_contact)
		outbox_rows_add(chunk->contacts, row.external_id, row.contact);
	contacts_push_mapping_reset(chunk->mapping);
}

static void
map_all(void *arg)
{
	Chunk	   *chunk = arg;

	while (tuplestore_gettupleslot(chunk->raw, true, false, chunk->slot))
	{
		CHECK_FOR_INTERRUPTS();
		map_row(chunk);
	}
}

static void
make_mapping(void *arg)
{
	Chunk	   *chunk = arg;

	chunk->mapping = contacts_push_mapping_make(chunk->trigger, chunk->part);
}

/* Maps all rows; one by one, if the mapping raises for some. */
static void
map_chunk(Chunk *chunk)
{
	Failures   *failures = &chunk->backfill->failures;
	char	   *reason;

	chunk->mapping = contacts_push_mapping_find(chunk->trigger, chunk->part);
	if ((chunk->mapping == NULL || !contacts_push_mapping_hold(chunk->mapping)) &&
		!try_run(make_mapping, chunk, &reason))
	{
		contacts_push_failures_add(failures, tuplestore_tuple_count(chunk->raw), reason);
		return;
	}
	PG_TRY();
	{
		if (!try_run(map_all, chunk, &reason))
		{
			tuplestore_clear(chunk->contacts);
			tuplestore_rescan(chunk->raw);
			while (tuplestore_gettupleslot(chunk->raw, true, false, chunk->slot))
			{
				CHECK_FOR_INTERRUPTS();
				if (!try_run(map_row, chunk, &reason))
					contacts_push_failures_add(failures, 1, reason);
			}
		}
	}
	PG_FINALLY();
	{
		contacts_push_mapping_release(chunk->mapping);
	}
	PG_END_TRY();
}

/* Maps the rows in some blocks of a part, as the owner of the table. */
static Tuplestorestate *
map_blocks(Backfill *backfill, Oid part, BlockNumber from)
{
	Relation	table = table_open(backfill->table, AccessShareLock);
	List	   *triggers = contacts_push_watched_triggers(table, backfill->chatbot_id, InvalidOid);
	Chunk		chunk = {backfill};
	Oid			user;
	int			context;
	int			nest;

	if (!compat_owns_relation(backfill->table, GetUserId()))
		aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_TABLE, RelationGetRelationName(table));
	chunk.contacts = tuplestore_begin_heap(false, false, work_mem);
	chunk.part = try_relation_open(part, AccessShareLock);
	if (triggers == NIL || chunk.part == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("table \"%s\" is not watched for chatbot \"%s\" any more",
						RelationGetRelationName(table), backfill->chatbot_id)));
	chunk.trigger = linitial(triggers);
	chunk.raw = blocks_read(chunk.part, from, from + CHUNK_BLOCKS);
	chunk.slot = MakeSingleTupleTableSlot(RelationGetDescr(chunk.part), &TTSOpsMinimalTuple);
	nest = NewGUCNestLevel();
	GetUserIdAndSecContext(&user, &context);
	SetUserIdAndSecContext(table->rd_rel->relowner, context | SECURITY_RESTRICTED_OPERATION);
	map_chunk(&chunk);
	AtEOXact_GUC(false, nest);
	SetUserIdAndSecContext(user, context);
	ExecDropSingleTupleTableSlot(chunk.slot);
	tuplestore_end(chunk.raw);
	relation_close(chunk.part, AccessShareLock);
	table_close(table, AccessShareLock);
	return chunk.contacts;
}

/* Waits for all transactions that may have changed a table invisibly. */
static void
wait_for_writers(Oid relation)
{
	LOCKTAG		tag;

	SET_LOCKTAG_RELATION(tag, MyDatabaseId, relation);
	WaitForLockers(tag, ShareLock, false);
}

/* The reason of the first failure outlives its chunk. */
static void
keep_reason(Backfill *backfill)
{
	char	   *reason = backfill->failures.reason;
	MemoryContext context = MemoryContextGetParent(backfill->scratch);

	if (reason && GetMemoryChunkContext(reason) != context)
		backfill->failures.reason = MemoryContextStrdup(context, reason);
}

/* Begins a new transaction, whose statements each see what was committed before. */
static void
begin_next(Backfill *backfill)
{
	MemoryContextReset(backfill->scratch);
	outbox_commit_and_begin();
	MemoryContextSwitchTo(backfill->scratch);
	SetConfigOption("transaction_isolation", "read committed", PGC_USERSET, PGC_S_SESSION);
	EnsurePortalSnapshotExists();
}

/*
 * Enqueues the rows of some blocks that the outbox does not have; returns how many.  The first
 * look tells how many numbers to draw.  It ends its transaction, because the writers that are
 * waited for next might wait for its locks.
 */
static int64
enqueue_blocks(Backfill *backfill, Oid part, BlockNumber from)
{
	Failures	seen;
	Tuplestorestate *contacts = map_blocks(backfill, part, from);
	int64		missing = outbox_count_missing(backfill->chatbot_id, contacts, backfill->replace);
	int64		appended = 0;
	int64	   *numbers;

	tuplestore_end(contacts);
	keep_reason(backfill);
	begin_next(backfill);
	if (missing == 0)
		return 0;
	numbers = outbox_draw(missing);
	wait_for_writers(part);
	seen = backfill->failures;
	PushActiveSnapshot(GetLatestSnapshot());
	contacts = map_blocks(backfill, part, from);
	appended = outbox_append_missing(backfill->chatbot_id, contacts, backfill->replace, backfill->table,
									 numbers, missing);
	tuplestore_end(contacts);
	PopActiveSnapshot();
	/* the first look has counted the rows that fail */
	backfill->failures = seen;
	begin_next(backfill);
	return appended;
}

/* Returns the relations that hold the rows of a table. */
static List *
parts_of(Oid table)
{
	List	   *parts = NIL;
	ListCell   *cell;

	if (get_rel_relkind(table) == RELKIND_RELATION)
		return list_make1_oid(table);
	foreach(cell, find_all_inheritors(table, AccessShareLock, NULL))
		if (get_rel_relkind(lfirst_oid(cell)) == RELKIND_RELATION)
			parts = lappend_oid(parts, lfirst_oid(cell));
	return parts;
}

static BlockNumber
count_blocks(Oid part)
{
	Relation	relation = try_relation_open(part, AccessShareLock);
	BlockNumber blocks = 0;

	if (relation)
	{
		blocks = RelationGetNumberOfBlocks(relation);
		relation_close(relation, AccessShareLock);
	}
	return blocks;
}

/*
 * Goes over the table once.  An update may move a row to a block that was read before, so
 * there are passes until one finds nothing, or no fewer than the one before.
 */
static void
pass(Backfill *backfill)
{
	MemoryContext old = MemoryContextSwitchTo(MemoryContextGetParent(backfill->scratch));
	List	   *parts = parts_of(backfill->table);
	ListCell   *cell;

	MemoryContextSwitchTo(old);
	backfill->enqueued = 0;
	backfill->failures.rows = 0;
	backfill->failures.reason = NULL;
	foreach(cell, parts)
	{
		Oid			part = lfirst_oid(cell);
		BlockNumber blocks = count_blocks(part);

		for (BlockNumber block = 0; block < blocks; block += CHUNK_BLOCKS)
		{
			int64		enqueued = enqueue_blocks(backfill, part, block);

			backfill->enqueued += enqueued;
			/* a later pass should find nothing, and tells only of what it finds */
			if (backfill->total == 0 || enqueued > 0)
				ereport(NOTICE,
						(errmsg("%u of %u blocks of \"%s\": %lld contacts enqueued for chatbot \"%s\"",
								Min(block + CHUNK_BLOCKS, blocks), blocks, get_rel_name(part),
								(long long) (backfill->total + backfill->enqueued),
								backfill->chatbot_id)));
		}
	}
}

static void
backfill_chatbot(Oid table, const char *chatbot_id)
{
	Backfill	backfill = {table, chatbot_id, .replace = true,.enqueued = PG_INT64_MAX};
	int64		before;			/* enqueued in the pass before */
	MemoryContext old;

	backfill.scratch = AllocSetContextCreate(CurrentMemoryContext, "contacts_push backfill",
											 ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(backfill.scratch);
	do
	{
		before = backfill.enqueued;
		pass(&backfill);
		backfill.total += backfill.enqueued;
		/* only once: a mapping may give another result each time */
		backfill.replace = false;
		/* each finds fewer, unless rows have another external_id each time */
	} while (backfill.enqueued > 0 && backfill.enqueued < before);
	if (backfill.enqueued > 0)
		ereport(WARNING,
				(errcode(ERRCODE_WARNING),
				 errmsg("\"%s\" still had contacts to be enqueued for chatbot \"%s\" when the backfill gave up",
						get_rel_name(table), chatbot_id),
				 errdetail("A pass over the table found as many as the pass before."),
				 errhint("See to it that a row has the same external_id each time it is read, then call contacts_push.backfill() again.")));
	if (backfill.failures.rows > 0)
		ereport(WARNING,
				(errcode(ERRCODE_WARNING),
				 errmsg_plural("%lld row of \"%s\" was not enqueued for chatbot \"%s\"",
							   "%lld rows of \"%s\" were not enqueued for chatbot \"%s\"",
							   backfill.failures.rows, (long long) backfill.failures.rows,
							   get_rel_name(table), chatbot_id),
				 errdetail_internal("%s", backfill.failures.reason),
				 errhint("Fix the rows or the view, then call contacts_push.backfill() again.")));
	MemoryContextSwitchTo(old);
	MemoryContextDelete(backfill.scratch);
}

/* The chatbots (String) that a relation, a table or a view, is watched for; throws if none. */
static List *
chatbots_of(Oid relation, const char *chatbot_id, Oid *table)
{
	List	   *chatbots = NIL;
	Oid			view;
	Relation	watched;
	ListCell   *cell;

	*table = contacts_push_watched_table(relation, &view);
	watched = table_open(*table, AccessShareLock);
	foreach(cell, contacts_push_watched_triggers(watched, chatbot_id, view))
		chatbots = list_append_unique(chatbots,
									  makeString(((Trigger *) lfirst(cell))->tgargs[WATCHED_CHATBOT]));
	table_close(watched, AccessShareLock);
	if (chatbots == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 chatbot_id ? errmsg("\"%s\" is not watched for chatbot \"%s\"",
									 get_rel_name(relation), chatbot_id) :
				 errmsg("\"%s\" is not watched", get_rel_name(relation)),
				 errhint("Call contacts_push.watch() first.")));
	return chatbots;
}

/*
 * contacts_push.backfill(relation regclass, chatbot_id text): procedure
 */
Datum
contacts_push_backfill(PG_FUNCTION_ARGS)
{
	CallContext *call = (CallContext *) fcinfo->context;
	char	   *chatbot_id = PG_ARGISNULL(1) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(1));
	List	   *chatbots;
	ListCell   *cell;
	Oid			table;

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("relation must be given")));
	if (call == NULL || !IsA(call, CallContext) || call->atomic)
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("contacts_push.backfill() commits, and cannot be part of a transaction"),
				 errhint("CALL it outside of BEGIN and COMMIT, and not from a function.")));
	chatbots = chatbots_of(PG_GETARG_OID(0), chatbot_id, &table);
	outbox_connect_to_commit();
	foreach(cell, chatbots)
		backfill_chatbot(table, strVal(lfirst(cell)));
	outbox_disconnect();
	PG_RETURN_VOID();
}

/* Adds rows of one tuplestore to the result of a function that returns as much. */
static void
return_rows(ReturnSetInfo *result, Tuplestorestate *rows)
{
	TupleTableSlot *slot = MakeSingleTupleTableSlot(result->setDesc, &TTSOpsMinimalTuple);

	while (tuplestore_gettupleslot(rows, true, false, slot))
		tuplestore_puttupleslot(result->setResult, slot);
	ExecDropSingleTupleTableSlot(slot);
}

/* Returns what a watched table has for a chatbot: keys_only: what of it the outbox lacks. */
static void
return_contacts(FunctionCallInfo fcinfo, bool keys_only)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	Backfill	backfill = {.keys_only = keys_only};
	ListCell   *cell;

	InitMaterializedSRF(fcinfo, keys_only ? MAT_SRF_USE_EXPECTED_DESC : 0);
	backfill.chatbot_id = text_to_cstring(PG_GETARG_TEXT_PP(1));
	(void) chatbots_of(PG_GETARG_OID(0), backfill.chatbot_id, &backfill.table);
	backfill.scratch = AllocSetContextCreate(CurrentMemoryContext, "contacts_push contacts",
											 ALLOCSET_DEFAULT_SIZES);
	foreach(cell, parts_of(backfill.table))
	{
		Oid			part = lfirst_oid(cell);
		BlockNumber blocks = count_blocks(part);

		for (BlockNumber block = 0; block < blocks; block += CHUNK_BLOCKS)
		{
			MemoryContext old = MemoryContextSwitchTo(backfill.scratch);
			Tuplestorestate *contacts = map_blocks(&backfill, part, block);

			if (keys_only)
				outbox_find_missing(backfill.chatbot_id, contacts, result->setResult, result->setDesc);
			else
				return_rows(result, contacts);
			tuplestore_end(contacts);
			MemoryContextSwitchTo(old);
			keep_reason(&backfill);
			MemoryContextReset(backfill.scratch);
		}
	}
	if (!keys_only && backfill.failures.rows > 0)
		ereport(WARNING,
				(errcode(ERRCODE_WARNING),
				 errmsg_plural("%lld row of \"%s\" was left out, which has no contact for chatbot \"%s\"",
							   "%lld rows of \"%s\" were left out, which have no contacts for chatbot \"%s\"",
							   backfill.failures.rows, (long long) backfill.failures.rows,
							   get_rel_name(backfill.table), backfill.chatbot_id),
				 errdetail_internal("%s", backfill.failures.reason),
				 errhint("Fix the rows or the view.")));
}

/*
 * contacts_push.missing(relation regclass, chatbot_id text) RETURNS SETOF text
 *		A row whose content cannot be mapped is missing as well.
 */
Datum
contacts_push_missing(PG_FUNCTION_ARGS)
{
	return_contacts(fcinfo, true);
	return (Datum) 0;
}

/*
 * contacts_push_internal.watched_contacts(relation regclass, chatbot_id text, OUT external_id text,
 *		OUT contact jsonb) RETURNS SETOF record
 */
Datum
contacts_push_watched_contacts(PG_FUNCTION_ARGS)
{
	return_contacts(fcinfo, false);
	return (Datum) 0;
}
