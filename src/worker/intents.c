/*
 * intents.c
 *		What the several intents of one contact mean.
 *
 * A row of the outbox is one intent; the worker looks at the contact,
 * not at the row.  Nothing is sent from here: rows are settled unsent, or queued
 * to be taken up.
 */
#include "postgres.h"

#include "compat.h"
#include "store/outbox.h"
#include "store/outbox_read.h"
#include "util/clock.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "worker/claim.h"
#include "worker/intents.h"
#include "worker/lineage.h"
#include "worker/queues.h"
#include "worker/writes.h"

/*
 * Intents that are read at once, about, so that memory does not depend on how many each
 * contact has: as many contacts as would have had them the last time.
 */
#define INTENTS_AT_ONCE 20000
#define FIRST_PORTION 100

/* Why a withdrawal may have come too late. */
#define MAYBE_THERE \
	"withdrawn before it was known what became of a request with it: Chatbase may have it"

/* One intent of a contact, as OUTBOX_INTENTS returns it. */
typedef struct Intent
{
	int64		place;			/* of its contact among those that are looked at */
	int64		seq;
	bool		is_pending;
	bool		is_refused;
	bool		is_foreign;		/* refused because it came from another source */
	bool		is_withdrawn;
	bool		withdrawal;
	bool		unconfirmed;
	Oid			source;			/* the watched table; InvalidOid: none */
} Intent;

/* The source that was last asked for, see source_name(). */
typedef struct Source
{
	Oid			source;
	const Chatbot *chatbot;
	char	   *name;
} Source;

/* Takes a contact that waits out of the window. */
static void
drop(Contact *contact)
{
	if (contact->state == CONTACT_QUEUED &&
		!isolation_remove(contact->chatbot->isolation, &contact->node))
		elog(ERROR, "a contact that waits is not known");
	window_remove(contact);
}

/* It is under way, refused and held, or in doubt: that comes first. */
static void
look_again(Contact *contact)
{
	contact->look_again = true;
	contact->checked_at = 0;	/* its row may be gone */
}

void
intents_drop_gone(void)
{
	int64	   *seqs;
	int			n = window_waiting(&seqs);
	OutboxScan *scan = outbox_scan_begin();
	OutboxRow	row;

	for (int i = 0; i < n; i++)
	{
		Contact    *contact = window_find(seqs[i]);

		outbox_scan_range(scan, seqs[i], seqs[i]);
		if (outbox_scan_next(scan, &row) && row.status == OUTBOX_PENDING)
			contact->checked_at = clock_us();
		else
		{
			if (contact->look_again)
				queue_look(contact->chatbot, contact->external_id, contact->unconfirmed);
			drop(contact);
		}
	}
	outbox_scan_end(scan);
}

/* The intent is not sent; unconfirmed: but may have been before. */
static void
leave_unsent(const Look *look, const Intent *intent, OutboxStatus status, bool unconfirmed,
			 const char *why)
{
	Contact    *contact = window_find_contact(look->chatbot, look->external_id);

	/* What is there under the number may be another contact, which the row was before. */
	if (contact && contact->seq == intent->seq)
		drop(contact);
	writes_unsent(look->chatbot, look->external_id, intent->seq, status, unconfirmed,
				  unconfirmed ? MAYBE_THERE : why);
}

/* The name of a source while it is a table that is watched for the chatbot; else NULL. */
static char *
source_name(Source *last, const Chatbot *chatbot, Oid source)
{
	Datum		values[2] = {ObjectIdGetDatum(source), CStringGetTextDatum(chatbot->id)};

	if (last->source != source || last->chatbot != chatbot)
	{
		last->source = source;
		last->chatbot = chatbot;
		last->name = outbox_run(OUTBOX_SOURCE_NAME, values, NULL) > 0 ?
			outbox_get_text(0, 1) : NULL;
	}
	return last->name;
}

/* Who enqueued a contact first, as far as it can be told: what exists tells it best. */
static Oid
owner_of(const Intent *intents, int n)
{
	const Intent *first = NULL;

	for (int i = 0; i < n; i++)
	{
		if (!intents[i].is_pending && !intents[i].is_refused)
			return intents[i].source;
		if (first == NULL && !intents[i].is_foreign)
			first = &intents[i];
	}
	return first ? first->source : InvalidOid;
}

/*
 * A contact belongs to the source that enqueued it first, while that is a table which
 * is watched: what another one has enqueued is a conflict, whatever it wants.  Takes that
 * out of the intents and returns how many are left.  What may have been sent already
 * stays: that is found out first.
 */
static int
leave_out_foreign(Source *last, const Look *look, Intent *intents, int n)
{
	Oid			owner = owner_of(intents, n);
	int			left = 0;

	for (int i = 0; i < n; i++)
	{
		Intent	   *intent = &intents[i];
		char	   *name;

		if (OidIsValid(owner) && intent->source != owner && !intent->unconfirmed &&
			(intent->is_pending || intent->is_refused) &&
			(name = source_name(last, look->chatbot, owner)) != NULL)
		{
			if (intent->is_pending)
				leave_unsent(look, intent, OUTBOX_CONFLICT, false,
							 psprintf("it belongs to \"%s\"", name));
		}
		else
			intents[left++] = *intent;
	}
	return left;
}

/*
 * Completes who may have been sent, and takes those out that are settled unsent, or will be
 * when their row is not locked any more; of them no more counts than that they may have
 * created the contact.  Returns how many are left.
 */
static int
leave_out_unsent(Look *look, const Contact *contact, Intent *intents, int n)
{
	int			left = 0;

	for (int i = 0; i < n; i++)
	{
		Intent	   *intent = &intents[i];

		intent->unconfirmed |= writes_have_doubt(intent->seq) ||
			(contact && contact->unconfirmed && contact->seq == intent->seq);
		if (intent->is_withdrawn || (intent->is_pending && writes_have_outcome(intent->seq)))
			look->sent |= intent->unconfirmed;
		else
			intents[left++] = *intent;
	}
	return left;
}

/*
 * The contact in the window; NULL: there is none.  A deferred one whose row was deleted or
 * settled by hand goes: nobody else looks at that.
 */
static Contact *
find_contact(Look *look, const Intent *intents, int n)
{
	Contact    *contact = window_find_contact(look->chatbot, look->external_id);

	if (contact == NULL || contact->state != CONTACT_DEFERRED)
		return contact;
	for (int i = 0; i < n; i++)
		if (intents[i].seq == contact->seq && intents[i].is_pending)
			return contact;
	look->sent |= contact->unconfirmed;
	drop(contact);
	return NULL;
}

/*
 * Those that were refused make way for the newer one.  keep_doubt: not those that may exist
 * all the same, as the newer one's row does not say so yet: they do when that is settled.
 */
static void
supersede_refused(const Look *look, const Intent *intents, int n, int64 newer, bool keep_doubt)
{
	for (int i = 0; i < n; i++)
		if (intents[i].is_refused && intents[i].seq < newer &&
			!(keep_doubt && intents[i].unconfirmed))
			writes_supersede(look->chatbot, look->external_id, intents[i].seq);
}

/*
 * The rules of the contract: of several pending intents only the newest is sent;
 * one that is created or present is not sent again; a withdrawal settles what has
 * not been sent; a newer intent replaces a refusal; and one whose fate is open
 * comes first, unless the newest is a withdrawal: nobody is sent who is gone.
 */
static void
decide(Source *last, Look *look, Intent *intents, int n)
{
	Chatbot    *chatbot = look->chatbot;
	Contact    *contact = find_contact(look, intents, n);
	const Intent *newest = NULL,
			   *open = NULL;
	int64		newest_refused = 0;
	bool		exists = false;
	bool		doubtful;		/* an earlier version may exist */

	if (contact && contact->state != CONTACT_QUEUED && contact->state != CONTACT_DEFERRED)
	{
		look_again(contact);
		return;
	}
	n = leave_out_unsent(look, contact, intents, n);
	n = leave_out_foreign(last, look, intents, n);
	doubtful = look->sent;
	for (int i = 0; i < n; i++)
	{
		if (intents[i].is_pending)
			newest = &intents[i];
		else if (intents[i].is_refused)
		{
			newest_refused = intents[i].seq;
			doubtful |= intents[i].unconfirmed;
		}
		else
			exists = true;
		if (!open && intents[i].is_pending && intents[i].unconfirmed && !intents[i].withdrawal)
			open = &intents[i];
	}
	contact = window_find_contact(chatbot, look->external_id);
	if (contact && contact->unconfirmed && !(newest && newest->withdrawal))
	{
		look_again(contact);
		return;
	}
	if (newest == NULL)
	{
		supersede_refused(look, intents, n, n > 0 ? intents[n - 1].seq : 0, false);
		return;
	}
	doubtful |= contact && contact->unconfirmed;
	/* It waits under another row (deleted by hand if not older), or was not in doubt so far. */
	if (contact && (contact->seq != newest->seq || open || (doubtful && !contact->unconfirmed)))
		drop(contact);
	if (open && !exists && !newest->withdrawal)
	{
		/* Nobody knows yet whether it exists: that is found out first. */
		queue_load(open->seq);
		return;
	}
	supersede_refused(look, intents, n, newest->seq, !exists && !newest->withdrawal &&
					  !newest->unconfirmed && newest_refused < newest->seq);
	for (int i = 0; i < n; i++)
	{
		if (!intents[i].is_pending)
			continue;
		if (exists)
			leave_unsent(look, &intents[i],
						 intents[i].withdrawal ? OUTBOX_WITHDRAWN : OUTBOX_SKIPPED, false, NULL);
		else if (newest->withdrawal || intents[i].withdrawal)
			leave_unsent(look, &intents[i], OUTBOX_WITHDRAWN, intents[i].unconfirmed ||
						 (&intents[i] == newest && (open || doubtful)), NULL);
		else if (&intents[i] != newest || newest_refused > newest->seq)
			leave_unsent(look, &intents[i], OUTBOX_SUPERSEDED, false, NULL);
		else
		{
			if (window_find(newest->seq) == NULL)
				queue_load(newest->seq);
			if (doubtful && !newest->unconfirmed)
				writes_unconfirmed(chatbot, newest->seq, NULL, 0,
								   "an earlier version of it was sent, and may have been created");
		}
	}
}

/* Row i of OUTBOX_INTENTS. */
static void
read_intent(uint64 i, Intent *intent)
{
	char	   *status = outbox_get_text(i, 3);
	bool		isnull;

	intent->place = outbox_get_int64(i, 1);
	intent->seq = outbox_get_int64(i, 2);
	intent->is_pending = strcmp(status, "pending") == 0;
	intent->is_withdrawn = strcmp(status, "withdrawn") == 0;
	intent->is_refused = !intent->is_pending && !intent->is_withdrawn &&
		strcmp(status, "created") != 0 && strcmp(status, "present") != 0;
	intent->is_foreign = strcmp(status, "conflict") == 0 && outbox_get_bool(i, 7);
	intent->withdrawal = outbox_get_bool(i, 4);
	intent->unconfirmed = outbox_get_bool(i, 5);
	intent->source = DatumGetObjectId(outbox_get(i, 6, &isnull));
	if (intent->is_pending && !intent->withdrawal)
		intent->unconfirmed |= lineage_is_in_doubt(outbox_get_timestamp(i, 8));
}

/* Decides on these with one statement; returns how many intents they have. */
static uint64
decide_looks(List *looks)
{
	int			nlooks = list_length(looks);
	char	  **chatbots = palloc(nlooks * sizeof(char *));
	char	  **ids = palloc(nlooks * sizeof(char *));
	Source		last = {0};
	Datum		values[2];
	Intent	   *intents;
	uint64		n;

	for (int i = 0; i < nlooks; i++)
	{
		Look	   *look = list_nth(looks, i);

		chatbots[i] = look->chatbot->id;
		ids[i] = look->external_id;
	}
	values[0] = outbox_text_array(chatbots, nlooks);
	values[1] = outbox_text_array(ids, nlooks);
	n = outbox_run(OUTBOX_INTENTS, values, NULL);
	intents = palloc_extended(Max(n, 1) * sizeof(Intent), MCXT_ALLOC_HUGE);
	for (uint64 i = 0; i < n; i++)
		read_intent(i, &intents[i]);
	for (uint64 from = 0; from < n;)
	{
		Look	   *look = list_nth(looks, intents[from].place - 1);
		uint64		to = from;

		while (to < n && intents[to].place == intents[from].place)
			to++;
		decide(&last, look, &intents[from], to - from);
		from = to;
	}
	return n;
}

bool
intents_decide(void)
{
	static int	portion = FIRST_PORTION;
	List	   *looks;
	MemoryContext old;
	MemoryContext context;
	uint64		n;

	if (!queue_has_looks())
		return false;
	looks = queue_take_looks(portion);
	context = AllocSetContextCreate(CurrentMemoryContext, "contacts_push intents",
									ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(context);
	n = decide_looks(looks);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
	portion = Min(2 * portion, INTENTS_AT_ONCE * (uint64) list_length(looks) / Max(n, 1));
	portion = Max(Min(portion, INTENTS_AT_ONCE), 1);
	queue_free_looks(looks);
	return true;
}
