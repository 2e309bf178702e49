/*
 * pass.c
 *		One pass of the worker: one transaction, in which the stages follow each other.
 *
 * This file alone calls the stages; README.md says what each takes and leaves.  What a
 * stage does is not for here.
 */
#include "postgres.h"

#include "compat.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/interrupt.h"
#include "server/settings.h"
#include "server/shared.h"
#include "server/try.h"
#include "storage/ipc.h"
#include "store/outbox.h"
#include "store/transaction.h"
#include "util/clock.h"
#include "utils/backend_status.h"
#include "utils/guc.h"
#include "worker/answers.h"
#include "worker/claim.h"
#include "worker/intents.h"
#include "worker/interrupts.h"
#include "worker/pass.h"
#include "worker/pause.h"
#include "worker/position.h"
#include "worker/prune.h"
#include "worker/reading.h"
#include "worker/queues.h"
#include "worker/recover.h"
#include "worker/refusals.h"
#include "worker/send.h"
#include "worker/state.h"
#include "worker/trouble.h"
#include "worker/worker.h"
#include "worker/writes.h"

/* What has no commit that wakes (COMMIT PREPARED) is found that late, ms. */
#define SLOW_POLL_MS (60 * 1000)

/* What another session holds locked is tried again after that, ms. */
#define LOCKED_RETRY_MS 1000

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
		window_chatbot(outbox_get_text(i, 1))->proven = true;
	/* what was settled while they had none */
	outbox_run(OUTBOX_FOLD_TALLY, NULL, NULL);
}

/* Those among the chatbots that have no row in contacts_push.chatbot, as far as is known. */
static List *
without_row(void)
{
	List	   *chatbots = NIL;
	ListCell   *cell;

	foreach(cell, window_chatbots())
		if (!((Chatbot *) lfirst(cell))->has_row)
			chatbots = lappend(chatbots, lfirst(cell));
	return chatbots;
}

static void
add_state(void *arg)
{
	outbox_run(OUTBOX_STATE_ADD, NULL, NULL);
}

/*
 * Gives chatbots a row in contacts_push.chatbot: all at once, or if that fails one by
 * one; and the worker the row in which it writes down how far it is.  Somebody may be
 * adding the same in a transaction that stays open: that is not waited for, and tried again
 * later.
 */
void
pass_add_missing(bool state_may_be_missing)
{
	static int64 next_try_at = 0;
	List	   *chatbots;
	bool		all;
	char	   *reason;
	ListCell   *cell;

	if (next_try_at > clock_us() || ShutdownRequestPending)
		return;
	chatbots = without_row();
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
			next_try_at = clock_us() + LOCKED_RETRY_MS * INT64CONST(1000);
	}
	interrupts_end_pass();
}

bool
pass_has_answer(void)
{
	for (int i = 0; i < worker.nrequests; i++)
		if (worker.requests[i]->http && http_is_done(worker.requests[i]->http))
			return true;
	return false;
}

/* For a pass that has left nothing to do at once. */
static int64
ms_until_next_pass(bool position_is_behind)
{
	int64		timeout = SLOW_POLL_MS;
	int64		next;

	if (writes_are_behind() || intents_are_behind() || answers_are_behind() || position_is_behind)
		timeout = LOCKED_RETRY_MS;
	next = send_timeout_ms();
	if (next >= 0)
		timeout = Min(timeout, next);
	next = reading_timeout_ms();
	if (next >= 0)
		timeout = Min(timeout, next);
	return timeout;
}

/* What a pass leaves for after its commit. */
typedef struct Pass
{
	bool		tidy;
	uint64		flush_ticket;	/* the last one drawn when the pass began */
	bool		has_more;		/* to read, at once */
	bool		position_is_behind;
	bool		all_settled;	/* or paused */
	bool		has_paused;
} Pass;

/* A flush() that waits for the ticket of a pass, and the one before. */
static uint64 flush_known = 0;
static uint64 flush_answered = 0;

/* The outbox is another one since the worker began: the next process takes it over. */
static void
end_process(void)
{
	shared_tell_exit(SHARED_EXIT_RESTART);
	transaction_commit();
	proc_exit(0);
}

/* What others have said since the last pass: operators, a reload, a restore. */
static void
read_state(const Pass *pass)
{
	int			told = shared_take_told();

	if (!state_read(told != 0))
		end_process();
	pause_write_again();
	if (told & SHARED_TOLD_RESUMED)
		send_end_backoffs();
	if (told & SHARED_TOLD_DISCARDED)
		intents_drop_gone();
	if (worker.reloaded)
		pause_lift_all();
	worker.reloaded = false;
	if (pass->flush_ticket != flush_known)
		reading_flush();
	flush_known = pass->flush_ticket;
}

static void
run_stages(Pass *pass)
{
	pgstat_report_activity(STATE_RUNNING, "contacts_push: recording and claiming");
	read_state(pass);
	answers_take();
	writes_flush();
	shared_report_activity(SHARED_READING);
	if (!ShutdownRequestPending && settings_enabled)
	{
		pass->has_more = reading_claim();
		intents_decide();
		claim_load();
	}
	refusals_settle_idle();
	writes_flush();
	shared_report_activity(SHARED_PLANNING);
	if (!ShutdownRequestPending)
		send_plan();
	if (pass->tidy)
	{
		shared_report_activity(SHARED_TIDYING);
		prune();
	}
	pass->position_is_behind = !position_write();
	pass->all_settled = reading_all_settled();
	if (pass->all_settled && pass->flush_ticket != flush_answered)
		pass->has_paused = reading_has_paused();
}

int64
pass_run(bool tidy)
{
	Pass		pass = {.tidy = tidy, .flush_ticket = shared_flush_wanted()};

	shared_report_activity(SHARED_RECORDING);
	interrupts_begin_pass(pass_has_answer());
	run_stages(&pass);
	shared_report_activity(SHARED_COMMITTING);
	interrupts_end_pass();
	pgstat_report_activity(STATE_IDLE, NULL);

	/* Whoever is told to end while it waits for a standby does so without that one's word. */
	if (!ShutdownRequestPending && !ProcDiePending)
		send_planned();
	pass_add_missing(position_has_no_row());
	shared_report_activity(SHARED_IDLE);
	trouble_forget();
	shared_report(worker.nrequests, worker.finished_requests, worker.settled_contacts,
				  worker.last_key_hash);
	if (pass.all_settled && pass.flush_ticket != flush_answered)
	{
		shared_flush_done(pass.flush_ticket, !pass.has_paused);
		flush_answered = pass.flush_ticket;
	}
	if (pass.has_more || (settings_enabled && queue_has_looks()))
		return 0;
	return ms_until_next_pass(pass.position_is_behind);
}

void
pass_run_first(void)
{
	interrupts_begin_pass(false);
	(void) state_read(true);
	/* as after a reload: the restart may have brought another key */
	worker.reloaded = true;
	recover();
	reading_begin();
	interrupts_end_pass();
}

void
pass_run_last(void)
{
	interrupts_begin_pass(true);
	answers_take();
	writes_flush();
	interrupts_end_pass();
}
