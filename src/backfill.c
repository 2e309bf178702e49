/*
 * backfill.c
 *		Enqueuing the rows that a watched table had before, block by block.
 *
 * Layer 3.  contacts_push.backfill() calls this once a chunk and commits.  The
 * mapping is run as the table's owner, as the server's own maintenance commands
 * do: whoever backfills must not run the owner's code with more rights.
 */
#include "postgres.h"

#include "access/table.h"
#include "compat.h"
#include "enqueue.h"
#include "fmgr.h"
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

/* Row by row, because the mapping raises for some; returns for how many. */
static int64
map_each(Chunk *chunk)
{
	int64		failures = 0;
	int			n;
	char	  **tids = outbox_find_tids(psprintf("SELECT t.ctid FROM ONLY %s t WHERE %s",
												 chunk->table, chunk->condition), &n);

	tuplestore_clear(chunk->rows);
	for (int i = 0; i < n; i++)
	{
		char	   *reason;

		CHECK_FOR_INTERRUPTS();
		chunk->condition = psprintf("t.ctid OPERATOR(pg_catalog.=) '%s'", tids[i]);
		if (!enqueue_try(map_chunk, chunk, &reason))
			failures++;
	}
	return failures;
}

static int64
map_as_owner(Chunk *chunk, Oid owner)
{
	int64		failures = 0;
	int			nest = NewGUCNestLevel();
	Oid			user;
	int			context;
	char	   *reason;

	GetUserIdAndSecContext(&user, &context);
	SetUserIdAndSecContext(owner, context | SECURITY_RESTRICTED_OPERATION);
	if (!enqueue_try(map_chunk, chunk, &reason))
		failures = map_each(chunk);
	AtEOXact_GUC(false, nest);
	SetUserIdAndSecContext(user, context);
	return failures;
}

/*
 * contacts_push.backfill_blocks(relation regclass, part regclass, chatbot_id text,
 *		from_block bigint, to_block bigint) RETURNS bigint
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
	Relation	part;
	int64		appended;

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
	(void) map_as_owner(&chunk, part->rd_rel->relowner);
	appended = tuplestore_tuple_count(chunk.rows) > 0 ?
		outbox_append_missing(chatbot_id, chunk.rows) : 0;
	tuplestore_end(chunk.rows);
	table_close(part, AccessShareLock);
	PG_RETURN_INT64(appended);
}
