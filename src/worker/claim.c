/*
 * claim.c
 *		Taking up rows that have been read.
 *
 * Which rows are read is for reading.c.  A row that is read for a chatbot that
 * has enough to do, or is paused, is passed over and remembered in the chatbot's own
 * ranges.  A contact with several intents is left to intents.c before any of them is
 * sent.
 */
#include "postgres.h"

#include "access/xact.h"
#include "compat.h"
#include "contact/contact.h"
#include "server/settings.h"
#include "server/shared.h"
#include "util/clock.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "worker/claim.h"
#include "worker/due.h"
#include "worker/lineage.h"
#include "worker/load.h"
#include "worker/lookups.h"
#include "worker/pause.h"
#include "worker/queues.h"
#include "worker/retries.h"
#include "worker/singles.h"
#include "worker/writes.h"

/*
 * JSON kept in memory.  Beyond it each chatbot may have one contact, so that none waits
 * for another's.
 */
#define MAX_WINDOW_BYTES (16 * 1024 * 1024)

/* More failures than anybody counts; the number is still to be added to. */
#define MAX_ATTEMPTS 1000000000

/* Batches taken up in advance for each request that may be under way. */
#define BATCHES_A_SLOT 2

/*
 * Contacts taken up that change, and that are deleted: some minutes' worth, so that others are
 * seen beside them; of these at least as many as the brake has to count, which need little memory.
 */
#define MAX_UPDATES 2000
#define MAX_DELETES 50000

/* Rows that are passed over and no further apart are read together later. */
#define NEAR 1000

static List *loaded_unconfirmed = NIL;	/* of Contact *, by the read under way */

bool
claim_has_room(const Chatbot *chatbot, RequestCall call)
{
	int			n = chatbot->by_call[call];

	if (pause_is_on(chatbot))
		return false;
	if (call == CALL_DELETE)
		return n < MAX_DELETES || n <= settings_max_pending_deletes;
	if (call == CALL_UPDATE ? n >= MAX_UPDATES : n + chatbot->unwritten >=
		settings_max_concurrent_requests * settings_batch_size * BATCHES_A_SLOT)
		return false;
	return n == 0 || window_bytes() < MAX_WINDOW_BYTES;
}

/* True if the URL of a contact has a place for it: see contact_check_chatbot_id(). */
static bool
fits_a_path(const char *external_id)
{
	return strcmp(external_id, ".") != 0 && strcmp(external_id, "..") != 0;
}

/* Gives a contact its queue. */
static void
enter_queue(Contact *contact)
{
	if (contact->call != CALL_CREATE)
		singles_add(contact);
	else if (contact->unconfirmed)
	{
		MemoryContext old = MemoryContextSwitchTo(worker.context);

		loaded_unconfirmed = lappend(loaded_unconfirmed, contact);
		MemoryContextSwitchTo(old);
	}
	else
		isolation_add(contact->chatbot->isolation, &contact->node);
}

/* Makes what is sent of a row; returns why it cannot be, or NULL. */
static const char *
make_contact(const OutboxRow *row, NewContact *new)
{
	const char *path = new->previous ? new->previous : new->external_id;

	if (new->call != CALL_CREATE && !fits_a_path(path))
		return "it cannot be changed: no URL can have its external_id";
	if (new->call != CALL_DELETE)
		return load_contact(row->contact, new);
	new->external_id_utf8 = contact_to_utf8(new->external_id);
	return new->external_id_utf8 ? NULL : "its external_id cannot be converted to UTF-8";
}

/* Keeps which members the contact has, and what clears those that have gone. */
static void
take_members(Contact *contact, const NewContact *new)
{
	MemoryContext old;

	if (new->members == NULL)
		return;
	old = MemoryContextSwitchTo(worker.context);
	contact->members = DatumGetByteaPCopy(PointerGetDatum(new->members));
	if (new->cleared)
	{
		contact->cleared = pstrdup(new->cleared);
		contact->gone = pstrdup(new->gone);
		contact->kept = DatumGetByteaPCopy(PointerGetDatum(new->kept));
	}
	MemoryContextSwitchTo(old);
}

/*
 * Takes the contact of a row into the window; load: as has been decided, or NULL: it is to be
 * created.
 */
static void
load_row(OutboxScan *scan, const OutboxRow *row, Chatbot *chatbot, const char *external_id,
		 const Load *load)
{
	NewContact	new = {.chatbot = chatbot, .external_id = external_id};
	bool		says_so;
	bool		from_elsewhere;
	bool		has_others;
	const char *why;
	Contact    *contact;

	if (!chatbot->switches_known)
		singles_read_switches(list_make1(chatbot));
	if (load)
	{
		new.call = load->call;
		new.previous = load->previous;
		new.sent_members = load->sent_members;
	}
	/* What withdraws has nothing to send, whatever was written into its row by hand. */
	if (row->withdrawal != (new.call == CALL_DELETE))
		return;
	new.seq = row->seq;
	new.tid = row->tid;
	says_so = row->unconfirmed || writes_have_doubt(row->seq);
	/* A row with a number of its own may be a dump's, whose lineage comes later. */
	from_elsewhere = row->is_ahead || lineage_is_in_doubt(row->enqueued_at);
	new.unconfirmed = says_so || from_elsewhere;
	new.attempts = Min(Max(row->attempts, 0), MAX_ATTEMPTS);
	why = make_contact(row, &new);
	if (why == NULL && load && load->sent_hash != 0 &&
		contact_hash(new.json, new.length) == load->sent_hash)
	{
		writes_unsent(chatbot, external_id, row->seq, OUTBOX_SKIPPED, false, NULL);
		return;
	}
	if (new.external_id_utf8 == NULL)
		new.external_id_utf8 = external_id;
	contact = window_add(&new);
	if (why)
	{
		writes_settle(contact, OUTBOX_REJECTED, 0, why);
		return;
	}
	take_members(contact, &new);
	contact->checked_at = clock_us();
	contact->says_so = says_so;
	has_others = contact->unconfirmed && outbox_scan_has_others(scan, row);
	contact->look_again = has_others || (load && load->has_others);
	contact->is_only_version = !from_elsewhere && !has_others;
	enter_queue(contact);
}

/* It was deferred, and is due; it goes alone. */
static void
requeue(Contact *contact, const OutboxRow *row)
{
	window_move(contact, CONTACT_QUEUED);
	contact->tid = row->tid;
	contact->checked_at = clock_us();
	if (contact->call == CALL_CREATE)
	{
		contact->lookups = 0;
		lookups_add(&contact, 1);
	}
	else
		retries_enqueue(contact);
}

/* Whether there is no room for a row; then it is read again later. */
static bool
is_passed_over(Chatbot *chatbot, int64 seq, RequestCall call)
{
	if (claim_has_room(chatbot, call))
		return false;
	/* What it has waiting below has been read, up to here. */
	if (chatbot->reading[call])
		ranges_remove_up_to(&chatbot->waiting[call], seq - 1);
	chatbot->reading[call] = false;
	ranges_add_near(&chatbot->waiting[call], seq, NEAR);
	return true;
}

static Claim
claim_pending(OutboxScan *scan, const OutboxRow *row, const Load *load)
{
	Chatbot    *chatbot = window_chatbot(TextDatumGetCString(row->chatbot_id));
	char	   *external_id = TextDatumGetCString(row->external_id);
	bool		is_change;

	if (row->next_attempt_at > GetCurrentTransactionStartTimestamp())
	{
		due_note(chatbot, TimestampDifferenceMilliseconds(GetCurrentTransactionStartTimestamp(),
														  row->next_attempt_at));
		return CLAIM_NOTHING;
	}
	/* The row of a contact that is in the window may have been deleted since. */
	if (window_find_contact(chatbot, external_id))
	{
		queue_look(chatbot, external_id, false);
		return CLAIM_TAKEN;
	}
	/* Deletions are all taken up, beside whatever backlog there is: the brake counts them. */
	if (is_passed_over(chatbot, row->seq, load ? load->call :
					   row->withdrawal && chatbot->deletes ? CALL_DELETE : CALL_CREATE))
		return CLAIM_PASSED_OVER;
	is_change = load == NULL &&
		(row->withdrawal || row->is_moved || outbox_scan_has_others(scan, row));
	if (is_change && !row->withdrawal && chatbot->updates &&
		is_passed_over(chatbot, row->seq, CALL_UPDATE))
		return CLAIM_PASSED_OVER;
	if (is_change)
		queue_look(chatbot, external_id, false);
	else
		load_row(scan, row, chatbot, external_id, load);
	return CLAIM_TAKEN;
}

Claim
claim_row(OutboxScan *scan, const OutboxRow *row, const Load *load)
{
	static MemoryContext context = NULL;
	Contact    *contact;
	MemoryContext old;
	Claim		claim;

	if (row->status != OUTBOX_PENDING || writes_have_outcome(row->seq))
		return CLAIM_NOTHING;
	contact = window_find(row->seq);
	if (contact && contact->state == CONTACT_DEFERRED &&
		row->next_attempt_at <= GetCurrentTransactionStartTimestamp())
		requeue(contact, row);
	if (contact)
		return CLAIM_NOTHING;
	if (context == NULL)
		context = AllocSetContextCreate(worker.context, "contacts_push row", ALLOCSET_DEFAULT_SIZES);
	/* All that a row brings with it is copied; of large ones a thousand must not pile up. */
	old = MemoryContextSwitchTo(context);
	claim = claim_pending(scan, row, load);
	MemoryContextSwitchTo(old);
	MemoryContextReset(context);
	return claim;
}

/* It has failed alone. */
static bool
is_suspect(const Contact *contact)
{
	return contact->attempts > 0 || contact->tried_at >= 0;
}

/*
 * Unconfirmed contacts of one read are handed over as one group: they went
 * together, or if they did not, that costs requests and no outcome.  Suspects go
 * alone.
 */
void
claim_finish(void)
{
	List	   *left = loaded_unconfirmed;

	loaded_unconfirmed = NIL;
	while (left != NIL)
	{
		Contact    *first = linitial(left);
		Contact    *together[CONTACT_MAX_USERS];
		List	   *rest = NIL;
		int			n = 0;
		ListCell   *cell;

		foreach(cell, left)
		{
			Contact    *contact = lfirst(cell);

			if (contact == first ||
				(contact->chatbot == first->chatbot && n < CONTACT_MAX_USERS &&
				 !is_suspect(first) && !is_suspect(contact)))
				together[n++] = contact;
			else
				rest = lappend(rest, contact);
		}
		lookups_add(together, n);
		list_free(left);
		left = rest;
	}
}

void
claim_by_seq(const int64 *seqs, int n)
{
	OutboxScan *scan;
	OutboxRow	row;

	if (n == 0)
		return;
	scan = outbox_scan_begin();
	for (int i = 0; i < n; i++)
	{
		outbox_scan_range(scan, seqs[i], seqs[i]);
		if (outbox_scan_next(scan, &row))
			(void) claim_row(scan, &row, NULL);
	}
	outbox_scan_end(scan);
	claim_finish();
}

void
claim_load(void)
{
	Load	   *loads;
	int			n = queue_take_loads(&loads);
	OutboxScan *scan;
	OutboxRow	row;

	if (n == 0)
		return;
	scan = outbox_scan_begin();
	for (int i = 0; i < n; i++)
	{
		outbox_scan_range(scan, loads[i].seq, loads[i].seq);
		if (outbox_scan_next(scan, &row))
			(void) claim_row(scan, &row, &loads[i]);
	}
	outbox_scan_end(scan);
	claim_finish();
	queue_free_loads(loads, n);
}
