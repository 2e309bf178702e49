/*
 * batch.h
 *		Rows of row triggers, held back to be appended together.
 *
 * An append may raise and so needs a subtransaction, which takes a transaction id.  An update
 * of many rows must not take as many ids: what its row triggers enqueue is held back, and
 * appended some hundred at a time and when all triggers of the statement have fired.
 */
#ifndef CONTACTS_PUSH_BATCH_H
#define CONTACTS_PUSH_BATCH_H

#include "store/outbox_append.h"

/* Installs the hooks that tell when all triggers of a statement have fired. */
extern void contacts_push_batch_install(void);

/*
 * Returns whether a row trigger's rows can be held back.  The first row of a statement is
 * not: it is often the only one.
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

#endif							/* CONTACTS_PUSH_BATCH_H */
