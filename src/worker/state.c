/*
 * state.c
 *		The stage that reads what others have changed since the last pass.
 *
 * Whoever calls a function of contacts_push says so in shared memory, and what this worker
 * writes it knows.  What is written by hand nobody tells of: it is found within a second of
 * work, and by the pass that the next commit wakes an idle worker for.  What it means is for
 * lineage.c, pause.c and due.c.
 */
#include "postgres.h"

#include "compat.h"
#include "store/outbox.h"
#include "util/clock.h"
#include "utils/timestamp.h"
#include "worker/due.h"
#include "worker/lineage.h"
#include "worker/pause.h"
#include "worker/singles.h"
#include "worker/state.h"

/* Longest time between two looks while passes follow each other. */
#define LOOK_AGAIN_US (INT64CONST(1000) * 1000)

static int64 read_at = 0;		/* clock_us() of the last look; 0: there was none */

static void
take_pause(uint64 i)
{
	Chatbot    *chatbot = window_chatbot(outbox_get_text(i, OUTBOX_STATE_CHATBOT_ID));

	chatbot->has_row = true;
	if (outbox_get_bool(i, OUTBOX_STATE_IS_SO))
		pause_take_resume(chatbot);
	else
		pause_take(chatbot, outbox_get_int64(i, OUTBOX_STATE_NUMBER),
				   outbox_get_text(i, OUTBOX_STATE_REASON),
				   outbox_get_text(i, OUTBOX_STATE_KIND));
}

static void
take_due(uint64 i)
{
	bool		none;
	int64		left_ms = DatumGetInt64(outbox_get(i, OUTBOX_STATE_NUMBER, &none));

	due_take(window_chatbot(outbox_get_text(i, OUTBOX_STATE_CHATBOT_ID)),
			 outbox_get_bool(i, OUTBOX_STATE_IS_SO),
			 none ? PG_INT64_MAX : clock_us() + left_ms * 1000);
}

bool
state_read(bool called)
{
	Datum		values[4];
	bool		is_here = false;
	bool		is_unknown = true;
	TimestampTz since = 0;
	int64		highest_seq = 0;
	uint64		n;

	if (!called && read_at != 0 && clock_us() < Min(read_at + LOOK_AGAIN_US, due_next_at()))
		return true;
	read_at = clock_us();
	lineage_say_where(values);
	values[3] = pause_known();
	n = outbox_run(OUTBOX_STATE, values, NULL);
	due_forget();
	for (uint64 i = 0; i < n; i++)
		switch ((OutboxStateAbout) outbox_get_int(i, OUTBOX_STATE_ABOUT))
		{
			case OUTBOX_ABOUT_LINEAGE:
				is_here = outbox_get_bool(i, OUTBOX_STATE_IS_SO);
				highest_seq = outbox_get_int64(i, OUTBOX_STATE_NUMBER);
				since = DatumGetTimestampTz(outbox_get(i, OUTBOX_STATE_SINCE, &is_unknown));
				break;
			case OUTBOX_ABOUT_PAUSE:
				take_pause(i);
				break;
			case OUTBOX_ABOUT_DUE:
				take_due(i);
				break;
		}
	singles_read_switches(window_chatbots());
	return lineage_take(is_here, is_unknown ? GetCurrentTimestamp() : since, highest_seq);
}
