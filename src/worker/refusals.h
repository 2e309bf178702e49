/*
 * refusals.h
 *		Runs of contacts that were refused alone, in the same words.
 *
 * Called inside a pass's transaction unless said otherwise; throws like SQL: an error ends
 * the process, and the next one recovers.
 */
#ifndef CONTACTS_PUSH_REFUSALS_H
#define CONTACTS_PUSH_REFUSALS_H

#include "worker/worker.h"

/*
 * Counts a contact that was refused alone, in these words.  False: that completes a run,
 * whose other contacts are back in the isolation; this one is left to the caller.  True: it
 * has been taken over, held or rejected, and is to leave the isolation.
 */
extern bool refusals_take(Contact *contact, int http_status, const char *message);

/* The run is over, by another answer: those that it holds are rejected. */
extern void refusals_end(Chatbot *chatbot);

/* A 200: the run is over, and what an operator has said of refusals is, too. */
extern void refusals_forget(Chatbot *chatbot);

/* True if the chatbot is paused for a run of refusals in these words. */
extern bool refusals_have_paused(const Chatbot *chatbot, const char *message);

/* Rejects what chatbots hold that have nothing else to send, and so nothing to wait for. */
extern void refusals_settle_idle(void);

#endif							/* CONTACTS_PUSH_REFUSALS_H */
