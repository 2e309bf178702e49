/*
 * outbox.c
 *		The tables of the extension: every SQL statement, and the only use of SPI.
 *
 * No decision is made in here: which rows to read, send or settle is
 * for the callers.  The statements' texts are in outbox_sql.h.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "commands/sequence.h"
#include "compat.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "store/outbox.h"
#include "store/outbox_append.h"
#include "store/outbox_sql.h"
#include "store/transaction.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/queryenvironment.h"
#include "utils/rel.h"
#include "utils/syscache.h"

static SPIPlanPtr plans[OUTBOX_STATEMENTS];

/* ---- inside of somebody's transaction ---- */

void
outbox_connect(void)
{
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
}

void
outbox_disconnect(void)
{
	if (SPI_finish() != SPI_OK_FINISH)
		elog(ERROR, "SPI_finish failed");
}

void
outbox_connect_to_commit(void)
{
	if (SPI_connect_ext(SPI_OPT_NONATOMIC) != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
}

void
outbox_commit_and_begin(void)
{
	SPI_commit();
}

static uint64
run_sql(SPIPlanPtr *kept, const char *sql, int nargs, const Oid *types,
		const Datum *values, const char *nulls)
{
	int			result;

	/* the last result is read: a pass may read many, of large contacts */
	if (SPI_tuptable)
		SPI_freetuptable(SPI_tuptable);
	SPI_tuptable = NULL;
	if (*kept == NULL)
	{
		SPIPlanPtr	plan = SPI_prepare(sql, nargs, unconstify(Oid *, types));

		if (plan == NULL || SPI_keepplan(plan) != 0)
			elog(ERROR, "could not prepare a statement: %s: %s",
				 SPI_result_code_string(SPI_result), sql);
		*kept = plan;
	}
	transaction_check_owners(*kept);
	result = SPI_execute_plan(*kept, unconstify(Datum *, values), nulls, false, 0);
	if (result < 0)
		elog(ERROR, "could not run a statement: %s: %s", SPI_result_code_string(result), sql);
	return SPI_processed;
}

uint64
outbox_run(OutboxStatement statement, const Datum *values, const char *nulls)
{
	return run_sql(&plans[statement], statements[statement].sql, statements[statement].nargs,
				   statements[statement].types, values, nulls);
}

uint64
outbox_run_sql(OutboxSql *statement, const Datum *values, const char *nulls)
{
	return run_sql(&statement->plan, statement->sql, statement->nargs, statement->types,
				   values, nulls);
}

Datum
outbox_get(uint64 row, int column, bool *isnull)
{
	return SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column, isnull);
}

int64
outbox_get_int64(uint64 row, int column)
{
	bool		isnull;
	Datum		value = outbox_get(row, column, &isnull);

	return isnull ? 0 : DatumGetInt64(value);
}

int
outbox_get_int(uint64 row, int column)
{
	bool		isnull;
	Datum		value = outbox_get(row, column, &isnull);

	return isnull ? 0 : DatumGetInt32(value);
}

bool
outbox_get_bool(uint64 row, int column)
{
	bool		isnull;
	Datum		value = outbox_get(row, column, &isnull);

	return isnull ? false : DatumGetBool(value);
}

TimestampTz
outbox_get_timestamp(uint64 row, int column)
{
	bool		isnull;

	return DatumGetTimestampTz(outbox_get(row, column, &isnull));
}

char *
outbox_get_text(uint64 row, int column)
{
	bool		isnull;
	Datum		value = outbox_get(row, column, &isnull);

	return isnull ? NULL : TextDatumGetCString(value);
}

Datum
outbox_int8_array(const int64 *elements, int n)
{
	Datum	   *datums = palloc(Max(n, 1) * sizeof(Datum));

	for (int i = 0; i < n; i++)
		datums[i] = Int64GetDatum(elements[i]);
	return PointerGetDatum(construct_array(datums, n, INT8OID, sizeof(int64),
										   FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

Datum
outbox_int4_array(const int *elements, int n)
{
	Datum	   *datums = palloc(Max(n, 1) * sizeof(Datum));

	for (int i = 0; i < n; i++)
		datums[i] = Int32GetDatum(elements[i]);
	return PointerGetDatum(construct_array(datums, n, INT4OID, sizeof(int32), true,
										   TYPALIGN_INT));
}

Datum
outbox_bool_array(const bool *elements, int n)
{
	Datum	   *datums = palloc(Max(n, 1) * sizeof(Datum));

	for (int i = 0; i < n; i++)
		datums[i] = BoolGetDatum(elements[i]);
	return PointerGetDatum(construct_array(datums, n, BOOLOID, sizeof(bool), true, TYPALIGN_CHAR));
}

Datum
outbox_text_array(char *const *elements, int n)
{
	Datum	   *datums = palloc0(Max(n, 1) * sizeof(Datum));
	bool	   *nulls = palloc(Max(n, 1) * sizeof(bool));
	int			lower = 1;

	for (int i = 0; i < n; i++)
	{
		nulls[i] = elements[i] == NULL;
		if (elements[i])
			datums[i] = CStringGetTextDatum(elements[i]);
	}
	return PointerGetDatum(construct_md_array(datums, nulls, 1, &n, &lower, TEXTOID,
											  -1, false, TYPALIGN_INT));
}

Datum
outbox_bytea_array(bytea *const *elements, int n)
{
	Datum	   *datums = palloc0(Max(n, 1) * sizeof(Datum));
	bool	   *nulls = palloc(Max(n, 1) * sizeof(bool));
	int			lower = 1;

	for (int i = 0; i < n; i++)
	{
		nulls[i] = elements[i] == NULL;
		datums[i] = PointerGetDatum(elements[i]);
	}
	return PointerGetDatum(construct_md_array(datums, nulls, 1, &n, &lower, BYTEAOID,
											  -1, false, TYPALIGN_INT));
}

/* ---- what enqueuers need ---- */

static TupleDesc
outbox_rows_desc(void)
{
	static TupleDesc desc = NULL;

	if (desc == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);
		TupleDesc	new = CreateTemplateTupleDesc(2);

		TupleDescInitEntry(new, 1, "external_id", TEXTOID, -1, 0);
		TupleDescInitEntry(new, 2, "contact", JSONBOID, -1, 0);
		compat_finish_tuple_desc(new);
		desc = new;
		MemoryContextSwitchTo(old);
	}
	return desc;
}

void
outbox_rows_add(Tuplestorestate *rows, Datum external_id, Datum contact)
{
	Datum		values[2] = {external_id, contact};
	bool		nulls[2] = {false, false};

	tuplestore_putvalues(rows, outbox_rows_desc(), values, nulls);
}

static Oid
outbox_owner(void)
{
	Oid			relation = outbox_relation();
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relation));
	Oid			owner;

	if (!HeapTupleIsValid(tuple))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation \"contacts_push.outbox\" does not exist")));
	owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	ReleaseSysCache(tuple);
	return owner;
}

/*
 * Runs OUTBOX_FIND_MISSING as the outbox's owner, connected to SPI; the switch is that of the
 * server's foreign-key triggers.  An error restores the user with the transaction.
 */
static int64
find_missing(const char *chatbot_id, Tuplestorestate *rows, bool replace)
{
	Datum		values[2] = {CStringGetTextDatum(chatbot_id), BoolGetDatum(replace)};
	EphemeralNamedRelation relation = palloc0(sizeof(EphemeralNamedRelationData));
	Oid			user;
	int			context;
	int64		n;

	relation->md.name = ROWS_NAME;
	relation->md.tupdesc = outbox_rows_desc();
	relation->md.enrtype = ENR_NAMED_TUPLESTORE;
	relation->md.enrtuples = tuplestore_tuple_count(rows);
	relation->reldata = rows;
	if (SPI_register_relation(relation) != SPI_OK_REL_REGISTER)
		elog(ERROR, "could not register the rows to look for");
	GetUserIdAndSecContext(&user, &context);
	SetUserIdAndSecContext(outbox_owner(), context | SECURITY_LOCAL_USERID_CHANGE |
						   SECURITY_RESTRICTED_OPERATION | SECURITY_NOFORCE_RLS);
	n = (int64) outbox_run(OUTBOX_FIND_MISSING, values, NULL);
	SetUserIdAndSecContext(user, context);
	return n;
}

int64
outbox_count_missing(const char *chatbot_id, Tuplestorestate *rows, bool replace)
{
	int64		n;

	outbox_connect();
	n = find_missing(chatbot_id, rows, replace);
	outbox_disconnect();
	return n;
}

void
outbox_find_missing(const char *chatbot_id, Tuplestorestate *rows, Tuplestorestate *missing,
					TupleDesc missing_desc)
{
	int64		n;

	outbox_connect();
	n = find_missing(chatbot_id, rows, false);
	for (int64 i = 0; i < n; i++)
	{
		bool		isnull;
		Datum		external_id = outbox_get(i, 1, &isnull);

		tuplestore_putvalues(missing, missing_desc, &external_id, &isnull);
	}
	outbox_disconnect();
}

int64
outbox_append_missing(const char *chatbot_id, Tuplestorestate *rows, bool replace, Oid relation,
					  const int64 *numbers, int64 n)
{
	OutboxIntent intent = {.chatbot_id = CStringGetTextDatum(chatbot_id),.relation = relation};
	OutboxAppend *append;
	int64		missing;

	outbox_connect();
	missing = find_missing(chatbot_id, rows, replace);
	n = Min(n, missing);
	append = outbox_append_begin(true);
	for (int64 i = 0; i < n; i++)
	{
		bool		isnull;

		intent.seq = numbers[i];
		intent.external_id = outbox_get(i, 1, &isnull);
		intent.contact = outbox_get(i, 2, &isnull);
		outbox_append_row(append, &intent);
	}
	n = outbox_append_end(append);
	outbox_disconnect();
	return n;
}

int64 *
outbox_draw(int64 n)
{
	Oid			outbox = outbox_relation();
	Oid			sequence = get_relname_relid("outbox_seq_seq", get_rel_namespace(outbox));
	int64	   *numbers = palloc(n * sizeof(int64));

	/* As every writer does it: the lock comes before the number. */
	LockRelationOid(outbox, RowExclusiveLock);
	for (int64 i = 0; i < n; i++)
		numbers[i] = nextval_internal(sequence, false);
	return numbers;
}
