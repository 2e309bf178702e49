/*
 * chatbots.c
 *		The worker's writes to contacts_push.chatbot.
 *
 * Numbers are appended to contacts_push_internal.tally, for which nobody's lock matters, and
 * folded into the rows once a minute (prune.c).
 */
#include "postgres.h"

#include "compat.h"
#include "postmaster/interrupt.h"
#include "server/try.h"
#include "store/outbox.h"
#include "util/clock.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "worker/chatbots.h"
#include "worker/interrupts.h"
#include "worker/members.h"
#include "worker/pause.h"

/* Rows that another session is adding are tried again after that. */
#define ADD_RETRY_US (INT64CONST(1000) * 1000)

static bool behind = false;

bool
chatbots_are_behind(void)
{
	return behind;
}

/* Numbers that contacts_push_internal.tally has, in the order of its columns. */
static const OutboxStatus counted[] = {
	OUTBOX_CREATED, OUTBOX_PRESENT, OUTBOX_UPDATED, OUTBOX_DELETED, OUTBOX_CONFLICT,
	OUTBOX_REJECTED, OUTBOX_FAILED
};

static bool
has_tally(const Chatbot *chatbot)
{
	for (int i = 0; i < lengthof(counted); i++)
		if (chatbot->tally[counted[i]] != 0)
			return true;
	return false;
}

static void
write_tally(void)
{
	List	   *chatbots = NIL;
	char	  **ids;
	int64	   *numbers;
	Datum		values[1 + lengthof(counted)];
	ListCell   *cell;
	int			n;

	foreach(cell, window_chatbots())
		if (has_tally(lfirst(cell)))
			chatbots = lappend(chatbots, lfirst(cell));
	if (chatbots == NIL)
		return;
	n = list_length(chatbots);
	ids = palloc(n * sizeof(char *));
	numbers = palloc(n * sizeof(int64));
	for (int i = 0; i < n; i++)
		ids[i] = ((Chatbot *) list_nth(chatbots, i))->id;
	values[0] = outbox_text_array(ids, n);
	for (int column = 0; column < lengthof(counted); column++)
	{
		for (int i = 0; i < n; i++)
			numbers[i] = ((Chatbot *) list_nth(chatbots, i))->tally[counted[column]];
		values[1 + column] = outbox_int8_array(numbers, n);
	}
	outbox_run(OUTBOX_TALLY, values, NULL);
	foreach(cell, chatbots)
		memset(((Chatbot *) lfirst(cell))->tally, 0, sizeof(((Chatbot *) NULL)->tally));
}

/* The attributes that it does not know. */
static void
write_attributes(Chatbot *chatbot)
{
	char	   *names[ATTRIBUTES_MAX];
	int			n = 0;
	Datum		values[2];

	for (int i = 0; i < chatbot->attributes.n; i++)
		if (chatbot->attributes.stripped & (UINT64CONST(1) << i))
			names[n++] = chatbot->attributes.names[i];
	values[0] = CStringGetTextDatum(chatbot->id);
	values[1] = outbox_text_array(names, n);
	chatbot->attributes_changed = outbox_run(OUTBOX_CHATBOT_STRIPPED, values, NULL) == 0;
}

/* How many deletions are held. */
static void
write_held(Chatbot *chatbot)
{
	Datum		values[2] = {
		CStringGetTextDatum(chatbot->id), Int64GetDatum(chatbot->held_deletes)
	};

	chatbot->held_unwritten = outbox_run(OUTBOX_CHATBOT_HELD, values, NULL) == 0;
}

/* When it is tried again after failures. */
static void
write_backoff(Chatbot *chatbot)
{
	bool		answers = chatbot->backoff.failures == 0;
	Datum		values[3] = {
		CStringGetTextDatum(chatbot->id),
		Int64GetDatum((chatbot->backoff.until - clock_us()) / 1000),
		answers ? (Datum) 0 : CStringGetTextDatum(chatbot->backoff_reason)
	};
	char		nulls[3] = {' ', answers ? 'n' : ' ', answers ? 'n' : ' '};

	chatbot->backoff_unwritten = outbox_run(OUTBOX_CHATBOT_BACKOFF, values, nulls) == 0;
}

/* Until when it is paused, and why. */
static void
write_pause(Chatbot *chatbot)
{
	bool		paused = chatbot->pause != PAUSE_NONE;
	const char *kind = pause_kind_name(chatbot->pause);
	Datum		values[4] = {
		CStringGetTextDatum(chatbot->id),
		Int64GetDatum((chatbot->paused_until - clock_us()) / 1000),
		paused ? CStringGetTextDatum(chatbot->pause_reason) : (Datum) 0,
		kind ? CStringGetTextDatum(kind) : (Datum) 0
	};
	char		nulls[4] = {' ', paused ? ' ' : 'n', paused ? ' ' : 'n', kind ? ' ' : 'n'};

	chatbot->pause_unwritten = outbox_run(OUTBOX_CHATBOT_PAUSE, values, nulls) == 0;
}

void
chatbots_write(void)
{
	ListCell   *cell;

	behind = false;
	write_tally();
	members_write();
	foreach(cell, window_chatbots())
	{
		Chatbot    *chatbot = lfirst(cell);

		if (chatbot->attributes_changed)
			write_attributes(chatbot);
		if (chatbot->held_unwritten)
			write_held(chatbot);
		if (chatbot->backoff_unwritten)
			write_backoff(chatbot);
		if (chatbot->pause_unwritten)
			write_pause(chatbot);
		behind |= chatbot->attributes_changed || chatbot->held_unwritten ||
			chatbot->backoff_unwritten || chatbot->pause_unwritten;
	}
}

/* ---- rows that are not there ---- */

void
chatbots_doubt_rows(void)
{
	ListCell   *cell;

	window_wake_all();
	foreach(cell, window_chatbots())
		((Chatbot *) lfirst(cell))->has_row = false;
}

/* Adds a list of chatbots. */
static void
add_rows(void *arg)
{
	List	   *chatbots = arg;
	char	  **ids = palloc(list_length(chatbots) * sizeof(char *));
	uint64		n;
	Datum		value;

	for (int i = 0; i < list_length(chatbots); i++)
		ids[i] = ((Chatbot *) list_nth(chatbots, i))->id;
	value = outbox_text_array(ids, list_length(chatbots));
	n = outbox_run(OUTBOX_CHATBOT_ADD, &value, NULL);
	for (uint64 i = 0; i < n; i++)
		window_prove(window_chatbot(outbox_get_text(i, 1)));
}

static void
add_state(void *arg)
{
	outbox_run(OUTBOX_STATE_ADD, NULL, NULL);
}

/* All at once, or if that fails one by one: somebody may be adding the same. */
void
chatbots_add_rows(bool state_may_be_missing)
{
	static int64 next_try_at = 0;
	List	   *chatbots = NIL;
	bool		all;
	char	   *reason;
	ListCell   *cell;

	if (next_try_at > clock_us() || ShutdownRequestPending)
		return;
	foreach(cell, window_chatbots())
		if (!((Chatbot *) lfirst(cell))->has_row)
			chatbots = lappend(chatbots, lfirst(cell));
	if (chatbots == NIL && !state_may_be_missing)
		return;
	interrupts_begin_pass(false);
	/* Not PGC_S_OVERRIDE: that would outlive the transaction. */
	(void) set_config_option("lock_timeout", "1", PGC_SUSET, PGC_S_SESSION,
							 GUC_ACTION_LOCAL, true, 0, false);
	if (state_may_be_missing)
		(void) try_run(add_state, NULL, &reason);
	all = chatbots == NIL || try_run(add_rows, chatbots, &reason);
	foreach(cell, chatbots)
	{
		Chatbot    *chatbot = lfirst(cell);

		chatbot->has_row = all || try_run(add_rows, list_make1(chatbot), &reason);
		if (!chatbot->has_row)
			next_try_at = clock_us() + ADD_RETRY_US;
	}
	interrupts_end_pass();
}
