/*
 * main.c
 *		A database's worker: its life and its loop.
 *
 * What a pass consists of is in pass.c.  Between two passes there is no transaction,
 * no snapshot and no lock but the fence.
 */
#include "postgres.h"

#include "access/xact.h"
#include "compat.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "server/settings.h"
#include "server/shared.h"
#include "server/wait.h"
#include "storage/ipc.h"
#include "storage/lock.h"
#include "store/transaction.h"
#include "util/clock.h"
#include "utils/memutils.h"
#include "worker/chatbots.h"
#include "worker/interrupts.h"
#include "worker/pass.h"
#include "worker/reading.h"
#include "worker/send.h"
#include "worker/session.h"
#include "worker/trouble.h"
#include "worker/waiting.h"
#include "worker/worker.h"

/* A pass prunes and folds that often. */
#define TIDY_US (INT64CONST(60) * 1000 * 1000)

/* A fence that another worker still has is tried again after that, ms. */
#define FENCE_RETRY_MS 1000

/*
 * While what is there already waits for a slot or for the budget, commits wake for a
 * pass only that often: each would cost the application more than it brings.  What they
 * bring for another key waits no longer than that, ms.
 */
#define THROTTLED_PASS_MS 20

/* A worker that has nothing to do for that long may make room for another database's, ms. */
#define SPARE_MS (10 * 1000)

/*
 * The fence: a lock of the session that no SQL function can take, because those
 * for users have a last field of 1 or 2.
 */
#define FENCE_CLASS 0x6370		/* "cp" */
#define FENCE_FIELD 3

Worker		worker;

static emit_log_hook_type prev_emit_log_hook = NULL;

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
wait_for_fence(void)
{
	while (!take_fence())
	{
		pgstat_report_activity(STATE_IDLE, "contacts_push: waiting for an earlier worker to end");
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 FENCE_RETRY_MS, wait_event(WAIT_FENCE));
		ResetLatch(MyLatch);
		interrupts_serve();
		if (ShutdownRequestPending)
			proc_exit(0);
	}
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
 * nobody's lock any longer than that either.  The launcher knows from shared memory that the
 * worker is to come back (tell_terminated()); an exit code would put a line into the log.
 */
static void
shut_down(void)
{
	int64		left;

	while (waits_for_answer() && (left = interrupts_grace_left_us()) > 0)
	{
		(void) wait_for_http(worker.pool, (left + 999) / 1000, WAIT_ANSWER);
		interrupts_serve();
	}
	if (interrupts_grace_left_us() > 0)
		pass_run_last();
	proc_exit(0);
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
wait_for_news(int64 timeout, int64 passed_at, WaitReason reason)
{
	int64		until = asleep_until(passed_at);
	bool		has_rows;

	/* Those who have committed in its sleep did not wake it; from here on they do. */
	shared_sleep_until(until);
	has_rows = until == 0 && shared_take_rows();
	/* An answer may have come while its request was being started. */
	if (has_rows || ShutdownRequestPending || pass_has_answer())
		timeout = 0;
	else if (until != 0 && until != PG_INT64_MAX)
		timeout = Min(timeout, (until - clock_us()) / 1000 + 1);
	return wait_for_http(worker.pool, timeout, reason) || has_rows;
}

static void
run(void)
{
	MemoryContext loop_context = AllocSetContextCreate(TopMemoryContext, "contacts_push loop",
													   ALLOCSET_DEFAULT_SIZES);
	int64		timeout = 0;
	int64		due = 0;
	int64		passed_at = 0;
	int64		tidy_at = 0;
	WaitReason	reason = WAIT_WORKER_MAIN;

	MemoryContextSwitchTo(loop_context);
	for (;;)
	{
		bool		woken = wait_for_news(timeout, passed_at, reason);

		interrupts_serve();
		if (ShutdownRequestPending)
			shut_down();
		if (woken)
		{
			reading_woken();
			due = Min(due, !send_is_throttled() ? 0 :
					  passed_at + THROTTLED_PASS_MS * INT64CONST(1000));
		}
		if (worker.reloaded || pass_has_answer() || due <= clock_us())
		{
			bool		tidy = tidy_at <= clock_us();

			if (tidy)
				tidy_at = clock_us() + TIDY_US;
			timeout = pass_run(tidy);
			if (worker.nrequests == 0 && timeout >= SPARE_MS &&
				shared_give_up(clock_us() + timeout * INT64CONST(1000)))
				proc_exit(0);
			passed_at = clock_us();
			due = passed_at + timeout * 1000;
			/* what has more to do at once is not idle */
			if (timeout > 0)
				reason = waiting_report();
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
	if (interrupts_terminated())
		shared_tell_exit(SHARED_EXIT_RESTART);
}

/*
 * What ends this process is told where contacts_push.progress finds it.  An error that
 * is caught is not reported, so what comes here is not.
 */
static void
note_last_words(ErrorData *error)
{
	if (error->elevel >= ERROR && error->message && !interrupts_terminated())
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

	interrupts_begin();
	if (!shared_attach_worker(database))
		proc_exit(0);
	before_shmem_exit(tell_terminated, (Datum) 0);
	prev_emit_log_hook = emit_log_hook;
	emit_log_hook = note_last_words;
	session_begin(database);
	interrupts_session_began();

	interrupts_begin_pass(false);
	trouble_worker_started();
	interrupts_end_pass();
	wait_for_fence();
	prepare();
	shared_report_activity(SHARED_RECOVERING);
	chatbots_add_rows(true);
	pass_run_first();
	run();
}
