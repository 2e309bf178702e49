/*
 * outbox.c
 *		The tables of the extension: every SQL statement, and the only use of SPI.
 *
 * No decision is made in here: which rows to read, send or settle is
 * for the callers.  The statements' texts are in outbox_sql.h.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "commands/sequence.h"
#include "compat.h"
#include "executor/spi.h"
#include "executor/tstoreReceiver.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/lmgr.h"
#include "server/shared.h"
#include "server/try.h"
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
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

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

static uint64
run_statement(OutboxStatement statement, const Datum *values, const char *nulls)
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

/* ---- statements about rows, one of which may make them fail ---- */

/* A statement for one row. */
typedef struct Probe
{
	OutboxStatement statement;
	Datum		values[lengthof(statements[0].types)];
	const char *nulls;
	bool		passed;
} Probe;

/* A row that is set aside. */
typedef struct Aside
{
	Datum		values[2];
	bool		done;
} Aside;

/* How many rows the arguments are about. */
static int
count_rows(OutboxStatement statement, const Datum *values)
{
	if (statements[statement].types[0] == INT8OID)
		return 1;
	return ArrayGetNItems(ARR_NDIM(DatumGetArrayTypeP(values[0])),
						  ARR_DIMS(DatumGetArrayTypeP(values[0])));
}

/* The seqs that the arguments are about; they are no NULLs. */
static const int64 *
rows_of(OutboxStatement statement, const Datum *values, int64 *single)
{
	if (statements[statement].types[0] != INT8OID)
		return (const int64 *) ARR_DATA_PTR(DatumGetArrayTypeP(values[0]));
	*single = DatumGetInt64(values[0]);
	return single;
}

/* The arguments for some of the rows: the elements of arrays at these places. */
static void
choose_rows(OutboxStatement statement, const Datum *values, const int *places, int n,
			Datum *chosen)
{
	for (int i = 0; i < statements[statement].nargs; i++)
	{
		Oid			element = get_element_type(statements[statement].types[i]);
		int16		length;
		bool		by_value;
		char		alignment;
		Datum	   *elements;
		bool	   *nulls;
		int			nelements;
		int			lower = 1;

		chosen[i] = values[i];
		if (!OidIsValid(element))
			continue;
		get_typlenbyvalalign(element, &length, &by_value, &alignment);
		deconstruct_array(DatumGetArrayTypeP(values[i]), element, length, by_value, alignment,
						  &elements, &nulls, &nelements);
		for (int j = 0; j < n; j++)
		{
			elements[j] = elements[places[j]];
			nulls[j] = nulls[places[j]];
		}
		chosen[i] = PointerGetDatum(construct_md_array(elements, nulls, 1, &n, &lower, element,
													   length, by_value, alignment));
	}
}

/* Finds out whether the statement can be run for the row; what it does is taken back. */
static void
try_row(void *arg)
{
	Probe	   *probe = arg;

	run_statement(probe->statement, probe->values, probe->nulls);
	probe->passed = true;
	elog(ERROR, "the statement is taken back");
}

static void
set_row_aside(void *arg)
{
	Aside	   *aside = arg;

	aside->done = run_statement(OUTBOX_SET_ASIDE, aside->values, NULL) > 0;
}

/* A row that cannot even be set aside stays as it is, and keeps nothing else. */
static void
set_aside(int64 seq, const char *why)
{
	Aside		aside = {{
		Int64GetDatum(seq), CStringGetTextDatum(psprintf("it could not be settled: %s", why))
	}};
	char	   *reason;

	(void) try_run(set_row_aside, &aside, &reason);
	ereport(WARNING,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("contacts_push: row %lld of contacts_push.outbox %s: %s", (long long) seq,
					aside.done ? "is rejected, as it could not be settled" : "cannot be settled",
					why)));
}

/* Runs the statement for the rows that it does not fail for, and sets the others aside. */
static uint64
run_one_by_one(OutboxStatement statement, const Datum *values, const char *nulls)
{
	int			n = count_rows(statement, values);
	int		   *places = palloc(n * sizeof(int));
	int			nplaces = 0;
	Probe		probe = {statement};
	int64		single;
	Datum		chosen[lengthof(statements[0].types)];
	MemoryContext old = CurrentMemoryContext;
	MemoryContext row = AllocSetContextCreate(old, "contacts_push row", ALLOCSET_DEFAULT_SIZES);

	probe.nulls = nulls;
	/* The arguments for each row take as much memory as those for all. */
	MemoryContextSwitchTo(row);
	for (int i = 0; i < n; i++)
	{
		char	   *why;

		choose_rows(statement, values, &i, 1, probe.values);
		probe.passed = false;
		(void) try_run(try_row, &probe, &why);
		if (probe.passed)
			places[nplaces++] = i;
		else
			set_aside(rows_of(statement, values, &single)[i], why);
		MemoryContextReset(row);
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(row);
	if (nplaces == 0)
		return 0;
	choose_rows(statement, values, places, nplaces, chosen);
	return run_statement(statement, chosen, nulls);
}

uint64
outbox_run(OutboxStatement statement, const Datum *values, const char *nulls)
{
	int			step = statement + 1;
	int			nrows = statements[statement].by_row ? count_rows(statement, values) : 0;
	int64		low = PG_INT64_MAX;
	int64		high = PG_INT64_MIN;
	const int64 *rows;
	int64		single;
	uint64		n;

	if (nrows == 0)
		return run_statement(statement, values, nulls);
	rows = rows_of(statement, values, &single);
	for (int i = 0; i < nrows; i++)
	{
		low = Min(low, rows[i]);
		high = Max(high, rows[i]);
	}
	shared_enter(step, low, high);
	n = shared_is_suspect(step, low, high) ? run_one_by_one(statement, values, nulls)
		: run_statement(statement, values, nulls);
	shared_enter(0, 0, 0);
	return n;
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
	outbox_append_end(append);
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
