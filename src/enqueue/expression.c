/*
 * expression.c
 *		Expressions over a table's columns, as contacts_push.watch() takes them.
 *
 * The server's own parser does the work; this file takes no SQL text apart.  The expressions
 * are parsed with the caller's rights and search_path, and are not evaluated.
 */
#include "postgres.h"

#include "compat.h"
#include "enqueue/expression.h"
#include "nodes/parsenodes.h"
#include "parser/parse_collate.h"
#include "parser/parse_expr.h"
#include "parser/parse_relation.h"
#include "parser/parser.h"
#include "utils/rel.h"

/* Returns whether it is "*" alone, which the grammar takes, but the analysis does not expect. */
static bool
is_star(Node *target)
{
	return IsA(target, ColumnRef) && IsA(linitial(((ColumnRef *) target)->fields), A_Star);
}

/* Returns the one expression in the text, as a raw parse tree. */
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

/*
 * Makes an error's position one in the expression, not in the statement that has it, and says
 * what to do about a sub-select.
 */
static void
explain(void *text)
{
	int			position = geterrposition();

	if (position > 0)
	{
		errposition(0);
		internalerrposition(position);
		internalerrquery(text);
	}
	if (geterrcode() == ERRCODE_FEATURE_NOT_SUPPORTED)
		errhint("Put it into a function that takes the columns it needs, and call that.");
}

Node *
contacts_push_expression_parse(Relation relation, const char *text)
{
	ParseState *state = make_parsestate(NULL);
	ErrorContextCallback callback;
	ParseNamespaceItem *item;
	Node	   *expression;

	callback.callback = explain;
	callback.arg = unconstify(char *, text);
	callback.previous = error_context_stack;
	error_context_stack = &callback;

	state->p_sourcetext = text;
	item = addRangeTableEntryForRelation(state, relation, AccessShareLock, NULL, false, true);
	addNSItemToQuery(state, item, false, true, true);

	/* As for a generated column: no aggregate, window, set or subquery. */
	expression = transformExpr(state, parse_expression(text), EXPR_KIND_GENERATED_COLUMN);
	assign_expr_collations(state, expression);
	free_parsestate(state);
	/* the analysis may have changed what it was given */
	expression = parse_expression(text);
	error_context_stack = callback.previous;
	return expression;
}
