/*
 * worker.c
 *		A database's worker: its life and its loop.
 *
 * What a pass consists of is in settle.c, claim.c and send.c.  Between
 * two passes there is no transaction, no snapshot and no lock but the fence.
 */
#include "postgres.h"

#include <signal.h>

#include "access/xact.h"
#include "compat.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "server/settings.h"
#include "server/shared.h"
#include "server/try.h"
#include "server/wait.h"
#include "storage/ipc.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "storage/procsignal.h"
#include "store/outbox.h"
#include "store/transaction.h"
#include "tcop/tcopprot.h"
#include "util/clock.h"
#include "utils/backend_status.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"
#include "worker/due.h"
#include "worker/intents.h"
#include "worker/outcome.h"
#include "worker/pause.h"
#include "worker/position.h"
#include "worker/prune.h"
#include "worker/reading.h"
#include "worker/recover.h"
#include "worker/refusals.h"
#include "worker/send.h"
#include "worker/session.h"
#include "worker/settle.h"
#include "worker/trouble.h"
#include "worker/worker.h"

/* What has no commit that wakes (COMMIT PREPARED) is found that late, ms. */
#define SLOW_POLL_MS (60 * 1000)

/* Outcomes for rows that somebody holds locked are tried again after that, ms. */
#define BEHIND_MS 1000

/*
 * While what is there already waits for a slot or for the budget, commits wake for a
 * pass only that often: each would cost the application more than it brings.  What they
 * bring for another key waits no longer than that, ms.
 */
#define THROTTLED_PASS_MS 20

/* A worker that has nothing to do for that long may make room for another database's, ms. */
#define SPARE_MS (10 * 1000)

/* At SIGTERM a request that is nearly done may still finish, ms. */
#define GRACE_MS 1000

/* How exactly that is kept while answers are being recorded, ms. */
#define GRACE_TICK_MS 100

/*
 * The fence: a lock of the session that no SQL function can take, because those
 * for users have a last field of 1 or 2.
 */
#define FENCE_CLASS 0x6370		/* "cp" */
#define FENCE_FIELD 3

Worker		worker;

/* What SIGTERM does; true until there is a session. */
static volatile sig_atomic_t in_pass = true;
static volatile sig_atomic_t recording = false;
static volatile int64 terminated_at = 0;	/* clock_us() of the first SIGTERM, 0: none */

/* Ends a pass that records answers when the second that it is granted is over. */
static TimeoutId grace_timeout;

static emit_log_hook_type prev_emit_log_hook = NULL;

/*
 * Between passes the loop ends in its own way.  Inside of one the usual interrupt ends
 * it, at once, or after a grace period if answers are being recorded, unless the signal
 * comes again.
 */
static void
handle_sigterm(SIGNAL_ARGS)
{
	int			save_errno = errno;
	bool		again = terminated_at != 0;

	if (!again)
		terminated_at = clock_us();
	ShutdownRequestPending = true;
	if (in_pass && (again || !recording))
		die(postgres_signal_arg);
	else
		SetLatch(MyLatch);
	errno = save_errno;
}

/*
 * lock_timeout is told by this signal.  pg_cancel_backend() is not obeyed: it would end
 * the wait for a standby, and a request leave whose intent is not there.
 */
static void
handle_sigint(SIGNAL_ARGS)
{
	if (get_timeout_indicator(LOCK_TIMEOUT, false))
		StatementCancelHandler(postgres_signal_arg);
}

static int64
grace_left_us(void)
{
	return terminated_at + GRACE_MS * INT64CONST(1000) - clock_us();
}

/*
 * The signal may have come before the wait for somebody's lock or for a standby began;
 * such a wait would not notice it.  Runs in a signal handler.
 */
static void
handle_grace_timeout(void)
{
	if (terminated_at != 0 && grace_left_us() <= 0)
		die(SIGTERM);
}

/*
 * Begins a pass: a transaction, with the latch's signals taken as interrupts.  Where the
 * database does not have the extension, or another outbox than the one that was begun
 * with, the process ends.
 */
static void
begin_pass(bool records)
{
	Oid			outbox;

	recording = records;
	in_pass = true;
	if (recording)
		enable_timeout_every(grace_timeout,
							 TimestampTzPlusMilliseconds(GetCurrentTimestamp(), GRACE_TICK_MS),
							 GRACE_TICK_MS);
	else if (ShutdownRequestPending)
		die(SIGTERM);
	CHECK_FOR_INTERRUPTS();
	outbox = transaction_begin();
	if (OidIsValid(outbox) && (worker.outbox == outbox || !OidIsValid(worker.outbox)))
	{
		worker.outbox = outbox;
		return;
	}
	shared_tell_exit(OidIsValid(outbox) ? SHARED_EXIT_RESTART : SHARED_EXIT_NO_EXTENSION);
	transaction_commit();
	proc_exit(0);
}

static void
end_pass(void)
{
	transaction_commit();
	if (recording)
		disable_timeout(grace_timeout, false);
	recording = false;
	in_pass = false;
}

/* True once this is the only worker of the database. */
static bool
take_fence(void)
{
	LOCKTAG		tag;
	bool		taken;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, FENCE_CLASS, 0, FENCE_FIELD);
	StartTransactionCommand();
	taken = LockAcquire(&tag, ExclusiveLock, true, true) != LOCKACQUIRE_NOT_AVAIL;
	CommitTransactionCommand();
	return taken;
}

static void
serve_interrupts(void)
{
	/* Between passes the loop ends in its own way, wherever the signal came. */
	if (ShutdownRequestPending)
		ProcDiePending = false;
	CHECK_FOR_INTERRUPTS();
	if (ConfigReloadPending)
	{
		ConfigReloadPending = false;
		ProcessConfigFile(PGC_SIGHUP);
		session_reloaded();
		worker.reloaded = true;
	}
}

static void
wait_for_fence(void)
{
	while (!take_fence())
	{
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 BEHIND_MS, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		serve_interrupts();
		if (ShutdownRequestPending)
			proc_exit(1);
	}
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
static void
add_missing(bool state_may_be_missing)
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
	begin_pass(false);
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
			next_try_at = clock_us() + BEHIND_MS * INT64CONST(1000);
	}
	end_pass();
}

static bool
has_answer(void)
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

	if (outcome_is_behind() || intents_are_behind() || settle_is_behind() || position_is_behind)
		timeout = BEHIND_MS;
	next = send_timeout_ms();
	if (next >= 0)
		timeout = Min(timeout, next);
	next = reading_timeout_ms();
	if (next >= 0)
		timeout = Min(timeout, next);
	return timeout;
}

/* One pass; returns milliseconds until the next one is due, -1: none. */
static int64
pass(bool tidy)
{
	static uint64 flush_answered = 0;
	static uint64 flush_known = 0;
	uint64		ticket = shared_flush_wanted();
	bool		position_is_behind;
	bool		more;
	bool		idle;
	bool		settled = false;
	int			told;

	shared_report_activity(SHARED_RECORDING);
	begin_pass(has_answer());
	if (recover_is_due() || (tidy && reading_numbers_restarted()))
	{
		/* A dump is being restored here, or the numbers have begun anew. */
		shared_tell_exit(SHARED_EXIT_RESTART);
		transaction_commit();
		proc_exit(0);
	}
	pgstat_report_activity(STATE_RUNNING, "contacts_push: recording and claiming");
	pause_read_all();
	told = shared_take_told();
	if (told & SHARED_TOLD_RESUMED)
		send_end_backoffs();
	if (worker.reloaded)
		pause_lift_all();
	worker.reloaded = false;
	settle_answers();
	outcome_write();
	if (told & SHARED_TOLD_DISCARDED)
		intents_drop_gone();
	shared_report_activity(SHARED_READING);
	if (ticket != flush_known)
		reading_flush();
	flush_known = ticket;
	more = !ShutdownRequestPending && reading_claim();
	refusals_settle_idle();
	outcome_write();
	shared_report_activity(SHARED_PLANNING);
	if (!ShutdownRequestPending)
		send_plan();
	if (tidy)
	{
		shared_report_activity(SHARED_TIDYING);
		prune();
		recover_end_doubt();
	}
	position_is_behind = !position_write();
	idle = reading_all_settled();
	if (idle && ticket != flush_answered)
		settled = !reading_has_paused();
	shared_report_activity(SHARED_COMMITTING);
	end_pass();
	pgstat_report_activity(STATE_IDLE, NULL);

	/* Whoever is told to end while it waits for a standby does so without that one's word. */
	if (!ShutdownRequestPending && !ProcDiePending)
		send_planned();
	add_missing(position_has_no_row());
	shared_report_activity(SHARED_IDLE);
	trouble_forget();
	shared_report(worker.nrequests, worker.finished_requests, worker.settled_contacts,
				  worker.last_key_hash);
	if (idle && ticket != flush_answered)
		shared_flush_done(ticket, settled);
	if (idle)
		flush_answered = ticket;
	if (more || (settings_enabled && intents_are_noted()))
		return 0;
	return ms_until_next_pass(position_is_behind);
}

static bool
waits_for_answer(void)
{
	for (int i = 0; i < worker.nrequests; i++)
		if (worker.requests[i]->http && !http_is_done(worker.requests[i]->http))
			return true;
	return false;
}

/*
 * Lets what is under way finish, for a short while, and records it, waiting for
 * nobody's lock any longer than that either.
 */
static void
shut_down(void)
{
	int64		left;

	while (waits_for_answer() && (left = grace_left_us()) > 0)
	{
		(void) wait_for_http(worker.pool, (left + 999) / 1000);
		serve_interrupts();
	}
	if (has_answer() && grace_left_us() > 0)
	{
		begin_pass(true);
		settle_answers();
		outcome_write();
		end_pass();
	}
	proc_exit(1);
}

/* Until when nothing that is committed could be sent, clock_us(); 0: it could be now. */
static int64
asleep_until(int64 passed_at)
{
	int64		until = passed_at + THROTTLED_PASS_MS * INT64CONST(1000);

	if (!settings_enabled)
		return PG_INT64_MAX;
	return send_is_throttled() && until > clock_us() ? until : 0;
}

/* Waits for an answer or a commit; true: there may be new rows, or somebody has called. */
static bool
wait_for_news(int64 timeout, int64 passed_at)
{
	int64		until = asleep_until(passed_at);
	bool		has_rows;

	/* Those who have committed in its sleep did not wake it; from here on they do. */
	shared_sleep_until(until);
	has_rows = until == 0 && shared_take_rows();
	/* An answer may have come while its request was being started. */
	if (has_rows || ShutdownRequestPending || has_answer())
		timeout = 0;
	else if (until != 0 && until != PG_INT64_MAX)
		timeout = Min(timeout, (until - clock_us()) / 1000 + 1);
	return wait_for_http(worker.pool, timeout) || has_rows;
}

static void
run(void)
{
	MemoryContext loop_context = AllocSetContextCreate(TopMemoryContext, "contacts_push loop",
													   ALLOCSET_DEFAULT_SIZES);
	int64		timeout = 0;
	int64		due = 0;
	int64		passed_at = 0;
	int64		prune_at = 0;

	MemoryContextSwitchTo(loop_context);
	for (;;)
	{
		bool		woken = wait_for_news(timeout, passed_at);

		serve_interrupts();
		if (ShutdownRequestPending)
			shut_down();
		if (woken)
		{
			reading_woken();
			due = Min(due, !send_is_throttled() ? 0 :
					  passed_at + THROTTLED_PASS_MS * INT64CONST(1000));
		}
		if (worker.reloaded || has_answer() || due <= clock_us())
		{
			bool		tidy = prune_at <= clock_us();

			if (tidy)
			{
				/* Somebody may have written a time by hand. */
				due_changed();
				prune_at = clock_us() + SLOW_POLL_MS * INT64CONST(1000);
			}
			timeout = pass(tidy);
			if (worker.nrequests == 0 && timeout >= SPARE_MS &&
				shared_give_up(clock_us() + timeout * INT64CONST(1000)))
				proc_exit(0);
			passed_at = clock_us();
			due = passed_at + timeout * 1000;
			MemoryContextSwitchTo(loop_context);
			MemoryContextReset(loop_context);
		}
		else
			timeout = Max((due - clock_us() + 999) / 1000, 0);
	}
}

/* Whoever is told to end has not failed, wherever that comes upon it. */
static void
tell_terminated(int code, Datum arg)
{
	if (terminated_at != 0)
		shared_tell_exit(SHARED_EXIT_RESTART);
}

/*
 * What ends this process is told where contacts_push.progress finds it.  An error that
 * is caught is not reported, so what comes here is not.
 */
static void
note_last_words(ErrorData *error)
{
	if (error->elevel >= ERROR && error->message && terminated_at == 0)
		shared_note_end(error->message);
	if (prev_emit_log_hook)
		prev_emit_log_hook(error);
}

static void
free_pool(int code, Datum arg)
{
	http_pool_free(worker.pool);
	worker.pool = NULL;
}

static void
prepare(void)
{
	worker.context = AllocSetContextCreate(TopMemoryContext, "contacts_push worker",
										   ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(worker.context);
	window_create();
	before_shmem_exit(free_pool, (Datum) 0);
	worker.pool = http_pool_create(MAX_REQUESTS);
	if (worker.pool == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory")));
}

void
contacts_push_worker_main(Datum main_arg)
{
	Oid			database = DatumGetObjectId(main_arg);

	pqsignal(SIGTERM, handle_sigterm);
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGINT, handle_sigint);
	BackgroundWorkerUnblockSignals();
	if (!shared_attach_worker(database))
		proc_exit(0);
	before_shmem_exit(tell_terminated, (Datum) 0);
	prev_emit_log_hook = emit_log_hook;
	emit_log_hook = note_last_words;
	session_begin(database);
	grace_timeout = RegisterTimeout(USER_TIMEOUT, handle_grace_timeout);

	begin_pass(false);
	trouble_worker_started();
	end_pass();
	wait_for_fence();
	prepare();
	shared_report_activity(SHARED_RECOVERING);
	add_missing(true);
	begin_pass(false);
	pause_read_all();
	/* as after a reload: the restart may have brought another key */
	worker.reloaded = true;
	recover();
	reading_begin();
	end_pass();
	run();
}
