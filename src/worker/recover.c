/*
 * recover.c
 *		Making up for an earlier worker.
 *
 * Runs once, behind the fence and before anything is sent.  Whatever may
 * have been sent without its answer having been recorded becomes unconfirmed.
 */
#include "postgres.h"

#include "compat.h"
#include "contact/contact.h"
#include "store/outbox.h"
#include "utils/hsearch.h"
#include "worker/claim.h"
#include "worker/recover.h"
#include "worker/request_log.h"
#include "worker/answers.h"

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

void
recover(void)
{
	recover_requests();
	outbox_run(OUTBOX_BACKOFFS_FORGET, NULL, NULL);
}
