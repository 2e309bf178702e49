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

/* True if contacts that ask for the call may be taken up for the chatbot now. */
extern bool claim_has_room(const Chatbot *chatbot, RequestCall call);

/* What became of a row that was read. */
typedef enum Claim
{
	CLAIM_NOTHING,				/* it is not to be sent now, or known */
	CLAIM_TAKEN,				/* its contact is in the window, or in queue_look() */
	CLAIM_PASSED_OVER			/* its chatbot has no room: it is in that one's waiting ranges */
} Claim;

/*
 * Takes up the row that was read last.  load: what has been decided on it; NULL: nothing yet.
 * After the last row of a read, when that has ended: claim_finish().
 */
struct Load;
extern Claim claim_row(OutboxScan *scan, const OutboxRow *row, const struct Load *load);
extern void claim_finish(void);

/* Both for those among these rows that are there, on which nothing has been decided. */
extern void claim_by_seq(const int64 *seqs, int n);

/* Takes up the rows of queue_load(). */
extern void claim_load(void);

#endif							/* CONTACTS_PUSH_CLAIM_H */
