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

/* Finds out whether the outbox comes from elsewhere.  Behind the fence. */
extern void lineage_begin(void);

/* True if it has come from elsewhere since then: another process has to begin with it. */
extern bool lineage_has_changed(void);

/*
 * True of a pending contact that somebody else may have sent, for when its row was
 * enqueued.
 */
extern bool lineage_is_in_doubt(TimestampTz enqueued_at);

#endif							/* CONTACTS_PUSH_LINEAGE_H */
