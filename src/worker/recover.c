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
#include "worker/claim.h"
#include "worker/recover.h"
#include "worker/requests.h"
#include "worker/writes.h"

/*
 * Requests that have no answer in the table, or one that leaves open what became of
 * some contact, may have been applied.  Their contacts are unconfirmed before anything
 * else is sent, each request's as one group.  An answer that is there stays.
 */
void
recover(void)
{
	uint64		n = outbox_run(OUTBOX_REQUESTS_UNFINISHED, NULL, NULL);
	int64	   *ids = palloc(Max(n, 1) * sizeof(int64));
	int64	   *seqs = palloc(Max(n, 1) * sizeof(int64));
	Request    *request = NULL;

	for (uint64 i = 0; i < n; i++)
	{
		ids[i] = outbox_get_int64(i, 1);
		seqs[i] = outbox_get_int64(i, 2);
		if (i == 0 || ids[i] != ids[i - 1])
			request = requests_recover(ids[i], outbox_get_bool(i, 3));
		if (seqs[i] > 0 && !outbox_get_bool(i, 5))
			writes_unconfirmed(window_chatbot(outbox_get_text(i, 4)), seqs[i], request, 0,
							   "its request was under way when the worker ended");
	}
	for (uint64 from = 0, to; from < n; from = to)
	{
		int			nseqs;

		for (to = from + 1; to < n && ids[to] == ids[from];)
			to++;
		nseqs = seqs[from] > 0 ? to - from : 0;
		/* A request has no more contacts, whatever was written into its row by hand. */
		for (int done = 0; done < nseqs; done += CONTACT_MAX_USERS)
			claim_by_seq(&seqs[from + done], Min(nseqs - done, CONTACT_MAX_USERS));
	}
	outbox_run(OUTBOX_BACKOFFS_FORGET, NULL, NULL);
}
