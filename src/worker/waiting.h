/*
 * waiting.h
 *		What the worker waits for between two passes, for pg_stat_activity.
 */
#ifndef CONTACTS_PUSH_WAITING_H
#define CONTACTS_PUSH_WAITING_H

#include "server/wait_event.h"

/* Shows what keeps the worker from a pass, and returns it.  No transaction. */
extern WaitReason waiting_report(void);

#endif							/* CONTACTS_PUSH_WAITING_H */
