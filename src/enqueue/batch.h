/*
 * batch.h
 *		Rows of row triggers, held back to be appended together.
 *
 * A row trigger fires for one row, and what may raise needs a subtransaction, which by what it
 * writes takes a transaction id.  So that an update of many rows does not take as many ids, what
 * they enqueue is held back and appended some hundred at a time, the rest when the statement's
 * triggers are through.
 */
#ifndef CONTACTS_PUSH_BATCH_H
#define CONTACTS_PUSH_BATCH_H

/* Installs the hooks by which it is known when a statement's triggers are through. */
extern void contacts_push_batch_install(void);

/*
 * True if what a row trigger enqueues can be held back: it is not the first of its statement,
 * which is often the only one and needs no batch.
 */
extern bool contacts_push_batch_is_open(void);

/*
 * Holds an intent back.  As in outbox_append.h; statement is that of order.h, deleted says of what
 * kind of row it is, for the warning if it cannot be appended.  Everything is copied.
 */
extern void contacts_push_batch_add(const char *chatbot_id, Datum external_id, Oid relation,
									const Datum *previous_external_id, const Datum *contact,
									CommandId statement, bool deleted);

/*
 * Appends what is held back of the statement: all of it, before something else is appended for
 * it, or only if it is enough.  What cannot be appended is reported; throws only what is
 * about the session or the machine.
 */
extern void contacts_push_batch_flush(bool all);

#endif							/* CONTACTS_PUSH_BATCH_H */
