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
#include "config.h"

typedef enum StoreOutcome
{
	STORE_DONE,
	STORE_CONFLICT,				/* an external_id, e-mail or phone number is taken */
	STORE_INVALID,				/* the contact would be none */
	STORE_ABSENT,				/* there is no such contact */
	STORE_FORGOTTEN				/* there was a reset since the epoch */
} StoreOutcome;

/* Changes with every reset. */
extern uint64_t store_epoch(void);

/*
 * These change nothing unless they return STORE_DONE.  key: a contact with the external_id.
 *
 * Adds a good batch to the chatbot, all of it or nothing, and gives its contacts
 * serial and time.  The store keeps a reference of its own.
 */
extern StoreOutcome store_add(const char *chatbot, Batch *batch, bool unique_phones, uint64_t epoch);

/* Changes a contact as the body of a PATCH says, and adds what it is now. */
extern StoreOutcome store_update(Buffer *out, const char *chatbot, const Contact *key, const char *body,
								 size_t len, const Config *config, uint64_t epoch);

/* Forgets a contact, and adds what it was. */
extern StoreOutcome store_delete(Buffer *out, const char *chatbot, const Contact *key, uint64_t epoch);

/* Adds a contact.  False: there is no such one. */
extern bool store_get(Buffer *out, const char *chatbot, const Contact *key);

/*
 * Adds up to n contacts, each with a comma behind it, from the first-th (from 0) in this order.
 * Returns how many there are in all.
 */
extern size_t store_list(Buffer *out, const char *chatbot, ListOrder order, size_t first, size_t n);

/* Contacts held, of all chatbots. */
extern uint64_t store_contacts(void);

/* Adds a JSON array: the contacts, or brief: [external_id, id] of each. */
extern void store_write(Buffer *out, const char *chatbot, bool brief);

/* Forgets all contacts and chatbots. */
extern void store_reset(void);

#endif							/* FAKE_CHATBASE_STORE_H */
