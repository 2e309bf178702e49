/*
 * compat.h
 *		Differences between the supported major versions of PostgreSQL, 15 to 19.
 *
 * The only file that looks at PG_VERSION_NUM.  Include it after postgres.h.
 */
#ifndef CONTACTS_PUSH_COMPAT_H
#define CONTACTS_PUSH_COMPAT_H

#include "catalog/pg_class.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_database.h"
#include "fmgr.h"
#include "nodes/bitmapset.h"
#include "nodes/plannodes.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "utils/acl.h"
#include "utils/guc.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/wait_event.h"

#if PG_VERSION_NUM < 150000
#error "contacts_push needs PostgreSQL 15 or later"
#endif

#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

/* It stands before a declaration since 18, when it got this name. */
#if PG_VERSION_NUM < 180000
#define pg_noreturn pg_attribute_noreturn()
#endif

/* Everything else is hidden (Makefile); until 15 this meant something on Windows only. */
#if PG_VERSION_NUM < 160000
#undef PGDLLEXPORT
#define PGDLLEXPORT __attribute__((visibility("default")))
#endif

/* It applies a large transaction as it comes, since 16. */
#if PG_VERSION_NUM < 160000
#define IsLogicalParallelApplyWorker() false
#endif

/* GUC "extra" data: malloc'd until 15, from its own allocator since. */
#if PG_VERSION_NUM >= 160000
#define compat_guc_malloc(size) guc_malloc(LOG, (size))
#else
#define compat_guc_malloc(size) malloc(size)
#endif

/* All settings; *n: how many.  An array of its own since 16. */
#if PG_VERSION_NUM >= 160000
#define compat_guc_variables(n) get_guc_variables(n)
#else
#define compat_guc_variables(n) (*(n) = GetNumConfigOptions(), get_guc_variables())
#endif

/* Wait event sets belong to a resource owner since 17; NULL: to the session. */
#if PG_VERSION_NUM >= 170000
#define compat_create_wait_event_set(n) CreateWaitEventSet(NULL, (n))
#else
#define compat_create_wait_event_set(n) CreateWaitEventSet(TopMemoryContext, (n))
#endif

/* An extension's wait events have names of their own since 17. */
#if PG_VERSION_NUM >= 170000
#define compat_wait_event_new(name) WaitEventExtensionNew(name)
#else
#define compat_wait_event_new(name) ((void) (name), PG_WAIT_EXTENSION)
#endif

/* Ownership checks are one function for all classes since 16. */
#if PG_VERSION_NUM >= 160000
#define compat_owns_database(database, role) \
	object_ownercheck(DatabaseRelationId, (database), (role))
#define compat_owns_relation(relation, role) \
	object_ownercheck(RelationRelationId, (relation), (role))
#else
#define compat_owns_database(database, role) \
	pg_database_ownercheck((database), (role))
#define compat_owns_relation(relation, role) \
	pg_class_ownercheck((relation), (role))
#endif

/* So are checks of rights. */
#if PG_VERSION_NUM >= 160000
#define compat_check_execute(function, role) \
	object_aclcheck(ProcedureRelationId, (function), (role), ACL_EXECUTE)
#else
#define compat_check_execute(function, role) \
	pg_proc_aclcheck((function), (role), ACL_EXECUTE)
#endif

/*
 * Virtual generated columns exist since 18: an expression over a table's row with theirs
 * in their place.
 */
#if PG_VERSION_NUM >= 180000
#include "rewrite/rewriteHandler.h"
#define compat_expand_generated(node, relation, varno) \
	expand_generated_columns_in_expr((node), (relation), (varno))
#else
#define compat_expand_generated(node, relation, varno) ((void) (relation), (node))
#endif

/* A jsonb value is built in another structure since 19; the last push leaves the result. */
#if PG_VERSION_NUM >= 190000
#define CompatJsonbState JsonbInState
#define compat_push_jsonb(state, token, value) pushJsonbValue((state), (token), (value))
#else
typedef struct CompatJsonbState
{
	JsonbParseState *parseState;
	JsonbValue *result;
} CompatJsonbState;
#define compat_push_jsonb(state, token, value) \
	((void) ((state)->result = pushJsonbValue(&(state)->parseState, (token), (value))))
#endif

/* As PG_FUNCTION_INFO_V1, which exports the function itself since 16 only. */
#define COMPAT_FUNCTION_INFO_V1(name) \
	extern PGDLLEXPORT Datum name(PG_FUNCTION_ARGS); \
	PG_FUNCTION_INFO_V1(name)

/* Number of a process in ProcGlobal->allProcs. */
#if PG_VERSION_NUM >= 170000
#define compat_my_proc_number() MyProcNumber
#else
#define compat_my_proc_number() (MyProc->pgprocno)
#endif

/* Index entries of a row that was inserted: the arguments differ since 16, and again since 19. */
#if PG_VERSION_NUM >= 190000
#define compat_insert_index_tuples(relinfo, slot, estate) \
	ExecInsertIndexTuples((relinfo), (estate), 0, (slot), NIL, NULL)
#elif PG_VERSION_NUM >= 160000
#define compat_insert_index_tuples(relinfo, slot, estate) \
	ExecInsertIndexTuples((relinfo), (slot), (estate), false, false, NULL, NIL, false)
#else
#define compat_insert_index_tuples(relinfo, slot, estate) \
	ExecInsertIndexTuples((relinfo), (slot), (estate), false, false, NULL, NIL)
#endif

/* What an update of a row means for the indexes: a flag until 15, an enum since. */
#if PG_VERSION_NUM >= 160000
#define CompatUpdateIndexes TU_UpdateIndexes
#else
#define CompatUpdateIndexes bool
#endif

/* An update of a row has options since 19. */
#if PG_VERSION_NUM >= 190000
#define compat_tuple_update(relation, tid, slot, command, snapshot, failure, mode, indexes) \
	table_tuple_update((relation), (tid), (slot), (command), 0, (snapshot), InvalidSnapshot, true, \
					   (failure), (mode), (indexes))
#else
#define compat_tuple_update(relation, tid, slot, command, snapshot, failure, mode, indexes) \
	table_tuple_update((relation), (tid), (slot), (command), (snapshot), InvalidSnapshot, true, \
					   (failure), (mode), (indexes))
#endif

/* Index entries of a row that was updated, where there must be some. */
#if PG_VERSION_NUM >= 190000
#define compat_update_index_tuples(relinfo, slot, estate, indexes) \
	ExecInsertIndexTuples((relinfo), (estate), EIIT_IS_UPDATE | \
						  ((indexes) == TU_Summarizing ? EIIT_ONLY_SUMMARIZING : 0), \
						  (slot), NIL, NULL)
#elif PG_VERSION_NUM >= 160000
#define compat_update_index_tuples(relinfo, slot, estate, indexes) \
	ExecInsertIndexTuples((relinfo), (slot), (estate), true, false, NULL, NIL, \
						  (indexes) == TU_Summarizing)
#else
#define compat_update_index_tuples(relinfo, slot, estate, indexes) \
	ExecInsertIndexTuples((relinfo), (slot), (estate), true, false, NULL, NIL)
#endif

/* A scan of an index counts for its node of a plan since 18, and has flags since 19. */
#if PG_VERSION_NUM >= 190000
#define compat_index_beginscan(table, index, snapshot, nkeys) \
	index_beginscan((table), (index), (snapshot), NULL, (nkeys), 0, 0)
#elif PG_VERSION_NUM >= 180000
#define compat_index_beginscan(table, index, snapshot, nkeys) \
	index_beginscan((table), (index), (snapshot), NULL, (nkeys), 0)
#else
#define compat_index_beginscan(table, index, snapshot, nkeys) \
	index_beginscan((table), (index), (snapshot), (nkeys), 0)
#endif

/* Some access methods keep something from row to row since 17. */
#if PG_VERSION_NUM >= 170000
#define compat_index_insert_cleanup(index, info) index_insert_cleanup(index, info)
#else
#define compat_index_insert_cleanup(index, info) ((void) 0)
#endif

/* ExecutorRun_hook has an argument less since 18. */
#if PG_VERSION_NUM >= 180000
#define COMPAT_EXECUTOR_RUN_PARAMETERS \
	QueryDesc *query, ScanDirection direction, uint64 count
#define COMPAT_EXECUTOR_RUN_ARGUMENTS query, direction, count
#else
#define COMPAT_EXECUTOR_RUN_PARAMETERS \
	QueryDesc *query, ScanDirection direction, uint64 count, bool execute_once
#define COMPAT_EXECUTOR_RUN_ARGUMENTS query, direction, count, execute_once
#endif

/*
 * Signal handlers are told who sent the signal since 19: to hand a signal on to another
 * handler, and to call one without a signal.
 */
#if PG_VERSION_NUM >= 190000
#define compat_hand_on_signal(handler) handler(postgres_signal_arg, pg_siginfo)
#define compat_call_handler(handler, signal) handler((signal), &(const pg_signal_info) {0})
#else
#define compat_hand_on_signal(handler) handler(postgres_signal_arg)
#define compat_call_handler(handler, signal) handler(signal)
#endif

/*
 * Since 19 the server itself ends a worker whose database is created from, altered or
 * dropped.  The hooks do so before; what they miss is a worker that starts after that.
 */
#if PG_VERSION_NUM >= 190000
#define COMPAT_BGWORKER_INTERRUPTIBLE BGWORKER_INTERRUPTIBLE
#else
#define COMPAT_BGWORKER_INTERRUPTIBLE 0
#endif

/* Scans have flags since 19. */
#if PG_VERSION_NUM >= 190000
#define compat_beginscan_tidrange(relation, snapshot, from, to) \
	table_beginscan_tidrange((relation), (snapshot), (from), (to), SO_NONE)
#else
#define compat_beginscan_tidrange(relation, snapshot, from, to) \
	table_beginscan_tidrange((relation), (snapshot), (from), (to))
#endif

/* Range table indexes of what a statement writes to: a set since 19, a list before. */
#if PG_VERSION_NUM >= 190000
#define compat_result_relations(statement) ((statement)->resultRelationRelids)
#else
static inline Bitmapset *
compat_result_relations(const PlannedStmt *statement)
{
	Bitmapset  *relations = NULL;
	ListCell   *cell;

	foreach(cell, statement->resultRelations)
		relations = bms_add_member(relations, lfirst_int(cell));
	return relations;
}
#endif

/*
 * An expression over columns, planned and watched for changes.  Since 19 the planner looks up
 * in the query's range table whether a column under IS NULL is NOT NULL, and crashes because an
 * expression of its own has none; of a column that an outer join may make null it asks nothing.
 */
#if PG_VERSION_NUM >= 190000
#include "nodes/nodeFuncs.h"
static inline Node *
compat_may_be_null(Node *node, void *context)
{
	if (node && IsA(node, Var))
	{
		Var		   *column = copyObject((Var *) node);

		column->varnullingrels = bms_make_singleton(column->varno);
		return (Node *) column;
	}
	return expression_tree_mutator(node, compat_may_be_null, context);
}
#define compat_cached_expression(node) GetCachedExpression(compat_may_be_null((node), NULL))
#else
#define compat_cached_expression(node) GetCachedExpression(node)
#endif

/* A tuple descriptor that is made column by column has to be finished since 19. */
#if PG_VERSION_NUM >= 190000
#define compat_finish_tuple_desc(desc) TupleDescFinalize(desc)
#else
#define compat_finish_tuple_desc(desc) ((void) (desc))
#endif

/* The module's name and version are visible in pg_get_loaded_modules() since 18. */
#if PG_VERSION_NUM >= 180000
#define COMPAT_MODULE_MAGIC(name_, version_) \
	PG_MODULE_MAGIC_EXT(.name = name_, .version = version_)
#else
#define COMPAT_MODULE_MAGIC(name_, version_) PG_MODULE_MAGIC
#endif

#endif							/* CONTACTS_PUSH_COMPAT_H */
