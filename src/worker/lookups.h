/*
 * lookups.h
 *		Contacts that may exist at Chatbase, and are looked up there before they are sent again.
 *
 * A lost answer leaves open what became of a thousand contacts; the pages of the chatbot's
 * list tell in a few requests.  Where the server has no such calls, or contacts_push.reading
 * is off, the isolation finds out by sending them (see isolation_add_unconfirmed()).
 *
 * Called inside a pass's transaction; throws like SQL: an error ends the process, and the
 * next one recovers.
 */
#ifndef CONTACTS_PUSH_LOOKUPS_H
#define CONTACTS_PUSH_LOOKUPS_H

#include "worker/worker.h"

/* True if contacts of the chatbot can be looked up, as far as is known. */
extern bool lookups_are_possible(const Chatbot *chatbot);

/*
 * Takes contacts of one chatbot that are CONTACT_QUEUED, not in the isolation, and were sent
 * together, as far as is known: they are looked up or, where that is not possible, left to
 * the isolation.
 */
extern void lookups_add(Contact *const *contacts, int n);

/* Takes those of an answered request that are back in the isolation, if it is possible. */
extern void lookups_take_over(const Request *request);

/*
 * After a group was refused with 409: contacts that may have been created meanwhile, by a
 * request that was applied late, are looked up once more and the others sent again.
 * False: there are none; nothing is changed.
 */
extern bool lookups_retake(Request *request);

/* Leaves to the isolation what cannot be looked up, before a request is decided on. */
extern void lookups_prepare(Chatbot *chatbot);

/* True if a look-up, where there is one to make, comes before contacts that are to be created. */
extern bool lookups_come_first(const Chatbot *chatbot);

/* The request to make for a chatbot; NULL: none for now. */
extern Request *lookups_next(Chatbot *chatbot);

/* Something of the chatbot's is sent to be created instead. */
extern void lookups_yield(Chatbot *chatbot);

/* True while reads fail, so that contacts sent beside them go one by one. */
extern bool lookups_keep_failing(const Chatbot *chatbot);

/* A contact that a request has asked for in vain is to be asked for again. */
extern void lookups_ask_again(Contact *contact);

/*
 * A contact that was looked up is sent again: with others if it is not there, as far as can
 * be known, and has not failed alone; else by itself.
 */
extern void lookups_send_again(Contact *contact, bool is_absent);

/*
 * A contact that is IN_FLIGHT or DOUBTFUL is at Chatbase, with these members, and not as it is to be,
 * as far as is known: its row is loaded again, as an update.  It leaves the window.
 */
extern void lookups_change(Contact *contact, const bytea *members);

/* The chatbot's contacts cannot be looked up, for this reason. */
extern void lookups_give_up(Chatbot *chatbot, const char *why);

/* After a reload, each server may have the calls (again). */
extern void lookups_reloaded(void);

#endif							/* CONTACTS_PUSH_LOOKUPS_H */
