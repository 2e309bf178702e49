/*
 * backfill.c
 *		Enqueuing the rows that a watched table had before, block by block.
 *
 * contacts_push.backfill() calls this for each chunk and commits.  The
 * mapping is run as the owner of the watched table, who chose it, as the server's own
 * maintenance commands do: it must not run with the rights of whoever backfills,
 * nor with those of somebody who owns a partition.  And nothing that such a somebody
 * made must run at all: no cast or overload for the partition's row type, no policy.
 *
 * No row is locked, so that nobody who writes the table waits for a backfill.
 * What keeps an outdated contact from becoming the newest intent is the order: the
 * numbers are drawn first, then whoever may be writing the table is waited for,
 * then its rows are read.  A change that is not seen draws its number later.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/partition.h"
#include "catalog/pg_class.h"
#include "compat.h"
#include "enqueue/enqueue.h"
#include "fmgr.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "server/try.h"
#include "storage/lmgr.h"
#include "store/outbox.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

COMPAT_FUNCTION_INFO_V1(contacts_push_backfill_look);
COMPAT_FUNCTION_INFO_V1(contacts_push_backfill_blocks);

/* A chunk of a table. */
typedef struct Chunk
{
	const char *chatbot_id;
	const char *mapping;		/* quoted */
	const char *row;			/* t, as a row of the watched table */
	const char *table;			/* quoted */
	char	   *condition;		/* which rows */
	OutboxPlan	plan;			/* of the last try */
	Tuplestorestate *rows;		/* their contacts */
	int64		failures;		/* rows that could not be mapped */
	const char *reason;			/* why the first could not; NULL: none */
} Chunk;

static void
map_chunk(void *arg)
{
	Chunk	   *chunk = arg;

	chunk->plan = outbox_plan_table(chunk->mapping, chunk->row, chunk->table, chunk->condition);
	outbox_run_mapping(chunk->plan, NULL, NULL, chunk->rows);
}

/* Lets go of the plan, which the session would keep. */
static bool
try_chunk(Chunk *chunk, char **reason)
{
	bool		mapped = try_run(map_chunk, chunk, reason);

	outbox_forget_plan(&chunk->plan);
	return mapped;
}

/* Row by row, because the mapping raises for some. */
static void
map_each(Chunk *chunk)
{
	int			n;
	char	  **tids = outbox_find_tids(chunk->table, chunk->condition, &n);

	tuplestore_clear(chunk->rows);
	for (int i = 0; i < n; i++)
	{
		char	   *reason;

		CHECK_FOR_INTERRUPTS();
		chunk->condition = psprintf("t.ctid OPERATOR(pg_catalog.=) '%s'", tids[i]);
		if (try_chunk(chunk, &reason))
			continue;
		if (chunk->failures++ == 0)
			chunk->reason = reason;
	}
}

/*
 * A policy on somebody else's partition is an error rather than code of theirs.
 */
static void
forbid_policies(void)
{
	(void) set_config_option("row_security", "off", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
}

static void
map_as_owner(Chunk *chunk, Oid owner, Oid part_owner)
{
	int			nest = NewGUCNestLevel();
	Oid			user;
	int			context;
	char	   *reason;

	GetUserIdAndSecContext(&user, &context);
	/* policies that the owner has forced on itself are not for this */
	SetUserIdAndSecContext(owner, context | SECURITY_RESTRICTED_OPERATION |
						   SECURITY_NOFORCE_RLS);
	if (part_owner != owner)
		forbid_policies();
	if (!try_chunk(chunk, &reason))
		map_each(chunk);
	AtEOXact_GUC(false, nest);
	SetUserIdAndSecContext(user, context);
}

/*
 * Raises unless the current user owns the watched table and the part is that table,
 * or one of its partitions that hold rows.
 */
static void
check_part(Oid watched, Oid part)
{
	if (!compat_owns_relation(watched, GetUserId()))
		aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_TABLE, get_rel_name(watched));
	if (get_rel_relkind(part) != RELKIND_RELATION ||
		(part != watched && !list_member_oid(get_partition_ancestors(part), watched)))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("relation with OID %u holds no rows of table \"%s\"",
						part, get_rel_name(watched))));
}

/*
 * The row t of a partition as one of the watched table, palloc'd.  A record is made
 * into a row type column by column, whatever casts there are, and a partition's
 * columns have the types of its parent's.
 */
static char *
row_of(Relation watched)
{
	TupleDesc	desc = RelationGetDescr(watched);
	const char *separator = "";
	StringInfoData row;

	initStringInfo(&row);
	appendStringInfoString(&row, "ROW(");
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute column = TupleDescAttr(desc, i);

		if (column->attisdropped)
			continue;
		appendStringInfo(&row, "%st.%s", separator, quote_identifier(NameStr(column->attname)));
		separator = ", ";
	}
	appendStringInfo(&row, ")::%s",
					 format_type_extended(watched->rd_rel->reltype, -1,
										  FORMAT_TYPE_FORCE_QUALIFY));
	return row.data;
}

static const char *
mapping_of(Relation watched, const char *chatbot_id)
{
	const char *mapping = outbox_find_mapping(RelationGetRelid(watched), chatbot_id);

	if (mapping == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("table \"%s\" is not watched for chatbot \"%s\"",
						RelationGetRelationName(watched), chatbot_id)));
	return enqueue_quote_mapping(mapping);
}

/* Maps some blocks: arguments 0 to 4 of both of the functions below. */
static void
map_blocks(Chunk *chunk, FunctionCallInfo fcinfo)
{
	Relation	watched;
	Relation	part;

	/* Before the locks, which are not for everybody to take, and again under them. */
	check_part(PG_GETARG_OID(0), PG_GETARG_OID(1));
	watched = table_open(PG_GETARG_OID(0), AccessShareLock);
	part = table_open(PG_GETARG_OID(1), AccessShareLock);
	check_part(RelationGetRelid(watched), RelationGetRelid(part));
	chunk->chatbot_id = text_to_cstring(PG_GETARG_TEXT_PP(2));
	chunk->mapping = mapping_of(watched, chunk->chatbot_id);
	chunk->row = row_of(watched);
	chunk->table = quote_qualified_identifier(get_namespace_name(RelationGetNamespace(part)),
											  RelationGetRelationName(part));
	chunk->condition = psprintf("t.ctid OPERATOR(pg_catalog.>=) '(" INT64_FORMAT ",0)'"
								" AND t.ctid OPERATOR(pg_catalog.<) '(" INT64_FORMAT ",0)'",
								PG_GETARG_INT64(3), PG_GETARG_INT64(4));
	chunk->rows = outbox_rows_create();
	map_as_owner(chunk, watched->rd_rel->relowner, part->rd_rel->relowner);
	table_close(part, AccessShareLock);
	table_close(watched, AccessShareLock);
}

static void
count_invalid(Chunk *chunk)
{
	int64		invalid = outbox_count_invalid(chunk->rows);

	if (invalid > 0 && chunk->reason == NULL)
		chunk->reason = ENQUEUE_INVALID;
	chunk->failures += invalid;
}

/*
 * contacts_push_internal.backfill_look(relation regclass, part regclass, chatbot_id text,
 *		from_block bigint, to_block bigint, mend boolean,
 *		OUT missing bigint, OUT failures bigint, OUT reason text)
 *
 * relation is the watched table, part itself or a partition of it.
 */
Datum
contacts_push_backfill_look(PG_FUNCTION_ARGS)
{
	Chunk		chunk = {0};
	TupleDesc	desc;
	Datum		values[3];
	bool		nulls[3] = {false, false, false};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	map_blocks(&chunk, fcinfo);
	count_invalid(&chunk);
	values[0] = Int64GetDatum(outbox_count_missing(chunk.chatbot_id, chunk.rows,
															 PG_GETARG_BOOL(5)));
	values[1] = Int64GetDatum(chunk.failures);
	nulls[2] = chunk.reason == NULL;
	values[2] = nulls[2] ? (Datum) 0 : CStringGetTextDatum(chunk.reason);
	tuplestore_end(chunk.rows);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}

/* Waits until all have ended that may have changed a table without its being seen. */
static void
wait_for_writers(Oid relation)
{
	LOCKTAG		tag;

	SET_LOCKTAG_RELATION(tag, MyDatabaseId, relation);
	WaitForLockers(tag, ShareLock, false);
}

/*
 * contacts_push_internal.backfill_blocks(relation regclass, part regclass, chatbot_id text,
 *		from_block bigint, to_block bigint, mend boolean, most bigint) RETURNS bigint
 *
 * Enqueues at most so many.  Has to be the first in its transaction: a lock on the
 * table could have those wait who are waited for.
 */
Datum
contacts_push_backfill_blocks(PG_FUNCTION_ARGS)
{
	Chunk		chunk = {0};
	int64	   *numbers;
	int64		appended;

	/* The rows must be seen as they are after the wait. */
	if (IsolationUsesXactSnapshot())
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("contacts_push_internal.backfill_blocks() must be called at the isolation level READ COMMITTED")));
	check_part(PG_GETARG_OID(0), PG_GETARG_OID(1));
	numbers = outbox_draw(PG_GETARG_INT64(6));
	wait_for_writers(PG_GETARG_OID(1));
	map_blocks(&chunk, fcinfo);
	appended = outbox_append_missing(chunk.chatbot_id, chunk.rows, PG_GETARG_BOOL(5),
									 PG_GETARG_OID(0), numbers, PG_GETARG_INT64(6));
	tuplestore_end(chunk.rows);
	PG_RETURN_INT64(appended);
}
