/*
 * lineage.h
 *		Where and since when the outbox is worked off here.
 *
 * Called inside a pass's transaction unless said otherwise; throws like SQL: an error ends
 * the process, and the next one recovers.
 */
#ifndef CONTACTS_PUSH_LINEAGE_H
#define CONTACTS_PUSH_LINEAGE_H

#include "datatype/timestamp.h"

/* The place as the first three arguments of a statement. */
extern void lineage_say_where(Datum *here);

/*
 * Takes what stands in the table: whether the outbox was worked off here, since when (now,
 * if nobody knows), and the last number drawn.  The first time that is what this process
 * begins with; after that false says that it is another outbox than it was: restored, or
 * with numbers that begin anew.  Another process has to begin with that.
 */
extern bool lineage_take(bool is_here, TimestampTz since, int64 highest_seq);

/*
 * True of a pending contact that somebody else may have sent, for when its row was
 * enqueued.
 */
extern bool lineage_is_in_doubt(TimestampTz enqueued_at);

#endif							/* CONTACTS_PUSH_LINEAGE_H */
