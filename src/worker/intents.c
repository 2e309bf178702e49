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
#include "worker/keys.h"
#include "worker/lineage.h"
#include "worker/queues.h"
#include "worker/singles.h"
#include "worker/situation.h"
#include "worker/writes.h"

/*
 * Intents that are read at once, about, so that memory does not depend on how many each
 * contact has: as many contacts as would have had them the last time.
 */
#define INTENTS_AT_ONCE 4000
#define FIRST_PORTION 100

/* The source that was last asked for, see source_name(). */
typedef struct Source
{
	Oid			source;
	const Chatbot *chatbot;
	char	   *name;
} Source;

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
			situation_drop(contact);
		}
	}
	outbox_scan_end(scan);
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

/* Who enqueued a contact first since it was deleted, as far as can be told: what exists tells best. */
static Oid
owner_of(const Intent *intents, int n)
{
	const Intent *there = NULL;
	const Intent *first = NULL;

	for (int i = 0; i < n; i++)
	{
		if (intents[i].is_deleted || intents[i].has_key)
			there = first = NULL;
		else if (intents[i].is_there && there == NULL)
			there = &intents[i];
		else if (first == NULL && (intents[i].is_pending || intents[i].is_refused) &&
				 !intents[i].is_foreign)
			first = &intents[i];
	}
	if (there == NULL)
		there = first;
	return there ? there->source : InvalidOid;
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
				situation_leave_unsent(look, intent, OUTBOX_CONFLICT, false,
							 psprintf("it belongs to \"%s\"", name));
		}
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
	situation_drop(contact);
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

/* ---- what is decided ---- */

/* Chatbase has the contact: it changes, is deleted, or stays as it is. */
static void
decide_there(Situation *s)
{
	const Intent *newest = s->newest;
	bool		is_pushed = newest->withdrawal ? s->chatbot->deletes : s->chatbot->updates;

	for (int i = 0; i < s->n; i++)
	{
		const Intent *intent = &s->intents[i];

		if (!intent->is_pending)
			continue;
		if (!is_pushed)
			/* What it was last changed to is not known: a withdrawal keeps that, as it is looked at later. */
			situation_leave_unsent(s->look, intent, intent->withdrawal ? OUTBOX_WITHDRAWN : OUTBOX_SKIPPED,
						 intent->withdrawal && intent == newest && (s->doubtful || s->open), NULL);
		else if (intent != newest || s->newest_refused > newest->seq || s->settled > newest->seq)
			situation_leave_unsent(s->look, intent,
						 intent->withdrawal ? OUTBOX_WITHDRAWN : OUTBOX_SUPERSEDED, false, NULL);
		else if (window_find(newest->seq))
			continue;
		else if (newest->withdrawal)
			queue_load(&(Load) {.seq = newest->seq, .call = CALL_DELETE});
		else
			keys_load_changed(s, newest, s->there, NULL);
	}
}

/* Chatbase does not have it, as far as is known: it is created, or nothing is sent. */
static void
decide_absent(Situation *s)
{
	const Intent *newest = s->newest;

	for (int i = 0; i < s->n; i++)
	{
		const Intent *intent = &s->intents[i];

		if (!intent->is_pending)
			continue;
		/* It may be there all the same: to delete it is to find out. */
		if (intent == newest && newest->withdrawal && s->chatbot->deletes &&
			(s->open || s->doubtful || newest->unconfirmed))
		{
			if (window_find(newest->seq) == NULL)
				queue_load(&(Load) {.seq = newest->seq, .call = CALL_DELETE});
		}
		else if (newest->withdrawal || intent->withdrawal)
			situation_leave_unsent(s->look, intent, OUTBOX_WITHDRAWN, intent->unconfirmed ||
						 (intent == newest && (s->open || s->doubtful)), NULL);
		else if (intent != newest || s->newest_refused > newest->seq || s->settled > newest->seq)
			situation_leave_unsent(s->look, intent, OUTBOX_SUPERSEDED, false, NULL);
		else
		{
			if (window_find(newest->seq) == NULL)
				queue_load(&(Load) {.seq = newest->seq});
			if (s->doubtful && !newest->unconfirmed)
				writes_unconfirmed(s->chatbot, newest->seq, NULL, 0,
								   "an earlier version of it was sent, and may have been created");
		}
	}
}

/*
 * The rules of the contract: of several pending intents only the newest is sent; one that
 * is there is not created again, but changed or deleted if that is pushed; a withdrawal settles
 * what has not been sent; a newer intent replaces a refusal; and one whose fate is open
 * comes first, unless the newest is a withdrawal: nobody is sent who is gone.
 */
static void
decide(Source *last, Look *look, Intent *intents, int n)
{
	Chatbot    *chatbot = look->chatbot;
	Contact    *contact = find_contact(look, intents, n);
	Situation	s = {.look = look, .chatbot = chatbot, .intents = intents};
	const Intent *newest;

	if (contact && !window_is_waiting(contact))
	{
		look_again(contact);
		return;
	}
	n = situation_leave_out_unsent(look, contact, intents, n);
	s.n = leave_out_foreign(last, look, intents, n);
	s.doubtful = look->sent;
	situation_survey(&s);
	newest = s.newest;
	contact = window_find_contact(chatbot, look->external_id);
	/* In doubt, or found and to be updated since: no row says yet that it is there. */
	if (contact && !(newest && newest->withdrawal) &&
		((contact->unconfirmed &&
		  (contact->call == CALL_CREATE || (contact->call == CALL_UPDATE && s.there == NULL))) ||
		 contact->previous))
	{
		look_again(contact);
		return;
	}
	if (newest == NULL)
	{
		supersede_refused(look, intents, s.n, s.n > 0 ? intents[s.n - 1].seq : 0, false);
		keys_tell_taker(&s);
		return;
	}
	if (keys_give(&s))
		return;
	s.doubtful |= contact && contact->unconfirmed;
	/* It waits under another row (deleted by hand if not older), or was not in doubt so far. */
	if (contact && (contact->seq != newest->seq || s.open || (s.doubtful && !contact->unconfirmed)))
		situation_drop(contact);
	if (s.open && !s.there && !newest->withdrawal)
	{
		/* Nobody knows yet whether it exists: that is found out first. */
		if (s.open != s.moved || !keys_change(&s))
			queue_load(&(Load) {.seq = s.open->seq});
		return;
	}
	supersede_refused(look, intents, s.n, newest->seq, !s.there && !newest->withdrawal &&
					  !newest->unconfirmed && s.newest_refused < newest->seq);
	if (keys_change(&s))
		return;
	if (s.there)
		decide_there(&s);
	else
		decide_absent(&s);
}

/* Decides on these with one statement; returns how many intents they have. */
static uint64
decide_looks(List *looks)
{
	int			nlooks = list_length(looks);
	char	  **chatbots = palloc(nlooks * sizeof(char *));
	char	  **ids = palloc(nlooks * sizeof(char *));
	List	   *distinct = NIL;
	Source		last = {0};
	Intent	   *intents;
	uint64		n;

	for (int i = 0; i < nlooks; i++)
	{
		Look	   *look = list_nth(looks, i);

		chatbots[i] = look->chatbot->id;
		ids[i] = look->external_id;
		if (distinct == NIL || llast(distinct) != look->chatbot)
			distinct = lappend(distinct, look->chatbot);
	}
	singles_read_switches(distinct);
	n = situation_read(chatbots, ids, nlooks, &intents);
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
