/*
 * lineage.c
 *		Where and since when the outbox is worked off here.
 *
 * On another timeline, in a copy or after a restore, what has been settled since the two
 * parted is not known here: everything that was pending then may have been sent.  It is
 * told by its age, when it is read, so nothing is marked, and a restore may bring its rows
 * in any order: all of them are older than the extension in the new database, or than the
 * moment in which the lineage that comes with them is found.
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "compat.h"
#include "miscadmin.h"
#include "store/outbox.h"
#include "utils/timestamp.h"
#include "worker/lineage.h"

/*
 * A row that is further ahead of the clock was enqueued by another clock.  One clock is
 * not set back so far while it is looked after, ms.
 */
#define AHEAD_MS (60 * 1000)

static TimestampTz since = DT_NOBEGIN;	/* before the first look */
static bool is_behind = false;	/* somebody holds the row that says otherwise */
static int64 highest = 0;		/* number drawn so far */

void
lineage_say_where(Datum *here)
{
	here[0] = Int64GetDatum((int64) GetSystemIdentifier());
	here[1] = Int32GetDatum((int32) GetWALInsertionTimeLine());
	here[2] = ObjectIdGetDatum(MyDatabaseId);
}

/* Until it is written the next worker finds out by itself, and is later then. */
static void
write_lineage(void)
{
	Datum		values[4];

	lineage_say_where(values);
	values[3] = TimestampTzGetDatum(since);
	is_behind = outbox_run(OUTBOX_LINEAGE_WRITE, values, NULL) == 0;
}

bool
lineage_take(bool is_here, TimestampTz since_then, int64 highest_seq)
{
	if (since == DT_NOBEGIN)
		since = since_then;
	else if (highest_seq < highest || (!is_here && !is_behind))
		return false;
	highest = highest_seq;
	if (is_here)
		is_behind = false;
	else
		write_lineage();
	return true;
}

bool
lineage_is_in_doubt(TimestampTz enqueued_at)
{
	return enqueued_at < since ||
		enqueued_at > TimestampTzPlusMilliseconds(GetCurrentTransactionStartTimestamp(), AHEAD_MS);
}
