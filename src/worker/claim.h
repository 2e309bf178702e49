/*
 * claim.h
 *		Which pending rows are taken up.
 *
 * Called inside a pass's transaction unless said otherwise; throws like SQL: an error ends
 * the process, and the next one recovers.
 */
#ifndef CONTACTS_PUSH_CLAIM_H
#define CONTACTS_PUSH_CLAIM_H

#include "worker/worker.h"

/* Begins behind everything that exists; finds what is pending of it. */
extern void claim_begin(void);

/* Takes up pending rows; true if more could be taken up at once. */
extern bool claim_pending(void);

/* Milliseconds until claim_pending() has work that no commit announces; -1: none. */
extern int64 claim_timeout_ms(void);

/* True if all that was visible is settled, or its chatbot is paused. */
extern bool claim_all_settled(void);

/* True if something is pending for a chatbot that is paused. */
extern bool claim_has_paused(void);

/*
 * Takes up the pending ones among these rows.  looked_at: other intents of their contacts
 * need no look any more.
 */
extern void claim_by_seq(const int64 *seqs, int n, bool looked_at);

/* Rows that somebody else holds locked: looked at again in a while. */
extern void claim_locked(Chatbot *chatbot, int64 seq);

/* Everything up to here has been read or passed. */
extern int64 claim_position(void);

/* True if the numbers have begun anew since the last call: TRUNCATE ... RESTART IDENTITY. */
extern bool claim_numbers_restarted(void);

#endif							/* CONTACTS_PUSH_CLAIM_H */
