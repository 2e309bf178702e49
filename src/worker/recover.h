/*
 * recover.h
 *		Making up for an earlier worker.
 *
 * Called inside a pass's transaction unless said otherwise; throws like SQL: an error ends
 * the process, and the next one recovers.
 */
#ifndef CONTACTS_PUSH_RECOVER_H
#define CONTACTS_PUSH_RECOVER_H

#include "worker/worker.h"

/* Makes up for an earlier worker: what it had under way is unconfirmed. */
extern void recover(void);

/*
 * Rows that may have been sent, and that the outbox does not say so of: noted, asked
 * for, and forgotten when it does.
 */
extern void recover_note(int64 seq);
extern bool recover_is_noted(int64 seq);
extern void recover_forget(int64 seq);

#endif							/* CONTACTS_PUSH_RECOVER_H */
