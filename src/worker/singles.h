/*
 * singles.h
 *		Contacts that change at Chatbase or are deleted there: each goes in a request of its own.
 *
 * Nothing is to be isolated, so they are in no isolation: a chatbot has a queue for each of the
 * two calls.  Called inside a pass's transaction.
 */
#ifndef CONTACTS_PUSH_SINGLES_H
#define CONTACTS_PUSH_SINGLES_H

#include "worker/worker.h"

/* The contact, which is CONTACT_QUEUED, joins the queue of its call, by its seq; and leaves it. */
extern void singles_add(Contact *contact);
extern void singles_remove(Contact *contact);

/* True if some wait for this call, and are not held. */
extern bool singles_wait(const Chatbot *chatbot, RequestCall call);

/* What a request says of its contact: path_id and body. */
extern void singles_fill(Request *request);

/* Asks what contacts_push.chatbot says of these chatbots: whether changes are pushed. */
extern void singles_read_switches(List *chatbots);

/*
 * The stage before requests are planned.  While more deletions of a chatbot wait than
 * contacts_push.max_pending_deletes they are held, until contacts_push.resume() lets those
 * through that are there.  all_read: no more rows are known of.  Returns whether rows are to be
 * read again at once.
 */
extern bool singles_hold(bool all_read);

#endif							/* CONTACTS_PUSH_SINGLES_H */
