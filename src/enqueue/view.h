/*
 * view.h
 *		What a view says of the contacts of a table.
 */
#ifndef CONTACTS_PUSH_VIEW_H
#define CONTACTS_PUSH_VIEW_H

#include "nodes/nodes.h"
#include "nodes/pg_list.h"
#include "utils/relcache.h"

/* The columns that a mapping can have, in the order of their names in view.c. */
typedef enum ViewColumn
{
	VIEW_EXTERNAL_ID,
	VIEW_NAME,
	VIEW_EMAIL,
	VIEW_PHONENUMBER,
	VIEW_STRIPE_ACCOUNTS,
	VIEW_CUSTOM_ATTRIBUTES,
	VIEW_COLUMNS				/* how many */
} ViewColumn;

extern const char *const contacts_push_view_columns[VIEW_COLUMNS];

/* The first of those that are json and not text. */
#define VIEW_FIRST_JSON VIEW_STRIPE_ACCOUNTS

/* What a view says: expressions over the rows of the one table under it. */
typedef struct ViewMapping
{
	Oid			table;
	int			varno;			/* of that table in the expressions */
	Node	   *where;			/* NULL: every row is a contact */
	Node	   *columns[VIEW_COLUMNS];	/* text, or jsonb; NULL: the view has no such column */
} ViewMapping;

/*
 * Reads a view into CurrentMemoryContext.  Throws, with a hint, if the relation is no view,
 * or none that contacts can be made of.
 */
extern ViewMapping *contacts_push_view_read(Relation relation);

/*
 * Returns the view of a trigger that watch() has made (not of a clone): the one that it depends
 * on or, after a restore, the one that its arguments name.  InvalidOid: there is none; throws
 * in that case unless missing_ok.
 */
extern Oid	contacts_push_view_of_trigger(Oid trigger, const char *name, bool missing_ok);

/*
 * Throws unless the view's owner is the table's or a superuser: whoever can replace the
 * view runs code as every writer of the table.
 */
extern void contacts_push_view_check_owner(Relation view, Oid table);

#endif							/* CONTACTS_PUSH_VIEW_H */
