/*
 * gaps.h
 *		Sequence numbers that were passed while their transactions were open.
 *
 * Rows of the outbox become visible in the order of their commits, not
 * of their numbers.  Whoever writes one holds ROW EXCLUSIVE on the outbox from
 * before nextval() to the end of the transaction.  So what may still appear
 * below a mark is known to be written by those who hold a lock that conflicts
 * with SHARE once the mark was read, and is complete when they have ended; CREATE
 * INDEX CONCURRENTLY rests on the same (the xmin horizon would not do: nextval()
 * can come before the transaction has an xid).
 */
#ifndef CONTACTS_PUSH_GAPS_H
#define CONTACTS_PUSH_GAPS_H

#include "util/ranges.h"

/*
 * From now on whatever appears in these ranges is found by gaps_check().  Called
 * in the transaction that read past them, after that read.  outbox: the relation.
 */
extern void gaps_add(const Ranges *ranges, Oid outbox);

/*
 * Adds the ranges in which something may have appeared since the last call: somebody
 * who can write there has ended.  They are to be read with a snapshot taken after this
 * call.  Needs a transaction.
 */
extern void gaps_check(Ranges *appeared);

/*
 * Milliseconds after which gaps_check() is to be called again; -1: no need.  A
 * commit wakes the worker a moment before the committer gives its locks up, and
 * COMMIT PREPARED does not wake it at all; so it is asked soon after each wake, and
 * less and less often then.
 */
extern int64 gaps_timeout_ms(void);

/* The worker was woken: ask soon again. */
extern void gaps_woken(void);

/* Adds all ranges in which something may still appear. */
extern void gaps_collect(Ranges *ranges);

#endif							/* CONTACTS_PUSH_GAPS_H */
