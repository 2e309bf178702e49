/*
 * enqueue.h
 *		What the triggers of watched tables and backfill() share.
 */
#ifndef CONTACTS_PUSH_ENQUEUE_H
#define CONTACTS_PUSH_ENQUEUE_H

/* Why a row that was mapped cannot stand in the outbox. */
#define ENQUEUE_INVALID \
	"the contact is not an object with an external_id of 1 to 1024 bytes"

/*
 * The name of a mapping as watch() wrote it, taken apart and quoted again, palloc'd.
 * Throws if it is no qualified name.
 */
extern char *enqueue_quote_mapping(const char *name);

#endif							/* CONTACTS_PUSH_ENQUEUE_H */
