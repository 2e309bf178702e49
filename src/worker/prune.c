/*
 * prune.c
 *		Deleting what is over its retention, and folding what was appended.
 *
 * A little at a time, once a minute.  Rows of the outbox itself are deleted where they are
 * looked at, in reading.c.
 */
#include "postgres.h"

#include "commands/dbcommands.h"
#include "compat.h"
#include "miscadmin.h"
#include "server/settings.h"
#include "server/try.h"
#include "store/outbox.h"
#include "utils/lsyscache.h"
#include "worker/prune.h"

/* Rows that one round deletes of each. */
#define PRUNE_SPAN 20000

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

/* What somebody's constraint keeps from being tidied up keeps nothing else. */
void
prune(void)
{
	Datum		requests[2] = {
		Float8GetDatum((double) settings_request_retention),
		Int64GetDatum(PRUNE_SPAN)
	};
	Tidying		all[] = {
		{OUTBOX_REQUEST_PRUNE, requests},
		{OUTBOX_FAILURE_PRUNE, requests},
		{OUTBOX_FOLD_FAILURES, NULL},
		{OUTBOX_FOLD_TALLY, NULL}
	};
	char	   *reason;

	for (int i = 0; i < lengthof(all); i++)
		if (!try_run(run, &all[i], &reason))
			ereport(WARNING,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("contacts_push: could not tidy up the tables of database \"%s\": %s",
							get_database_name(MyDatabaseId), reason)));
}
