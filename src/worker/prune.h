/*
 * prune.h
 *		Deleting what is over its retention, and folding what was appended.
 *
 * Called inside a pass's transaction unless said otherwise; throws like SQL: an error ends
 * the process, and the next one recovers.
 */
#ifndef CONTACTS_PUSH_PRUNE_H
#define CONTACTS_PUSH_PRUNE_H

#include "worker/worker.h"

/* Deletes a little of what is over its retention, and folds what was appended. */
extern void prune(void);

/*
 * Deletes those among these rows of the outbox that were not sent, and what their updates and
 * deletions have made pointless, where either was longer ago than such rows are kept.
 */
extern void prune_settled(int64 low, int64 high, bool unsent, bool changed);

#endif							/* CONTACTS_PUSH_PRUNE_H */
