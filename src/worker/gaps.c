/*
 * gaps.c
 *		Sequence numbers that were passed while their transactions were open.
 *
 * No SQL in here: which ranges to read is all that is decided.
 */
#include "postgres.h"

#include "compat.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "utils/memutils.h"
#include "worker/gaps.h"

/* Ranges passed at one moment, and who could still write there. */
typedef struct Gap
{
	struct Gap *next;
	Ranges		ranges;
	bool		look;			/* not looked at since holders ended */
	int			nholders;
	VirtualTransactionId holders[FLEXIBLE_ARRAY_MEMBER];
} Gap;

/*
 * Gaps kept apart.  Beyond that the older ones are merged, which only has them
 * looked at more often than need be.
 */
#define MAX_GAPS 16

/* Times between two looks at the holders: doubling from the one to the other. */
#define FIRST_LOOK_MS 1
#define LONGEST_LOOK_MS 1000

static Gap *gaps = NULL;		/* the newest first */
static int64 next_look_ms = FIRST_LOOK_MS;

/* Those who hold a lock on the outbox under which rows may be written. */
static VirtualTransactionId *
get_writers(Oid outbox, int *n)
{
	LOCKTAG		tag;

	SET_LOCKTAG_RELATION(tag, MyDatabaseId, outbox);
	return GetLockConflicts(&tag, ShareLock, n);
}

static Gap *
make_gap(const Ranges *ranges, const VirtualTransactionId *holders, int n)
{
	Gap		   *gap = MemoryContextAlloc(TopMemoryContext,
										 offsetof(Gap, holders) + n * sizeof(VirtualTransactionId));

	gap->ranges = *ranges;
	gap->look = true;
	gap->nholders = n;
	memcpy(gap->holders, holders, n * sizeof(VirtualTransactionId));
	return gap;
}

/* Merges a gap with its successor in the list. */
static void
merge_with_next(Gap *gap, Gap **link)
{
	Gap		   *next = gap->next;
	Gap		   *merged;
	int			n = gap->nholders + next->nholders;

	merged = MemoryContextAlloc(TopMemoryContext,
								offsetof(Gap, holders) + n * sizeof(VirtualTransactionId));
	merged->ranges = gap->ranges;
	ranges_add_all(&merged->ranges, &next->ranges);
	merged->look = gap->look || next->look;
	merged->nholders = n;
	memcpy(merged->holders, gap->holders, gap->nholders * sizeof(VirtualTransactionId));
	memcpy(merged->holders + gap->nholders, next->holders,
		   next->nholders * sizeof(VirtualTransactionId));
	merged->next = next->next;
	*link = merged;
	pfree(gap);
	pfree(next);
}

void
gaps_add(const Ranges *ranges, Oid outbox)
{
	int			n;
	VirtualTransactionId *holders;
	Gap		   *gap;
	Gap		  **link = &gaps;
	int			count = 0;

	if (ranges->n == 0)
		return;
	holders = get_writers(outbox, &n);
	gap = make_gap(ranges, holders, n);
	gap->next = gaps;
	gaps = gap;
	for (gap = gaps; gap; gap = gap->next)
		count++;
	if (count <= MAX_GAPS)
		return;
	for (int i = 0; i < MAX_GAPS - 1; i++)
		link = &(*link)->next;
	merge_with_next(*link, link);
}

/* Forgets the holders that have ended; true if there were any. */
static bool
drop_ended(Gap *gap)
{
	int			left = 0;
	bool		any;

	for (int i = 0; i < gap->nholders; i++)
		if (!VirtualXactLock(gap->holders[i], false))
			gap->holders[left++] = gap->holders[i];
	any = left < gap->nholders;
	gap->nholders = left;
	return any;
}

bool
gaps_check(Ranges *appeared)
{
	Gap		  **link = &gaps;

	appeared->n = 0;
	next_look_ms = Min(next_look_ms * 2, LONGEST_LOOK_MS);
	while (*link)
	{
		Gap		   *gap = *link;

		if (drop_ended(gap) || gap->look)
			ranges_add_all(appeared, &gap->ranges);
		gap->look = false;
		if (gap->nholders == 0)
		{
			/* The look that is due now is the last. */
			*link = gap->next;
			pfree(gap);
		}
		else
			link = &gap->next;
	}
	return appeared->n > 0;
}

void
gaps_collect(Ranges *ranges)
{
	for (const Gap *gap = gaps; gap; gap = gap->next)
		ranges_add_all(ranges, &gap->ranges);
}

int64
gaps_timeout_ms(void)
{
	return gaps ? next_look_ms : -1;
}

void
gaps_woken(void)
{
	next_look_ms = FIRST_LOOK_MS;
}
