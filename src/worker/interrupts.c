/*
 * interrupts.c
 *		Signals that come to a worker, in a pass's transaction and between passes.
 *
 * Between passes nothing is held, and the loop ends in its own way.  In a pass SIGTERM is
 * the server's usual interrupt, but for a pass that records answers: it may go on for a
 * second, so that an answer that has just come is not lost.
 */
#include "postgres.h"

#include <signal.h>

#include "compat.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "server/shared.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "store/transaction.h"
#include "tcop/tcopprot.h"
#include "util/clock.h"
#include "utils/guc.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"
#include "worker/interrupts.h"
#include "worker/session.h"
#include "worker/worker.h"

/* At SIGTERM a request that is nearly done may still finish, ms. */
#define GRACE_MS 1000

/* How exactly that is kept while answers are being recorded, ms. */
#define GRACE_TICK_MS 100

/* What SIGTERM does; true until there is a session. */
static volatile sig_atomic_t in_pass = true;
static volatile sig_atomic_t recording = false;
static volatile int64 terminated_at = 0;	/* clock_us() of the first SIGTERM, 0: none */

/* Ends a pass that records answers when the second that it is granted is over. */
static TimeoutId grace_timeout;

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
		compat_hand_on_signal(die);
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
		compat_hand_on_signal(StatementCancelHandler);
}

bool
interrupts_terminated(void)
{
	return terminated_at != 0;
}

int64
interrupts_grace_left_us(void)
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
	if (terminated_at != 0 && interrupts_grace_left_us() <= 0)
		compat_call_handler(die, SIGTERM);
}

void
interrupts_begin_pass(bool records)
{
	Oid			outbox;

	recording = records;
	in_pass = true;
	if (recording)
		enable_timeout_every(grace_timeout,
							 TimestampTzPlusMilliseconds(GetCurrentTimestamp(), GRACE_TICK_MS),
							 GRACE_TICK_MS);
	else if (ShutdownRequestPending)
		compat_call_handler(die, SIGTERM);
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

void
interrupts_end_pass(void)
{
	transaction_commit();
	if (recording)
		disable_timeout(grace_timeout, false);
	recording = false;
	in_pass = false;
}

void
interrupts_serve(void)
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

void
interrupts_begin(void)
{
	pqsignal(SIGTERM, handle_sigterm);
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGINT, handle_sigint);
	BackgroundWorkerUnblockSignals();
}

void
interrupts_session_began(void)
{
	grace_timeout = RegisterTimeout(USER_TIMEOUT, handle_grace_timeout);
}
