/*
 * due.c
 *		Rows that wait for another attempt, and when they are due.
 *
 * A small index has them, by chatbot and time; so what is paused costs nothing, and
 * those of one chatbot are not read for another.
 */
#include "postgres.h"

#include "compat.h"
#include "store/outbox.h"
#include "util/clock.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "worker/claim.h"
#include "worker/due.h"

/* Rows read by one statement: more would keep answers waiting too long. */
#define ROWS_A_READ 1000

static int64 next_at = PG_INT64_MAX;

void
due_forget(void)
{
	ListCell   *cell;

	next_at = PG_INT64_MAX;
	foreach(cell, window_chatbots())
		((Chatbot *) lfirst(cell))->next_due_at = PG_INT64_MAX;
}

void
due_take(Chatbot *chatbot, bool is_due, int64 next_due_at)
{
	chatbot->due |= is_due;
	chatbot->next_due_at = Min(chatbot->next_due_at, next_due_at);
	next_at = Min(next_at, next_due_at);
}

void
due_note(Chatbot *chatbot, int64 delay_ms)
{
	due_take(chatbot, false, clock_us() + delay_ms * 1000);
}

/* Reads a chatbot's next rows that are due; after the last it begins anew some day. */
static void
read_due_of(Chatbot *chatbot)
{
	Datum		values[4] = {
		CStringGetTextDatum(chatbot->id), TimestampTzGetDatum(chatbot->due_after),
		Int64GetDatum(chatbot->due_after_seq), Int64GetDatum(ROWS_A_READ)
	};
	uint64		n = outbox_run(OUTBOX_FIND_DUE, values, NULL);
	int64	   *seqs = palloc(Max(n, 1) * sizeof(int64));

	for (uint64 i = 0; i < n; i++)
		seqs[i] = outbox_get_int64(i, 1);
	chatbot->due = n == ROWS_A_READ;
	chatbot->due_after = DT_NOBEGIN;
	chatbot->due_after_seq = 0;
	if (chatbot->due)
	{
		chatbot->due_after = outbox_get_timestamp(n - 1, 2);
		chatbot->due_after_seq = seqs[n - 1];
	}
	claim_by_seq(seqs, n, false);
}

bool
due_read(void)
{
	bool		more = false;
	ListCell   *cell;

	foreach(cell, window_chatbots())
	{
		Chatbot    *chatbot = lfirst(cell);

		if (!chatbot->due || !claim_has_room(chatbot))
			continue;
		read_due_of(chatbot);
		more |= chatbot->due && claim_has_room(chatbot);
	}
	return more;
}

int64
due_next_at(void)
{
	return next_at;
}

bool
due_exists(const Chatbot *chatbot)
{
	return chatbot->due || chatbot->next_due_at != PG_INT64_MAX;
}
