/*
 * backfill.c
 *		Enqueuing the rows that a watched table had before, block by block.
 *
 * Layer 3.  contacts_push.backfill() calls this once a chunk and commits.  The
 * mapping is run as the table's owner, as the server's own maintenance commands
 * do: whoever backfills must not run the owner's code with more rights.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "compat.h"
#include "enqueue.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "outbox.h"
#include "storage/itemptr.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

PG_FUNCTION_INFO_V1(contacts_push_backfill_blocks);

/* A chunk of a table. */
typedef struct Chunk
{
	const char *mapping;		/* quoted */
	const char *table;			/* quoted */
	char	   *condition;		/* which rows */
	Tuplestorestate *rows;		/* their contacts */
	int64		failures;		/* rows that could not be mapped */
	const char *reason;			/* why the first could not; NULL: none */
} Chunk;

/*
 * The rows are locked against deletion until the chunk is committed, so that a
 * withdrawal cannot come before what it withdraws.
 */
static void
map_chunk(void *arg)
{
	Chunk	   *chunk = arg;
	char	   *call = psprintf("%s(t)", chunk->mapping);
	char	   *from = psprintf(" FROM ONLY %s t WHERE %s FOR KEY SHARE OF t",
								chunk->table, chunk->condition);

	outbox_run_mapping_once(psprintf(ENQUEUE_MAPPED, call, from), chunk->rows);
}

/* Row by row, because the mapping raises for some. */
static void
map_each(Chunk *chunk)
{
	int			n;
	char	  **tids = outbox_find_tids(psprintf("SELECT t.ctid FROM ONLY %s t WHERE %s",
												 chunk->table, chunk->condition), &n);

	tuplestore_clear(chunk->rows);
	for (int i = 0; i < n; i++)
	{
		char	   *reason;

		CHECK_FOR_INTERRUPTS();
		chunk->condition = psprintf("t.ctid OPERATOR(pg_catalog.=) '%s'", tids[i]);
		if (enqueue_try(map_chunk, chunk, &reason))
			continue;
		if (chunk->failures++ == 0)
			chunk->reason = reason;
	}
}

static void
map_as_owner(Chunk *chunk, Oid owner)
{
	int			nest = NewGUCNestLevel();
	Oid			user;
	int			context;
	char	   *reason;

	GetUserIdAndSecContext(&user, &context);
	SetUserIdAndSecContext(owner, context | SECURITY_RESTRICTED_OPERATION);
	if (!enqueue_try(map_chunk, chunk, &reason))
		map_each(chunk);
	AtEOXact_GUC(false, nest);
	SetUserIdAndSecContext(user, context);
}

/* Enqueues what is missing of the chunk's contacts; returns how many. */
static int64
append_chunk(Chunk *chunk, const char *chatbot_id)
{
	int64		invalid;

	if (tuplestore_tuple_count(chunk->rows) == 0)
		return 0;
	invalid = outbox_count_invalid(chunk->rows);
	if (invalid > 0 && chunk->reason == NULL)
		chunk->reason = ENQUEUE_INVALID;
	chunk->failures += invalid;
	return outbox_append_missing(chatbot_id, chunk->rows);
}

/*
 * contacts_push.backfill_blocks(relation regclass, part regclass, chatbot_id text,
 *		from_block bigint, to_block bigint,
 *		OUT enqueued bigint, OUT failures bigint, OUT reason text)
 *
 * relation is the watched table, part itself or a partition of it.
 */
Datum
contacts_push_backfill_blocks(PG_FUNCTION_ARGS)
{
	Oid			watched = PG_GETARG_OID(0);
	char	   *chatbot_id = text_to_cstring(PG_GETARG_TEXT_PP(2));
	char	   *mapping = outbox_find_mapping(watched, chatbot_id);
	Chunk		chunk = {0};
	TupleDesc	desc;
	Relation	part;
	Datum		values[3];
	bool		nulls[3] = {false, false, false};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	if (mapping == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("table \"%s\" is not watched for chatbot \"%s\"",
						get_rel_name(watched), chatbot_id)));
	part = table_open(PG_GETARG_OID(1), AccessShareLock);
	chunk.mapping = enqueue_quote_mapping(mapping);
	chunk.table = quote_qualified_identifier(get_namespace_name(RelationGetNamespace(part)),
											 RelationGetRelationName(part));
	chunk.condition = psprintf("t.ctid OPERATOR(pg_catalog.>=) '(" INT64_FORMAT ",0)'"
							   " AND t.ctid OPERATOR(pg_catalog.<) '(" INT64_FORMAT ",0)'",
							   PG_GETARG_INT64(3), PG_GETARG_INT64(4));
	chunk.rows = outbox_rows_create();
	map_as_owner(&chunk, part->rd_rel->relowner);
	values[0] = Int64GetDatum(append_chunk(&chunk, chatbot_id));
	values[1] = Int64GetDatum(chunk.failures);
	nulls[2] = chunk.reason == NULL;
	values[2] = nulls[2] ? (Datum) 0 : CStringGetTextDatum(chunk.reason);
	tuplestore_end(chunk.rows);
	table_close(part, AccessShareLock);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}
