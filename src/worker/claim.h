/*
 * claim.h
 *		Taking up rows that have been read.
 *
 * Called inside a pass's transaction; throws like SQL: an error ends the process, and
 * the next one recovers.
 */
#ifndef CONTACTS_PUSH_CLAIM_H
#define CONTACTS_PUSH_CLAIM_H

#include "store/outbox_read.h"
#include "worker/worker.h"

/* True if contacts may be taken up for the chatbot now. */
extern bool claim_has_room(const Chatbot *chatbot);

/* What became of a row that was read. */
typedef enum Claim
{
	CLAIM_NOTHING,				/* it is not to be sent now, or known */
	CLAIM_TAKEN,				/* its contact is in the window, or in queue_look() */
	CLAIM_PASSED_OVER			/* its chatbot has no room: it is in that one's waiting */
} Claim;

/*
 * Takes up the row that was read last.  looked_at: other intents of its contact need no
 * look any more.  After the last row of a read, when that has ended: claim_finish().
 */
extern Claim claim_row(OutboxScan *scan, const OutboxRow *row, bool looked_at);
extern void claim_finish(void);

/* Both for those among these rows that are there. */
extern void claim_by_seq(const int64 *seqs, int n, bool looked_at);

/* Takes up the rows of queue_load(). */
extern void claim_load(void);

#endif							/* CONTACTS_PUSH_CLAIM_H */
