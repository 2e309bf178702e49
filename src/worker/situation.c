/*
 * situation.c
 *		What the intents of a contact say.
 */
#include "postgres.h"

#include "compat.h"
#include "store/outbox.h"
#include "worker/conflicts.h"
#include "worker/lineage.h"
#include "worker/singles.h"
#include "worker/situation.h"
#include "worker/writes.h"

/* Why a withdrawal may have come too late. */
#define MAYBE_THERE \
	"withdrawn before it was known what became of a request with it: Chatbase may have it"

/* Takes a contact that waits out of the window. */
void
situation_drop(Contact *contact)
{
	if (contact->is_conflict)
		conflicts_leave(contact);
	else if (contact->state == CONTACT_QUEUED && contact->call != CALL_CREATE)
		singles_remove(contact);
	else if (contact->state == CONTACT_QUEUED &&
			 !isolation_remove(contact->chatbot->isolation, &contact->node))
		elog(ERROR, "a contact that waits is not known");
	window_remove(contact);
}

/* The intent is not sent; unconfirmed: but may have been before. */
void
situation_leave_unsent(const Look *look, const Intent *intent, OutboxStatus status, bool unconfirmed,
			 const char *why)
{
	Contact    *contact = window_find_contact(look->chatbot, look->external_id);

	/* What is there under the number may be another contact, which the row was before. */
	if (contact && contact->seq == intent->seq)
		situation_drop(contact);
	writes_unsent(look->chatbot, look->external_id, intent->seq, status, unconfirmed,
				  unconfirmed ? MAYBE_THERE : why);
	/* The contact that has the key that it was to get waits for it no more. */
	if (intent->previous)
		queue_look(look->chatbot, intent->previous, false);
}

/*
 * Completes who may have been sent, and takes those out that are settled unsent, or will be
 * when their row is not locked any more; of them no more counts than that they may have
 * created the contact.  Returns how many are left.
 */
int
situation_leave_out_unsent(Look *look, const Contact *contact, Intent *intents, int n)
{
	int64		settled = 0;
	int			left = 0;

	for (int i = 0; i < n; i++)
		if (intents[i].is_there || intents[i].is_deleted)
			settled = intents[i].seq;
	for (int i = 0; i < n; i++)
	{
		Intent	   *intent = &intents[i];

		intent->unconfirmed |= writes_have_doubt(intent->seq) ||
			(contact && contact->unconfirmed && contact->seq == intent->seq);
		if (intent->is_withdrawn ||
			((intent->is_pending || intent->takes_key) && writes_have_outcome(intent->seq)))
			look->sent |= intent->unconfirmed && intent->seq > settled && !intent->takes_key;
		else
			intents[left++] = *intent;
	}
	return left;
}

/* Finds out what the intents say. */
void
situation_survey(Situation *s)
{
	for (int i = 0; i < s->n; i++)
	{
		const Intent *intent = &s->intents[i];

		if (intent->is_pending)
		{
			s->newest = intent;
			if (s->open == NULL && intent->unconfirmed && !intent->withdrawal)
				s->open = intent;
			if (intent->withdrawal || intent->previous)
				s->moved = intent->withdrawal ? NULL : intent;
		}
		else if (intent->is_refused)
			s->newest_refused = intent->seq;
		else if (intent->is_there || intent->is_deleted)
		{
			s->there = intent->is_there ? intent : NULL;
			s->settled = intent->seq;
		}
		/* Several keys may have changed at once: what has left with this one tells its id. */
		else if (intent->has_key && s->there &&
				 (s->there->contact_id == NULL || intent->contact_id == NULL ||
				  strcmp(s->there->contact_id, intent->contact_id) == 0))
			s->there = NULL;
	}
	for (int i = 0; i < s->n && s->taker == NULL; i++)
		if (s->intents[i].takes_key &&
			(s->there == NULL ||
			 (s->intents[i].seq > s->there->seq && s->intents[i].source == s->there->source)))
			s->taker = &s->intents[i];
	for (int i = 0; i < s->n; i++)
		s->doubtful |= s->intents[i].unconfirmed && s->intents[i].seq > s->settled &&
			(s->intents[i].is_refused || (s->there && &s->intents[i] != s->newest));
}

/* Row i of OUTBOX_INTENTS. */
static void
read_intent(uint64 i, Intent *intent)
{
	char	   *status = outbox_get_text(i, 3);
	bool		isnull;

	memset(intent, 0, sizeof(Intent));
	intent->place = outbox_get_int64(i, 1);
	intent->seq = outbox_get_int64(i, 2);
	intent->source = DatumGetObjectId(outbox_get(i, 6, &isnull));
	intent->contact_id = outbox_get_text(i, 11);
	if (outbox_get_bool(i, 10))
	{
		intent->takes_key = strcmp(status, "pending") == 0;
		intent->has_key = !intent->takes_key;
		intent->other = outbox_get_text(i, 9);
		pfree(status);
		return;
	}
	intent->is_pending = strcmp(status, "pending") == 0;
	intent->is_withdrawn = strcmp(status, "withdrawn") == 0;
	intent->is_there = strcmp(status, "created") == 0 || strcmp(status, "present") == 0 ||
		strcmp(status, "updated") == 0;
	intent->is_deleted = strcmp(status, "deleted") == 0;
	intent->is_refused = !intent->is_pending && !intent->is_withdrawn && !intent->is_there &&
		!intent->is_deleted;
	intent->is_foreign = strcmp(status, "conflict") == 0 && outbox_get_bool(i, 7);
	intent->withdrawal = outbox_get_bool(i, 4);
	intent->unconfirmed = outbox_get_bool(i, 5);
	if (intent->is_pending)
		intent->previous = outbox_get_text(i, 9);
	if (intent->is_there)
	{
		Datum		members = outbox_get(i, 13, &isnull);

		intent->sent_members = isnull ? NULL : DatumGetByteaPCopy(members);
		intent->sent_hash = outbox_get_int64(i, 12);
	}
	pfree(status);
	if (intent->is_pending && !intent->withdrawal)
		intent->unconfirmed |= lineage_is_in_doubt(outbox_get_timestamp(i, 8));
}

/* Reads the intents of contacts by one statement; returns how many there are. */
uint64
situation_read(char **chatbots, char **external_ids, int n, Intent **intents)
{
	Datum		values[2] = {outbox_text_array(chatbots, n), outbox_text_array(external_ids, n)};
	uint64		nrows = outbox_run(OUTBOX_INTENTS, values, NULL);

	*intents = palloc_extended(Max(nrows, 1) * sizeof(Intent), MCXT_ALLOC_HUGE);
	for (uint64 i = 0; i < nrows; i++)
		read_intent(i, &(*intents)[i]);
	return nrows;
}
