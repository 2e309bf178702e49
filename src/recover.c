/*
 * recover.c
 *		Making up for an earlier worker, here or elsewhere.
 *
 * Layer 3.  Runs once, behind the fence and before anything is sent.  Whatever may
 * have been sent without its answer having been recorded becomes unconfirmed.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "compat.h"
#include "miscadmin.h"
#include "outbox.h"
#include "shared.h"
#include "utils/builtins.h"
#include "worker.h"

/* A dump's tables are restored within that, one after the other. */
#define RESTORE_US (INT64CONST(3600) * 1000 * 1000)

/* shared_clock() until which everything taken up is in doubt; 0: it is not. */
static int64 foreign_until = 0;

/*
 * Requests that have no answer in the table may have been applied.  Their contacts
 * are unconfirmed before anything else is sent, each request's as one group.
 */
static void
recover_requests(void)
{
	uint64		n = outbox_run(OUTBOX_REQUESTS_UNFINISHED, NULL, NULL);
	int64	   *ids = palloc(Max(n, 1) * sizeof(int64));
	int64	   *seqs = palloc(Max(n, 1) * sizeof(int64));

	for (uint64 i = 0; i < n; i++)
	{
		ids[i] = outbox_get_int64(i, 1);
		seqs[i] = outbox_get_int64(i, 2);
		if (seqs[i] > 0)
			claim_note_recovered(seqs[i]);
	}
	for (uint64 from = 0, to; from < n; from = to)
	{
		const char *why = "its request was under way when the worker ended";
		int			nseqs;

		for (to = from + 1; to < n && ids[to] == ids[from];)
			to++;
		nseqs = seqs[from] > 0 ? to - from : 0;
		settle_mark_unconfirmed(&seqs[from], nseqs, 0, why);
		settle_finish_request(ids[from], 0, "interrupted",
							  "the worker ended before the answer was recorded", -1, false);
		if (nseqs > 0)
			claim_by_seq(&seqs[from], nseqs);
	}
	/* All but those of which somebody holds a row that could not be marked. */
	outbox_run(OUTBOX_REQUEST_CLOSE, NULL, NULL);
}

/* True if the outbox was worked off anywhere but here. */
static bool
is_foreign(Datum *here)
{
	here[0] = Int64GetDatum((int64) GetSystemIdentifier());
	here[1] = Int32GetDatum((int32) GetWALInsertionTimeLine());
	here[2] = ObjectIdGetDatum(MyDatabaseId);
	outbox_run(OUTBOX_LINEAGE_IS_FOREIGN, here, NULL);
	return outbox_get_bool(0, 1);
}

/*
 * After a restore, in a copy or on another timeline, what has been settled since
 * the two parted is not known here: everything pending may have been sent.  A
 * restore brings its rows table by table, this one's first, so what is taken up in
 * the next while is in doubt, too.
 */
static void
check_lineage(void)
{
	Datum		here[3];

	if (is_foreign(here))
	{
		outbox_run(OUTBOX_PENDING_UNCONFIRMED, NULL, NULL);
		foreign_until = shared_clock() + RESTORE_US;
		return;
	}
	outbox_run(OUTBOX_LINEAGE_SET, here, NULL);
}

bool
recover_is_in_doubt(void)
{
	return foreign_until > 0;
}

bool
recover_is_due(void)
{
	Datum		here[3];

	return foreign_until == 0 && is_foreign(here);
}

void
recover_end_doubt(void)
{
	Datum		here[3];

	if (foreign_until == 0 || foreign_until > shared_clock())
		return;
	outbox_run(OUTBOX_LINEAGE_CLEAR, NULL, NULL);
	(void) is_foreign(here);
	outbox_run(OUTBOX_LINEAGE_SET, here, NULL);
	foreign_until = 0;
}

void
recover(void)
{
	check_lineage();
	recover_requests();
}
