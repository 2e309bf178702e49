/*
 * expression.h
 *		Expressions over a table's columns, as contacts_push.watch() takes them.
 */
#ifndef CONTACTS_PUSH_EXPRESSION_H
#define CONTACTS_PUSH_EXPRESSION_H

#include "nodes/nodes.h"
#include "utils/relcache.h"

/*
 * The one expression in a text, as a raw parse tree.  Throws, pointing into the text, if it is no
 * expression over the columns of the relation that may stand in a mapping.
 */
extern Node *contacts_push_expression_parse(Relation relation, const char *text);

#endif							/* CONTACTS_PUSH_EXPRESSION_H */
