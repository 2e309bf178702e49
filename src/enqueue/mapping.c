/*
 * mapping.c
 *		Expressions over a table's columns, as contacts_push.watch() takes them.
 *
 * The server's own parser and deparser do the work; no SQL text is taken
 * apart in here.  The expressions are the caller's, parsed with the caller's
 * rights and search_path, and are not evaluated.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/relation.h"
#include "access/sysattr.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "compat.h"
#include "fmgr.h"
#include "nodes/bitmapset.h"
#include "nodes/nodeFuncs.h"
#include "nodes/parsenodes.h"
#include "optimizer/optimizer.h"
#include "parser/parse_collate.h"
#include "parser/parse_expr.h"
#include "parser/parse_relation.h"
#include "parser/parser.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/ruleutils.h"

COMPAT_FUNCTION_INFO_V1(contacts_push_qualify);
COMPAT_FUNCTION_INFO_V1(contacts_push_expression_type);
COMPAT_FUNCTION_INFO_V1(contacts_push_used_columns);

/*
 * True for "*" alone: the grammar takes it for a target, but the analysis of
 * expressions relies on never seeing it.
 */
static bool
is_star(Node *target)
{
	return IsA(target, ColumnRef) && IsA(linitial(((ColumnRef *) target)->fields), A_Star);
}

/* The one expression in the text, as a raw parse tree. */
static Node *
parse_expression(const char *text)
{
	List	   *parsed = raw_parser(text, RAW_PARSE_PLPGSQL_EXPR);
	SelectStmt *select = castNode(SelectStmt, linitial_node(RawStmt, parsed)->stmt);

	/* Whatever a SELECT may have beside one target is no expression. */
	if (list_length(parsed) != 1 || list_length(select->targetList) != 1 ||
		linitial_node(ResTarget, select->targetList)->name != NULL ||
		is_star(linitial_node(ResTarget, select->targetList)->val) ||
		select->fromClause || select->whereClause || select->groupClause ||
		select->havingClause || select->windowClause || select->sortClause ||
		select->limitCount || select->limitOffset || select->lockingClause ||
		select->distinctClause || select->intoClause || select->op != SETOP_NONE)
		ereport(ERROR,
				(errcode(ERRCODE_SYNTAX_ERROR),
				 errmsg("\"%s\" is not an expression", text)));
	return linitial_node(ResTarget, select->targetList)->val;
}

/* An error's position is one in the expression, not in the statement that has it. */
static void
point_into_expression(void *text)
{
	int			position = geterrposition();

	if (position > 0)
	{
		errposition(0);
		internalerrposition(position);
		internalerrquery(text);
	}
}

/* The expression over the columns of the relation, analysed. */
static Node *
analyse_expression(Relation relation, const char *text)
{
	ParseState *state = make_parsestate(NULL);
	ErrorContextCallback callback;
	ParseNamespaceItem *item;
	Node	   *expression;

	callback.callback = point_into_expression;
	callback.arg = unconstify(char *, text);
	callback.previous = error_context_stack;
	error_context_stack = &callback;

	state->p_sourcetext = text;
	item = addRangeTableEntryForRelation(state, relation, AccessShareLock, NULL,
										 false, true);
	addNSItemToQuery(state, item, false, true, true);

	/* As for a generated column: no aggregate, window, set or subquery. */
	expression = transformExpr(state, parse_expression(text), EXPR_KIND_GENERATED_COLUMN);
	assign_expr_collations(state, expression);
	free_parsestate(state);
	error_context_stack = callback.previous;
	return expression;
}

/*
 * contacts_push_internal.qualify(relation regclass, expression text, alias text)
 */
Datum
contacts_push_qualify(PG_FUNCTION_ARGS)
{
	Relation	relation = relation_open(PG_GETARG_OID(0), AccessShareLock);
	char	   *source = text_to_cstring(PG_GETARG_TEXT_PP(1));
	char	   *alias = text_to_cstring(PG_GETARG_TEXT_PP(2));
	Node	   *expression = analyse_expression(relation, source);
	char	   *qualified;
	int			nest;

	/* With this path everything outside of pg_catalog is printed with its schema. */
	nest = NewGUCNestLevel();
	(void) set_config_option("search_path", "pg_catalog, pg_temp", PGC_USERSET,
							 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	qualified = deparse_expression(expression,
								   deparse_context_for(alias, RelationGetRelid(relation)),
								   true, false);
	AtEOXact_GUC(true, nest);
	relation_close(relation, AccessShareLock);
	PG_RETURN_TEXT_P(cstring_to_text(qualified));
}

/*
 * contacts_push_internal.expression_type(relation regclass, expression text)
 */
Datum
contacts_push_expression_type(PG_FUNCTION_ARGS)
{
	Relation	relation = relation_open(PG_GETARG_OID(0), AccessShareLock);
	Node	   *expression = analyse_expression(relation, text_to_cstring(PG_GETARG_TEXT_PP(1)));
	Oid			type = exprType(expression);

	relation_close(relation, AccessShareLock);
	PG_RETURN_OID(type);
}

static Datum
name_array(Relation relation, Bitmapset *columns)
{
	Datum	   *names = palloc(RelationGetNumberOfAttributes(relation) * sizeof(Datum));
	int			n = 0;
	int			member = -1;

	while ((member = bms_next_member(columns, member)) >= 0)
	{
		AttrNumber	attnum = member + FirstLowInvalidHeapAttributeNumber;

		if (attnum > 0)
			names[n++] = NameGetDatum(&TupleDescAttr(RelationGetDescr(relation), attnum - 1)->attname);
	}
	return PointerGetDatum(construct_array(names, n, NAMEOID, NAMEDATALEN, false, TYPALIGN_CHAR));
}

/*
 * contacts_push_internal.used_columns(relation regclass, VARIADIC expressions text[])
 */
Datum
contacts_push_used_columns(PG_FUNCTION_ARGS)
{
	Relation	relation = relation_open(PG_GETARG_OID(0), AccessShareLock);
	Bitmapset  *columns = NULL;
	bool		whole_row;
	Datum	   *texts;
	Datum		names = (Datum) 0;
	int			n;

	deconstruct_array(PG_GETARG_ARRAYTYPE_P(1), TEXTOID, -1, false, TYPALIGN_INT,
					  &texts, NULL, &n);
	for (int i = 0; i < n; i++)
		pull_varattnos(analyse_expression(relation, TextDatumGetCString(texts[i])), 1,
					   &columns);
	whole_row = bms_is_member(InvalidAttrNumber - FirstLowInvalidHeapAttributeNumber,
							  columns);
	if (!whole_row)
		names = name_array(relation, columns);
	relation_close(relation, AccessShareLock);
	if (whole_row)
		PG_RETURN_NULL();
	PG_RETURN_DATUM(names);
}
