/*
 * writes.c
 *		Writing down what became of contacts.
 *
 * Outcomes are collected here until the pass writes them, many in one
 * statement.  What an outcome is, is decided in answers.c.
 */
#include "postgres.h"

#include "compat.h"
#include "store/outbox.h"
#include "util/clock.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "worker/charges.h"
#include "worker/due.h"
#include "worker/owners.h"
#include "worker/queues.h"
#include "worker/writes.h"

/* Contacts whose outcome is to be written. */
static List *settling = NIL;	/* of Contact *, in worker.context */
static bool behind = false;

bool
writes_are_behind(void)
{
	return behind;
}

void
writes_add(Contact *contact, OutcomeKind outcome, int http_status, const char *text)
{
	MemoryContext old;

	if (outcome == OUTCOME_CREATED || outcome == OUTCOME_PRESENT)
		owners_note(contact);
	window_leave_queues(contact);
	contact->state = CONTACT_WRITING;
	contact->outcome = outcome;
	contact->http_status = http_status;
	contact->text = window_strdup(text);
	old = MemoryContextSwitchTo(worker.context);
	settling = lappend(settling, contact);
	MemoryContextSwitchTo(old);
}

static const char *
status_of(OutcomeKind outcome)
{
	switch (outcome)
	{
		case OUTCOME_CREATED:
			return "created";
		case OUTCOME_PRESENT:
			return "present";
		case OUTCOME_CONFLICT:
			return "conflict";
		case OUTCOME_REJECTED:
			return "rejected";
		case OUTCOME_FAILED:
			return "failed";
		case OUTCOME_PUT_OFF:
			break;
	}
	return "pending";
}

static void
count(Contact *contact)
{
	Tally	   *tally = &contact->chatbot->tally;

	switch (contact->outcome)
	{
		case OUTCOME_CREATED:
			tally->created++;
			break;
		case OUTCOME_PRESENT:
			tally->present++;
			break;
		case OUTCOME_CONFLICT:
			tally->conflict++;
			break;
		case OUTCOME_REJECTED:
			tally->rejected++;
			break;
		case OUTCOME_FAILED:
			tally->failed++;
			break;
		case OUTCOME_PUT_OFF:
			return;
	}
	worker.settled_contacts++;
}

/* Contacts to be written by one statement, as its arguments. */
typedef struct Batch
{
	int			n;
	Contact   **contacts;
	int64	   *seqs;
	char	  **statuses;
	char	  **texts;
	int		   *http_statuses;
} Batch;

static void
make_batch(Batch *batch, int max)
{
	batch->n = 0;
	batch->contacts = palloc(max * sizeof(Contact *));
	batch->seqs = palloc(max * sizeof(int64));
	batch->statuses = palloc(max * sizeof(char *));
	batch->texts = palloc(max * sizeof(char *));
	batch->http_statuses = palloc(max * sizeof(int));
}

static void
add_to_batch(Batch *batch, Contact *contact)
{
	batch->contacts[batch->n] = contact;
	batch->seqs[batch->n] = contact->seq;
	batch->statuses[batch->n] = unconstify(char *, status_of(contact->outcome));
	batch->texts[batch->n] = contact->text;
	batch->http_statuses[batch->n] = contact->http_status;
	batch->n++;
}

/* Those that the last statement, which returned their seqs, has not written. */
static List *
find_unwritten(Batch *batch, uint64 written)
{
	List	   *still = NIL;
	Datum		value = outbox_int8_array(batch->seqs, batch->n);
	uint64		n;

	for (uint64 i = 0; i < written; i++)
		window_find(outbox_get_int64(i, 1))->written = true;
	if (written == (uint64) batch->n)
		return NIL;
	n = outbox_run(OUTBOX_STILL_PENDING, &value, NULL);
	for (uint64 i = 0; i < n; i++)
	{
		Contact    *contact = window_find(outbox_get_int64(i, 1));

		if (!contact->written)
		{
			contact->is_behind = true;
			still = lappend(still, contact);
		}
	}
	return still;
}

/*
 * Their requests are not over: if this worker ended now, the next one would have
 * to know that they were sent.
 */
static void
keep_for_later(List *contacts)
{
	MemoryContext old = MemoryContextSwitchTo(worker.context);
	int64	   *ids = palloc(list_length(contacts) * sizeof(int64));
	int			n = 0;
	Datum		value;
	ListCell   *cell;

	foreach(cell, contacts)
	{
		Contact    *contact = lfirst(cell);

		settling = lappend(settling, contact);
		if (contact->request_id != 0)
			ids[n++] = contact->request_id;
	}
	behind = true;
	MemoryContextSwitchTo(old);
	value = outbox_int8_array(ids, n);
	pfree(ids);
	outbox_run(OUTBOX_REQUEST_REOPEN, &value, NULL);
}

/* True for one that was sent, and not refused without a doubt. */
static bool
may_exist(const Contact *contact)
{
	return contact->unconfirmed ||
		(contact->request_id != 0 && contact->outcome != OUTCOME_CONFLICT &&
		 contact->outcome != OUTCOME_REJECTED);
}

/*
 * Lets go of what was written.  written less than the batch: somebody holds rows
 * locked, which are tried again, or has changed them by hand, which is fine.
 */
static void
let_go(Batch *batch, uint64 written)
{
	List	   *still = find_unwritten(batch, written);

	for (int i = 0; i < batch->n; i++)
	{
		Contact    *contact = batch->contacts[i];

		if (contact->is_behind)
		{
			contact->is_behind = false;
			continue;
		}
		if (contact->written)
			count(contact);
		if (contact->look_again && !contact->written && may_exist(contact))
			queue_look(contact->chatbot, contact->external_id, true);
		else if (contact->look_again)
			queue_look(contact->chatbot, contact->external_id, false);
		if (contact->outcome != OUTCOME_PUT_OFF)
			charges_forget(contact);
		window_remove(contact);
	}
	if (still != NIL)
		keep_for_later(still);
}

static void
write_created(Batch *batch)
{
	Datum		values[2] = {
		outbox_int8_array(batch->seqs, batch->n), outbox_text_array(batch->texts, batch->n)
	};

	let_go(batch, outbox_run(OUTBOX_SETTLE_CREATED, values, NULL));
}

static void
write_refused(Batch *batch)
{
	Datum		values[4] = {
		outbox_int8_array(batch->seqs, batch->n),
		outbox_text_array(batch->statuses, batch->n),
		outbox_int4_array(batch->http_statuses, batch->n),
		outbox_text_array(batch->texts, batch->n)
	};

	let_go(batch, outbox_run(OUTBOX_SETTLE_REFUSED, values, NULL));
}

static void
write_put_off(Contact *contact)
{
	Datum		values[5] = {
		Int64GetDatum(contact->seq), Int32GetDatum(contact->attempts),
		Int64GetDatum(contact->delay_ms), Int32GetDatum(contact->http_status),
		CStringGetTextDatum(contact->text)
	};
	char		nulls[5] = {' ', ' ', ' ', contact->http_status ? ' ' : 'n', ' '};
	Batch		batch;

	make_batch(&batch, 1);
	add_to_batch(&batch, contact);
	let_go(&batch, outbox_run(OUTBOX_CHARGE, values, nulls));
	due_changed();
}

/* Adds what was settled to the chatbot's row, or notes it where somebody holds that. */
static void
write_tally(Chatbot *chatbot)
{
	Tally		none = {0};
	Tally	   *tally = &chatbot->tally;
	Datum		values[6] = {
		CStringGetTextDatum(chatbot->id), Int64GetDatum(tally->created),
		Int64GetDatum(tally->present), Int64GetDatum(tally->conflict),
		Int64GetDatum(tally->rejected), Int64GetDatum(tally->failed)
	};

	if (memcmp(tally, &none, sizeof(none)) == 0)
		return;
	if (outbox_run(OUTBOX_CHATBOT_COUNT, values, NULL) == 0)
	{
		outbox_run(OUTBOX_TALLY, values, NULL);
		/* or it has been deleted */
		chatbot->has_row = false;
	}
	*tally = none;
}

/* The same for the attributes that it does not know. */
static void
write_attributes(Chatbot *chatbot)
{
	char	   *names[ATTRIBUTES_MAX];
	int			n = 0;
	Datum		values[2];

	if (!chatbot->attributes_changed)
		return;
	for (int i = 0; i < chatbot->attributes.n; i++)
		if (chatbot->attributes.stripped & (UINT64CONST(1) << i))
			names[n++] = chatbot->attributes.names[i];
	values[0] = CStringGetTextDatum(chatbot->id);
	values[1] = outbox_text_array(names, n);
	chatbot->attributes_changed = outbox_run(OUTBOX_CHATBOT_STRIPPED, values, NULL) == 0;
}

/* The same for when it is tried again after failures. */
static void
write_backoff(Chatbot *chatbot)
{
	bool		answers = chatbot->backoff.failures == 0;
	Datum		values[3];
	char		nulls[3] = {' ', answers ? 'n' : ' ', answers ? 'n' : ' '};

	if (!chatbot->backoff_unwritten)
		return;
	values[0] = CStringGetTextDatum(chatbot->id);
	values[1] = Int64GetDatum((chatbot->backoff.until - clock_us()) / 1000);
	values[2] = answers ? (Datum) 0 : CStringGetTextDatum(chatbot->backoff_reason);
	chatbot->backoff_unwritten = outbox_run(OUTBOX_CHATBOT_BACKOFF, values, nulls) == 0;
}

void
writes_flush(void)
{
	List	   *now = settling;
	Batch		created;
	Batch		refused;
	ListCell   *cell;

	behind = false;
	settling = NIL;
	if (now != NIL)
	{
		make_batch(&created, list_length(now));
		make_batch(&refused, list_length(now));
		foreach(cell, now)
		{
			Contact    *contact = lfirst(cell);

			if (contact->outcome == OUTCOME_PUT_OFF)
				write_put_off(contact);
			else
				add_to_batch(contact->outcome == OUTCOME_CREATED ? &created : &refused, contact);
		}
		if (created.n > 0)
			write_created(&created);
		if (refused.n > 0)
			write_refused(&refused);
		list_free(now);
	}
	foreach(cell, window_chatbots())
	{
		write_tally(lfirst(cell));
		write_attributes(lfirst(cell));
		write_backoff(lfirst(cell));
	}
}
