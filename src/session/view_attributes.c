/*
 * view_attributes.c
 *		The custom attributes that a view makes: their names, and their types at Chatbase.
 *
 * What a view builds out of constant names is read from its expression, and nothing of it
 * is evaluated.  Whatever is beyond that can be sampled, as the owner of the table.
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/table.h"
#include "catalog/pg_type.h"
#include "compat.h"
#include "enqueue/view.h"
#include "enqueue/watched.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "nodes/primnodes.h"
#include "nodes/value.h"
#include "parser/parse_func.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/tuplestore.h"
#include "utils/typcache.h"

COMPAT_FUNCTION_INFO_V1(contacts_push_view_attributes);
COMPAT_FUNCTION_INFO_V1(contacts_push_sample_attributes);

typedef struct Attribute
{
	char	   *name;
	const char *type;			/* NULL: the expression does not tell */
} Attribute;

typedef struct Attributes
{
	List	   *list;			/* Attribute * */
	bool		others;			/* there may be more, whose names are not told */
} Attributes;

/* Returns what a value of a type is at Chatbase; NULL: its type does not tell. */
static const char *
attribute_type(Oid type)
{
	char		category;
	bool		preferred;

	type = getBaseType(type);
	switch (type)
	{
		case BOOLOID:
			return "boolean";
		case INT2OID:
		case INT4OID:
		case INT8OID:
		case FLOAT4OID:
		case FLOAT8OID:
		case NUMERICOID:
			return "number";
		case DATEOID:
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
			return "date";
		case UUIDOID:
			return "text";
	}
	/* an object, an array, or what has a cast to JSON of its own, as hstore has */
	get_type_category_preferred(type, &category, &preferred);
	return category == TYPCATEGORY_ARRAY || category == TYPCATEGORY_COMPOSITE ||
		category == TYPCATEGORY_PSEUDOTYPE || category == TYPCATEGORY_USER ? NULL : "text";
}

/* Adds an attribute.  Where one name has two types, the expression does not tell. */
static void
add(Attributes *attributes, const char *name, const char *type)
{
	Attribute  *attribute;
	ListCell   *cell;

	foreach(cell, attributes->list)
	{
		attribute = lfirst(cell);
		if (strcmp(attribute->name, name) != 0)
			continue;
		if (attribute->type && (type == NULL || strcmp(attribute->type, type) != 0))
			attribute->type = NULL;
		return;
	}
	attribute = palloc(sizeof(Attribute));
	attribute->name = pstrdup(name);
	attribute->type = type;
	attributes->list = lappend(attributes->list, attribute);
}

static void
drop(Attributes *attributes, const char *name)
{
	ListCell   *cell;

	foreach(cell, attributes->list)
		if (strcmp(((Attribute *) lfirst(cell))->name, name) == 0)
			attributes->list = foreach_delete_current(attributes->list, cell);
}

/* Returns the expression under what changes nothing of its value: casts of json to jsonb. */
static Node *
strip(Node *node)
{
	for (;;)
	{
		if (IsA(node, RelabelType))
			node = (Node *) ((RelabelType *) node)->arg;
		else if (IsA(node, CoerceToDomain))
			node = (Node *) ((CoerceToDomain *) node)->arg;
		else if (IsA(node, CoerceViaIO) && exprType((Node *) ((CoerceViaIO *) node)->arg) == JSONOID)
			node = (Node *) ((CoerceViaIO *) node)->arg;
		else
			return node;
	}
}

/* Returns the text of a constant; NULL: it is none. */
static char *
constant_text(Node *node)
{
	Const	   *constant = (Const *) strip(node);

	if (!IsA(constant, Const) || constant->constisnull)
		return NULL;
	/* a literal among arguments of any type has none of its own */
	if (constant->consttype == UNKNOWNOID)
		return DatumGetCString(constant->constvalue);
	return constant->consttype == TEXTOID || constant->consttype == VARCHAROID ?
		TextDatumGetCString(constant->constvalue) : NULL;
}

/* The type of an attribute whose value this is, in jsonb_build_object(). */
static const char *
value_type(Node *node)
{
	node = strip(node);
	/* to_jsonb() of it would be called anyway */
	if (IsA(node, FuncExpr) && (((FuncExpr *) node)->funcid == F_TO_JSONB ||
								((FuncExpr *) node)->funcid == F_TO_JSON))
		node = strip(linitial(((FuncExpr *) node)->args));
	if (IsA(node, Const) && ((Const *) node)->constisnull)
		return NULL;
	return attribute_type(exprType(node));
}

/* The names and values of jsonb_build_object(). */
static void
add_pairs(Attributes *attributes, List *args)
{
	for (int i = 0; i + 1 < list_length(args); i += 2)
	{
		char	   *name = constant_text(list_nth(args, i));

		if (name)
			add(attributes, name, value_type(list_nth(args, i + 1)));
		else
			attributes->others = true;
	}
}

/* The columns of a row that becomes an object as a whole. */
static void
add_columns(Attributes *attributes, Node *node)
{
	TupleDesc	desc;

	if (!type_is_rowtype(exprType(node)) || exprType(node) == RECORDOID)
	{
		attributes->others = true;
		return;
	}
	desc = lookup_rowtype_tupdesc_domain(exprType(node), -1, false);
	for (int i = 0; i < desc->natts; i++)
		if (!TupleDescAttr(desc, i)->attisdropped)
			add(attributes, NameStr(TupleDescAttr(desc, i)->attname),
				attribute_type(TupleDescAttr(desc, i)->atttypid));
	ReleaseTupleDesc(desc);
}

static void walk(Attributes *attributes, Node *node);

static void
walk_function(Attributes *attributes, const FuncExpr *call)
{
	switch (call->funcid)
	{
		case F_JSONB_BUILD_OBJECT_ANY:
		case F_JSON_BUILD_OBJECT_ANY:
			if (call->funcvariadic)
				attributes->others = true;
			else
				add_pairs(attributes, call->args);
			break;
		case F_JSONB_BUILD_OBJECT_:
		case F_JSON_BUILD_OBJECT_:
			break;
		case F_JSONB_STRIP_NULLS:
		case F_JSON_STRIP_NULLS:
			walk(attributes, linitial(call->args));
			break;
		case F_TO_JSONB:
		case F_TO_JSON:
		case F_ROW_TO_JSON_RECORD:
			add_columns(attributes, strip(linitial(call->args)));
			break;
		default:
			attributes->others = true;
	}
}

static void
walk_operator(Attributes *attributes, const OpExpr *call)
{
	Oid			function = get_opcode(call->opno);
	Node	   *right = list_length(call->args) == 2 ? strip(lsecond(call->args)) : NULL;
	char	   *name;

	if (function == F_JSONB_CONCAT)
	{
		walk(attributes, linitial(call->args));
		walk(attributes, right);
	}
	else if (function == F_JSONB_DELETE_JSONB_TEXT && (name = constant_text(right)) != NULL)
	{
		walk(attributes, linitial(call->args));
		drop(attributes, name);
	}
	else if (function == F_JSONB_DELETE_JSONB__TEXT && IsA(right, Const) && !((Const *) right)->constisnull)
	{
		Datum	   *names;
		bool	   *nulls;
		int			n;

		walk(attributes, linitial(call->args));
		deconstruct_array(DatumGetArrayTypeP(((Const *) right)->constvalue), TEXTOID, -1, false,
						  TYPALIGN_INT, &names, &nulls, &n);
		for (int i = 0; i < n; i++)
			if (!nulls[i])
				drop(attributes, TextDatumGetCString(names[i]));
	}
	else
		attributes->others = true;
}

/* Returns whether a constant has no attribute. */
static bool
is_empty(const Const *constant)
{
	return constant->constisnull ||
		(constant->consttype == JSONBOID && JB_ROOT_COUNT(DatumGetJsonbP(constant->constvalue)) == 0);
}

/* Adds the attributes that an expression of an object can have. */
static void
walk(Attributes *attributes, Node *node)
{
	ListCell   *cell;

	check_stack_depth();
	node = strip(node);
	if (IsA(node, FuncExpr))
		walk_function(attributes, (FuncExpr *) node);
	else if (IsA(node, OpExpr))
		walk_operator(attributes, (OpExpr *) node);
	else if (IsA(node, CoalesceExpr))
	{
		foreach(cell, ((CoalesceExpr *) node)->args)
			walk(attributes, lfirst(cell));
	}
	else if (IsA(node, CaseExpr))
	{
		foreach(cell, ((CaseExpr *) node)->args)
			walk(attributes, (Node *) lfirst_node(CaseWhen, cell)->result);
		if (((CaseExpr *) node)->defresult)
			walk(attributes, (Node *) ((CaseExpr *) node)->defresult);
	}
	else if (!IsA(node, Const) || !is_empty((Const *) node))
		attributes->others = true;
}

/*
 * contacts_push_internal.view_attributes(view regclass): a row for each custom attribute; type
 * NULL: it is not told; name NULL: there may be others
 */
Datum
contacts_push_view_attributes(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Relation	view = relation_open(PG_GETARG_OID(0), AccessShareLock);
	Node	   *expression = contacts_push_view_read(view)->columns[VIEW_CUSTOM_ATTRIBUTES];
	Attributes	attributes = {0};
	ListCell   *cell;

	InitMaterializedSRF(fcinfo, 0);
	if (expression)
		walk(&attributes, expression);
	if (attributes.others)
		add(&attributes, "", NULL);
	foreach(cell, attributes.list)
	{
		const Attribute *attribute = lfirst(cell);
		bool		nulls[2] = {*attribute->name == '\0', attribute->type == NULL};
		Datum		values[2] = {0};

		values[0] = CStringGetTextDatum(attribute->name);
		if (attribute->type)
			values[1] = CStringGetTextDatum(attribute->type);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	relation_close(view, NoLock);
	return (Datum) 0;
}

/*
 * contacts_push_internal.sample_attributes(view regclass) RETURNS jsonb: has
 * contacts_push_internal.attributes_in() look at the view's rows.  What the view calls runs as
 * the owner of the table, who chose it, as in a backfill.
 */
Datum
contacts_push_sample_attributes(PG_FUNCTION_ARGS)
{
	Relation	view = relation_open(PG_GETARG_OID(0), AccessShareLock);
	Oid			argument = REGCLASSOID;
	Oid			mapping;
	Relation	table = table_open(contacts_push_watched_table(RelationGetRelid(view), &mapping),
								   AccessShareLock);
	Oid			function = LookupFuncName(list_make2(makeString("contacts_push_internal"),
													 makeString("attributes_in")),
										  1, &argument, false);
	Oid			user;
	int			context;
	int			nest;
	Datum		result;

	contacts_push_view_check_owner(view, RelationGetRelid(table));
	nest = NewGUCNestLevel();
	GetUserIdAndSecContext(&user, &context);
	SetUserIdAndSecContext(table->rd_rel->relowner, context | SECURITY_RESTRICTED_OPERATION);
	result = OidFunctionCall1(function, ObjectIdGetDatum(RelationGetRelid(view)));
	AtEOXact_GUC(false, nest);
	SetUserIdAndSecContext(user, context);
	table_close(table, NoLock);
	relation_close(view, NoLock);
	return result;
}
