/*
 * slots.c
 *		Which databases have a worker: the side of the launcher and of commands.
 *
 * Nothing is started or decided in here.
 */
#include "postgres.h"

#include <signal.h>

#include "compat.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "server/shared.h"
#include "server/shared_private.h"
#include "server/slots.h"
#include "server/wait_event.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "util/clock.h"

/* A worker's grace period and what its exit takes, ms. */
#define STOP_MS 3000

/* Returns the hold of a database, or another to overwrite.  The caller holds the lock. */
static Hold *
choose_hold(Oid database)
{
	Hold	   *hold;

	for (int i = 0; i < MAX_HOLDS; i++)
		if (shared->holds[i].database == database)
			return &shared->holds[i];
	hold = &shared->holds[shared->next_hold];
	shared->next_hold = (shared->next_hold + 1) % MAX_HOLDS;
	return hold;
}

/* Sends the worker of a database SIGTERM; false: there is none. */
static bool
terminate_worker(Oid database)
{
	Worker	   *worker;
	Hold	   *hold;
	int			pid = 0;

	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	worker = shared_find_worker(database);
	if (worker && worker->procno >= 0)
		pid = worker->report.pid;
	hold = choose_hold(database);
	hold->database = database;
	hold->until = clock_us() + SHARED_HOLD_MS * INT64CONST(1000);
	LWLockRelease(shared_lock);
	return pid > 0 && kill(pid, SIGTERM) == 0;
}

void
slots_stop_worker(Oid database)
{
	int64		until = clock_us() + STOP_MS * INT64CONST(1000);
	SharedReport report;

	if (shared == NULL || !terminate_worker(database))
		return;
	while (shared_get_report(database, &report) && report.pid != 0 && clock_us() < until)
	{
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 10, wait_event(WAIT_WORKER_END));
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
}

int64
slots_hold_left(Oid database)
{
	int64		left;

	LWLockAcquire(shared_lock, LW_SHARED);
	left = shared_hold_left(database);
	LWLockRelease(shared_lock);
	return left;
}

static void
detach_launcher(int code, Datum arg)
{
	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	shared->launcher_procno = -1;
	LWLockRelease(shared_lock);
}

void
slots_attach_launcher(void)
{
	before_shmem_exit(detach_launcher, (Datum) 0);
	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	/* frees what an earlier launcher has reserved and no worker has attached to */
	for (int i = 0; i < shared->nworkers; i++)
		if (shared->workers[i].report.pid == 0)
			shared->workers[i].database = InvalidOid;
	shared->launcher_procno = compat_my_proc_number();
	LWLockRelease(shared_lock);
}

int
slots_take_installations(Oid *databases, int max)
{
	int			n;

	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	n = shared->ninstallations;
	if (shared->look_at_all || n > max)
		n = -1;
	else
		memcpy(databases, shared->installations, n * sizeof(Oid));
	shared->ninstallations = 0;
	shared->look_at_all = false;
	LWLockRelease(shared_lock);
	return n;
}

/* Returns the slot to give to a database, NULL: none.  The caller holds the lock. */
static Worker *
choose_slot(Oid database)
{
	Worker	   *worker = shared_find_worker(database);

	if (worker == NULL)
		worker = shared_find_worker(InvalidOid);
	for (int i = 0; worker == NULL && i < shared->nworkers; i++)
		if (shared->workers[i].ended)
			worker = &shared->workers[i];
	return worker;
}

bool
slots_reserve(Oid database)
{
	Worker	   *worker;

	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	worker = choose_slot(database);
	if (worker && worker->database != database)
	{
		memset(worker, 0, sizeof(*worker));
		worker->database = database;
		worker->procno = -1;
	}
	if (worker)
	{
		worker->exit = SHARED_EXIT_UNTOLD;
		worker->ended = false;
	}
	LWLockRelease(shared_lock);
	return worker != NULL;
}

SharedExit
slots_worker_ended(Oid database, int64 *back_at)
{
	SharedExit	why = SHARED_EXIT_UNTOLD;
	Worker	   *worker;

	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	worker = shared_find_worker(database);
	if (worker && worker->report.pid != 0)
		why = SHARED_EXIT_OTHER_RUNS;
	else if (worker)
	{
		why = worker->exit;
		*back_at = pg_atomic_read_u32(&worker->has_rows) ? 0 : worker->back_at;
		worker->ended = true;
	}
	LWLockRelease(shared_lock);
	return why;
}

void
slots_release(Oid database)
{
	Worker	   *worker;

	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	worker = shared_find_worker(database);
	if (worker && worker->report.pid == 0)
		worker->database = InvalidOid;
	LWLockRelease(shared_lock);
}

void
slots_want(int n)
{
	bool		more;

	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	/* workers that sleep have to be woken; the others look at the end of each pass */
	more = n > shared->nwaiting;
	shared->nwaiting = n;
	for (int i = 0; more && i < shared->nworkers; i++)
		shared_set_latch(shared->workers[i].procno);
	LWLockRelease(shared_lock);
}
