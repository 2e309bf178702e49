/*
 * gaps.c
 *		Sequence numbers that were passed while their transactions were open.
 *
 * No SQL in here: which ranges to read is all that is decided.
 *
 * Who could still write into ranges that were passed at some moment are those who
 * held a lock then and have not ended since.  So one list of holders does for all
 * ranges, if it says when each was first seen: a transaction that is open for an hour
 * stands in it once, however many numbers are passed meanwhile.
 */
#include "postgres.h"

#include "compat.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "utils/memutils.h"
#include "worker/gaps.h"

/* Ranges passed at one moment. */
typedef struct Gap
{
	Ranges		ranges;
	int64		moment;
	bool		look;			/* not looked at since somebody ended */
} Gap;

/* Somebody who could write into what was passed when he was first seen, or later. */
typedef struct Holder
{
	VirtualTransactionId vxid;
	int64		since;			/* moment */
} Holder;

/*
 * Gaps kept apart.  Beyond that the older ones are merged, which only has them
 * looked at more often than need be.
 */
#define MAX_GAPS 16

/* Times between two looks at the holders: doubling from the one to the other. */
#define FIRST_LOOK_MS 1
#define LONGEST_LOOK_MS 1000

static Gap	gaps[MAX_GAPS + 1]; /* the oldest first; one spare */
static int	ngaps = 0;
static Holder *holders = NULL;
static int	nholders = 0;
static int	max_holders = 0;
static int64 last_moment = 0;
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
add_writers(Oid outbox)
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
			holders[nholders++] = (Holder) {writers[i], last_moment};
}

/* True if somebody was first seen after one moment, and not after another. */
static bool
came_between(int64 after, int64 until)
{
	for (int i = 0; i < nholders; i++)
		if (holders[i].since > after && holders[i].since <= until)
			return true;
	return false;
}

/* Merges a gap with the next, which was passed later: its holders are the others', too. */
static void
merge_with_next(int at)
{
	Gap		   *gap = &gaps[at];

	ranges_add_all(&gap->ranges, &gap[1].ranges);
	gap->moment = gap[1].moment;
	gap->look |= gap[1].look;
	memmove(&gap[1], &gap[2], (ngaps - at - 2) * sizeof(Gap));
	ngaps--;
}

void
gaps_add(const Ranges *ranges, Oid outbox)
{
	if (ranges->n == 0)
		return;
	last_moment++;
	add_writers(outbox);
	gaps[ngaps++] = (Gap) {.ranges = *ranges, .moment = last_moment, .look = true};
	/* those with the same holders are one */
	for (int i = ngaps - 2; i >= 0; i--)
		if (!came_between(gaps[i].moment, gaps[i + 1].moment) && gaps[i].look == gaps[i + 1].look)
			merge_with_next(i);
	if (ngaps > MAX_GAPS)
		merge_with_next(0);
}

/* Forgets the holders that have ended; returns when the first of them was seen. */
static int64
drop_ended(void)
{
	int64		first = PG_INT64_MAX;
	int			left = 0;

	for (int i = 0; i < nholders; i++)
	{
		if (!VirtualXactLock(holders[i].vxid, false))
			holders[left++] = holders[i];
		else
			first = Min(first, holders[i].since);
	}
	nholders = left;
	return first;
}

bool
gaps_check(Ranges *appeared)
{
	int64		ended;
	int			left = 0;

	appeared->n = 0;
	next_look_ms = Min(next_look_ms * 2, LONGEST_LOOK_MS);
	if (ngaps == 0)
		return false;
	ended = drop_ended();
	for (int i = 0; i < ngaps; i++)
	{
		if (gaps[i].look || ended <= gaps[i].moment)
			ranges_add_all(appeared, &gaps[i].ranges);
		gaps[i].look = false;
		/* With nobody left the look that is due now is the last. */
		if (came_between(0, gaps[i].moment))
			gaps[left++] = gaps[i];
	}
	ngaps = left;
	if (ngaps == 0)
		nholders = 0;
	return appeared->n > 0;
}

void
gaps_collect(Ranges *ranges)
{
	for (int i = 0; i < ngaps; i++)
		ranges_add_all(ranges, &gaps[i].ranges);
}

int64
gaps_timeout_ms(void)
{
	return ngaps > 0 ? next_look_ms : -1;
}

void
gaps_woken(void)
{
	next_look_ms = FIRST_LOOK_MS;
}
