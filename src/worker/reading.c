/*
 * reading.c
 *		Which rows of the outbox are read next.
 *
 * Rows are read in the order of their numbers above a mark, once.  Each is taken up; or
 * where its chatbot has enough to do or is paused, passed over, and its number stands in
 * the chatbot's own ranges then, which are read when there is room.  Numbers of transactions
 * that were open are kept in gaps.c.  So the cost does not depend on how many rows are
 * settled, and none is missed.
 *
 * A lap beside the work looks at everything again, a chunk a pass: against what was
 * written below the mark by hand, and for what is over its retention.
 */
#include "postgres.h"

#include "access/xact.h"
#include "compat.h"
#include "miscadmin.h"
#include "server/settings.h"
#include "store/outbox.h"
#include "util/clock.h"
#include "utils/builtins.h"
#include "worker/claim.h"
#include "worker/due.h"
#include "worker/gaps.h"
#include "worker/pause.h"
#include "worker/prune.h"
#include "worker/queues.h"
#include "worker/reading.h"

/*
 * What one read may do: answers wait no longer than it takes.  To take a row up costs
 * several times what it costs to pass it over, or to find it settled.
 */
#define ROWS_TAKEN 8000
#define ROWS_LOOKED_AT 40000
#define ROWS_OF_A_LAP 10000
#define ROWS_THAT_ARE_DUE 1000	/* of each chatbot */

/* To ask this many chatbots whether they have room costs as much as to pass a row over. */
#define CHATBOTS_A_ROW 16

/*
 * Between two laps there is a thousand times what the last one took, so that they are a
 * thousandth of the work, within these bounds.
 */
#define LAP_REST 1000
#define SHORTEST_REST_US (INT64CONST(60) * 1000 * 1000)
#define LONGEST_REST_US (INT64CONST(3600) * 1000 * 1000)

/* A lap takes a part of the time in so many while there is other work, and all of it else. */
#define LAP_SHARE 20

/* A lap that takes no longer is run for whoever waits until all is settled. */
#define LAP_FOR_FLUSH_US (INT64CONST(100) * 1000)

static int64 mark = 0;			/* everything up to here has been read or passed */
static bool tail_read = false;	/* nothing was visible above it */
static Ranges again = {0};		/* below the mark: to be read */

/*
 * Rows that were given numbers of their own stand above what the sequence has come to.
 * They are read apart from the others, which come below them.
 */
static int64 ahead_mark = 0;	/* those up to here have been read; 0: none is known */
static bool ahead_read = true;	/* no other was visible */

static struct
{
	bool		under_way;
	bool		first_done;
	int64		at;				/* numbers up to here have been looked at */
	int64		us;				/* that this took so far */
	int64		chunk_at;		/* clock_us() when the next chunk may follow beside other work */
	int64		last_us;		/* that the last one took */
	bool		for_flush;		/* somebody waits for its end */
	bool		unsent;			/* there are rows that were not sent, to be deleted some day */
	int64		next_at;		/* clock_us() when the next one may begin */
	int64		latest_at;		/* when it does though nothing has happened */
	bool		changed;		/* something may have, since it began */
}			lap = {.changed = true};

/* Rows that are read one after the other. */
typedef struct Read
{
	OutboxScan *scan;
	int			max_rows;
	int			max_in_vain;	/* rows passed over with none taken up between; 0: any */
	Ranges	   *holes;			/* gets the numbers that no row has, up to the last; or NULL */

	/* what has come of it */
	int			rows;
	int			taken;
	int64		last;			/* the last of them; 0: there was none */
	int64		end;			/* everything up to here has been read */
	bool		is_full;		/* before the end of the ranges, by what one read may do */
	TimestampTz unsent_since;	/* the earliest */
	TimestampTz changed_since;
} Read;

/* Reads the rows of a range; false: a limit has come before its end. */
static bool
read_range(Read *read, int64 low, int64 high)
{
	int			in_vain = 0;
	int64		next = low;
	OutboxRow	row;

	outbox_scan_range(read->scan, low, high);
	while (outbox_scan_next(read->scan, &row))
	{
		Claim		claim;

		CHECK_FOR_INTERRUPTS();
		claim = claim_row(read->scan, &row, NULL);
		in_vain = claim == CLAIM_TAKEN ? 0 : in_vain + (claim == CLAIM_PASSED_OVER);
		read->rows++;
		read->taken += claim == CLAIM_TAKEN;
		read->unsent_since = Min(read->unsent_since, row.unsent_since);
		read->changed_since = Min(read->changed_since, row.changed_since);
		if (read->holes && row.seq > next)
			ranges_add(read->holes, next, row.seq - 1);
		next = row.seq + 1;
		read->last = read->end = row.seq;
		read->is_full = read->rows >= read->max_rows || read->taken >= ROWS_TAKEN;
		if (read->is_full || (in_vain > 0 && in_vain == read->max_in_vain))
			return false;
	}
	read->end = high;
	return true;
}

static void
read_ranges(Read *read, const Ranges *ranges)
{
	read->unsent_since = DT_NOEND;
	for (int i = 0; i < ranges->n; i++)
		if (!read_range(read, ranges->range[i].low, ranges->range[i].high))
			break;
}

/* Reads above the mark; true if there may be more. */
static bool
read_tail(OutboxScan *scan)
{
	Ranges		holes = {0};
	Read		read = {scan, .max_rows = ROWS_LOOKED_AT, .holes = &holes};

	(void) read_range(&read, mark + 1, outbox_scan_drawn(scan));
	mark = Max(mark, read.last);
	gaps_add(&holes, worker.outbox);
	tail_read = !read.is_full;
	return read.is_full;
}

/* Reads the rows that are ahead of the sequence; true if there may be more. */
static bool
read_ahead(OutboxScan *scan)
{
	Read		read = {scan, .max_rows = ROWS_LOOKED_AT};

	(void) read_range(&read, Max(ahead_mark, outbox_scan_drawn(scan)) + 1, PG_INT64_MAX);
	ahead_mark = Max(ahead_mark, read.last);
	ahead_read = !read.is_full;
	return read.is_full;
}

/*
 * Each chatbot that has room takes from what it has waiting; true if there is more.  What
 * several have is read once for all of them.  While it is read some come to have enough:
 * these are left out of what is read next, and so are the rows of theirs in between.
 */
static bool
read_waiting(OutboxScan *scan)
{
	Read		read = {
		scan, .max_rows = ROWS_LOOKED_AT,
		.max_in_vain = 1 + list_length(window_chatbots()) / CHATBOTS_A_ROW
	};
	ListCell   *cell;

	while (!read.is_full)
	{
		Ranges		all = {0};

		foreach(cell, window_chatbots())
		{
			Chatbot    *chatbot = lfirst(cell);

			for (int call = 0; call < CALLS; call++)
			{
				chatbot->reading[call] = chatbot->waiting[call].n > 0 && claim_has_room(chatbot, call);
				if (chatbot->reading[call])
					ranges_add_all(&all, &chatbot->waiting[call]);
			}
		}
		if (all.n == 0)
			break;
		read_ranges(&read, &all);
		foreach(cell, window_chatbots())
		{
			Chatbot    *chatbot = lfirst(cell);

			for (int call = 0; call < CALLS; call++)
			{
				if (chatbot->reading[call])
					ranges_remove_up_to(&chatbot->waiting[call], read.end);
				chatbot->reading[call] = false;
			}
		}
	}
	return read.is_full;
}

/* What may have appeared, and what an earlier worker left; true if there is more. */
static bool
read_again(OutboxScan *scan)
{
	Read		read = {scan, .max_rows = ROWS_LOOKED_AT};

	if (again.n == 0)
		return false;
	read_ranges(&read, &again);
	ranges_remove_up_to(&again, read.end);
	return again.n > 0;
}

/* ---- the lap ---- */

/* Rows ahead of the sequence may have come among those that are known. */
static void
look_ahead_again(void)
{
	ahead_read &= ahead_mark == 0;
	ahead_mark = 0;
}

static void
begin_lap(void)
{
	lap.under_way = true;
	lap.changed = lap.unsent = false;
	lap.at = lap.us = 0;
}

static void
end_lap(void)
{
	int64		now = clock_us();

	lap.under_way = lap.for_flush = false;
	lap.first_done = true;
	lap.last_us = lap.us;
	lap.next_at = now + Min(Max(lap.us * LAP_REST, SHORTEST_REST_US), LONGEST_REST_US);
	lap.latest_at = now + LONGEST_REST_US;
	look_ahead_again();
}

/* clock_us() when a chunk is to be looked at. */
static int64
next_lap_at(void)
{
	if (lap.for_flush)
		return 0;
	if (lap.under_way)
		return worker.nrequests > 0 || window_bytes() > 0 ? lap.chunk_at : 0;
	return lap.changed || lap.unsent ? lap.next_at : lap.latest_at;
}

static bool
lap_is_due(void)
{
	return next_lap_at() <= clock_us();
}

/* The next chunk. */
static void
run_lap(OutboxScan *scan)
{
	int64		start = clock_us();
	int64		now;
	Read		read = {scan, .max_rows = ROWS_OF_A_LAP, .unsent_since = DT_NOEND, .changed_since = DT_NOEND};
	TimestampTz old = GetCurrentTransactionStartTimestamp() - settings_request_retention * USECS_PER_SEC;

	if (!lap.under_way)
		begin_lap();
	if (lap.at < mark)
	{
		(void) read_range(&read, lap.at + 1, mark);
		prune_settled(lap.at + 1, read.end, read.unsent_since < old, read.changed_since < old);
		lap.unsent |= read.unsent_since != DT_NOEND;
		lap.at = read.end;
		now = clock_us();
		lap.us += now - start;
		lap.chunk_at = now + (now - start) * LAP_SHARE;
	}
	if (lap.at >= mark)
		end_lap();
}

void
reading_flush(void)
{
	look_ahead_again();
	if (!lap.first_done || lap.last_us > LAP_FOR_FLUSH_US || !(lap.changed || lap.under_way))
		return;
	lap.under_way = false;
	lap.for_flush = true;
}

/*
 * ---- rows that wait for another attempt ----
 *
 * A small index has them, by chatbot and time; so what is paused costs nothing, and
 * those of one chatbot are not read for another.
 */

/* Reads a chatbot's next rows that are due; after the last it begins anew some day. */
static void
read_due_of(Chatbot *chatbot)
{
	Datum		values[4] = {
		CStringGetTextDatum(chatbot->id), TimestampTzGetDatum(chatbot->due_after),
		Int64GetDatum(chatbot->due_after_seq), Int64GetDatum(ROWS_THAT_ARE_DUE)
	};
	uint64		n = outbox_run(OUTBOX_FIND_DUE, values, NULL);
	int64	   *seqs = palloc(Max(n, 1) * sizeof(int64));

	for (uint64 i = 0; i < n; i++)
		seqs[i] = outbox_get_int64(i, 1);
	chatbot->due = n == ROWS_THAT_ARE_DUE;
	chatbot->due_after = DT_NOBEGIN;
	chatbot->due_after_seq = 0;
	if (chatbot->due)
	{
		chatbot->due_after = outbox_get_timestamp(n - 1, 2);
		chatbot->due_after_seq = seqs[n - 1];
	}
	claim_by_seq(seqs, n);
}

/* Takes up rows that are due; true if there are more for somebody who has room. */
static bool
read_due(void)
{
	bool		more = false;
	ListCell   *cell;

	foreach(cell, window_chatbots())
	{
		Chatbot    *chatbot = lfirst(cell);

		if (!chatbot->due || !claim_has_room(chatbot, CALL_CREATE))
			continue;
		read_due_of(chatbot);
		more |= chatbot->due && claim_has_room(chatbot, CALL_CREATE);
	}
	return more;
}

/* ---- all of it ---- */

bool
reading_claim(void)
{
	OutboxScan *scan;
	bool		more;

	more = read_due();
	scan = outbox_scan_begin();
	more |= read_waiting(scan);
	more |= read_tail(scan);
	more |= read_ahead(scan);
	outbox_scan_end(scan);
	claim_finish();

	gaps_check(&again);
	if (again.n > 0 || lap_is_due())
	{
		scan = outbox_scan_begin();
		more |= read_again(scan);
		if (lap_is_due())
			run_lap(scan);
		outbox_scan_end(scan);
		claim_finish();
	}
	return more || !ahead_read || (lap.under_way && lap_is_due());
}

void
reading_woken(void)
{
	gaps_woken();
	lap.changed = true;
}

int64
reading_timeout_ms(void)
{
	int64		at = Min(due_next_at(), next_lap_at());
	int64		left;
	ListCell   *cell;

	if (!settings_enabled)
		return -1;
	foreach(cell, window_chatbots())
		if (pause_is_on(lfirst(cell)))
			at = Min(at, ((Chatbot *) lfirst(cell))->paused_until);
	if (gaps_timeout_ms() >= 0)
		at = Min(at, clock_us() + gaps_timeout_ms() * 1000);
	left = at - clock_us();
	return left <= 0 ? 0 : (left + 999) / 1000;
}

bool
reading_all_settled(void)
{
	ListCell   *cell;

	if (!settings_enabled || !tail_read || !ahead_read || again.n > 0 ||
		!lap.first_done || lap.for_flush || queue_has_looks())
		return false;
	foreach(cell, window_chatbots())
	{
		Chatbot    *chatbot = lfirst(cell);

		if (!pause_is_on(chatbot) &&
			(chatbot->contacts > chatbot->held_deletes || chatbot->unwritten > 0 ||
			 window_has_passed_over(chatbot) || due_exists(chatbot)))
			return false;
	}
	return true;
}

bool
reading_has_paused(void)
{
	List	   *chatbots = window_chatbots();
	char	  **ids = palloc(Max(list_length(chatbots), 1) * sizeof(char *));
	int			n = 0;
	Datum		paused;
	ListCell   *cell;

	foreach(cell, chatbots)
		if (pause_is_on(lfirst(cell)) || ((Chatbot *) lfirst(cell))->held_deletes > 0)
			ids[n++] = ((Chatbot *) lfirst(cell))->id;
	if (n == 0)
		return false;
	paused = outbox_text_array(ids, n);
	outbox_run(OUTBOX_ANY_PENDING, &paused, NULL);
	return outbox_get_bool(0, 1);
}

void
reading_begin(void)
{
	uint64		n;

	mark = outbox_last_seq();
	n = outbox_run(OUTBOX_UNSETTLED, NULL, NULL);
	for (uint64 i = 0; i < n; i++)
	{
		int64		low = Max(outbox_get_int64(i, 1), 1);
		int64		high = Min(outbox_get_int64(i, 2), mark);

		if (low <= high)
			ranges_add(&again, low, high);
	}
	if (n == 0 && mark > 0)
		ranges_add(&again, 1, mark);
	gaps_add(&again, worker.outbox);
}

int64
reading_position(void)
{
	return mark;
}

void
reading_collect(Ranges *ranges)
{
	ranges_add_all(ranges, &again);
	gaps_collect(ranges);
}
