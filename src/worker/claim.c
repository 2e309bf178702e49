/*
 * claim.c
 *		Taking up what is pending.
 *
 * Rows are read in the order of their numbers above a mark, once.  What
 * is passed over is remembered: rows whose chatbot has enough to do or is paused
 * in the chatbot's own ranges, numbers of transactions that were open in gaps.c.
 * So the cost does not depend on how many rows are settled, and no row is missed.
 *
 * A contact with several intents is left to intents.c before any of them is sent.
 */
#include "postgres.h"

#include "chatbase/reply.h"
#include "compat.h"
#include "contact/contact.h"
#include "server/settings.h"
#include "server/shared.h"
#include "store/outbox.h"
#include "util/clock.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "worker/charges.h"
#include "worker/claim.h"
#include "worker/gaps.h"
#include "worker/intents.h"
#include "worker/outcome.h"
#include "worker/pause.h"
#include "worker/recover.h"
#include "worker/settle.h"

/* Rows read by one statement: more would keep answers waiting too long. */
#define ROWS_A_READ 1000

/* JSON kept in memory, but for what one read brings beyond it. */
#define MAX_WINDOW_BYTES (16 * 1024 * 1024)

/*
 * A contact of so few bytes costs nothing to speak of to read in an answer: none can
 * cost more than 360 bytes a byte (an empty object and its comma), and so 1000 of them
 * no more than a third of REPLY_MAX_COST.
 */
#define CHEAP_BYTES 256

/* Batches taken up in advance for each request that may be under way. */
#define BATCHES_A_SLOT 2

/* Numbers below the mark are looked at again that often, against what was written
 * there by hand. */
#define SWEEP_US (INT64CONST(3600) * 1000 * 1000)

/* Rows found locked are tried again after that. */
#define LOCKED_RETRY_US (INT64CONST(1000) * 1000)

/* While all known chatbots are busy, unknown ones are looked for that often. */
#define DISCOVERY_US (INT64CONST(1000) * 1000)

/* Reads above the mark in one pass; answers wait no longer than they take. */
#define TAIL_READS 8

typedef struct LockedRow
{
	Chatbot    *chatbot;
	int64		seq;
} LockedRow;

static int64 mark = 0;			/* everything up to here has been read or passed */
static bool tail_read = false;	/* nothing was visible above it */
static int64 *doubtful;			/* seqs that others may have sent, found by the read under way */
static int	ndoubtful;
static List *loaded_unconfirmed = NIL;	/* of Contact *, by the read under way */
static List *locked_rows = NIL; /* of LockedRow * */
static int64 locked_retry_at = 0;
static int64 next_sweep_at = 0;
static int64 next_due_at = PG_INT64_MAX;
static int64 next_discovery_at = 0;

static bool
can_take(const Chatbot *chatbot)
{
	int			enough = settings_max_concurrent_requests * settings_batch_size * BATCHES_A_SLOT;

	if (pause_is_on(chatbot))
		return false;
	return chatbot->contacts == 0 ||
		(chatbot->contacts < enough && window_bytes() < MAX_WINDOW_BYTES);
}

/* The chatbots whose contacts the next read leaves out, as its first argument. */
static Datum
skip_list(void)
{
	List	   *chatbots = window_chatbots();
	char	  **ids = palloc(Max(list_length(chatbots), 1) * sizeof(char *));
	int			n = 0;
	ListCell   *cell;

	foreach(cell, chatbots)
	{
		Chatbot    *chatbot = lfirst(cell);

		chatbot->skipped = !can_take(chatbot);
		if (chatbot->skipped)
			ids[n++] = chatbot->id;
	}
	return outbox_text_array(ids, n);
}

static Datum
paused_list(void)
{
	List	   *chatbots = window_chatbots();
	char	  **ids = palloc(Max(list_length(chatbots), 1) * sizeof(char *));
	int			n = 0;
	ListCell   *cell;

	foreach(cell, chatbots)
		if (pause_is_on(lfirst(cell)))
			ids[n++] = ((Chatbot *) lfirst(cell))->id;
	return outbox_text_array(ids, n);
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

static void
release_locked(void)
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

static void
out_of_memory(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_OUT_OF_MEMORY),
			 errmsg("out of memory")));
}

/* Takes the contact of row i of the last read into the window. */
static void
load_row(uint64 i, Chatbot *chatbot, const char *external_id)
{
	NewContact	new = {0};
	bool		isnull;
	Datum		value = outbox_get(i, OUTBOX_CONTACT, &isnull);
	JsonbContainer *json;
	char	   *why;
	Contact    *contact;

	/* A withdrawal is never sent, whatever was written into its row by hand. */
	if (isnull)
		return;
	json = &DatumGetJsonbP(value)->root;
	why = contact_check(json, "", external_id);
	new.seq = outbox_get_int64(i, OUTBOX_SEQ);
	new.chatbot = chatbot;
	new.external_id = external_id;
	new.external_id_utf8 = contact_to_utf8(external_id);
	new.unconfirmed = outbox_get_bool(i, OUTBOX_IS_UNCONFIRMED);
	if (new.unconfirmed)
		recover_forget(new.seq);
	else if (recover_is_noted(new.seq))
	{
		new.unconfirmed = true;
		doubtful[ndoubtful++] = new.seq;
	}
	new.attempts = outbox_get_int(i, OUTBOX_ATTEMPTS);
	if (why == NULL)
		new.json = contact_to_json(json, external_id, &new.length);
	if (why == NULL && (new.json == NULL || new.external_id_utf8 == NULL))
		why = "it has text that cannot be converted to UTF-8";
	if (why)
	{
		new.json = NULL;
		new.length = 0;
		new.external_id_utf8 = external_id;
		outcome_add(window_add(&new), OUTCOME_REJECTED, 0, why);
		return;
	}
	if (new.length > CHEAP_BYTES)
		new.cost = reply_cost(new.json, new.length);
	new.email = outbox_get_text(i, OUTBOX_EMAIL);
	new.attributes = window_attributes(chatbot, json);
	contact = window_add(&new);
	contact->checked_at = clock_us();
	contact->look_again = contact->unconfirmed && outbox_get_bool(i, OUTBOX_HAS_OTHERS);
	if (contact->unconfirmed)
		contact->tried_at = charges_failed_at(contact);
	if (contact->unconfirmed)
		loaded_unconfirmed = lappend(loaded_unconfirmed, contact);
	else if (!isolation_add(chatbot->isolation, contact->seq))
		out_of_memory();
}

/*
 * Row i of the last read: takes it up, or remembers where it was.  looked_at: its
 * contact's other intents need no look any more.
 */
static void
take_row(uint64 i, bool looked_at)
{
	int64		seq = outbox_get_int64(i, OUTBOX_SEQ);
	Chatbot    *chatbot;
	char	   *external_id;
	bool		withdrawal;

	/* A later attempt is found when it is due, a row in the window is known. */
	if (!outbox_get_bool(i, OUTBOX_IS_PENDING) || outbox_get_bool(i, OUTBOX_IS_LATER) ||
		window_find(seq))
		return;
	/* A dump that is being restored: its lineage may be known later only. */
	if (outbox_get_bool(i, OUTBOX_IS_FOREIGN) && !outbox_get_bool(i, OUTBOX_IS_UNCONFIRMED))
		recover_note(seq);
	chatbot = window_chatbot(outbox_get_text(i, OUTBOX_CHATBOT_ID));
	if (chatbot->skipped)
	{
		ranges_add(&chatbot->waiting, seq, seq);
		return;
	}
	external_id = outbox_get_text(i, OUTBOX_EXTERNAL_ID);
	(void) outbox_get(i, OUTBOX_CONTACT, &withdrawal);
	/* The row of a contact that is in the window may have been deleted since. */
	if (window_find_contact(chatbot, external_id) ||
		(!looked_at && (withdrawal || outbox_get_bool(i, OUTBOX_HAS_OTHERS))))
		intents_note(chatbot, external_id);
	else
		load_row(i, chatbot, external_id);
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
		IsolationContact *seqs = palloc(list_length(loaded_unconfirmed) * sizeof(IsolationContact));
		List	   *rest = NIL;
		int			n = 0;
		ListCell   *cell;

		foreach(cell, loaded_unconfirmed)
		{
			Contact    *contact = lfirst(cell);

			if (contact == first || (contact->chatbot == first->chatbot &&
									 !is_suspect(first) && !is_suspect(contact)))
				seqs[n++] = contact->seq;
			else
				rest = lappend(rest, contact);
		}
		if (!isolation_add_unconfirmed(first->chatbot->isolation, seqs, n))
			out_of_memory();
		loaded_unconfirmed = rest;
	}
}

static void
take_rows(uint64 n, bool looked_at)
{
	doubtful = palloc(Max(n, 1) * sizeof(int64));
	ndoubtful = 0;
	for (uint64 i = 0; i < n; i++)
		take_row(i, looked_at);
	hand_over_unconfirmed();
	/* The next worker has to know it, too. */
	if (settle_mark_unconfirmed(doubtful, ndoubtful, 0,
								"it may have been sent from elsewhere, or by an earlier worker") == (uint64) ndoubtful)
		for (int i = 0; i < ndoubtful; i++)
			recover_forget(doubtful[i]);
}

/* ---- reads ---- */

/* True if there may be more above the mark for somebody who has room. */
static bool
read_tail(void)
{
	Datum		values[3] = {skip_list(), Int64GetDatum(mark), Int64GetDatum(ROWS_A_READ)};
	Ranges		passed = {0};
	uint64		n = outbox_run(OUTBOX_READ_TAIL, values, NULL);

	for (uint64 i = 0; i < n; i++)
	{
		int64		seq = outbox_get_int64(i, OUTBOX_SEQ);

		if (seq > mark + 1)
			ranges_add(&passed, mark + 1, seq - 1);
		mark = seq;
	}
	take_rows(n, false);
	gaps_add(&passed, worker.outbox);
	tail_read = n < ROWS_A_READ;
	return !tail_read;
}

/* Has every chatbot with something pending in the ranges look there again. */
static void
find_in(const Ranges *ranges)
{
	int64		low[RANGES_MAX];
	int64		high[RANGES_MAX];
	Datum		values[2];
	uint64		n;

	for (int i = 0; i < ranges->n; i++)
	{
		low[i] = ranges->range[i].low;
		high[i] = ranges->range[i].high;
	}
	values[0] = outbox_int8_array(low, ranges->n);
	values[1] = outbox_int8_array(high, ranges->n);
	n = outbox_run(OUTBOX_FIND_PENDING, values, NULL);
	for (uint64 i = 0; i < n; i++)
		ranges_add(&window_chatbot(outbox_get_text(i, 1))->waiting,
				   outbox_get_int64(i, 2), outbox_get_int64(i, 3));
}

static void
read_gaps(void)
{
	Ranges		appeared;

	if (gaps_check(&appeared))
		find_in(&appeared);
}

/* The next rows of what a chatbot has waiting. */
static void
read_waiting(Chatbot *chatbot)
{
	Range		range = chatbot->waiting.range[0];
	Datum		values[5] = {
		skip_list(),
		CStringGetTextDatum(chatbot->id),
		Int64GetDatum(range.low),
		Int64GetDatum(range.high),
		Int64GetDatum(ROWS_A_READ)
	};
	uint64		n = outbox_run(OUTBOX_READ_SPAN, values, NULL);

	ranges_remove_up_to(&chatbot->waiting,
						n < ROWS_A_READ ? range.high : outbox_get_int64(n - 1, OUTBOX_SEQ));
	take_rows(n, false);
}

static void
read_due(void)
{
	Datum		values[2] = {skip_list(), Int64GetDatum(ROWS_A_READ)};
	Datum		paused = paused_list();
	bool		isnull;
	int64		left_ms;

	take_rows(outbox_run(OUTBOX_READ_DUE, values, NULL), false);
	outbox_run(OUTBOX_NEXT_DUE, &paused, NULL);
	left_ms = DatumGetInt64(outbox_get(0, 1, &isnull));
	next_due_at = isnull ? PG_INT64_MAX : clock_us() + left_ms * 1000;
}

/* Looks at everything up to the mark again. */
static void
sweep(void)
{
	Ranges		all = {0};

	if (next_sweep_at > clock_us())
		return;
	if (mark > 0)
	{
		ranges_add(&all, 1, mark);
		find_in(&all);
	}
	next_sweep_at = clock_us() + SWEEP_US;
}

void
claim_by_seq(const int64 *seqs, int n, bool looked_at)
{
	Datum		values[2] = {skip_list(), outbox_int8_array(seqs, n)};

	take_rows(outbox_run(OUTBOX_READ_BY_SEQ, values, NULL), looked_at);
}

/* Each chatbot that has room takes from what it has waiting. */
static void
read_all_waiting(void)
{
	ListCell   *cell;

	foreach(cell, window_chatbots())
	{
		Chatbot    *chatbot = lfirst(cell);

		if (chatbot->waiting.n > 0 && can_take(chatbot))
			read_waiting(chatbot);
	}
}

/*
 * Whether there can be something above the mark for somebody who has room.  A
 * chatbot that is not known yet has room, so the outbox is asked for such when
 * all others are busy or paused; while some are busy there is another pass soon,
 * and that need not be done in each.
 */
static bool
tail_is_wanted(void)
{
	int			known = list_length(window_chatbots());
	bool		busy = false;
	ListCell   *cell;
	uint64		n;

	foreach(cell, window_chatbots())
	{
		if (can_take(lfirst(cell)))
			return true;
		busy |= !pause_is_on(lfirst(cell));
	}
	if (busy && next_discovery_at > clock_us())
		return false;
	next_discovery_at = clock_us() + DISCOVERY_US;
	n = outbox_run(OUTBOX_CHATBOTS, NULL, NULL);
	for (uint64 i = 0; i < n; i++)
		(void) window_chatbot(outbox_get_text(i, 1));
	return list_length(window_chatbots()) > known;
}

bool
claim_pending(void)
{
	ListCell   *cell;
	bool		more = false;

	if (!settings_enabled)
		return false;
	release_locked();
	sweep();
	read_due();
	read_gaps();
	read_all_waiting();
	for (int i = 0; i < TAIL_READS; i++)
	{
		more = tail_is_wanted() && read_tail();
		if (!more)
			break;
	}
	read_gaps();
	intents_look();
	foreach(cell, window_chatbots())
	{
		Chatbot    *chatbot = lfirst(cell);

		more |= chatbot->waiting.n > 0 && can_take(chatbot);
	}
	return more;
}

int64
claim_timeout_ms(void)
{
	int64		at = Min(next_due_at, next_sweep_at);
	int64		left;
	ListCell   *cell;

	if (!settings_enabled)
		return -1;
	if (locked_rows != NIL)
		at = Min(at, locked_retry_at);
	foreach(cell, window_chatbots())
		if (pause_is_on(lfirst(cell)))
			at = Min(at, ((Chatbot *) lfirst(cell))->paused_until);
	if (gaps_timeout_ms() >= 0)
		at = Min(at, clock_us() + gaps_timeout_ms() * 1000);
	left = at - clock_us();
	return left <= 0 ? 0 : (left + 999) / 1000;
}

bool
claim_all_settled(void)
{
	bool		all_paused = true;
	ListCell   *cell;

	if (!settings_enabled || locked_rows != NIL || next_due_at != PG_INT64_MAX ||
		intents_are_noted())
		return false;
	foreach(cell, window_chatbots())
	{
		Chatbot    *chatbot = lfirst(cell);

		if (pause_is_on(chatbot))
			continue;
		all_paused = false;
		if (chatbot->contacts > 0 || chatbot->waiting.n > 0)
			return false;
	}
	return tail_read || all_paused;
}

bool
claim_has_paused(void)
{
	ListCell   *cell;

	foreach(cell, window_chatbots())
		if (pause_is_on(lfirst(cell)))
		{
			Datum		paused = paused_list();

			outbox_run(OUTBOX_ANY_PENDING, &paused, NULL);
			return outbox_get_bool(0, 1);
		}
	return false;
}

void
claim_begin(void)
{
	Ranges		all = {0};

	outbox_run(OUTBOX_HIGHEST_SEQ, NULL, NULL);
	mark = outbox_get_int64(0, 1);
	next_sweep_at = clock_us() + SWEEP_US;
	if (mark == 0)
		return;
	ranges_add(&all, 1, mark);
	find_in(&all);
	gaps_add(&all, worker.outbox);
}

int64
claim_position(void)
{
	return mark;
}

bool
claim_numbers_restarted(void)
{
	static int64 highest = 0;
	int64		before = highest;

	outbox_run(OUTBOX_HIGHEST_SEQ, NULL, NULL);
	highest = outbox_get_int64(0, 1);
	return highest < before;
}
