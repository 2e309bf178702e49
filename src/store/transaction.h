/*
 * transaction.h
 *		The worker's transactions, in which nobody's code gains anything.
 */
#ifndef CONTACTS_PUSH_TRANSACTION_H
#define CONTACTS_PUSH_TRANSACTION_H

#include "executor/spi.h"

/* The OID of contacts_push.outbox, InvalidOid where the extension is not. */
extern Oid	outbox_relation(void);

/*
 * Starts a transaction with everything that the statements of outbox.c need, as the
 * owner of the outbox.  Keeps the extension from being dropped, and the outbox from
 * being given to another role, until the transaction ends.  Returns the outbox;
 * InvalidOid: there is none, and the transaction is only good for being committed.
 */
extern Oid	transaction_begin(void);
extern void transaction_commit(void);

/*
 * Raises if a relation of a prepared statement belongs to another role than the outbox.
 * Does nothing outside of the worker's transactions.
 */
extern void transaction_check_owners(SPIPlanPtr plan);

#endif							/* CONTACTS_PUSH_TRANSACTION_H */
