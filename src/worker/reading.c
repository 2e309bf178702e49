/*
 * reading.c
 *		Which rows of the outbox are read next.
 *
 * Rows are read in the order of their numbers above a mark, once.  While that would
 * only pass rows over, because their chatbots have enough to do or are paused, they
 * are not read but looked at: where some are pending for whom, which costs a tenth,
 * stands in the chatbots' own ranges then.  Numbers of transactions that were open are
 * kept in gaps.c.  So the cost does not depend on how many rows are settled, each is
 * read in full once, and none is missed.
 *
 * A lap beside the work looks at everything again, a chunk a pass: against what was
 * written below the mark by hand, and for what is over its retention.
 */
#include "postgres.h"

#include "compat.h"
#include "server/settings.h"
#include "store/outbox.h"
#include "util/clock.h"
#include "utils/builtins.h"
#include "worker/claim.h"
#include "worker/due.h"
#include "worker/gaps.h"
#include "worker/pause.h"
#include "worker/queues.h"
#include "worker/reading.h"

/* Rows read by one statement: more would keep answers waiting too long. */
#define ROWS_A_READ 1000

/* Rows looked at by one statement, which takes as long. */
#define ROWS_A_LOOK 5000

/* Numbers among which one statement searches the rows of a chatbot, likewise. */
#define NUMBERS_A_READ 20000

/* Statements above the mark in one pass; answers wait no longer than they take. */
#define TAIL_READS 8

/* If more chatbots have rows waiting, these are read for all of them at once. */
#define FEW_CHATBOTS 3

/*
 * Between two laps there is a thousand times what the last one took, so that they are a
 * thousandth of the work, within these bounds.
 */
#define LAP_REST 1000
#define SHORTEST_REST_US (INT64CONST(60) * 1000 * 1000)
#define LONGEST_REST_US (INT64CONST(3600) * 1000 * 1000)

/* A lap that takes no longer is run for whoever waits until all is settled. */
#define LAP_FOR_FLUSH_US (INT64CONST(100) * 1000)

static int64 mark = 0;			/* everything up to here has been read, passed or looked at */
static bool tail_read = false;	/* nothing was visible above it */
static bool look_ahead = false; /* the last read above it passed most of its rows over */
static Ranges again = {0};		/* below the mark: to be looked at */

/*
 * Rows that were given numbers of their own stand above what the sequence has come to.
 * They are read apart from the others, which come below them.
 */
static int64 first_ahead = PG_INT64_MAX;	/* the lowest known */
static int64 ahead_mark = 0;	/* those up to here have been read */
static bool ahead_read = true;	/* no other was visible */

static struct
{
	bool		under_way;
	bool		first_done;
	int64		at;				/* numbers up to here have been looked at */
	int64		us;				/* that this took so far */
	int64		last_us;		/* that the last one took */
	bool		for_flush;		/* somebody waits for its end */
	bool		unsent;			/* there are rows that were not sent, to be deleted some day */
	int64		next_at;		/* clock_us() when the next one may begin */
	int64		latest_at;		/* when it does though nothing has happened */
	bool		changed;		/* something may have, since it began */
}			lap = {.changed = true};

/* The ranges of a set as the first two arguments of a statement. */
static void
range_arrays(const Ranges *ranges, Datum *values)
{
	int64		low[RANGES_MAX];
	int64		high[RANGES_MAX];

	for (int i = 0; i < ranges->n; i++)
	{
		low[i] = ranges->range[i].low;
		high[i] = ranges->range[i].high;
	}
	values[0] = outbox_int8_array(low, ranges->n);
	values[1] = outbox_int8_array(high, ranges->n);
}

/* What looking at ranges has found. */
typedef struct Found
{
	int64		rows;
	int64		end;			/* everything up to here was looked at */
	bool		unsent;			/* some rows were not sent, */
	bool		over;			/* and that is longer ago than they are kept */
} Found;

/* Has every chatbot with something pending in the ranges read it there; ROWS_A_LOOK at most. */
static void
look_at(const Ranges *ranges, Found *look)
{
	Datum		values[4] = {
		(Datum) 0, (Datum) 0, Int64GetDatum(ROWS_A_LOOK),
		Float8GetDatum((double) settings_request_retention)
	};
	int64		highest = 0;
	uint64		n;

	memset(look, 0, sizeof(*look));
	range_arrays(ranges, values);
	n = outbox_run(OUTBOX_LOOK, values, NULL);
	for (uint64 i = 0; i < n; i++)
	{
		char	   *chatbot_id = outbox_get_text(i, 1);

		if (chatbot_id)
		{
			Chatbot    *chatbot = window_chatbot(chatbot_id);

			ranges_add(&chatbot->waiting, outbox_get_int64(i, 2), outbox_get_int64(i, 3));
			if (outbox_get_bool(i, 7))
				chatbot->withdrawal_at = clock_us();
		}
		highest = Max(highest, outbox_get_int64(i, 3));
		look->rows += outbox_get_int64(i, 4);
		look->unsent |= outbox_get_bool(i, 5);
		look->over |= outbox_get_bool(i, 6);
	}
	look->end = look->rows < ROWS_A_LOOK ? ranges->range[ranges->n - 1].high : highest;
}

static int64
last_drawn(void)
{
	outbox_run(OUTBOX_HIGHEST_SEQ, NULL, NULL);
	return outbox_get_int64(0, 1);
}

/* Reads above the mark; true if there may be more. */
static bool
read_tail(void)
{
	Datum		values[3] = {
		Int64GetDatum(mark),
		Int64GetDatum(first_ahead == PG_INT64_MAX ? PG_INT64_MAX : first_ahead - 1),
		Int64GetDatum(ROWS_A_READ)
	};
	Ranges		passed = {0};
	uint64		n = outbox_run(OUTBOX_READ_TAIL, values, NULL);

	for (uint64 i = 0; i < n; i++)
	{
		int64		seq = outbox_get_int64(i, OUTBOX_SEQ);

		if (outbox_get_bool(i, OUTBOX_IS_AHEAD))
		{
			first_ahead = Min(first_ahead, seq);
			ahead_mark = Max(ahead_mark, seq);
			continue;
		}
		if (seq > mark + 1)
			ranges_add(&passed, mark + 1, seq - 1);
		mark = seq;
	}
	look_ahead = claim_rows(n, false) > n / 2;
	gaps_add(&passed, worker.outbox);
	tail_read = n < ROWS_A_READ;
	return !tail_read;
}

/* Looks above the mark; true if there may be more. */
static bool
look_at_tail(void)
{
	int64		high = Min(last_drawn(), first_ahead - 1);
	Ranges		ranges = {0};
	Found		look;

	look_ahead = false;
	if (high <= mark)
		return read_tail();
	ranges_add(&ranges, mark + 1, high);
	look_at(&ranges, &look);
	if (look.rows < look.end - mark)
	{
		ranges.range[0].high = look.end;
		gaps_add(&ranges, worker.outbox);
	}
	mark = look.end;
	/* What has come meanwhile is read; so are rows ahead of the sequence. */
	look_ahead = look.rows == ROWS_A_LOOK;
	tail_read = false;
	return true;
}

/* Reads the rows that are ahead of the sequence. */
static void
read_ahead(void)
{
	Datum		values[3];
	uint64		n;

	ahead_read = true;
	if (first_ahead == PG_INT64_MAX)
		return;
	if (last_drawn() >= first_ahead)
	{
		/* They are no longer. */
		first_ahead = PG_INT64_MAX;
		ahead_mark = 0;
		ahead_read = false;
		return;
	}
	values[0] = Int64GetDatum(Max(ahead_mark, first_ahead - 1));
	values[1] = Int64GetDatum(PG_INT64_MAX);
	values[2] = Int64GetDatum(ROWS_A_READ);
	n = outbox_run(OUTBOX_READ_TAIL, values, NULL);
	if (n > 0)
		ahead_mark = outbox_get_int64(n - 1, OUTBOX_SEQ);
	(void) claim_rows(n, false);
	ahead_read = n < ROWS_A_READ;
}

/* What may have appeared, and what an earlier worker left. */
static bool
look_again(void)
{
	Ranges		appeared;
	Found		look;

	if (gaps_check(&appeared))
		ranges_add_all(&again, &appeared);
	if (again.n == 0)
		return false;
	look_at(&again, &look);
	ranges_remove_up_to(&again, look.end);
	return again.n > 0;
}

/* ---- what was passed over ---- */

/* The first ranges of a set, as far as one statement searches them. */
static void
cut_ranges(const Ranges *all, Ranges *cut)
{
	int64		left = NUMBERS_A_READ;

	cut->n = 0;
	for (int i = 0; i < all->n && left > 0; i++)
	{
		Range		range = all->range[i];

		if (range.high - range.low >= left)
			range.high = range.low + left - 1;
		left -= range.high - range.low + 1;
		cut->range[cut->n++] = range;
	}
}

/* What these chatbots have waiting is read up to a number. */
static void
forget_waiting(List *chatbots, int64 number)
{
	ListCell   *cell;

	foreach(cell, chatbots)
		ranges_remove_up_to(&((Chatbot *) lfirst(cell))->waiting, number);
}

/* Reads the next rows of what these chatbots have waiting. */
static void
read_waiting(List *chatbots, const Ranges *waiting)
{
	bool		one = list_length(chatbots) == 1;
	Datum		values[4] = {
		(Datum) 0, (Datum) 0,
		one ? CStringGetTextDatum(((Chatbot *) linitial(chatbots))->id) : (Datum) 0,
		Int64GetDatum(ROWS_A_READ)
	};
	char		nulls[4] = {' ', ' ', one ? ' ' : 'n', ' '};
	Ranges		ranges;
	int64		end;
	uint64		n;

	cut_ranges(waiting, &ranges);
	end = ranges.range[ranges.n - 1].high;
	range_arrays(&ranges, values);
	n = outbox_run(OUTBOX_READ_WAITING, values, nulls);
	if (n == ROWS_A_READ)
		end = outbox_get_int64(n - 1, OUTBOX_SEQ);
	/* claim_rows() puts back what has no room after all */
	forget_waiting(chatbots, end);
	(void) claim_rows(n, false);
	if (n == 0)
	{
		/* There may be nothing far and wide. */
		Datum		value = Int64GetDatum(end);

		if (outbox_run(OUTBOX_NEXT_SEQ, &value, NULL) > 0)
			end = outbox_get_int64(0, 1) - 1;
		else
			end = PG_INT64_MAX;
		forget_waiting(chatbots, end);
	}
}

static bool
has_waiting(const Chatbot *chatbot)
{
	return chatbot->waiting.n > 0 && claim_has_room(chatbot);
}

/*
 * Each chatbot that has room takes from what it has waiting.  The rows of many are read
 * once for all of them, and not once for each.
 */
static void
read_all_waiting(void)
{
	List	   *with_room = NIL;
	Ranges		all = {0};
	ListCell   *cell;

	foreach(cell, window_chatbots())
	{
		Chatbot    *chatbot = lfirst(cell);

		if (!has_waiting(chatbot))
			continue;
		with_room = lappend(with_room, chatbot);
		ranges_add_all(&all, &chatbot->waiting);
	}
	if (list_length(with_room) > FEW_CHATBOTS)
		read_waiting(with_room, &all);
	else
		foreach(cell, with_room)
			read_waiting(list_make1(lfirst(cell)), &((Chatbot *) lfirst(cell))->waiting);
}

/* ---- the lap ---- */

static void
prune_unsent(int64 low, int64 high)
{
	Datum		values[3] = {
		Float8GetDatum((double) settings_request_retention),
		Int64GetDatum(low), Int64GetDatum(high)
	};

	outbox_run(OUTBOX_UNSENT_PRUNE, values, NULL);
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
	/* Rows ahead of the sequence may have come among those that are known. */
	ahead_mark = 0;
	ahead_read = first_ahead == PG_INT64_MAX;
}

static int64
next_lap_at(void)
{
	return lap.changed || lap.unsent ? lap.next_at : lap.latest_at;
}

/* The next chunk. */
static void
run_lap(void)
{
	int64		start = clock_us();
	Ranges		ranges = {0};
	Found		look;

	if (!lap.under_way && !lap.for_flush && next_lap_at() > start)
		return;
	if (!lap.under_way)
		begin_lap();
	if (lap.at < mark)
	{
		ranges_add(&ranges, lap.at + 1, mark);
		look_at(&ranges, &look);
		if (look.over)
			prune_unsent(lap.at + 1, look.end);
		lap.unsent |= look.unsent;
		lap.at = look.end;
		lap.us += clock_us() - start;
	}
	if (lap.at >= mark)
		end_lap();
}

void
reading_flush(void)
{
	ahead_mark = 0;
	ahead_read = first_ahead == PG_INT64_MAX;
	if (!lap.first_done || lap.last_us > LAP_FOR_FLUSH_US || !(lap.changed || lap.under_way))
		return;
	lap.under_way = false;
	lap.for_flush = true;
}

/* ---- all of it ---- */

bool
reading_claim(void)
{
	bool		more;
	ListCell   *cell;

	if (!settings_enabled)
		return false;
	claim_release_locked();
	more = due_read();
	(void) look_again();
	read_all_waiting();
	for (int i = 0; i < TAIL_READS; i++)
		if (!(look_ahead ? look_at_tail() : read_tail()))
			break;
	more |= !tail_read;
	read_ahead();
	more |= look_again();
	run_lap();
	foreach(cell, window_chatbots())
		more |= has_waiting(lfirst(cell));
	return more || !ahead_read || lap.under_way;
}

void
reading_woken(void)
{
	gaps_woken();
	due_changed();
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
	at = Min(at, claim_locked_retry_at());
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
		!lap.first_done || lap.for_flush || due_next_at() == 0 ||
		claim_locked_retry_at() != PG_INT64_MAX || queue_has_looks())
		return false;
	foreach(cell, window_chatbots())
	{
		Chatbot    *chatbot = lfirst(cell);

		if (!pause_is_on(chatbot) &&
			(chatbot->contacts > 0 || chatbot->waiting.n > 0 || due_exists(chatbot)))
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
		if (pause_is_on(lfirst(cell)))
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

	mark = last_drawn();
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

bool
reading_numbers_restarted(void)
{
	static int64 highest = 0;
	int64		before = highest;

	highest = last_drawn();
	return highest < before;
}
