/*
 * recover.c
 *		Making up for an earlier worker, here or elsewhere.
 *
 * Runs once, behind the fence and before anything is sent.  Whatever may
 * have been sent without its answer having been recorded becomes unconfirmed.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "compat.h"
#include "contact/contact.h"
#include "miscadmin.h"
#include "server/shared.h"
#include "store/outbox.h"
#include "util/clock.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "worker/claim.h"
#include "worker/recover.h"
#include "worker/request_log.h"
#include "worker/answers.h"

/* A dump's tables are restored within that, one after the other. */
#define RESTORE_US (INT64CONST(3600) * 1000 * 1000)

/* clock_us() until which restored rows may still come; 0: none do. */
static int64 restored_until = 0;

/* Of int64: rows that may have been sent, see recover_note(). */
static HTAB *noted = NULL;

void
recover_note(int64 seq)
{
	if (noted == NULL)
	{
		HASHCTL		control = {0};

		control.keysize = sizeof(int64);
		control.entrysize = sizeof(int64);
		control.hcxt = worker.context;
		noted = hash_create("contacts_push recovered", 256, &control,
							HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	(void) hash_search(noted, &seq, HASH_ENTER, NULL);
}

bool
recover_is_noted(int64 seq)
{
	return noted && hash_search(noted, &seq, HASH_FIND, NULL) != NULL;
}

void
recover_forget(int64 seq)
{
	if (noted)
		(void) hash_search(noted, &seq, HASH_REMOVE, NULL);
}

/*
 * Requests that have no answer in the table, or one that leaves open what became of
 * some contact, may have been applied.  Their contacts are unconfirmed before anything
 * else is sent, each request's as one group.  An answer that is there stays.
 */
static void
recover_requests(void)
{
	uint64		n = outbox_run(OUTBOX_REQUESTS_UNFINISHED, NULL, NULL);
	int64	   *ids = palloc(Max(n, 1) * sizeof(int64));
	int64	   *seqs = palloc(Max(n, 1) * sizeof(int64));
	bool	   *answered = palloc(Max(n, 1) * sizeof(bool));

	for (uint64 i = 0; i < n; i++)
	{
		ids[i] = outbox_get_int64(i, 1);
		seqs[i] = outbox_get_int64(i, 2);
		answered[i] = outbox_get_bool(i, 3);
		if (seqs[i] > 0)
			recover_note(seqs[i]);
	}
	for (uint64 from = 0, to; from < n; from = to)
	{
		const char *why = "its request was under way when the worker ended";
		int			nseqs;

		for (to = from + 1; to < n && ids[to] == ids[from];)
			to++;
		nseqs = seqs[from] > 0 ? to - from : 0;
		answers_mark_unconfirmed(&seqs[from], nseqs, 0, why);
		if (!answered[from])
			request_log_finish(ids[from], 0, "interrupted",
							   "the worker ended before the answer was recorded", -1, false);
		/* A request has no more contacts, whatever was written into its row by hand. */
		for (int done = 0; done < nseqs; done += CONTACT_MAX_USERS)
			claim_by_seq(&seqs[from + done], Min(nseqs - done, CONTACT_MAX_USERS), false);
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
 * What is pending may have been sent from elsewhere.  What somebody holds locked is kept
 * in mind.
 */
static void
doubt_pending(void)
{
	uint64		n;

	outbox_run(OUTBOX_PENDING_UNCONFIRMED, NULL, NULL);
	n = outbox_run(OUTBOX_PENDING_CONFIRMED, NULL, NULL);
	for (uint64 i = 0; i < n; i++)
		recover_note(outbox_get_int64(i, 1));
}

/*
 * From now on the outbox was worked off here.  False if somebody holds a row of the table
 * locked that says otherwise.
 */
static bool
begin_lineage(Datum *here)
{
	outbox_run(OUTBOX_LINEAGE_CLEAR, NULL, NULL);
	outbox_run(OUTBOX_LINEAGE_SET, here, NULL);
	return !is_foreign(here);
}

/*
 * On another timeline, in a copy or after a restore, what has been settled since the two
 * parted is not known here: everything that was pending then may have been sent.  A
 * restore brings its rows table by table, this one's maybe first, so those that are
 * older than it are in doubt whenever they come; what is enqueued here is not.
 */
static void
check_lineage(void)
{
	Datum		here[3];

	if (!is_foreign(here))
	{
		outbox_run(OUTBOX_LINEAGE_SET, here, NULL);
		return;
	}
	if (outbox_run(OUTBOX_LINEAGE_ELSEWHERE, here, NULL) > 0)
	{
		outbox_run(OUTBOX_RESTORED_NOTE, NULL, NULL);
		doubt_pending();
		restored_until = clock_us() + RESTORE_US;
		return;
	}
	doubt_pending();
	if (!begin_lineage(here))
		restored_until = clock_us();	/* see recover_end_doubt() */
}

bool
recover_is_due(void)
{
	Datum		here[3];

	return restored_until == 0 && is_foreign(here);
}

void
recover_end_doubt(void)
{
	Datum		here[3];

	if (restored_until == 0 || restored_until > clock_us())
		return;
	if (is_foreign(here) && !begin_lineage(here))
		return;
	outbox_run(OUTBOX_RESTORED_FORGET, NULL, NULL);
	restored_until = 0;
}

void
recover(void)
{
	check_lineage();
	recover_requests();
	outbox_run(OUTBOX_BACKOFFS_FORGET, NULL, NULL);
}
