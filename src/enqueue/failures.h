/*
 * failures.h
 *		Rows of a watched table that were not enqueued.
 */
#ifndef CONTACTS_PUSH_FAILURES_H
#define CONTACTS_PUSH_FAILURES_H

/* What a trigger has left out. */
typedef struct Failures
{
	const char *chatbot_id;
	Oid			relation;		/* the watched table */
	bool		by_row;			/* the trigger fires for each row, so more may fail */
	bool		deleted;		/* the rows have been deleted */
	bool		has_grown;		/* the table has got children, and has to be watched again */
	bool		tell_reason;	/* whoever runs the statement may know the reason */
	int64		rows;
	char	   *reason;			/* of the first */
} Failures;

/* Counts rows that are left out for a reason, which is copied into CurrentMemoryContext. */
extern void contacts_push_failures_add(Failures *failures, int64 rows, const char *reason);

/*
 * Notes the failures for contacts_push.progress, and raises a WARNING; row triggers raise one
 * for each statement of the client, table and chatbot.  Throws only errors that are about the
 * session or the machine.
 */
extern void contacts_push_failures_report(const Failures *failures);

#endif							/* CONTACTS_PUSH_FAILURES_H */
