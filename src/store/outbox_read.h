/*
 * outbox_read.h
 *		Rows of contacts_push.outbox in the order of their numbers.
 *
 * Without a statement: passing over a row that is settled costs two columns of it.  For
 * what is more than a range of numbers there are statements (outbox.h).
 *
 * Called inside of a transaction of transaction_begin(); throws like SQL.
 */
#ifndef CONTACTS_PUSH_OUTBOX_READ_H
#define CONTACTS_PUSH_OUTBOX_READ_H

#include "storage/itemptr.h"
#include "store/outbox_layout.h"
#include "utils/timestamp.h"

/*
 * A row.  What it points to is good until the next one is read.  From chatbot_id on all
 * is given of a pending row only.
 */
typedef struct OutboxRow
{
	int64		seq;
	ItemPointerData tid;
	OutboxStatus status;
	bool		is_ahead;		/* the sequence has not come to its number */
	TimestampTz unsent_since;	/* settled then without having been sent; DT_NOEND: was not */
	TimestampTz changed_since;	/* the same of an update or a deletion */
	Datum		chatbot_id;		/* text */
	Datum		external_id;	/* text */
	Datum		contact;		/* jsonb, maybe toasted */
	bool		withdrawal;		/* contact is NULL */
	bool		is_moved;		/* its key was another one before */
	int			attempts;
	TimestampTz next_attempt_at;	/* DT_NOBEGIN: NULL */
	bool		unconfirmed;
	TimestampTz enqueued_at;
} OutboxRow;

typedef struct OutboxScan OutboxScan;

/*
 * Begins to read what is committed now, and what this transaction has written.  It is
 * ended within the (sub)transaction, before memory of its context is reset.
 */
extern OutboxScan *outbox_scan_begin(void);
extern void outbox_scan_end(OutboxScan *scan);

/* The highest number that had been drawn when it began, or a little later. */
extern int64 outbox_scan_drawn(const OutboxScan *scan);

/* Goes on with the rows from one number up to another, both inclusive. */
extern void outbox_scan_range(OutboxScan *scan, int64 low, int64 high);

/* The next of them; false: there is none. */
extern bool outbox_scan_next(OutboxScan *scan, OutboxRow *row);

/* True if the contact of the row that was read last has further rows. */
extern bool outbox_scan_has_others(OutboxScan *scan, const OutboxRow *row);

/* The highest number that has been drawn by now; 0: none was. */
extern int64 outbox_last_seq(void);

#endif							/* CONTACTS_PUSH_OUTBOX_READ_H */
