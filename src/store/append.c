/*
 * append.c
 *		Rows into a table of the extension, without SPI and without anybody else's identity.
 *
 * This is what the executor does for an INSERT, as COPY and logical replication's
 * apply do it, but for the permission checks.  It is on the path of the application's own
 * statement, so what an INSERT prepares anew each time (constraints, defaults and index
 * predicates as expressions) is prepared once a session: that is a Shape.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/genam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_trigger.h"
#include "commands/trigger.h"
#include "compat.h"
#include "executor/executor.h"
#include "executor/nodeModifyTable.h"
#include "lib/ilist.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "optimizer/optimizer.h"
#include "rewrite/rewriteHandler.h"
#include "store/append.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/syscache.h"

/* Rows are written together up to as many and up to as large as COPY does it. */
#define CHUNK_ROWS 1000
#define CHUNK_BYTES 65535

/* Idle shapes kept; more tables and roles than that in one session are rare. */
#define MAX_IDLE 8

/* A column that the caller does not give. */
typedef struct Filler
{
	int			column;			/* from 0 */
	ExprState  *value;
} Filler;

/*
 * How a table is written by a role (EXECUTE on functions in its expressions is checked
 * when those are prepared).  Nothing in it refers to an open relation while it is idle.
 */
typedef struct Shape
{
	dlist_node	node;			/* in shapes */
	MemoryContextCallback unlink;
	MemoryContext context;		/* of all of it */
	bool		in_use;			/* by an append, whose (sub)transaction owns the context */
	bool		stale;			/* something that it was made from has changed */
	const AppendTarget *target;
	Oid			table;
	Oid			role;
	int			given[APPEND_MAX_COLUMNS];	/* their numbers, from 0 */
	Filler	   *fillers;
	int			nfillers;
	Oid		   *indexes;		/* all that the table has */
	int			nindexes;
	Oid		   *used;			/* of these, as relinfo has them: those that a row can get into */
	EState	   *estate;			/* of its expressions */
	ResultRelInfo *relinfo;		/* without triggers */
	TupleTableSlot **slots;		/* room for CHUNK_ROWS; the first is kept, too */
	bool		has_triggers;	/* other than the one that wakes the worker */
} Shape;

struct TableAppend
{
	Shape	   *shape;
	Relation	relation;
	MemoryContext context;		/* of the append */
	TupleTableSlot **slots;		/* the shape's: rows that are not written yet; the rest for reuse */
	int			nslots;			/* that there are */
	int			nrows;			/* that are used */
	Size		bytes;			/* of those rows */
	int64		appended;
	/* only where the table has triggers of others */
	EState	   *trigger_estate;
	ResultRelInfo *trigger_relinfo;
	TransitionCaptureState *capture;
};

static dlist_head shapes = DLIST_STATIC_INIT(shapes);

/* ---- what is kept for the session ---- */

/* A relation has changed (its name, say), or with InvalidOid any may have. */
static void
forget_relation(Datum arg, Oid relation)
{
	dlist_iter	iter;

	dlist_foreach(iter, &shapes)
	{
		Shape	   *shape = dlist_container(Shape, node, iter.cur);

		if (relation == InvalidOid || relation == shape->table)
			shape->stale = true;
	}
}

/* A function or type, which may be in an expression, a role or a schema's name has changed. */
static void
forget_all(Datum arg, int cache, uint32 hash)
{
	forget_relation(arg, InvalidOid);
}

static void
register_callbacks(void)
{
	static bool registered = false;

	if (registered)
		return;
	registered = true;
	CacheRegisterRelcacheCallback(forget_relation, (Datum) 0);
	CacheRegisterSyscacheCallback(PROCOID, forget_all, (Datum) 0);
	CacheRegisterSyscacheCallback(TYPEOID, forget_all, (Datum) 0);
	CacheRegisterSyscacheCallback(AUTHOID, forget_all, (Datum) 0);
	CacheRegisterSyscacheCallback(AUTHMEMROLEMEM, forget_all, (Datum) 0);
	CacheRegisterSyscacheCallback(NAMESPACEOID, forget_all, (Datum) 0);
}

/* Its memory goes, with the subtransaction in which an append has failed, say. */
static void
unlink_shape(void *arg)
{
	dlist_delete(&((Shape *) arg)->node);
}

/* An index may come and go without the table's leave. */
static bool
has_indexes(Shape *shape, Relation relation)
{
	List	   *indexes = RelationGetIndexList(relation);
	bool		same = list_length(indexes) == shape->nindexes;

	for (int i = 0; same && i < shape->nindexes; i++)
		same = list_nth_oid(indexes, i) == shape->indexes[i];
	list_free(indexes);
	return same;
}

/*
 * Takes a shape into use, and opens its table; NULL: there is none.  While it is not stale
 * its table is what the name means.
 */
static Shape *
take_shape(const AppendTarget *target, Relation *relation)
{
	dlist_mutable_iter iter;
	int			idle = 0;
	Shape	   *found = NULL;

	dlist_foreach_modify(iter, &shapes)
	{
		Shape	   *shape = dlist_container(Shape, node, iter.cur);

		if (shape->in_use)
			continue;
		if (shape->stale || ++idle > MAX_IDLE)
			MemoryContextDelete(shape->context);
		else if (found == NULL && shape->target == target && shape->role == GetUserId())
			found = shape;
	}
	if (found == NULL)
		return NULL;
	/* what has changed is known for sure when it is locked */
	*relation = table_open(found->table, RowExclusiveLock);
	if (found->stale || !has_indexes(found, *relation))
	{
		table_close(*relation, NoLock);
		MemoryContextDelete(found->context);
		return NULL;
	}
	dlist_move_head(&shapes, &found->node);
	found->in_use = true;
	MemoryContextSetParent(found->context, CurTransactionContext);
	return found;
}

static Node *
is_null(Form_pg_attribute column)
{
	NullTest   *test = makeNode(NullTest);

	test->arg = (Expr *) makeVar(1, column->attnum, column->atttypid, column->atttypmod,
								 column->attcollation, 0);
	test->nulltesttype = IS_NULL;
	test->location = -1;
	return (Node *) test;
}

/*
 * The columns that are given, and how the others are filled.  What nothing fills is NULL; *null
 * says so.
 */
static void
prepare_columns(Shape *shape, Relation relation, List **null)
{
	const AppendTarget *target = shape->target;
	TupleDesc	desc = RelationGetDescr(relation);
	bool	   *given = palloc0(desc->natts * sizeof(bool));

	for (int i = 0; i < target->ncolumns; i++)
	{
		AttrNumber	number = get_attnum(RelationGetRelid(relation), target->columns[i]);

		if (number == InvalidAttrNumber)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_COLUMN),
					 errmsg("column \"%s\" of relation \"%s\" does not exist",
							target->columns[i], RelationGetRelationName(relation))));
		shape->given[i] = number - 1;
		given[number - 1] = true;
	}
	shape->fillers = palloc(desc->natts * sizeof(Filler));
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute column = TupleDescAttr(desc, i);
		Expr	   *value;

		if (given[i] || column->attisdropped || column->attgenerated)
			continue;
		value = (Expr *) build_column_default(relation, i + 1);
		if (value == NULL)
		{
			*null = lappend(*null, is_null(column));
			continue;
		}
		shape->fillers[shape->nfillers].column = i;
		shape->fillers[shape->nfillers++].value = ExecPrepareExpr(value, shape->estate);
	}
}

/*
 * Opens the indexes but for those that no row can get into, because their predicates do
 * not hold for it: null is what is true of the columns that nothing fills.
 */
static void
open_indexes(Shape *shape, List *null)
{
	ResultRelInfo *relinfo = shape->relinfo;
	int			used = 0;

	ExecOpenIndices(relinfo, false);
	shape->nindexes = relinfo->ri_NumIndices;
	shape->indexes = palloc(shape->nindexes * sizeof(Oid));
	shape->used = palloc(shape->nindexes * sizeof(Oid));
	for (int i = 0; i < shape->nindexes; i++)
	{
		Relation	index = relinfo->ri_IndexRelationDescs[i];
		IndexInfo  *info = relinfo->ri_IndexRelationInfo[i];

		shape->indexes[i] = RelationGetRelid(index);
		/* a trigger may fill what we do not */
		if (!shape->has_triggers && info->ii_Predicate &&
			predicate_refuted_by(info->ii_Predicate, null, true))
		{
			index_close(index, NoLock);
			continue;
		}
		shape->used[used] = RelationGetRelid(index);
		relinfo->ri_IndexRelationDescs[used] = index;
		relinfo->ri_IndexRelationInfo[used++] = info;
	}
	relinfo->ri_NumIndices = used;
}

/* The trigger that wakes the worker for others' INSERTs; here that is the caller's business. */
static bool
wakes_worker(const Trigger *trigger)
{
	Oid			schema = get_func_namespace(trigger->tgfoid);

	return !TRIGGER_FOR_ROW(trigger->tgtype) &&
		schema == get_namespace_oid("contacts_push_internal", true) &&
		strcmp(get_func_name(trigger->tgfoid), "wake_worker") == 0;
}

/* True if there are triggers to be fired that somebody else has put on the table. */
static bool
has_triggers(const TriggerDesc *triggers)
{
	for (int i = 0; triggers && i < triggers->numtriggers; i++)
		if (TRIGGER_FOR_INSERT(triggers->triggers[i].tgtype) &&
			!wakes_worker(&triggers->triggers[i]))
			return true;
	return false;
}

/* In use from the start: what is half made goes with the (sub)transaction. */
static Shape *
make_shape(const AppendTarget *target, Relation relation)
{
	MemoryContext context = AllocSetContextCreate(CurTransactionContext, "contacts_push append",
												  ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	Shape	   *shape = palloc0(sizeof(Shape));
	TupleDesc	desc = CreateTupleDescCopyConstr(RelationGetDescr(relation));
	List	   *null = NIL;

	register_callbacks();
	shape->context = context;
	shape->in_use = true;
	shape->target = target;
	shape->table = RelationGetRelid(relation);
	shape->role = GetUserId();
	dlist_push_head(&shapes, &shape->node);
	shape->unlink.func = unlink_shape;
	shape->unlink.arg = shape;
	MemoryContextRegisterResetCallback(context, &shape->unlink);

	shape->estate = CreateExecutorState();
	shape->relinfo = makeNode(ResultRelInfo);
	InitResultRelInfo(shape->relinfo, relation, 0, NULL, 0);
	/* a copy: the relation's own goes when a change is noticed */
	shape->has_triggers = has_triggers(shape->relinfo->ri_TrigDesc);
	shape->relinfo->ri_TrigDesc = NULL;
	prepare_columns(shape, relation, &null);
	open_indexes(shape, null);
	shape->slots = palloc(CHUNK_ROWS * sizeof(TupleTableSlot *));
	shape->slots[0] = MakeSingleTupleTableSlot(desc, table_slot_callbacks(relation));
	MemoryContextSwitchTo(old);
	return shape;
}

/* ---- an append ---- */

static Oid
table_oid(const AppendTarget *target)
{
	Oid			table = get_relname_relid(target->table, get_namespace_oid(target->schema, false));

	if (!OidIsValid(table))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation \"%s.%s\" does not exist", target->schema, target->table)));
	return table;
}

static void
open_shape(TableAppend *append, const AppendTarget *target)
{
	Shape	   *shape = take_shape(target, &append->relation);
	ResultRelInfo *relinfo;

	if (shape == NULL)
	{
		append->relation = table_open(table_oid(target), RowExclusiveLock);
		shape = make_shape(target, append->relation);
	}
	else
		for (int i = 0; i < shape->relinfo->ri_NumIndices; i++)
			shape->relinfo->ri_IndexRelationDescs[i] = index_open(shape->used[i], RowExclusiveLock);
	relinfo = shape->relinfo;
	relinfo->ri_RelationDesc = append->relation;
	for (int i = 0; i < relinfo->ri_NumIndices; i++)
	{
		IndexInfo  *info = relinfo->ri_IndexRelationInfo[i];

		info->ii_ReadyForInserts = relinfo->ri_IndexRelationDescs[i]->rd_index->indisready;
		/* what an index keeps from row to row lasts as long as it is open */
		info->ii_AmCache = NULL;
		info->ii_Context = append->context;
	}
	append->shape = shape;
}

/* As the executor starts an INSERT of which there are triggers. */
static void
begin_triggers(TableAppend *append)
{
	append->trigger_estate = CreateExecutorState();
	append->trigger_relinfo = makeNode(ResultRelInfo);
	InitResultRelInfo(append->trigger_relinfo, append->relation, 0, NULL, 0);
	append->trigger_estate->es_opened_result_relations = list_make1(append->trigger_relinfo);
	AfterTriggerBeginQuery();
	append->capture = MakeTransitionCaptureState(append->trigger_relinfo->ri_TrigDesc,
												 RelationGetRelid(append->relation), CMD_INSERT);
	ExecBSInsertTriggers(append->trigger_estate, append->trigger_relinfo);
}

TableAppend *
table_append_begin(const AppendTarget *target)
{
	MemoryContext context;
	MemoryContext old;
	TableAppend *append;

	PreventCommandIfReadOnly("INSERT");
	PreventCommandIfParallelMode("INSERT");
	context = AllocSetContextCreate(CurrentMemoryContext, "contacts_push rows",
									ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(context);
	append = palloc0(sizeof(TableAppend));
	append->context = context;
	open_shape(append, target);
	append->slots = append->shape->slots;
	append->nslots = 1;
	if (append->shape->has_triggers)
		begin_triggers(append);
	MemoryContextSwitchTo(old);
	return append;
}

/* A slot like the first, which lasts as long as the append. */
static TupleTableSlot *
next_slot(TableAppend *append)
{
	TupleTableSlot *first = append->slots[0];

	if (append->nrows == append->nslots)
	{
		MemoryContext old = MemoryContextSwitchTo(append->context);

		append->slots[append->nslots++] = MakeSingleTupleTableSlot(first->tts_tupleDescriptor,
																   first->tts_ops);
		MemoryContextSwitchTo(old);
	}
	return append->slots[append->nrows];
}

static void
fill_slot(TableAppend *append, TupleTableSlot *slot, const Datum *values, const bool *nulls)
{
	Shape	   *shape = append->shape;
	ExprContext *econtext = GetPerTupleExprContext(shape->estate);

	ExecClearTuple(slot);
	memset(slot->tts_isnull, true, slot->tts_tupleDescriptor->natts * sizeof(bool));
	for (int i = 0; i < shape->target->ncolumns; i++)
	{
		slot->tts_values[shape->given[i]] = values[i];
		slot->tts_isnull[shape->given[i]] = nulls[i];
	}
	for (int i = 0; i < shape->nfillers; i++)
	{
		int			column = shape->fillers[i].column;

		slot->tts_values[column] = ExecEvalExprSwitchContext(shape->fillers[i].value, econtext,
															 &slot->tts_isnull[column]);
	}
	ExecStoreVirtualTuple(slot);
	slot->tts_tableOid = RelationGetRelid(append->relation);
}

/* Index entries and triggers of a row that is in the table. */
static void
follow_up(TableAppend *append, TupleTableSlot *slot)
{
	Shape	   *shape = append->shape;
	List	   *recheck = NIL;

	if (shape->relinfo->ri_NumIndices > 0)
		recheck = compat_insert_index_tuples(shape->relinfo, slot, shape->estate);
	if (append->trigger_relinfo)
		ExecARInsertTriggers(append->trigger_estate, append->trigger_relinfo, slot, recheck,
							 append->capture);
	list_free(recheck);
	ExecClearTuple(slot);
	ResetPerTupleExprContext(shape->estate);
	if (append->trigger_estate)
		ResetPerTupleExprContext(append->trigger_estate);
}

static void
flush_rows(TableAppend *append)
{
	Relation	relation = append->relation;
	CommandId	command = GetCurrentCommandId(true);

	if (append->nrows == 1)
		table_tuple_insert(relation, append->slots[0], command, 0, NULL);
	else if (append->nrows > 1)
	{
		MemoryContext old = MemoryContextSwitchTo(GetPerTupleMemoryContext(append->shape->estate));

		table_multi_insert(relation, append->slots, append->nrows, command, 0, NULL);
		MemoryContextSwitchTo(old);
	}
	for (int i = 0; i < append->nrows; i++)
		follow_up(append, append->slots[i]);
	append->appended += append->nrows;
	append->nrows = 0;
	append->bytes = 0;
}

void
table_append_row(TableAppend *append, const Datum *values, const bool *nulls)
{
	Shape	   *shape = append->shape;
	TupleConstr *constraints = RelationGetDescr(append->relation)->constr;
	TupleTableSlot *slot = next_slot(append);
	TriggerDesc *triggers = append->trigger_relinfo ? append->trigger_relinfo->ri_TrigDesc : NULL;
	bool		before = triggers && triggers->trig_insert_before_row;

	fill_slot(append, slot, values, nulls);
	if (before && !ExecBRInsertTriggers(append->trigger_estate, append->trigger_relinfo, slot))
		return;
	if (constraints && constraints->has_generated_stored)
		ExecComputeStoredGenerated(shape->relinfo, shape->estate, slot, CMD_INSERT);
	if (constraints)
		ExecConstraints(shape->relinfo, slot, shape->estate);
	append->bytes += ExecFetchSlotHeapTuple(slot, true, NULL)->t_len;
	append->nrows++;
	ResetPerTupleExprContext(shape->estate);
	/* a trigger may look at the rows before */
	if (before || append->nrows == CHUNK_ROWS || append->bytes > CHUNK_BYTES)
		flush_rows(append);
}

static void
end_triggers(TableAppend *append)
{
	ExecASInsertTriggers(append->trigger_estate, append->trigger_relinfo, append->capture);
	AfterTriggerEndQuery(append->trigger_estate);
	ExecResetTupleTable(append->trigger_estate->es_tupleTable, false);
	ExecCloseResultRelations(append->trigger_estate);
	FreeExecutorState(append->trigger_estate);
}

/*
 * Keeps the shape for the next append; nothing in it may refer to what was open.  The locks of the
 * indexes are kept as well, as a scan does: taking them anew for each row is dearer.
 */
static void
close_shape(Shape *shape)
{
	ResultRelInfo *relinfo = shape->relinfo;

	ReScanExprContext(GetPerTupleExprContext(shape->estate));
	for (int i = 0; i < relinfo->ri_NumIndices; i++)
	{
		compat_index_insert_cleanup(relinfo->ri_IndexRelationDescs[i],
									relinfo->ri_IndexRelationInfo[i]);
		index_close(relinfo->ri_IndexRelationDescs[i], NoLock);
		relinfo->ri_IndexRelationDescs[i] = NULL;
	}
	relinfo->ri_RelationDesc = NULL;
	shape->in_use = false;
	MemoryContextSetParent(shape->context, CacheMemoryContext);
}

int64
table_append_end(TableAppend *append)
{
	int64		appended;

	flush_rows(append);
	if (append->trigger_estate)
		end_triggers(append);
	appended = append->appended;
	close_shape(append->shape);
	table_close(append->relation, NoLock);
	MemoryContextDelete(append->context);
	return appended;
}
