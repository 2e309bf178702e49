/*
 * keys.h
 *		Contacts whose key has changed.
 *
 * Called inside a pass's transaction; throws like SQL: an error ends the process, and the
 * next one recovers.
 */
#ifndef CONTACTS_PUSH_KEYS_H
#define CONTACTS_PUSH_KEYS_H

#include "worker/situation.h"

/*
 * The key goes to another contact: nothing else becomes of this one before.  True: that is all
 * for now.
 */
extern bool keys_give(Situation *s);

/*
 * What has got another key goes to Chatbase as it is, so that the contact there is changed;
 * what is newer follows.  True: that is all for now.
 */
extern bool keys_change(Situation *s);

/* Who was waiting for the key is to be decided on. */
extern void keys_tell_taker(const Situation *s);

/* There is a contact at Chatbase that is to become what the intent says; previous: its key; NULL: the same. */
extern void keys_load_changed(const Situation *s, const Intent *intent, const Intent *there,
							  const char *previous);

/* Contacts that wait for each other's keys go as they are. */
extern void keys_stop_waiting(void);

#endif							/* CONTACTS_PUSH_KEYS_H */
