/*
 * watched.h
 *		Which chatbots watch a table: its triggers are the registry.
 */
#ifndef CONTACTS_PUSH_WATCHED_H
#define CONTACTS_PUSH_WATCHED_H

#include "nodes/pg_list.h"
#include "utils/relcache.h"

/* Arguments of a trigger that watch() has made. */
#define WATCHED_CHATBOT 0
#define WATCHED_VIEW 1			/* its name, for people and for a restored dump */

/* Returns the trigger function. */
extern Oid	contacts_push_watched_function(void);

/*
 * The triggers (Trigger *, copies) that watch() has made on a table for a chatbot and with a
 * view; NULL and InvalidOid: for any.  Those that a partition has from its parent are not
 * among them.
 */
extern List *contacts_push_watched_triggers(Relation table, const char *chatbot_id, Oid view);

/*
 * Returns the table that the relation is or, if it is a view, selects from; *view is set to
 * that view or InvalidOid.  Throws if it is neither, or the current user does not own the table.
 */
extern Oid	contacts_push_watched_table(Oid relation, Oid *view);

#endif							/* CONTACTS_PUSH_WATCHED_H */
