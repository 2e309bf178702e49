/*
 * retries.h
 *		Contacts that are to be sent again.
 *
 * Called inside a pass's transaction; throws like SQL: an error ends the process, and the
 * next one recovers.
 */
#ifndef CONTACTS_PUSH_RETRIES_H
#define CONTACTS_PUSH_RETRIES_H

#include "worker/worker.h"

/* A contact that waits joins its queue: the isolation, or that of its call. */
extern void retries_enqueue(Contact *contact);

/* A contact waits again.  Intents that came while it was under way waited for this. */
extern void retries_wait_again(Contact *contact);

/* True if nobody but one contact is there to show whether the chatbot answers. */
extern bool retries_lack_company(const Chatbot *chatbot);

/*
 * No usable answer to a request with one contact.  True: what follows is for the contact alone,
 * is being written, and the contact is to leave its queue; false: it is the chatbot's trouble so
 * far.
 */
extern bool retries_take_alone(const Request *request, const HttpResult *result,
							   const ReadAnswer *answer);

#endif							/* CONTACTS_PUSH_RETRIES_H */
