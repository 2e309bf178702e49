/*
 * request_log.c
 *		The worker's rows in contacts_push.request.
 *
 * An intent is written before its request leaves; what came of it when it is
 * known.  Somebody may hold the row locked by then: that is not waited for, and written
 * later.
 */
#include "postgres.h"

#include "compat.h"
#include "store/outbox.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "worker/request_log.h"

/* An answer that could not be written yet. */
typedef struct Finish
{
	int64		id;
	int			http_status;
	const char *outcome;		/* a constant */
	char	   *message;		/* or NULL */
	int64		duration_ms;
} Finish;

static List *unwritten = NIL;	/* of Finish *, in worker.context */

/* Completes the row; false if somebody holds it locked. */
static bool
write_finish(const Finish *finish, bool over)
{
	Datum		values[6] = {
		Int64GetDatum(finish->id), Int32GetDatum(finish->http_status),
		CStringGetTextDatum(finish->outcome),
		CStringGetTextDatum(finish->message ? finish->message : ""),
		Int64GetDatum(finish->duration_ms), BoolGetDatum(over)
	};
	char		nulls[6] = {
		' ', finish->http_status ? ' ' : 'n', ' ', finish->message ? ' ' : 'n',
		finish->duration_ms >= 0 ? ' ' : 'n', ' '
	};

	if (outbox_run(OUTBOX_REQUEST_FINISH, values, nulls) > 0)
		return true;
	/* one that was deleted by hand is nobody's any more */
	return outbox_run(OUTBOX_REQUEST_EXISTS, values, NULL) == 0;
}

/* For the next time.  A statement has left its own memory context behind. */
static void
keep(Finish *finish)
{
	MemoryContext old = MemoryContextSwitchTo(worker.context);

	unwritten = lappend(unwritten, finish);
	MemoryContextSwitchTo(old);
}

void
request_log_finish(int64 id, int http_status, const char *outcome, const char *message,
				   int64 duration_ms, bool over)
{
	Finish		finish = {id, http_status, outcome, unconstify(char *, message), duration_ms};
	Finish	   *copy;

	if (write_finish(&finish, over))
		return;
	copy = MemoryContextAlloc(worker.context, sizeof(Finish));
	*copy = finish;
	copy->message = message ? MemoryContextStrdup(worker.context, message) : NULL;
	keep(copy);
}

/* They are not over until OUTBOX_REQUEST_CLOSE finds that they are. */
void
request_log_finish_again(void)
{
	List	   *again = unwritten;
	ListCell   *cell;

	unwritten = NIL;
	foreach(cell, again)
	{
		Finish	   *finish = lfirst(cell);

		if (!write_finish(finish, false))
		{
			keep(finish);
			continue;
		}
		if (finish->message)
			pfree(finish->message);
		pfree(finish);
	}
	list_free(again);
}

bool
request_log_is_behind(void)
{
	return unwritten != NIL;
}
