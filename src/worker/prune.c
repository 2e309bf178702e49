/*
 * prune.c
 *		Deleting what is over its retention, and folding what was appended.
 *
 * A little at a time, once a minute.  Which rows of the outbox itself are due reading.c finds.
 */
#include "postgres.h"

#include "commands/dbcommands.h"
#include "compat.h"
#include "miscadmin.h"
#include "server/settings.h"
#include "server/try.h"
#include "store/outbox.h"
#include "util/clock.h"
#include "utils/lsyscache.h"
#include "worker/prune.h"

/* Rows that one round deletes of each. */
#define PRUNE_SPAN 20000

/* The log is told once an hour of what can't be deleted, however often that is tried. */
#define WARN_AGAIN_US (INT64CONST(3600) * 1000 * 1000)

/* A statement that prunes or folds, with its arguments. */
typedef struct Tidying
{
	OutboxStatement statement;
	const Datum *values;
} Tidying;

static void
run(void *arg)
{
	const Tidying *tidying = arg;

	outbox_run(tidying->statement, tidying->values, NULL);
}

/* What somebody's trigger or constraint keeps from being tidied up keeps nothing else. */
static void
tidy(OutboxStatement statement, const Datum *values)
{
	static int64 quiet_until[OUTBOX_STATEMENTS];
	Tidying		tidying = {statement, values};
	char	   *reason;

	if (!try_run(run, &tidying, &reason) && quiet_until[statement] <= clock_us())
	{
		quiet_until[statement] = clock_us() + WARN_AGAIN_US;
		ereport(WARNING,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("contacts_push: could not tidy up the tables of database \"%s\": %s",
						get_database_name(MyDatabaseId), reason)));
	}
}

void
prune(void)
{
	Datum		values[2] = {
		Float8GetDatum((double) settings_request_retention),
		Int64GetDatum(PRUNE_SPAN)
	};

	tidy(OUTBOX_REQUEST_PRUNE, values);
	tidy(OUTBOX_FAILURE_PRUNE, values);
	tidy(OUTBOX_FOLD_FAILURES, NULL);
	tidy(OUTBOX_FOLD_TALLY, NULL);
}

void
prune_settled(int64 low, int64 high, bool unsent, bool changed)
{
	Datum		values[3] = {
		Float8GetDatum((double) settings_request_retention),
		Int64GetDatum(low), Int64GetDatum(high)
	};

	if (unsent)
		tidy(OUTBOX_UNSENT_PRUNE, values);
	if (changed)
		tidy(OUTBOX_CHANGED_PRUNE, values);
}
