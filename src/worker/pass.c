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
#include "storage/ipc.h"
#include "store/outbox.h"
#include "store/transaction.h"
#include "util/clock.h"
#include "utils/backend_status.h"
#include "worker/answers.h"
#include "worker/chatbots.h"
#include "worker/claim.h"
#include "worker/conflicts.h"
#include "worker/intents.h"
#include "worker/interrupts.h"
#include "worker/keys.h"
#include "worker/lookups.h"
#include "worker/pass.h"
#include "worker/pause.h"
#include "worker/position.h"
#include "worker/prune.h"
#include "worker/reading.h"
#include "worker/queues.h"
#include "worker/recover.h"
#include "worker/refusals.h"
#include "worker/requests.h"
#include "worker/send.h"
#include "worker/singles.h"
#include "worker/state.h"
#include "worker/trouble.h"
#include "worker/worker.h"
#include "worker/writes.h"

/* What has no commit that wakes (COMMIT PREPARED) is found that late, ms. */
#define SLOW_POLL_MS (60 * 1000)

/* What another session holds locked is tried again after that, ms. */
#define LOCKED_RETRY_MS 1000

/*
 * A pass decides between intents for no longer, and leaves the others to the next one: it holds
 * locks on the rows that it has written.
 */
#define MAX_DECIDING_US (INT64CONST(1000) * 1000)

/* So many portions of them without any result are no progress. */
#define MAX_IN_VAIN 1000

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

	if (writes_are_behind() || requests_are_behind() || chatbots_are_behind() ||
		position_is_behind)
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
	if (told & SHARED_TOLD_RESUMED)
		send_end_backoffs();
	if (told & SHARED_TOLD_DISCARDED)
		intents_drop_gone();
	if (worker.reloaded)
	{
		pause_lift_all();
		lookups_reloaded();
	}
	worker.reloaded = false;
	if (pass->flush_ticket != flush_known)
		reading_flush();
	flush_known = pass->flush_ticket;
}

/*
 * Decides between intents, by portions.  Contacts that wait for each other's keys look for each
 * other: if nothing but that goes on, they are not waited for.
 */
static void
decide(void)
{
	int64		until = clock_us() + MAX_DECIDING_US;
	int			in_vain = 0;
	int			nto_load = worker.nto_load;

	while (intents_decide())
	{
		in_vain = worker.nchanges > worker.nlocked || worker.nto_load > nto_load ? 0 : in_vain + 1;
		nto_load = worker.nto_load;
		writes_flush();
		if (in_vain == MAX_IN_VAIN)
			keys_stop_waiting();
		if (clock_us() > until)
			return;
	}
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
		decide();
		claim_load();
	}
	refusals_settle_idle();
	conflicts_settle();
	writes_flush();
	shared_report_activity(SHARED_PLANNING);
	pass->has_more |= singles_hold(!pass->has_more);
	if (!ShutdownRequestPending)
		send_plan();
	requests_write();
	chatbots_write();
	if (pass->tidy)
	{
		shared_report_activity(SHARED_TIDYING);
		prune();
		chatbots_doubt_rows();
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

	/* Whoever is told to end while it waits for a standby does so without that one's word. */
	if (!ShutdownRequestPending && !ProcDiePending)
		send_planned();
	chatbots_add_rows(position_has_no_row());
	shared_report_activity(SHARED_IDLE);
	trouble_forget();
	/* A chatbot whose contacts are to be looked at has something to do. */
	if (!queue_has_looks())
		window_rest();
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
	writes_flush();
	requests_write();
	reading_begin();
	interrupts_end_pass();
}

void
pass_run_last(void)
{
	if (!pass_has_answer() && !writes_are_behind())
		return;
	interrupts_begin_pass(true);
	answers_take();
	writes_flush();
	requests_write();
	chatbots_write();
	interrupts_end_pass();
}
