/*
 * enqueue.h
 *		What the triggers of watched tables and backfill() share.
 *
 * Layer 3.
 */
#ifndef CONTACTS_PUSH_ENQUEUE_H
#define CONTACTS_PUSH_ENQUEUE_H

/* Why a row that was mapped cannot stand in the outbox. */
#define ENQUEUE_INVALID \
	"the contact is not an object with an external_id of 1 to 1024 bytes"

/*
 * Runs something in a subtransaction.  False: it raised, and *reason says what.
 * Errors that are about the session or the machine are passed on.
 */
extern bool enqueue_try(void (*run) (void *), void *arg, char **reason);

/*
 * The name of a mapping as watch() wrote it, taken apart and quoted again, palloc'd.
 * Throws if it is no qualified name.
 */
extern char *enqueue_quote_mapping(const char *name);

#endif							/* CONTACTS_PUSH_ENQUEUE_H */
