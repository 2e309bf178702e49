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
#include "worker/pause.h"
#include "worker/queues.h"
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

/* Rows that are passed over and no further apart are read together later. */
#define NEAR 1000

static List *loaded_unconfirmed = NIL;	/* of Contact *, by the read under way */

bool
claim_has_room(const Chatbot *chatbot)
{
	int			enough = settings_max_concurrent_requests * settings_batch_size * BATCHES_A_SLOT;

	if (pause_is_on(chatbot) || chatbot->contacts + chatbot->unwritten >= enough)
		return false;
	return chatbot->contacts == 0 || window_bytes() < MAX_WINDOW_BYTES;
}

/* Takes the contact of a row into the window. */
static void
load_row(OutboxScan *scan, const OutboxRow *row, Chatbot *chatbot, const char *external_id)
{
	NewContact	new = {0};
	bool		says_so;
	const char *why;
	Contact    *contact;
	MemoryContext old;

	/* A withdrawal is never sent, whatever was written into its row by hand. */
	if (row->withdrawal)
		return;
	new.seq = row->seq;
	new.tid = row->tid;
	new.chatbot = chatbot;
	new.external_id = external_id;
	says_so = row->unconfirmed || writes_have_doubt(row->seq);
	/* A row with a number of its own may be a dump's, whose lineage comes later. */
	new.unconfirmed = says_so || row->is_ahead || lineage_is_in_doubt(row->enqueued_at);
	new.attempts = Min(Max(row->attempts, 0), MAX_ATTEMPTS);
	why = load_contact(row->contact, &new);
	contact = window_add(&new);
	if (why)
	{
		writes_settle(contact, OUTBOX_REJECTED, 0, why);
		return;
	}
	contact->checked_at = clock_us();
	contact->says_so = says_so;
	if (contact->unconfirmed)
	{
		contact->look_again = outbox_scan_has_others(scan, row);
		old = MemoryContextSwitchTo(worker.context);
		loaded_unconfirmed = lappend(loaded_unconfirmed, contact);
		MemoryContextSwitchTo(old);
	}
	else
		isolation_add(chatbot->isolation, &contact->node);
}

/* It was deferred, and is due; it goes alone. */
static void
requeue(Contact *contact, const OutboxRow *row)
{
	IsolationNode *node = &contact->node;

	window_move(contact, CONTACT_QUEUED);
	contact->tid = row->tid;
	contact->checked_at = clock_us();
	if (!isolation_add_unconfirmed(contact->chatbot->isolation, &node, 1))
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory")));
}

static void
pass_over(Chatbot *chatbot, int64 seq)
{
	/* What it has waiting below has been read, up to here. */
	if (chatbot->reading)
		ranges_remove_up_to(&chatbot->waiting, seq - 1);
	chatbot->reading = false;
	ranges_add_near(&chatbot->waiting, seq, NEAR);
}

static Claim
claim_pending(OutboxScan *scan, const OutboxRow *row, bool looked_at)
{
	Chatbot    *chatbot = window_chatbot(TextDatumGetCString(row->chatbot_id));
	char	   *external_id = TextDatumGetCString(row->external_id);
	bool		is_taken_up;

	if (row->next_attempt_at > GetCurrentTransactionStartTimestamp())
	{
		due_note(chatbot, TimestampDifferenceMilliseconds(GetCurrentTransactionStartTimestamp(),
														  row->next_attempt_at));
		return CLAIM_NOTHING;
	}
	/* The row of a contact that is in the window may have been deleted since. */
	is_taken_up = window_find_contact(chatbot, external_id) != NULL;
	if (!is_taken_up && !claim_has_room(chatbot))
	{
		pass_over(chatbot, row->seq);
		return CLAIM_PASSED_OVER;
	}
	if (is_taken_up ||
		(!looked_at && (row->withdrawal || outbox_scan_has_others(scan, row))))
		queue_look(chatbot, external_id, false);
	else
		load_row(scan, row, chatbot, external_id);
	return CLAIM_TAKEN;
}

Claim
claim_row(OutboxScan *scan, const OutboxRow *row, bool looked_at)
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
	claim = claim_pending(scan, row, looked_at);
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
		IsolationNode *nodes[CONTACT_MAX_USERS];
		List	   *rest = NIL;
		int			n = 0;
		ListCell   *cell;

		foreach(cell, left)
		{
			Contact    *contact = lfirst(cell);

			if (contact == first ||
				(contact->chatbot == first->chatbot && n < CONTACT_MAX_USERS &&
				 !is_suspect(first) && !is_suspect(contact)))
				nodes[n++] = &contact->node;
			else
				rest = lappend(rest, contact);
		}
		if (!isolation_add_unconfirmed(first->chatbot->isolation, nodes, n))
			ereport(ERROR,
					(errcode(ERRCODE_OUT_OF_MEMORY),
					 errmsg("out of memory")));
		list_free(left);
		left = rest;
	}
}

void
claim_by_seq(const int64 *seqs, int n, bool looked_at)
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
			(void) claim_row(scan, &row, looked_at);
	}
	outbox_scan_end(scan);
	claim_finish();
}

static int
compare_seqs(const void *a, const void *b)
{
	int64		left = *(const int64 *) a;
	int64		right = *(const int64 *) b;

	return left < right ? -1 : left > right;
}

void
claim_load(void)
{
	int64	   *seqs;
	int			n = queue_take_loads(&seqs);

	qsort(seqs, n, sizeof(int64), compare_seqs);
	claim_by_seq(seqs, n, true);
}
