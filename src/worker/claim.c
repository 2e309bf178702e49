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

#include "compat.h"
#include "server/settings.h"
#include "server/shared.h"
#include "store/outbox.h"
#include "util/clock.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "worker/answers.h"
#include "worker/charges.h"
#include "worker/claim.h"
#include "worker/lineage.h"
#include "worker/load.h"
#include "worker/pause.h"
#include "worker/queues.h"
#include "worker/recover.h"
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

/* Rows found locked are tried again after that. */
#define LOCKED_RETRY_US (INT64CONST(1000) * 1000)

typedef struct LockedRow
{
	Chatbot    *chatbot;
	int64		seq;
} LockedRow;

static int64 *doubtful;			/* seqs that others may have sent, found by the read under way */
static int	ndoubtful;
static List *loaded_unconfirmed = NIL;	/* of Contact *, by the read under way */
static List *locked_rows = NIL; /* of LockedRow * */
static int64 locked_retry_at = 0;

bool
claim_has_room(const Chatbot *chatbot)
{
	int			enough = settings_max_concurrent_requests * settings_batch_size * BATCHES_A_SLOT;

	if (pause_is_on(chatbot))
		return false;
	return chatbot->contacts == 0 ||
		(chatbot->contacts < enough && window_bytes() < MAX_WINDOW_BYTES);
}

void
claim_locked(Chatbot *chatbot, int64 seq)
{
	MemoryContext old = MemoryContextSwitchTo(worker.context);
	LockedRow  *row = palloc(sizeof(LockedRow));

	row->chatbot = chatbot;
	row->seq = seq;
	locked_rows = lappend(locked_rows, row);
	locked_retry_at = clock_us() + LOCKED_RETRY_US;
	MemoryContextSwitchTo(old);
}

void
claim_release_locked(void)
{
	ListCell   *cell;

	if (locked_rows == NIL || locked_retry_at > clock_us())
		return;
	foreach(cell, locked_rows)
	{
		LockedRow  *row = lfirst(cell);

		ranges_add(&row->chatbot->waiting, row->seq, row->seq);
	}
	list_free_deep(locked_rows);
	locked_rows = NIL;
}

int64
claim_locked_retry_at(void)
{
	return locked_rows == NIL ? PG_INT64_MAX : locked_retry_at;
}

/* Takes the contact of row i of the last read into the window. */
static void
load_row(uint64 i, Chatbot *chatbot, const char *external_id)
{
	NewContact	new = {0};
	const char *why;
	bool		isnull;
	Contact    *contact;
	MemoryContext old;

	/* A withdrawal is never sent, whatever was written into its row by hand. */
	(void) outbox_get(i, OUTBOX_CONTACT, &isnull);
	if (isnull)
		return;
	new.seq = outbox_get_int64(i, OUTBOX_SEQ);
	new.chatbot = chatbot;
	new.external_id = external_id;
	new.unconfirmed = outbox_get_bool(i, OUTBOX_IS_UNCONFIRMED);
	new.attempts = Min(Max(outbox_get_int(i, OUTBOX_ATTEMPTS), 0), MAX_ATTEMPTS);
	if (new.unconfirmed)
		recover_forget(new.seq);
	else if (recover_is_noted(new.seq))
	{
		new.unconfirmed = true;
		doubtful[ndoubtful++] = new.seq;
	}
	/* A row with a number of its own may be a dump's, whose lineage comes later. */
	new.unconfirmed |= outbox_get_bool(i, OUTBOX_IS_AHEAD) ||
		lineage_is_in_doubt(outbox_get_timestamp(i, OUTBOX_ENQUEUED_AT));
	why = load_contact(i, &new);
	if (why)
	{
		writes_add(window_add(&new), OUTCOME_REJECTED, 0, why);
		return;
	}
	contact = window_add(&new);
	contact->checked_at = clock_us();
	contact->look_again = contact->unconfirmed && outbox_get_bool(i, OUTBOX_HAS_OTHERS);
	if (contact->unconfirmed)
	{
		contact->tried_at = charges_failed_at(contact);
		old = MemoryContextSwitchTo(worker.context);
		loaded_unconfirmed = lappend(loaded_unconfirmed, contact);
		MemoryContextSwitchTo(old);
	}
	else
		isolation_add(chatbot->isolation, &contact->node);
}

/*
 * Row i of the last read: takes it up, or remembers where it was and returns false.
 * looked_at: its contact's other intents need no look any more.
 */
static bool
take_row(uint64 i, bool looked_at)
{
	int64		seq = outbox_get_int64(i, OUTBOX_SEQ);
	Chatbot    *chatbot;
	char	   *external_id;
	bool		withdrawal;
	bool		is_taken_up;

	/* A later attempt is found when it is due, a row in the window is known. */
	if (!outbox_get_bool(i, OUTBOX_IS_PENDING) || outbox_get_bool(i, OUTBOX_IS_LATER) ||
		window_find(seq))
		return true;
	chatbot = window_chatbot(outbox_get_text(i, OUTBOX_CHATBOT_ID));
	external_id = outbox_get_text(i, OUTBOX_EXTERNAL_ID);
	/* The row of a contact that is in the window may have been deleted since. */
	is_taken_up = window_find_contact(chatbot, external_id) != NULL;
	if (!is_taken_up && !claim_has_room(chatbot))
	{
		ranges_add(&chatbot->waiting, seq, seq);
		return false;
	}
	(void) outbox_get(i, OUTBOX_CONTACT, &withdrawal);
	if (is_taken_up || (!looked_at && (withdrawal || outbox_get_bool(i, OUTBOX_HAS_OTHERS))))
		queue_look(chatbot, external_id, false);
	else
		load_row(i, chatbot, external_id);
	return true;
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
static void
hand_over_unconfirmed(void)
{
	while (loaded_unconfirmed != NIL)
	{
		Contact    *first = linitial(loaded_unconfirmed);
		IsolationNode **nodes = palloc(list_length(loaded_unconfirmed) * sizeof(IsolationNode *));
		List	   *rest = NIL;
		int			n = 0;
		ListCell   *cell;

		foreach(cell, loaded_unconfirmed)
		{
			Contact    *contact = lfirst(cell);

			if (contact == first || (contact->chatbot == first->chatbot &&
									 !is_suspect(first) && !is_suspect(contact)))
				nodes[n++] = &contact->node;
			else
				rest = lappend(rest, contact);
		}
		if (!isolation_add_unconfirmed(first->chatbot->isolation, nodes, n))
			ereport(ERROR,
					(errcode(ERRCODE_OUT_OF_MEMORY),
					 errmsg("out of memory")));
		loaded_unconfirmed = rest;
	}
}

uint64
claim_rows(uint64 n, bool looked_at)
{
	uint64		passed_over = 0;
	MemoryContext old = CurrentMemoryContext;
	MemoryContext row = AllocSetContextCreate(old, "contacts_push row", ALLOCSET_DEFAULT_SIZES);

	doubtful = palloc(Max(n, 1) * sizeof(int64));
	ndoubtful = 0;
	/* All that a row brings with it is copied; of large ones a thousand must not pile up. */
	MemoryContextSwitchTo(row);
	for (uint64 i = 0; i < n; i++)
	{
		passed_over += !take_row(i, looked_at);
		MemoryContextReset(row);
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(row);
	hand_over_unconfirmed();
	/* The next worker has to know it, too. */
	if (answers_mark_unconfirmed(doubtful, ndoubtful, 0,
								"it may have been sent by an earlier worker") == (uint64) ndoubtful)
		for (int i = 0; i < ndoubtful; i++)
			recover_forget(doubtful[i]);
	return passed_over;
}

void
claim_by_seq(const int64 *seqs, int n, bool looked_at)
{
	Datum		value = outbox_int8_array(seqs, n);

	(void) claim_rows(outbox_run(OUTBOX_READ_BY_SEQ, &value, NULL), looked_at);
}

void
claim_load(void)
{
	int64	   *seqs;
	int			n = queue_take_loads(&seqs);

	if (n > 0)
		claim_by_seq(seqs, n, true);
}
