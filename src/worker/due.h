/*
 * due.h
 *		Rows that wait for another attempt, and when they are due.
 */
#ifndef CONTACTS_PUSH_DUE_H
#define CONTACTS_PUSH_DUE_H

#include "worker/window.h"

/* Rows may have another time to be tried again than is known. */
extern void due_changed(void);

/*
 * Takes up rows that are due; true if there are more for somebody who has room.  Called
 * in a pass's transaction.
 */
extern bool due_read(void);

/* clock_us() when due_read() has something to do; 0: now, INT64_MAX: nothing. */
extern int64 due_next_at(void);

/* True if rows of the chatbot wait for another attempt. */
extern bool due_exists(const Chatbot *chatbot);

#endif							/* CONTACTS_PUSH_DUE_H */
