/*
 * store.h
 *		The contacts that each chatbot has.
 *
 * Knows what makes a contact a double, and nothing of HTTP.  Every function
 * may be called from any thread.
 */
#ifndef FAKE_CHATBASE_STORE_H
#define FAKE_CHATBASE_STORE_H

#include <stdbool.h>
#include <stdint.h>

#include "batch.h"
#include "buffer.h"

typedef enum StoreOutcome
{
	STORE_ADDED,
	STORE_CONFLICT,				/* an external_id or e-mail is taken; nothing added */
	STORE_FORGOTTEN				/* there was a reset since the epoch; nothing added */
} StoreOutcome;

/* Changes with every reset. */
extern uint64_t store_epoch(void);

/*
 * Adds a good batch to the chatbot, all of it or nothing, and gives its contacts
 * serial and time.  The store keeps a reference of its own.
 */
extern StoreOutcome store_add(const char *chatbot, Batch *batch, uint64_t epoch);

/* Contacts held, of all chatbots. */
extern uint64_t store_contacts(void);

/* Adds a JSON array: the contacts, or brief: [external_id, id] of each. */
extern void store_write(Buffer *out, const char *chatbot, bool brief);

/* Forgets all contacts and chatbots. */
extern void store_reset(void);

#endif							/* FAKE_CHATBASE_STORE_H */
