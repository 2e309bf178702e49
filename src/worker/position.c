/*
 * position.c
 *		Writing down where pending rows can be.
 *
 * For contacts_push_internal.count_pending(), so that it reads no settled rows.
 */
#include "postgres.h"

#include "compat.h"
#include "lib/stringinfo.h"
#include "server/shared.h"
#include "store/outbox.h"
#include "util/clock.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "worker/position.h"
#include "worker/reading.h"

/* It is written that often. */
#define POSITION_US (INT64CONST(1000) * 1000)

static bool has_no_row = false;

bool
position_has_no_row(void)
{
	return has_no_row;
}

/*
 * Writes down where pending rows can be, for contacts_push_internal.count_pending().  Rows that
 * wait for another attempt are left out: the index finds them.  Not in each pass: while a
 * snapshot is held, each version of the row makes the next one dearer.
 */
bool
position_write(void)
{
	static char *written = NULL;
	static int64 written_at = 0;
	Ranges		unsettled = {0};
	StringInfoData text;
	int64		low;
	int64		high;
	ListCell   *cell;
	Datum		value;

	if (written && clock_us() - written_at < POSITION_US)
		return false;
	reading_collect(&unsettled);
	foreach(cell, window_chatbots())
	{
		const Chatbot *chatbot = lfirst(cell);

		for (int call = 0; call < CALLS; call++)
			ranges_add_all(&unsettled, &chatbot->waiting[call]);
		ranges_add_all(&unsettled, &chatbot->keyed);
	}
	if (window_bounds(&low, &high))
		ranges_add(&unsettled, low, high);
	initStringInfo(&text);
	appendStringInfoChar(&text, '{');
	for (int i = 0; i < unsettled.n; i++)
		appendStringInfo(&text, "[" INT64_FORMAT "," INT64_FORMAT "],",
						 unsettled.range[i].low, unsettled.range[i].high);
	appendStringInfo(&text, "(" INT64_FORMAT ",)}", reading_position());
	if (written && strcmp(written, text.data) == 0)
		return true;
	value = CStringGetTextDatum(text.data);
	has_no_row = outbox_run(OUTBOX_POSITION, &value, NULL) == 0;
	if (has_no_row)
		return false;			/* or somebody holds it locked */
	if (written)
		pfree(written);
	written = MemoryContextStrdup(worker.context, text.data);
	written_at = clock_us();
	return true;
}
