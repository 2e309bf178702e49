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
	bool		by_row;			/* the trigger fires for each row, and there may be more */
	bool		deleted;		/* the rows were */
	bool		has_grown;		/* the table has got children, and is to be watched anew */
	bool		tell_reason;	/* to whoever runs the statement */
	int64		rows;
	char	   *reason;			/* of the first */
} Failures;

/* Counts rows that are left out for a reason, which is copied into CurrentMemoryContext. */
extern void contacts_push_failures_add(Failures *failures, int64 rows, const char *reason);

/*
 * Has what was left out counted for contacts_push.progress, and says so in a WARNING; of row
 * triggers one a statement of the client, table and chatbot.  Only throws what is about the
 * session or the machine.
 */
extern void contacts_push_failures_report(const Failures *failures);

#endif							/* CONTACTS_PUSH_FAILURES_H */
