/*
 * gaps.c
 *		Sequence numbers that were passed while their transactions were open.
 *
 * No SQL in here: which ranges to read is all that is decided.
 *
 * Whoever was not among the holders of a lock when they were listed can only draw numbers
 * above those that had been drawn by then.  So a holder that ends is a reason to look
 * at the holes above that number only, which are the newest as a rule, however long others
 * have been open and however many holes they keep.
 */
#include "postgres.h"

#include "compat.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "utils/memutils.h"
#include "worker/gaps.h"

/* Somebody who can write into holes above a number. */
typedef struct Holder
{
	VirtualTransactionId vxid;
	int64		above;
} Holder;

/* Times between two looks at the holders: doubling from the one to the other. */
#define FIRST_LOOK_MS 1
#define LONGEST_LOOK_MS 1000

static Ranges holes = {0};		/* numbers in which something may still appear */
static int64 look_above = PG_INT64_MAX; /* holes above this are to be looked at */
static int64 listed = 0;		/* had been drawn when the holders were listed */
static Holder *holders = NULL;
static int	nholders = 0;
static int	max_holders = 0;
static int64 next_look_ms = FIRST_LOOK_MS;

static bool
is_holder(VirtualTransactionId vxid)
{
	for (int i = 0; i < nholders; i++)
		if (VirtualTransactionIdEquals(holders[i].vxid, vxid))
			return true;
	return false;
}

/* Adds those who hold a lock on the outbox under which rows may be written. */
static void
list_holders(Oid outbox)
{
	LOCKTAG		tag;
	VirtualTransactionId *writers;
	int			n;

	SET_LOCKTAG_RELATION(tag, MyDatabaseId, outbox);
	writers = GetLockConflicts(&tag, ShareLock, &n);
	if (nholders + n > max_holders)
	{
		max_holders = 2 * (nholders + n);
		holders = holders == NULL ?
			MemoryContextAlloc(TopMemoryContext, max_holders * sizeof(Holder)) :
			repalloc(holders, max_holders * sizeof(Holder));
	}
	for (int i = 0; i < n; i++)
		if (!is_holder(writers[i]))
			holders[nholders++] = (Holder) {writers[i], listed};
}

void
gaps_add(const Ranges *ranges, Oid outbox)
{
	if (ranges->n == 0)
		return;
	list_holders(outbox);
	listed = Max(listed, ranges->range[ranges->n - 1].high);
	ranges_add_all(&holes, ranges);
	/* What has been committed between that read and this listing is seen by another look. */
	look_above = Min(look_above, ranges->range[0].low - 1);
}

/* Forgets the holders that have ended.  Returns above which number there are others. */
static int64
drop_ended(void)
{
	int64		open_above = PG_INT64_MAX;
	int			left = 0;

	for (int i = 0; i < nholders; i++)
	{
		if (VirtualXactLock(holders[i].vxid, false))
			look_above = Min(look_above, holders[i].above);
		else
		{
			open_above = Min(open_above, holders[i].above);
			holders[left++] = holders[i];
		}
	}
	nholders = left;
	return open_above;
}

void
gaps_check(Ranges *appeared)
{
	int64		open_above;
	Ranges		look = holes;

	next_look_ms = Min(next_look_ms * 2, LONGEST_LOOK_MS);
	if (holes.n == 0)
		return;
	open_above = drop_ended();
	if (look_above != PG_INT64_MAX)
	{
		ranges_remove_up_to(&look, look_above);
		ranges_add_all(appeared, &look);
	}
	look_above = PG_INT64_MAX;
	/* Where nobody is left who could write, the look that is due now is the last. */
	ranges_remove_up_to(&holes, open_above);
	if (holes.n == 0)
		nholders = 0;
}

void
gaps_collect(Ranges *ranges)
{
	ranges_add_all(ranges, &holes);
}

int64
gaps_timeout_ms(void)
{
	return holes.n > 0 ? next_look_ms : -1;
}

void
gaps_woken(void)
{
	next_look_ms = FIRST_LOOK_MS;
}
