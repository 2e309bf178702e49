/*
 * prune.c
 *		Deleting what is over its retention, and folding what was appended.
 *
 * A little at a time, once a minute.  Rows of the outbox itself are deleted where they are
 * looked at, in reading.c.
 */
#include "postgres.h"

#include "compat.h"
#include "server/settings.h"
#include "store/outbox.h"
#include "worker/prune.h"

/* Rows that one round deletes of each. */
#define PRUNE_SPAN 20000

void
prune(void)
{
	Datum		requests[2] = {
		Float8GetDatum((double) settings_request_retention),
		Int64GetDatum(PRUNE_SPAN)
	};

	outbox_run(OUTBOX_REQUEST_PRUNE, requests, NULL);
	outbox_run(OUTBOX_FAILURE_PRUNE, requests, NULL);
	outbox_run(OUTBOX_FOLD_FAILURES, NULL, NULL);
	outbox_run(OUTBOX_FOLD_TALLY, NULL, NULL);
	outbox_run(OUTBOX_REQUEST_CLOSE, NULL, NULL);
}
