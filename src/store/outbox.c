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
#include "store/outbox.h"
#include "store/outbox_append.h"
#include "store/outbox_sql.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/queryenvironment.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

static SPIPlanPtr plans[OUTBOX_STATEMENTS];

/* ---- transactions of the worker ---- */

void
outbox_begin(void)
{
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	outbox_connect();
	PushActiveSnapshot(GetTransactionSnapshot());
}

void
outbox_commit(void)
{
	outbox_disconnect();
	PopActiveSnapshot();
	CommitTransactionCommand();
	pgstat_report_stat(false);
}

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

Oid
outbox_relation(void)
{
	Oid			schema = get_namespace_oid("contacts_push", true);

	return OidIsValid(schema) ? get_relname_relid("outbox", schema) : InvalidOid;
}

bool
outbox_lock_extension(void)
{
	Oid			extension = get_extension_oid("contacts_push", true);

	if (!OidIsValid(extension))
		return false;
	LockDatabaseObject(ExtensionRelationId, extension, 0, AccessShareLock);
	/* It may have been dropped while that was waited for. */
	return get_extension_oid("contacts_push", true) == extension &&
		OidIsValid(outbox_relation());
}

uint64
outbox_run(OutboxStatement statement, const Datum *values, const char *nulls)
{
	int			result;

	/* the last result is read: a pass may read many, of large contacts */
	if (SPI_tuptable)
		SPI_freetuptable(SPI_tuptable);
	SPI_tuptable = NULL;
	if (plans[statement] == NULL)
	{
		SPIPlanPtr	plan = SPI_prepare(statements[statement].sql,
									   statements[statement].nargs,
									   (Oid *) statements[statement].types);

		if (plan == NULL || SPI_keepplan(plan) != 0)
			elog(ERROR, "could not prepare statement %d: %s", statement,
				 SPI_result_code_string(SPI_result));
		plans[statement] = plan;
	}
	result = SPI_execute_plan(plans[statement], unconstify(Datum *, values), nulls,
							  false, 0);
	if (result < 0)
		elog(ERROR, "could not run statement %d: %s", statement,
			 SPI_result_code_string(result));
	return SPI_processed;
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

TupleDesc
outbox_rows_desc(void)
{
	static TupleDesc desc = NULL;

	if (desc == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);
		TupleDesc	new = CreateTemplateTupleDesc(2);

		TupleDescInitEntry(new, 1, "external_id", TEXTOID, -1, 0);
		TupleDescInitEntry(new, 2, "contact", JSONBOID, -1, 0);
		desc = new;
		MemoryContextSwitchTo(old);
	}
	return desc;
}

Tuplestorestate *
outbox_rows_create(void)
{
	return tuplestore_begin_heap(false, false, work_mem);
}

void
outbox_rows_add(Tuplestorestate *rows, const char *external_id, Datum contact,
				bool withdrawal)
{
	Datum		values[2] = {CStringGetTextDatum(external_id), contact};
	bool		nulls[2] = {false, withdrawal};

	tuplestore_putvalues(rows, outbox_rows_desc(), values, nulls);
}

static void
register_transition_table(TriggerData *trigger)
{
	if (trigger && SPI_register_trigger_data(trigger) != SPI_OK_TD_REGISTER)
		elog(ERROR, "could not register a transition table");
}

/* Throws where there is no outbox. */
static Oid	outbox_owner(void);

/*
 * Prepares a call of a mapping.  Nothing runs meanwhile but the parser, whose look-ups
 * are the only thing that the outbox's owner lends its rights to.
 */
static OutboxPlan
plan_mapping(const char *call, const char *from, TriggerData *trigger, Oid argument_type)
{
	int			nargs = OidIsValid(argument_type) ? 1 : 0;
	char	   *sql = psprintf(MAPPED_ROWS, call, from);
	SPIPlanPtr	plan;
	Oid			user;
	int			context;

	outbox_connect();
	register_transition_table(trigger);
	GetUserIdAndSecContext(&user, &context);
	SetUserIdAndSecContext(outbox_owner(), context | SECURITY_LOCAL_USERID_CHANGE |
						   SECURITY_RESTRICTED_OPERATION);
	plan = SPI_prepare(sql, nargs, &argument_type);
	SetUserIdAndSecContext(user, context);
	if (plan == NULL || SPI_keepplan(plan) != 0)
		elog(ERROR, "could not prepare a mapping: %s", SPI_result_code_string(SPI_result));
	outbox_disconnect();
	return plan;
}

OutboxPlan
outbox_plan_set(const char *mapping, TriggerData *trigger)
{
	const char *table = trigger->tg_trigger->tgnewtable ? trigger->tg_trigger->tgnewtable
		: trigger->tg_trigger->tgoldtable;
	char	   *type = format_type_extended(trigger->tg_relation->rd_rel->reltype, -1,
											FORMAT_TYPE_FORCE_QUALIFY);

	return plan_mapping(psprintf("%s(ROW(t.*)::%s)", mapping, type),
						psprintf(" FROM %s t", quote_identifier(table)), trigger, InvalidOid);
}

OutboxPlan
outbox_plan_row(const char *mapping, Oid row_type, Oid mapped_type)
{
	char	   *type = format_type_extended(mapped_type, -1, FORMAT_TYPE_FORCE_QUALIFY);

	return plan_mapping(psprintf("%s($1::%s)", mapping, type), "", NULL, row_type);
}

OutboxPlan
outbox_plan_table(const char *mapping, const char *row, const char *table,
				  const char *condition)
{
	return plan_mapping(psprintf("%s(%s)", mapping, row),
						psprintf(" FROM ONLY %s t WHERE %s", table, condition), NULL, InvalidOid);
}

bool
outbox_plan_is_valid(OutboxPlan plan)
{
	return SPI_plan_is_valid(plan);
}

void
outbox_forget_plan(OutboxPlan *plan)
{
	if (*plan)
		SPI_freeplan(*plan);
	*plan = NULL;
}

void
outbox_run_mapping(OutboxPlan plan, TriggerData *trigger, const Datum *argument,
				   Tuplestorestate *rows)
{
	DestReceiver *receiver = CreateDestReceiver(DestTuplestore);
	SPIExecuteOptions options = {0};
	ParamListInfo params = NULL;
	int			result;

	outbox_connect();
	register_transition_table(trigger);
	if (argument)
	{
		params = makeParamList(1);
		params->params[0].value = *argument;
		params->params[0].isnull = false;
		params->params[0].pflags = PARAM_FLAG_CONST;
		params->params[0].ptype = SPI_getargtypeid(plan, 0);
	}
	SetTuplestoreDestReceiverParams(receiver, rows, CurrentMemoryContext, true, NULL, NULL);
	options.params = params;
	options.dest = receiver;
	result = SPI_execute_plan_extended(plan, &options);
	if (result < 0)
		elog(ERROR, "could not run a mapping: %s", SPI_result_code_string(result));
	receiver->rDestroy(receiver);
	outbox_disconnect();
}

char **
outbox_find_tids(const char *table, const char *condition, int *n)
{
	char	   *sql = psprintf("SELECT t.ctid FROM ONLY %s t WHERE %s", table, condition);
	MemoryContext context = CurrentMemoryContext;
	MemoryContext spi_context;
	char	  **tids;

	outbox_connect();
	if (SPI_execute(sql, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read a table's rows");
	*n = (int) SPI_processed;
	spi_context = MemoryContextSwitchTo(context);
	tids = palloc(Max(*n, 1) * sizeof(char *));
	for (int i = 0; i < *n; i++)
		tids[i] = SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1);
	MemoryContextSwitchTo(spi_context);
	outbox_disconnect();
	return tids;
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
 * Runs a SELECT as the outbox's owner, connected to SPI; the switch is that of the
 * server's foreign-key triggers.  An error restores the user with the transaction.
 */
static uint64
read_as_owner(OutboxStatement statement, const Datum *values,
			  EphemeralNamedRelation relation)
{
	Oid			user;
	int			context;
	uint64		n;

	if (SPI_register_relation(relation) != SPI_OK_REL_REGISTER)
		elog(ERROR, "could not register the rows to look for");
	GetUserIdAndSecContext(&user, &context);
	SetUserIdAndSecContext(outbox_owner(), context | SECURITY_LOCAL_USERID_CHANGE |
						   SECURITY_RESTRICTED_OPERATION | SECURITY_NOFORCE_RLS);
	n = outbox_run(statement, values, NULL);
	SetUserIdAndSecContext(user, context);
	return n;
}

static EphemeralNamedRelation
name_rows(Tuplestorestate *rows)
{
	EphemeralNamedRelation relation = palloc0(sizeof(EphemeralNamedRelationData));

	relation->md.name = ROWS_NAME;
	relation->md.tupdesc = outbox_rows_desc();
	relation->md.enrtype = ENR_NAMED_TUPLESTORE;
	relation->md.enrtuples = tuplestore_tuple_count(rows);
	relation->reldata = rows;
	return relation;
}

static int64
count_as_owner(OutboxStatement statement, const Datum *values, Tuplestorestate *rows)
{
	int64		n;

	outbox_connect();
	n = read_as_owner(statement, values, name_rows(rows));
	outbox_disconnect();
	return n;
}

int64
outbox_count_missing(const char *chatbot_id, Tuplestorestate *rows, bool mend)
{
	Datum		values[2] = {CStringGetTextDatum(chatbot_id), BoolGetDatum(mend)};

	return count_as_owner(OUTBOX_COUNT_MISSING, values, rows);
}

int64
outbox_append_missing(const char *chatbot_id, Tuplestorestate *rows, bool mend, Oid relation,
					  const int64 *numbers, int64 n)
{
	Datum		values[2] = {CStringGetTextDatum(chatbot_id), BoolGetDatum(mend)};
	OutboxAppend *append;
	int64		missing;

	outbox_connect();
	missing = (int64) read_as_owner(OUTBOX_FIND_MISSING, values, name_rows(rows));
	n = Min(n, missing);
	append = outbox_append_begin_numbered();
	for (int64 i = 0; i < n; i++)
	{
		bool		isnull;
		Datum		contact = outbox_get(i, 2, &isnull);

		outbox_append_numbered_row(append, numbers[i], values[0], outbox_get(i, 1, &isnull),
								   relation, &contact);
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

int64
outbox_count_invalid(Tuplestorestate *rows)
{
	return count_as_owner(OUTBOX_COUNT_INVALID, NULL, rows);
}

char *
outbox_find_mapping(Oid relation, const char *chatbot_id)
{
	Datum		values[2] = {ObjectIdGetDatum(relation), CStringGetTextDatum(chatbot_id)};
	MemoryContext context = CurrentMemoryContext;
	char	   *mapping = NULL;

	outbox_connect();
	if (outbox_run(OUTBOX_FIND_MAPPING, values, NULL) > 0)
		mapping = MemoryContextStrdup(context, outbox_get_text(0, 1));
	outbox_disconnect();
	return mapping;
}
