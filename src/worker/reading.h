/*
 * reading.h
 *		Which rows of the outbox are read next.
 *
 * Called inside a pass's transaction unless said otherwise; throws like SQL: an error ends
 * the process, and the next one recovers.
 */
#ifndef CONTACTS_PUSH_READING_H
#define CONTACTS_PUSH_READING_H

#include "util/ranges.h"
#include "worker/worker.h"

/*
 * Begins behind every number that was drawn.  What is pending below is found where an
 * earlier worker has written that it can be, and then, beside the work, by looking at
 * everything once.
 */
extern void reading_begin(void);

/* Takes up pending rows; true if there is more to be read at once. */
extern bool reading_claim(void);

/* A commit has woken the worker.  No transaction. */
extern void reading_woken(void);

/*
 * Somebody waits until all is settled: rows with numbers of their own are looked for
 * again, below the mark if that takes a moment only.  No transaction.
 */
extern void reading_flush(void);

/* Milliseconds until reading_claim() has work that no commit announces; -1: none. */
extern int64 reading_timeout_ms(void);

/* True if all that was visible is settled, or its chatbot is paused. */
extern bool reading_all_settled(void);

/* True if something is pending for a chatbot that is paused. */
extern bool reading_has_paused(void);

/* Everything up to here has been read, passed or looked at. */
extern int64 reading_position(void);

/* Adds where below that something may be pending that no chatbot has waiting. */
extern void reading_collect(Ranges *ranges);

#endif							/* CONTACTS_PUSH_READING_H */
