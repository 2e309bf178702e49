/*
 * view.c
 *		What a view says of the contacts of a table.
 *
 * Reads the view's rule with the server's own functions.  A view can be a mapping if the
 * server itself holds it to be simply updatable.  Nothing is evaluated in here.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/sysattr.h"
#include "access/table.h"
#include "catalog/dependency.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_depend.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "compat.h"
#include "enqueue/view.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "nodes/parsenodes.h"
#include "optimizer/optimizer.h"
#include "parser/parse_coerce.h"
#include "parser/parse_collate.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteHandler.h"
#include "rewrite/rewriteManip.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/varlena.h"

const char *const contacts_push_view_columns[VIEW_COLUMNS] = {
	[VIEW_EXTERNAL_ID] = "external_id",
	[VIEW_NAME] = "name",
	[VIEW_EMAIL] = "email",
	[VIEW_PHONENUMBER] = "phonenumber",
	[VIEW_STRIPE_ACCOUNTS] = "stripe_accounts",
	[VIEW_CUSTOM_ATTRIBUTES] = "custom_attributes",
};

/* Throws unless the view is one over the rows of one table. */
static void
check_simple(Relation view, Query *query)
{
	const char *reason = view_query_is_auto_updatable(query, false);

	if (reason != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("view \"%s\" does not have one row of a table for each of its own",
						RelationGetRelationName(view)),
				 errdetail_internal("%s", _(reason)),
				 errhint("A mapping selects from one table, with expressions over its columns and a WHERE. What comes from elsewhere can be had from a function in a column.")));
}

/* The table under a simple view. */
static Oid
base_table(Relation view, Query *query, int varno)
{
	Oid			table = rt_fetch(varno, query->rtable)->relid;
	char		kind = get_rel_relkind(table);

	if (kind != RELKIND_RELATION && kind != RELKIND_PARTITIONED_TABLE)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("view \"%s\" selects from \"%s\", which is not a table",
						RelationGetRelationName(view), get_rel_name(table)),
				 kind == RELKIND_VIEW ?
				 errhint("Select from the table behind that view.") :
				 errhint("Rows of a foreign table change without this server knowing.")));
	return table;
}

/* Throws for an expression that needs more than the row.  what: names it, for the message. */
static void
check_expression(Relation view, const char *what, Node *expression, int varno)
{
	Bitmapset  *columns = NULL;
	int			first;

	if (checkExprHasSubLink(expression))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("%s of view \"%s\" has a sub-select", what,
						RelationGetRelationName(view)),
				 errhint("Put it into a function that takes the columns it needs, and call that.")));
	pull_varattnos(expression, varno, &columns);
	first = bms_next_member(columns, -1);
	if (first >= 0 && first + FirstLowInvalidHeapAttributeNumber < InvalidAttrNumber)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("%s of view \"%s\" uses a system column", what,
						RelationGetRelationName(view)),
				 errhint("Use columns of the table only.")));
}

/* Returns which member of a contact a column is; throws if it is none. */
static ViewColumn
column_of(Relation view, const char *name)
{
	for (int i = 0; i < VIEW_COLUMNS; i++)
		if (strcmp(name, contacts_push_view_columns[i]) == 0)
			return i;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_COLUMN_DEFINITION),
			 errmsg("column \"%s\" of view \"%s\" is nothing that a contact has", name,
					RelationGetRelationName(view)),
			 errhint("A contact has external_id, name, email, phonenumber, stripe_accounts and custom_attributes. Put it into custom_attributes, with jsonb_build_object().")));
	return VIEW_COLUMNS;		/* keeps the compiler quiet */
}

/* Throws for a column that has to be JSON, and says how to make it so. */
static void
complain_of_type(Relation view, const char *column, Oid type)
{
	char		category;
	bool		preferred;

	get_type_category_preferred(type, &category, &preferred);
	ereport(ERROR,
			(errcode(ERRCODE_DATATYPE_MISMATCH),
			 errmsg("column \"%s\" of view \"%s\" must be of type json or jsonb, not %s", column,
					RelationGetRelationName(view), format_type_be(type)),
			 category == TYPCATEGORY_STRING || category == TYPCATEGORY_UNKNOWN ?
			 errhint("If its text is JSON, cast it to jsonb.") :
			 errhint("Make an object of it, with jsonb_build_object() or to_jsonb().")));
}

/* Returns the expression of a column as text or jsonb. */
static Node *
coerce_column(Relation view, ViewColumn column, Node *expression)
{
	const char *name = contacts_push_view_columns[column];
	bool		json = column >= VIEW_FIRST_JSON;
	Oid			type = exprType(expression);
	Oid			base = getBaseType(type);
	Node	   *coerced;

	if (json && base != JSONBOID && base != JSONOID)
		complain_of_type(view, name, type);
	coerced = coerce_to_target_type(NULL, expression, type, json ? JSONBOID : TEXTOID, -1,
									COERCION_EXPLICIT, COERCE_EXPLICIT_CAST, -1);
	if (coerced == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("column \"%s\" of view \"%s\" cannot be text: it is of type %s", name,
						RelationGetRelationName(view), format_type_be(type))));
	assign_expr_collations(NULL, coerced);
	return coerced;
}

ViewMapping *
contacts_push_view_read(Relation relation)
{
	ViewMapping *mapping = palloc0(sizeof(ViewMapping));
	Query	   *query;
	Relation	table;
	ListCell   *cell;

	if (relation->rd_rel->relkind != RELKIND_VIEW)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not a view", RelationGetRelationName(relation))));
	query = copyObject(get_view_query(relation));
	check_simple(relation, query);
	mapping->varno = linitial_node(RangeTblRef, query->jointree->fromlist)->rtindex;
	mapping->table = base_table(relation, query, mapping->varno);
	table = table_open(mapping->table, AccessShareLock);
	mapping->where = query->jointree->quals;
	if (mapping->where)
	{
		check_expression(relation, "the WHERE", mapping->where, mapping->varno);
		mapping->where = compat_expand_generated(mapping->where, table, mapping->varno);
	}
	foreach(cell, query->targetList)
	{
		TargetEntry *target = lfirst_node(TargetEntry, cell);
		ViewColumn	column;
		Node	   *expression;

		if (target->resjunk)
			continue;
		column = column_of(relation, target->resname);
		check_expression(relation, psprintf("column \"%s\"", target->resname),
						 (Node *) target->expr, mapping->varno);
		expression = compat_expand_generated((Node *) target->expr, table, mapping->varno);
		mapping->columns[column] = coerce_column(relation, column, expression);
	}
	table_close(table, NoLock);
	if (mapping->columns[VIEW_EXTERNAL_ID] == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("view \"%s\" has no column external_id", RelationGetRelationName(relation)),
				 errhint("Add one that identifies a row, such as its primary key.")));
	return mapping;
}

/* Returns the view that a trigger depends on; InvalidOid: none. */
static Oid
view_by_dependency(Oid trigger)
{
	Relation	depend = table_open(DependRelationId, AccessShareLock);
	ScanKeyData keys[2];
	SysScanDesc scan;
	HeapTuple	tuple;
	Oid			view = InvalidOid;

	ScanKeyInit(&keys[0], Anum_pg_depend_classid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(TriggerRelationId));
	ScanKeyInit(&keys[1], Anum_pg_depend_objid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(trigger));
	scan = systable_beginscan(depend, DependDependerIndexId, true, NULL, 2, keys);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_depend row = (Form_pg_depend) GETSTRUCT(tuple);

		if (row->refclassid == RelationRelationId && row->deptype == DEPENDENCY_NORMAL &&
			get_rel_relkind(row->refobjid) == RELKIND_VIEW)
			view = row->refobjid;
	}
	systable_endscan(scan);
	table_close(depend, AccessShareLock);
	return view;
}

Oid
contacts_push_view_of_trigger(Oid trigger, const char *name, bool missing_ok)
{
	Oid			view = view_by_dependency(trigger);
	List	   *names;
	Oid			schema;

	if (OidIsValid(view))
		return view;
	/* The writer needs no USAGE on the schema: what may be used is said by the owner. */
	if (SplitIdentifierString(pstrdup(name), '.', &names) && list_length(names) == 2 &&
		OidIsValid(schema = get_namespace_oid(linitial(names), true)))
		view = get_relname_relid(lsecond(names), schema);
	if (!OidIsValid(view) && !missing_ok)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("view %s does not exist", name)));
	return view;
}

void
contacts_push_view_check_owner(Relation view, Oid table)
{
	Relation	relation = table_open(table, AccessShareLock);
	Oid			owner = relation->rd_rel->relowner;

	table_close(relation, NoLock);
	if (view->rd_rel->relowner != owner && !superuser_arg(view->rd_rel->relowner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("view \"%s\" does not belong to the owner of table \"%s\"",
						RelationGetRelationName(view), get_rel_name(table)),
				 errdetail("Whoever can replace the view decides what code runs as every writer of the table."),
				 errhint("ALTER VIEW %s OWNER TO %s;",
						 quote_qualified_identifier(get_namespace_name(RelationGetNamespace(view)),
													RelationGetRelationName(view)),
						 quote_identifier(GetUserNameFromId(owner, true)))));
}
