/*
 * owners.h
 *		Which contact of this outbox has an e-mail, as far as this worker has seen.
 */
#ifndef CONTACTS_PUSH_OWNERS_H
#define CONTACTS_PUSH_OWNERS_H

#include "worker/worker.h"

/* Chatbase has the contact, and its e-mail with it. */
extern void owners_note(const Contact *contact);

/*
 * The external_id of another contact of the chatbot that has the e-mail of this one,
 * palloc'd; NULL: none is known.  Called inside a pass's transaction.
 */
extern char *owners_find(const Contact *contact);

#endif							/* CONTACTS_PUSH_OWNERS_H */
