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
#include "util/clock.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "worker/charges.h"
#include "worker/claim.h"
#include "worker/intents.h"
#include "worker/lineage.h"
#include "worker/queues.h"
#include "worker/recover.h"
#include "worker/answers.h"

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
	bool		withdrawal;
	bool		unconfirmed;
	Oid			source;			/* the watched table; InvalidOid: none */
} Intent;

/* What looking at intents has led to; written after all have been looked at. */
typedef struct Decisions
{
	List	   *unsent;			/* of Unsent * */
	List	   *superseded;		/* of int64 *: refused rows */
	List	   *doubtful;		/* of int64 *: rows that are unconfirmed from the start */

	/* the source that was last asked for, see source_name() */
	Oid			source;
	const Chatbot *source_chatbot;
	char	   *source_name;
} Decisions;

typedef struct Unsent
{
	int64		seq;
	Chatbot    *chatbot;
	const char *status;
	const char *error;			/* NULL: none */
} Unsent;

static List *unsuperseded = NIL;	/* of int64 *, refused rows; in worker.context */

static int64 *
copy_seq(int64 seq)
{
	int64	   *copy = palloc(sizeof(int64));

	*copy = seq;
	return copy;
}

/* Takes a contact that waits out of the window. */
static void
drop(Contact *contact)
{
	if (!isolation_remove(contact->chatbot->isolation, &contact->node))
		elog(ERROR, "a contact that waits is not known");
	charges_forget(contact);
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
	Datum		value = outbox_int8_array(seqs, n);
	int64		began = clock_us();
	uint64		left = outbox_run(OUTBOX_STILL_PENDING, &value, NULL);

	for (uint64 i = 0; i < left; i++)
		window_find(outbox_get_int64(i, 1))->checked_at = clock_us();
	for (int i = 0; i < n; i++)
	{
		Contact    *contact = window_find(seqs[i]);

		if (contact->checked_at >= began)
			continue;
		if (contact->look_again)
			queue_look(contact->chatbot, contact->external_id, contact->unconfirmed);
		drop(contact);
	}
}

static void
decide_unsent(Decisions *decisions, Chatbot *chatbot, const Intent *intent,
			  const char *status, const char *error)
{
	Unsent	   *unsent = palloc(sizeof(Unsent));
	Contact    *contact = window_find(intent->seq);

	if (contact)
		drop(contact);
	unsent->seq = intent->seq;
	unsent->chatbot = chatbot;
	unsent->status = status;
	unsent->error = error;
	decisions->unsent = lappend(decisions->unsent, unsent);
}

/* The name of a source while it is a table that is watched for the chatbot; else NULL. */
static char *
source_name(Decisions *decisions, const Chatbot *chatbot, Oid source)
{
	Datum		values[2] = {ObjectIdGetDatum(source), CStringGetTextDatum(chatbot->id)};

	if (decisions->source != source || decisions->source_chatbot != chatbot)
	{
		decisions->source = source;
		decisions->source_chatbot = chatbot;
		decisions->source_name = outbox_run(OUTBOX_SOURCE_NAME, values, NULL) > 0 ?
			outbox_get_text(0, 1) : NULL;
	}
	return decisions->source_name;
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
leave_out_foreign(Decisions *decisions, Chatbot *chatbot, Intent *intents, int n)
{
	Oid			owner = owner_of(intents, n);
	int			left = 0;

	for (int i = 0; i < n; i++)
	{
		Intent	   *intent = &intents[i];
		char	   *name;

		if (OidIsValid(owner) && intent->source != owner && !intent->unconfirmed &&
			(intent->is_pending || intent->is_refused) &&
			(name = source_name(decisions, chatbot, owner)) != NULL)
		{
			if (intent->is_pending)
				decide_unsent(decisions, chatbot, intent, "conflict",
							  psprintf("it belongs to \"%s\"", name));
		}
		else
			intents[left++] = *intent;
	}
	return left;
}

/*
 * The rules of the contract: of several pending intents only the newest is sent;
 * one that is created or present is not sent again; a withdrawal settles what has
 * not been sent; a newer intent replaces a refusal; and one whose fate is open
 * comes first, unless the newest is a withdrawal: nobody is sent who is gone.
 */
static void
decide(Decisions *decisions, const Look *look, Intent *intents, int n)
{
	Chatbot    *chatbot = look->chatbot;
	Contact    *contact = window_find_contact(chatbot, look->external_id);
	const Intent *newest = NULL;
	const Intent *open = NULL;
	int64		newest_refused = 0;
	bool		exists = false;
	bool		doubtful = look->sent;	/* an earlier version may exist */

	if (contact && contact->state != CONTACT_QUEUED)
	{
		look_again(contact);
		return;
	}
	for (int i = 0; i < n; i++)
		intents[i].unconfirmed |= recover_is_noted(intents[i].seq) ||
			(contact && contact->unconfirmed && contact->seq == intents[i].seq);
	n = leave_out_foreign(decisions, chatbot, intents, n);
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
		if (intents[i].is_pending && intents[i].unconfirmed && !intents[i].withdrawal &&
			open == NULL)
			open = &intents[i];
	}
	contact = window_find_contact(chatbot, look->external_id);
	if (contact && contact->unconfirmed && !(newest && newest->withdrawal))
	{
		look_again(contact);
		return;
	}
	if (newest == NULL)
		return;
	doubtful |= contact && contact->unconfirmed;
	/* It waits under another row (deleted by hand if not older), or was not in doubt so far. */
	if (contact &&
		(contact->seq != newest->seq || open || (doubtful && !contact->unconfirmed)))
		drop(contact);
	if (open && !exists && !newest->withdrawal)
	{
		/* Nobody knows yet whether it exists: that is found out first. */
		queue_load(open->seq);
		return;
	}
	for (int i = 0; i < n; i++)
	{
		if (intents[i].is_refused && intents[i].seq < newest->seq)
			decisions->superseded = lappend(decisions->superseded, copy_seq(intents[i].seq));
		if (!intents[i].is_pending)
			continue;
		if (exists)
			decide_unsent(decisions, chatbot, &intents[i],
						  intents[i].withdrawal ? "withdrawn" : "skipped", NULL);
		else if (newest->withdrawal || intents[i].withdrawal)
			decide_unsent(decisions, chatbot, &intents[i], "withdrawn",
						  intents[i].unconfirmed || (&intents[i] == newest && (open || doubtful)) ?
						  MAYBE_THERE : NULL);
		else if (&intents[i] != newest || newest_refused > newest->seq)
			decide_unsent(decisions, chatbot, &intents[i], "superseded", NULL);
		else
		{
			if (window_find(newest->seq) == NULL)
				queue_load(newest->seq);
			if (doubtful)
				decisions->doubtful = lappend(decisions->doubtful, copy_seq(newest->seq));
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
	intent->is_refused = !intent->is_pending &&
		strcmp(status, "created") != 0 && strcmp(status, "present") != 0;
	intent->is_foreign = strcmp(status, "conflict") == 0 && outbox_get_bool(i, 7);
	intent->withdrawal = outbox_get_bool(i, 4);
	intent->unconfirmed = outbox_get_bool(i, 5);
	intent->source = DatumGetObjectId(outbox_get(i, 6, &isnull));
	if (intent->is_pending && !intent->withdrawal)
		intent->unconfirmed |= lineage_is_in_doubt(outbox_get_timestamp(i, 8));
}

/* The intents of each contact, as many statements as it takes: one. */
static void
decide_looks(Decisions *decisions, List *looks)
{
	int			nlooks = list_length(looks);
	char	  **chatbots = palloc(nlooks * sizeof(char *));
	char	  **ids = palloc(nlooks * sizeof(char *));
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
	intents = palloc(Max(n, 1) * sizeof(Intent));
	for (uint64 i = 0; i < n; i++)
		read_intent(i, &intents[i]);
	for (uint64 from = 0; from < n;)
	{
		Look	   *look = list_nth(looks, intents[from].place - 1);
		uint64		to = from;

		while (to < n && intents[to].place == intents[from].place)
			to++;
		decide(decisions, look, &intents[from], to - from);
		from = to;
	}
}

static int64 *
seqs_of(List *seqs)
{
	int64	   *array = palloc(Max(list_length(seqs), 1) * sizeof(int64));

	for (int i = 0; i < list_length(seqs); i++)
		array[i] = *(int64 *) list_nth(seqs, i);
	return array;
}

/* Of what is not sent only that is refused and counted. */
static void
count_foreign(const Unsent *unsent, int by)
{
	if (strcmp(unsent->status, "conflict") == 0)
		unsent->chatbot->tally.conflict += by;
}

static int
compare_seqs(const void *a, const void *b)
{
	int64		left = *(const int64 *) a;
	int64		right = *(const int64 *) b;

	return left < right ? -1 : left > right;
}

static int
compare_unsents(const ListCell *a, const ListCell *b)
{
	return compare_seqs(&((Unsent *) lfirst(a))->seq, &((Unsent *) lfirst(b))->seq);
}

/* Settles rows without sending them; those somebody holds locked come again. */
static void
write_unsent(List *unsents)
{
	int			n = list_length(unsents);
	int64	   *seqs = palloc(n * sizeof(int64));
	char	  **statuses = palloc(n * sizeof(char *));
	char	  **errors = palloc(n * sizeof(char *));
	Datum		values[3];
	uint64		left;

	list_sort(unsents, compare_unsents);
	for (int i = 0; i < n; i++)
	{
		Unsent	   *unsent = list_nth(unsents, i);

		seqs[i] = unsent->seq;
		statuses[i] = unconstify(char *, unsent->status);
		errors[i] = unconstify(char *, unsent->error);
		count_foreign(unsent, 1);
	}
	values[0] = outbox_int8_array(seqs, n);
	values[1] = outbox_text_array(statuses, n);
	values[2] = outbox_text_array(errors, n);
	if (outbox_run(OUTBOX_SETTLE_UNSENT, values, NULL) == (uint64) n)
		return;
	left = outbox_run(OUTBOX_STILL_PENDING, values, NULL);
	for (uint64 i = 0; i < left; i++)
	{
		int64		seq = outbox_get_int64(i, 1);
		int64	   *at = bsearch(&seq, seqs, n, sizeof(int64), compare_seqs);
		Unsent	   *unsent = list_nth(unsents, at - seqs);

		count_foreign(unsent, -1);
		claim_locked(unsent->chatbot, seq);
	}
}

/* Remembers which of these are still to make way, somebody holds them locked. */
static void
keep_unsuperseded(Datum seqs)
{
	uint64		n = outbox_run(OUTBOX_STILL_REFUSED, &seqs, NULL);
	MemoryContext old = MemoryContextSwitchTo(worker.context);

	for (uint64 i = 0; i < n; i++)
		unsuperseded = lappend(unsuperseded, copy_seq(outbox_get_int64(i, 1)));
	MemoryContextSwitchTo(old);
}

/* Refused rows make way, and are no longer counted as refused. */
static void
write_superseded(List *superseded)
{
	Datum		value = outbox_int8_array(seqs_of(superseded), list_length(superseded));
	uint64		n = outbox_run(OUTBOX_SETTLE_SUPERSEDED, &value, NULL);

	for (uint64 i = 0; i < n; i++)
	{
		Tally	   *tally = &window_chatbot(outbox_get_text(i, 1))->tally;
		char	   *status = outbox_get_text(i, 2);

		if (strcmp(status, "conflict") == 0)
			tally->conflict--;
		else if (strcmp(status, "rejected") == 0)
			tally->rejected--;
		else
			tally->failed--;
	}
	if (n < (uint64) list_length(superseded))
		keep_unsuperseded(value);
}

bool
intents_are_behind(void)
{
	return unsuperseded != NIL;
}

/* Tries again what was found locked. */
static void
supersede_again(void)
{
	List	   *again = unsuperseded;

	if (again == NIL)
		return;
	unsuperseded = NIL;
	write_superseded(again);
	list_free_deep(again);
}

/* What somebody holds locked is kept in mind. */
static void
write_doubtful(List *doubtful)
{
	int64	   *seqs = seqs_of(doubtful);
	int			n = list_length(doubtful);
	const char *why = "an earlier version of it was sent, and may have been created";

	if (answers_mark_unconfirmed(seqs, n, 0, why) == (uint64) n)
		return;
	for (int i = 0; i < n; i++)
		recover_note(seqs[i]);
}

void
intents_decide(void)
{
	Decisions	decisions = {0};
	List	   *looks = queue_take_looks();

	supersede_again();
	if (looks == NIL)
		return;
	decide_looks(&decisions, looks);
	if (decisions.unsent)
		write_unsent(decisions.unsent);
	if (decisions.superseded)
		write_superseded(decisions.superseded);
	if (decisions.doubtful)
		write_doubtful(decisions.doubtful);
	queue_free_looks(looks);
}
