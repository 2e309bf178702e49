/*
 * failures.h
 *		Rows of a watched table that were not enqueued.
 */
#ifndef CONTACTS_PUSH_FAILURES_H
#define CONTACTS_PUSH_FAILURES_H

#include "commands/trigger.h"

/* What a firing of a trigger has left out. */
typedef struct Failures
{
	int64		rows;
	char	   *reason;			/* of the first */
} Failures;

/* Counts rows that are left out for a reason, which is copied into CurrentMemoryContext. */
extern void contacts_push_failures_add(Failures *failures, int64 rows, const char *reason);

/*
 * Has what was left out counted for contacts_push.progress, and says so in a WARNING, one a
 * statement of the client and chatbot.  relation is the watched table, tell_reason: to whoever
 * runs the statement.  Only throws what is about the session or the machine.
 */
extern void contacts_push_failures_report(const Failures *failures, const TriggerData *trigger,
										  Oid relation, bool tell_reason);

#endif							/* CONTACTS_PUSH_FAILURES_H */
