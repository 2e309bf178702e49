/*
 * shared.c
 *		Shared memory: who works for which database.
 *
 * It also holds the budgets, which budget.c works with.  One lightweight lock covers all of
 * it: its sections are short, and commits that enqueue do without it.
 */
#include "postgres.h"

#include <signal.h>
#include <time.h>

#include "compat.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "server/budget.h"
#include "server/shared.h"
#include "server/shared_private.h"
#include "server/wait_event.h"
#include "storage/condition_variable.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/proc.h"
#include "storage/shmem.h"
#include "util/clock.h"
#include "utils/timestamp.h"

/* A worker that has lived for so long did not end for the reason of the one before it. */
#define LONG_LIFE_MS (60 * 1000)

Shared	   *shared = NULL;
LWLock	   *shared_lock = NULL;
static Worker *my_worker = NULL;
static char my_end[SHARED_ERROR_BYTES] = "";	/* the error that ends this worker */

static shmem_request_hook_type prev_shmem_request_hook = NULL;
static shmem_startup_hook_type prev_shmem_startup_hook = NULL;

/* There is one worker a database, and no more workers than there can be processes. */
static Size
shared_size(void)
{
	return add_size(offsetof(Shared, workers),
					mul_size(max_worker_processes, sizeof(Worker)));
}

static void
shared_shmem_request(void)
{
	if (prev_shmem_request_hook)
		prev_shmem_request_hook();
	RequestAddinShmemSpace(shared_size());
	RequestNamedLWLockTranche("contacts_push", 1);
}

static void
shared_shmem_startup(void)
{
	bool		found;

	if (prev_shmem_startup_hook)
		prev_shmem_startup_hook();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	shared = ShmemInitStruct("contacts_push", shared_size(), &found);
	if (!found)
	{
		memset(shared, 0, shared_size());
		shared->launcher_procno = -1;
		ConditionVariableInit(&shared->flushed);
		shared->nworkers = max_worker_processes;
		for (int i = 0; i < shared->nworkers; i++)
		{
			shared->workers[i].procno = -1;
			pg_atomic_init_u32(&shared->workers[i].has_rows, 0);
			pg_atomic_init_u64(&shared->workers[i].asleep_until, 0);
		}
	}
	shared_lock = &GetNamedLWLockTranche("contacts_push")->lock;
	budget_attach(shared->budgets, shared_lock);
	LWLockRelease(AddinShmemInitLock);
}

void
shared_request(void)
{
	prev_shmem_request_hook = shmem_request_hook;
	shmem_request_hook = shared_shmem_request;
	prev_shmem_startup_hook = shmem_startup_hook;
	shmem_startup_hook = shared_shmem_startup;
}

bool
shared_available(void)
{
	return shared != NULL;
}

Worker *
shared_find_worker(Oid database)
{
	for (int i = 0; i < shared->nworkers; i++)
		if (shared->workers[i].database == database)
			return &shared->workers[i];
	return NULL;
}

void
shared_set_latch(int procno)
{
	if (procno >= 0)
		SetLatch(&ProcGlobal->allProcs[procno].procLatch);
}

/* Returns whether the database has no worker that could be woken, or is about to be started. */
static bool
is_gone(const Worker *worker)
{
	return worker == NULL || (worker->procno < 0 && worker->report.gave_up);
}

void
shared_wake_worker(Oid database, int told)
{
	Worker	   *worker;
	bool		gone;

	if (shared == NULL)
		return;
	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	worker = shared_find_worker(database);
	if (worker)
	{
		worker->told |= told | SHARED_TOLD_CALLED;
		/* set as well, for a worker that is about to give up its process */
		pg_atomic_write_u32(&worker->has_rows, 1);
		shared_set_latch(worker->procno);
	}
	gone = is_gone(worker);
	LWLockRelease(shared_lock);
	if (gone)
		shared_tell_launcher(database);
}

/*
 * Every transaction that enqueues ends with this, so it takes no lock.  The order of its steps
 * makes that safe: the commit is visible, then the flag is set, then the clock is read.  The
 * worker says until when it sleeps, wakes then by itself, and looks at the flag.  Whoever
 * sets the flag after that look reads a later time, and sets the latch.  If the slot changes
 * hands meanwhile, its new worker is about to read everything.  A worker that gives up its
 * slot is gone before the launcher looks at the flag.
 */
void
shared_tell_rows(Oid database)
{
	Worker	   *worker;

	if (shared == NULL)
		return;
	pg_memory_barrier();
	worker = shared_find_worker(database);
	if (worker)
		pg_atomic_write_u32(&worker->has_rows, 1);
	pg_memory_barrier();
	if (is_gone(worker))
		shared_tell_launcher(database);
	else if ((int64) pg_atomic_read_u64(&worker->asleep_until) <= clock_us())
		shared_set_latch(worker->procno);
}

void
shared_tell_launcher(Oid database)
{
	bool		told = false;

	if (shared == NULL)
		return;
	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	for (int i = 0; i < shared->ninstallations; i++)
		told |= shared->installations[i] == database;
	if (told)
		 /* the launcher knows of it */ ;
	else if (OidIsValid(database) && shared->ninstallations < MAX_INSTALLATIONS)
		shared->installations[shared->ninstallations++] = database;
	else
		shared->look_at_all = true;
	shared_set_latch(shared->launcher_procno);
	LWLockRelease(shared_lock);
}

int64
shared_hold_left(Oid database)
{
	int64		now = clock_us();
	int64		until = now;

	for (int i = 0; i < MAX_HOLDS; i++)
		if (shared->holds[i].database == database)
			until = Max(until, shared->holds[i].until);
	return until - now;
}

/* Copies as much of a text as there is room for, cut between two characters. */
static void
copy_text(char *to, const char *from, int size)
{
	int			length = pg_mbcliplen(from, strlen(from), size - 1);

	memcpy(to, from, length);
	to[length] = '\0';
}

/*
 * Runs while the error is being reported, when this process may hold any lock.  So only
 * detach_worker() puts it into shared memory, after the transaction has been aborted.
 */
void
shared_note_end(const char *error)
{
	copy_text(my_end, error, SHARED_ERROR_BYTES);
}

static bool
overlap(const SharedPlace *a, const SharedPlace *b)
{
	return a->step == b->step && a->low <= b->high && b->low <= a->high;
}

/* Makes the rows suspect that both this worker and its predecessor were at when they ended. */
static void
note_end(Worker *worker)
{
	SharedPlace *at = &worker->at;
	SharedPlace *suspect = &worker->suspect;

	if (at->step == 0)
		return;
	if (overlap(at, suspect))
	{
		suspect->low = Max(suspect->low, at->low);
		suspect->high = Min(suspect->high, at->high);
		worker->suspect_ends++;
	}
	else
	{
		*suspect = *at;
		worker->suspect_ends = 1;
	}
}

void
shared_enter(int step, int64 low, int64 high)
{
	if (my_worker)
		my_worker->at = (SharedPlace) {step, low, high};
}

bool
shared_is_suspect(int step, int64 low, int64 high)
{
	SharedPlace place = {step, low, high};

	return my_worker && my_worker->suspect_ends > 1 && overlap(&place, &my_worker->suspect);
}

/* Wakes the launcher itself: the postmaster tells only the launcher that started the worker. */
static void
detach_worker(int code, Datum arg)
{
	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	if (my_worker->exit == SHARED_EXIT_UNTOLD)
		note_end(my_worker);
	if (my_end[0])
	{
		my_worker->report.ends++;
		strlcpy(my_worker->report.end_error, my_end, SHARED_ERROR_BYTES);
	}
	my_worker->procno = -1;
	my_worker->report.pid = 0;
	my_worker->report.requests_in_flight = 0;
	shared_set_latch(shared->launcher_procno);
	LWLockRelease(shared_lock);
	my_worker = NULL;
}

bool
shared_attach_worker(Oid database)
{
	Worker	   *worker;

	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	worker = shared_find_worker(database);
	if (worker && worker->report.pid == 0 && shared_hold_left(database) > 0)
		worker->exit = SHARED_EXIT_RESTART;
	else if (worker && worker->report.pid == 0)
	{
		memset(&worker->report, 0, offsetof(SharedReport, ends));
		worker->at.step = 0;
		worker->report.pid = MyProcPid;
		worker->report.started_at = GetCurrentTimestamp();
		worker->report.last_activity_at = worker->report.started_at;
		pg_atomic_write_u32(&worker->has_rows, 0);
		pg_atomic_write_u64(&worker->asleep_until, 0);
		worker->procno = compat_my_proc_number();
		my_worker = worker;
	}
	LWLockRelease(shared_lock);
	if (my_worker)
		before_shmem_exit(detach_worker, (Datum) 0);
	return my_worker != NULL;
}

void
shared_tell_exit(SharedExit why)
{
	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	my_worker->exit = why;
	LWLockRelease(shared_lock);
}

bool
shared_give_up(int64 back_at)
{
	bool		wanted = false;

	/* every pass asks this, and mostly nobody waits */
	if (shared->nwaiting == 0)
		return false;
	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	if (shared->nwaiting > 0 && pg_atomic_read_u32(&my_worker->has_rows) == 0)
	{
		wanted = true;
		shared->nwaiting--;
		my_worker->exit = SHARED_EXIT_GAVE_UP;
		my_worker->back_at = back_at;
		my_worker->report.gave_up = true;
	}
	LWLockRelease(shared_lock);
	return wanted;
}

void
shared_report_activity(SharedActivity activity)
{
	TimestampTz now = GetCurrentTimestamp();

	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	my_worker->report.activity = activity;
	my_worker->report.activity_since = now;
	LWLockRelease(shared_lock);
}

const char *
shared_activity_name(SharedActivity activity)
{
	static const char *const names[] = {
		[SHARED_IDLE] = NULL,
		[SHARED_RECOVERING] = "recovering what an earlier worker left",
		[SHARED_RECORDING] = "recording answers",
		[SHARED_READING] = "reading the outbox",
		[SHARED_PLANNING] = "planning requests",
		[SHARED_TIDYING] = "deleting what is over its retention",
		[SHARED_COMMITTING] = "committing",
	};

	return names[activity];
}

void
shared_report(int in_flight, int64 requests, int64 contacts, uint64 key_hash)
{
	SharedReport *report = &my_worker->report;
	TimestampTz now = GetCurrentTimestamp();

	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	report->requests_in_flight = in_flight;
	report->requests = requests;
	report->contacts = contacts;
	report->key_hash = key_hash;
	report->last_activity_at = now;
	if (requests > 0 || TimestampDifferenceExceeds(report->started_at, now, LONG_LIFE_MS))
		report->ends = 0;
	LWLockRelease(shared_lock);
}

void
shared_report_error(const char *chatbot_id, const char *error)
{
	SharedReport *report = &my_worker->report;
	TimestampTz now = GetCurrentTimestamp();

	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	report->last_error_at = now;
	copy_text(report->last_error, error ? error : "", SHARED_ERROR_BYTES);
	copy_text(report->last_error_chatbot, chatbot_id ? chatbot_id : "", SHARED_ID_BYTES);
	LWLockRelease(shared_lock);
}

void
shared_sleep_until(int64 until)
{
	pg_atomic_write_u64(&my_worker->asleep_until, (uint64) until);
	pg_memory_barrier();
}

bool
shared_take_rows(void)
{
	return pg_atomic_exchange_u32(&my_worker->has_rows, 0) != 0;
}

int
shared_take_told(void)
{
	int			told;

	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	told = my_worker->told;
	my_worker->told = 0;
	LWLockRelease(shared_lock);
	return told;
}

uint64
shared_flush_wanted(void)
{
	uint64		ticket;

	LWLockAcquire(shared_lock, LW_SHARED);
	ticket = shared->flush_drawn;
	LWLockRelease(shared_lock);
	return ticket;
}

void
shared_flush_done(uint64 ticket, bool settled)
{
	bool		news;

	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	news = my_worker->flush_done != ticket;
	my_worker->flush_done = ticket;
	my_worker->flush_settled = settled;
	LWLockRelease(shared_lock);
	if (news)
		ConditionVariableBroadcast(&shared->flushed);
}

static bool
is_flushed(uint64 ticket, bool *settled)
{
	Worker	   *worker;
	bool		done;

	LWLockAcquire(shared_lock, LW_SHARED);
	worker = shared_find_worker(MyDatabaseId);
	done = worker && worker->flush_done >= ticket;
	*settled = done && worker->flush_settled;
	LWLockRelease(shared_lock);
	return done;
}

bool
shared_flush(int64 timeout_ms)
{
	int64		until = clock_us() + timeout_ms * 1000;
	int64		left;
	uint64		ticket;
	bool		settled;

	if (shared == NULL)
		return false;
	LWLockAcquire(shared_lock, LW_EXCLUSIVE);
	ticket = ++shared->flush_drawn;
	LWLockRelease(shared_lock);
	shared_wake_worker(MyDatabaseId, 0);
	/* a worker that comes only now answers the ticket with its first passes */
	ConditionVariablePrepareToSleep(&shared->flushed);
	while (!is_flushed(ticket, &settled) && (left = (until - clock_us()) / 1000) > 0)
		ConditionVariableTimedSleep(&shared->flushed, left, wait_event(WAIT_FLUSH));
	ConditionVariableCancelSleep();
	return settled;
}

bool
shared_get_report(Oid database, SharedReport *report)
{
	Worker	   *worker;

	if (shared == NULL)
		return false;
	LWLockAcquire(shared_lock, LW_SHARED);
	worker = shared_find_worker(database);
	if (worker)
		*report = worker->report;
	LWLockRelease(shared_lock);
	return worker != NULL;
}
