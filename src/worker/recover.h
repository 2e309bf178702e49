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

#endif							/* CONTACTS_PUSH_RECOVER_H */
