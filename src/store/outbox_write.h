/*
 * outbox_write.h
 *		The one way in which the worker writes rows of contacts_push.outbox.
 */
#ifndef CONTACTS_PUSH_OUTBOX_WRITE_H
#define CONTACTS_PUSH_OUTBOX_WRITE_H

#include "storage/itemptr.h"
#include "store/outbox_layout.h"

typedef enum RowResult
{
	ROW_WRITTEN,
	ROW_LOCKED,					/* by another session: to be tried again later */
	ROW_CHANGED					/* or deleted by hand: there is nothing to write any more */
} RowResult;

/*
 * What becomes of a row that is pending.  settled_at is set unless it stays so.
 */
typedef struct RowChange
{
	int64		seq;
	ItemPointerData tid;		/* where the row was last seen; invalid: not known */

	/*
	 * Whose row it is: one with this number may be another contact's since the outbox was
	 * emptied and its numbers began anew, or was changed by hand.
	 */
	const char *chatbot_id;
	const char *external_id;	/* NULL: anybody's of the chatbot */

	/*
	 * It is not pending but conflict, rejected or failed.  Its http_status, error and
	 * contact_id, contact_hash and contact_members stay as they are.
	 */
	bool		expects_refused;
	OutboxStatus status;		/* pending: it is unconfirmed, or deferred; a result, see below */
	bool		keeps_contact;	/* else contact becomes NULL */
	int			http_status;	/* 0: NULL */
	const char *error;			/* NULL: NULL */
	const char *contact_id;		/* NULL: NULL */
	int64		contact_hash;	/* 0: NULL */
	bytea	   *contact_members;	/* NULL: NULL */
	int			attempts;		/* -1: as it is */
	int64		delay_ms;		/* until next_attempt_at; -1: that becomes NULL */
	bool		unconfirmed;

	/* what came of it */
	RowResult	result;
	OutboxStatus was;			/* before, if written */
	ItemPointerData new_tid;	/* where the row is now, if written */
} RowChange;

/*
 * Writes rows in the worker's transaction, and says for each what came of it.  Never
 * waits for another session's lock on a row for long.  Throws like an UPDATE; where a
 * worker has ended twice so, rows are written one by one, and one that cannot be is
 * set aside: its status becomes rejected, in the change, too.
 */
extern void outbox_write(RowChange *changes, int n);

#endif							/* CONTACTS_PUSH_OUTBOX_WRITE_H */
