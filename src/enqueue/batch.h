/*
 * batch.h
 *		Rows of row triggers, held back to be appended together.
 *
 * An append may raise and so needs a subtransaction, which takes a transaction id.  An update
 * of many rows, here or applied by logical replication, must not take as many ids: what its
 * row triggers enqueue is held back, and appended some hundred at a time and when all triggers
 * of the statement, or of the transaction that is applied, have fired.
 */
#ifndef CONTACTS_PUSH_BATCH_H
#define CONTACTS_PUSH_BATCH_H

#include "store/outbox_append.h"

/* Installs the hooks that tell when all triggers of a statement have fired. */
extern void contacts_push_batch_install(void);

/*
 * Returns whether a row trigger's rows can be held back.  The first row of a statement, or of
 * a transaction that is applied, is not: it is often the only one.
 */
extern bool contacts_push_batch_is_open(void);

/*
 * Holds a copy of an intent back.  statement is that of order.h; deleted says which warning is
 * due if it cannot be appended.
 */
extern void contacts_push_batch_add(const OutboxIntent *intent, CommandId statement, bool deleted);

/*
 * Appends the statement's intents that are held back: if all, however few they are, so that
 * something else can be appended after them.  Reports those that cannot be appended; throws
 * only errors that are about the session or the machine.
 */
extern void contacts_push_batch_flush(bool all);

/*
 * Returns whether the statement can give a new row the key that another one gives up, and fire
 * for the new one first: not a plain INSERT or COPY, nor an ON CONFLICT DO UPDATE whose inserted
 * rows have a statement trigger, which fires last.
 */
extern bool contacts_push_batch_hands_on(bool by_row);

/*
 * An update that moves a row to another partition fires for its deletion, and then for its
 * insertion.  The first notes which contact of the chatbot left the watched table, the second
 * gets that; 0: the row has not moved, was no contact, or may have come from elsewhere.
 */
extern void contacts_push_batch_leave(Datum chatbot, Oid table, Datum external_id);
extern Datum contacts_push_batch_arrive(Datum chatbot, Oid table);

#endif							/* CONTACTS_PUSH_BATCH_H */
