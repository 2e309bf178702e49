/*
 * claim.h
 *		Taking up rows that have been read.
 *
 * Called inside a pass's transaction; throws like SQL: an error ends the process, and
 * the next one recovers.
 */
#ifndef CONTACTS_PUSH_CLAIM_H
#define CONTACTS_PUSH_CLAIM_H

#include "worker/worker.h"

/* True if contacts may be taken up for the chatbot now. */
extern bool claim_has_room(const Chatbot *chatbot);

/*
 * Takes up the n rows of the last OUTBOX_READ_ statement; looked_at: their contacts'
 * other intents need no look.  Those of chatbots without room are remembered in their
 * ranges; returns how many these are.
 */
extern uint64 claim_rows(uint64 n, bool looked_at);

/*
 * Takes up the pending ones among these rows.  looked_at: other intents of their contacts
 * need no look any more.
 */
extern void claim_by_seq(const int64 *seqs, int n, bool looked_at);

/* Takes up the rows of queue_load(). */
extern void claim_load(void);

/* Rows that somebody else holds locked: read again in a while. */
extern void claim_locked(Chatbot *chatbot, int64 seq);

/* Has those be read again whose while is over. */
extern void claim_release_locked(void);

/* clock_us() when that has something to do; INT64_MAX: nothing. */
extern int64 claim_locked_retry_at(void);

#endif							/* CONTACTS_PUSH_CLAIM_H */
