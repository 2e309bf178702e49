/*
 * prune.c
 *		Deleting what is over its retention, and folding what was appended.
 *
 * A little at a time, once a minute.
 */
#include "postgres.h"

#include "compat.h"
#include "server/settings.h"
#include "store/outbox.h"
#include "worker/claim.h"
#include "worker/prune.h"

/* Rows that one round looks at. */
#define PRUNE_SPAN 20000

static int64 prune_from = 1;

void
prune(void)
{
	Datum		requests[2] = {
		Float8GetDatum((double) settings_request_retention),
		Int64GetDatum(PRUNE_SPAN)
	};
	Datum		rows[3] = {
		requests[0], Int64GetDatum(prune_from), Int64GetDatum(prune_from + PRUNE_SPAN - 1)
	};

	outbox_run(OUTBOX_REQUEST_PRUNE, requests, NULL);
	outbox_run(OUTBOX_UNSENT_PRUNE, rows, NULL);
	outbox_run(OUTBOX_FAILURE_PRUNE, requests, NULL);
	outbox_run(OUTBOX_FOLD_FAILURES, NULL, NULL);
	outbox_run(OUTBOX_FOLD_TALLY, NULL, NULL);
	outbox_run(OUTBOX_REQUEST_CLOSE, NULL, NULL);
	prune_from = prune_from + PRUNE_SPAN > claim_position() ? 1 : prune_from + PRUNE_SPAN;
}
