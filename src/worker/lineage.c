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

static TimestampTz since;
static bool is_behind = false;	/* somebody holds the row that says otherwise */

/* The arguments that say where this is. */
static void
say_where(Datum *here)
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

	say_where(values);
	values[3] = TimestampTzGetDatum(since);
	is_behind = outbox_run(OUTBOX_LINEAGE_WRITE, values, NULL) == 0;
}

void
lineage_begin(void)
{
	Datum		here[3];
	bool		is_here;
	bool		is_new;
	bool		isnull;

	say_where(here);
	outbox_run(OUTBOX_LINEAGE_READ, here, NULL);
	since = DatumGetTimestampTz(outbox_get(0, 1, &isnull));
	is_here = outbox_get_bool(0, 2);
	is_new = outbox_get_bool(0, 3);
	if (is_here)
		return;
	if (!is_new)
		since = GetCurrentTimestamp();
	write_lineage();
}

bool
lineage_has_changed(void)
{
	Datum		here[3];

	if (is_behind)
		write_lineage();
	if (is_behind)
		return false;
	say_where(here);
	outbox_run(OUTBOX_LINEAGE_READ, here, NULL);
	return !outbox_get_bool(0, 2);
}

bool
lineage_is_in_doubt(TimestampTz enqueued_at)
{
	return enqueued_at < since ||
		enqueued_at > TimestampTzPlusMilliseconds(GetCurrentTransactionStartTimestamp(), AHEAD_MS);
}
