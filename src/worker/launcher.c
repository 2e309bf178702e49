/*
 * launcher.c
 *		The launcher: which databases need a worker.
 *
 * A process of its own without a database.  It cannot see which
 * databases have the extension, so it starts a worker in each once; one that
 * finds nothing says so and ends.  After that a database is looked at again when
 * CREATE EXTENSION has told, or when it is new.
 */
#include "postgres.h"

#include <signal.h>

#include "access/genam.h"
#include "access/heapam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_database.h"
#include "chatbase/pacing.h"
#include "compat.h"
#include "miscadmin.h"
#include "nodes/pg_list.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "server/shared.h"
#include "server/slots.h"
#include "server/wait_event.h"
#include "storage/ipc.h"
#include "tcop/tcopprot.h"
#include "util/clock.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"
#include "worker/launcher.h"

/* The list of databases is read again that often, for those made by copying. */
#define LOOK_MS (60 * 1000)

/* A worker that does one thing for longer stands in the log, ms. */
#define BUSY_MS (10 * 1000)

/* A worker that dies is started again after 1 s, doubling to 1 minute. */
#define FIRST_RESTART_US (INT64CONST(1000) * 1000)
#define LONGEST_RESTART_US (INT64CONST(60) * 1000 * 1000)

/* Whether a process has become free that is not ours is tried that often. */
#define SLOT_RETRY_US (INT64CONST(1000) * 1000)

/*
 * The log is told of missing processes once an hour, and not while many databases are only
 * looked at one after the other.
 */
#define SHORTAGE_US (INT64CONST(5000) * 1000)
#define WARN_AGAIN_US (INT64CONST(3600) * 1000 * 1000)

/* The launcher itself is restarted by the postmaster after this, s. */
#define LAUNCHER_RESTART_S 5

/* A database, in the launcher's memory. */
typedef struct Database
{
	Oid			oid;
	NameData	name;			/* as of the last look */
	bool		exists;			/* found by it */
	bool		wanted;			/* a worker is to run */
	BackgroundWorkerHandle *handle; /* NULL: none was started, or it has ended */
	bool		adopted;		/* an earlier launcher's worker runs */
	TimestampTz told_busy_since;	/* what the log says that the worker is busy with */
	int			told_pid;		/* the worker that was told to end, 0: none */
	int64		started_at;
	int64		start_at;		/* not before, clock_us() */
	bool		pending;		/* somebody has told of it: rows, most likely */
	bool		has_worked;		/* a worker of its has found the extension */
	bool		gave_up;		/* and let another database have its process until start_at */
	int64		waiting_since;	/* that no process is left for it, clock_us(); 0: none was missing */
	int			failures;		/* ends without a word, in a row */
} Database;

extern PGDLLEXPORT void contacts_push_launcher_main(Datum main_arg);

static List *databases = NIL;	/* of Database *, in TopMemoryContext */
static int64 look_at = 0;		/* time of the next look at pg_database */

void
launcher_register(void)
{
	BackgroundWorker bgworker = {0};

	/* pg_upgrade's server must not send anything. */
	if (IsBinaryUpgrade)
		return;
	bgworker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	bgworker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	bgworker.bgw_restart_time = LAUNCHER_RESTART_S;
	strlcpy(bgworker.bgw_library_name, "contacts_push", sizeof(bgworker.bgw_library_name));
	strlcpy(bgworker.bgw_function_name, "contacts_push_launcher_main",
			sizeof(bgworker.bgw_function_name));
	strlcpy(bgworker.bgw_name, "contacts_push launcher", sizeof(bgworker.bgw_name));
	strlcpy(bgworker.bgw_type, "contacts_push launcher", sizeof(bgworker.bgw_type));
	RegisterBackgroundWorker(&bgworker);
}

static Database *
find_database(Oid oid)
{
	MemoryContext old;
	Database   *database;
	ListCell   *cell;

	foreach(cell, databases)
		if (((Database *) lfirst(cell))->oid == oid)
			return lfirst(cell);
	old = MemoryContextSwitchTo(TopMemoryContext);
	database = palloc0(sizeof(Database));
	database->oid = oid;
	database->wanted = true;
	databases = lappend(databases, database);
	MemoryContextSwitchTo(old);
	return database;
}

static bool
has_worker(const Database *database)
{
	return database->handle || database->adopted;
}

/*
 * Has the worker of a database end, if one runs, an earlier launcher's as well.  It
 * is told once: a second SIGTERM would cut short what it records at the first.
 */
static void
end_worker(Oid oid)
{
	Database   *database = find_database(oid);
	SharedReport report;

	if (shared_get_report(oid, &report) && report.pid != 0)
	{
		if (report.pid != database->told_pid && kill(report.pid, SIGTERM) == 0)
			database->told_pid = report.pid;
		/* So that its end is noticed, and its slot freed. */
		if (database->handle == NULL)
			database->adopted = true;
	}
	else if (database->handle)
		TerminateBackgroundWorker(database->handle);
}

/*
 * Finds out which databases there are.  Templates are left alone: a worker would be in the
 * way of CREATE DATABASE, and nobody signs up in one.  What has become a template loses its
 * worker.
 */
static void
look_at_databases(void)
{
	Relation	relation;
	TableScanDesc scan;
	HeapTuple	tuple;
	ListCell   *cell;

	foreach(cell, databases)
		((Database *) lfirst(cell))->exists = false;

	StartTransactionCommand();
	(void) GetTransactionSnapshot();
	relation = table_open(DatabaseRelationId, AccessShareLock);
	scan = table_beginscan_catalog(relation, 0, NULL);
	while ((tuple = heap_getnext(scan, ForwardScanDirection)) != NULL)
	{
		Form_pg_database form = (Form_pg_database) GETSTRUCT(tuple);

		if (form->datistemplate)
			end_worker(form->oid);
		else if (form->datallowconn)
		{
			Database   *found = find_database(form->oid);

			found->exists = true;
			found->name = form->datname;
		}
	}
	table_endscan(scan);
	table_close(relation, AccessShareLock);
	CommitTransactionCommand();

	foreach(cell, databases)
	{
		Database   *database = lfirst(cell);

		if (database->exists || has_worker(database))
			continue;
		slots_release(database->oid);
		databases = foreach_delete_current(databases, cell);
		pfree(database);
	}
}

/* Databases that somebody has told of get a worker, or find out that they need none. */
static void
take_installations(void)
{
	Oid			oids[16];
	int			n = slots_take_installations(oids, lengthof(oids));
	ListCell   *cell;

	/* One that is told of may have become a template, or ceased to be one. */
	if (n != 0)
		look_at = 0;
	if (n < 0)
		foreach(cell, databases)
		{
			Database   *database = lfirst(cell);

			database->wanted = true;
			database->pending |= has_worker(database);
			if (database->waiting_since == 0 && database->failures == 0)
				database->start_at = 0;
		}
	for (int i = 0; i < n; i++)
	{
		Database   *database = find_database(oids[i]);

		database->wanted = database->pending = true;
		if (database->waiting_since == 0)
			database->start_at = 0;
	}
}

/* Launchers may end and come back; their workers stay. */
static bool
adopt_worker(Database *database)
{
	SharedReport report;

	database->adopted = shared_get_report(database->oid, &report) && report.pid != 0;
	return database->adopted;
}

/* False if no process is left for it. */
static bool
start_worker(Database *database)
{
	BackgroundWorker bgworker = {0};
	int64		hold = slots_hold_left(database->oid);

	database->started_at = clock_us();
	if (adopt_worker(database))
		return true;
	if (hold > 0)
	{
		database->start_at = clock_us() + hold;
		return true;
	}
	if (!slots_reserve(database->oid))
		return false;
	bgworker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION |
		COMPAT_BGWORKER_INTERRUPTIBLE;
	bgworker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	bgworker.bgw_restart_time = BGW_NEVER_RESTART;
	strlcpy(bgworker.bgw_library_name, "contacts_push", sizeof(bgworker.bgw_library_name));
	strlcpy(bgworker.bgw_function_name, "contacts_push_worker_main",
			sizeof(bgworker.bgw_function_name));
	snprintf(bgworker.bgw_name, sizeof(bgworker.bgw_name),
			 "contacts_push worker for %s", NameStr(database->name));
	strlcpy(bgworker.bgw_type, "contacts_push worker", sizeof(bgworker.bgw_type));
	bgworker.bgw_main_arg = ObjectIdGetDatum(database->oid);
	bgworker.bgw_notify_pid = MyProcPid;
	if (RegisterDynamicBackgroundWorker(&bgworker, &database->handle))
		return true;
	database->handle = NULL;
	slots_release(database->oid);
	return false;
}

/* Says in the log, once, that a worker does not come on. */
static void
tell_of_busy(Database *database)
{
	SharedReport report;

	if (!shared_get_report(database->oid, &report) || report.pid == 0 ||
		report.activity == SHARED_IDLE || report.activity_since == database->told_busy_since ||
		!TimestampDifferenceExceeds(report.activity_since, GetCurrentTimestamp(), BUSY_MS))
		return;
	database->told_busy_since = report.activity_since;
	ereport(LOG,
			(errcode(ERRCODE_SUCCESSFUL_COMPLETION),
			 errmsg("contacts_push: worker for database \"%s\" has been busy since %s: %s",
					NameStr(database->name), timestamptz_to_str(report.activity_since),
					shared_activity_name(report.activity))));
}

/* Takes note of a worker's end. */
static void
reap_worker(Database *database)
{
	int64		back_at;
	pid_t		pid;

	if (database->handle)
	{
		if (GetBackgroundWorkerPid(database->handle, &pid) != BGWH_STOPPED)
			return;
		pfree(database->handle);
		database->handle = NULL;
	}
	database->adopted = false;
	switch (slots_worker_ended(database->oid, &back_at))
	{
		case SHARED_EXIT_OTHER_RUNS:
			database->adopted = true;
			break;
		case SHARED_EXIT_NO_EXTENSION:
			slots_release(database->oid);
			/* somebody may have told of it since the worker looked */
			database->wanted = database->pending;
			database->has_worked = false;
			database->failures = 0;
			break;
		case SHARED_EXIT_RESTART:
			database->start_at = 0;
			break;
		case SHARED_EXIT_GAVE_UP:
			database->start_at = back_at;
			database->pending = back_at == 0;
			database->has_worked = database->gave_up = true;
			break;
		case SHARED_EXIT_UNTOLD:
			/* One that had run for long has not failed for the same reason again. */
			if (clock_us() - database->started_at > LONGEST_RESTART_US)
				database->failures = 0;
			database->failures++;
			database->start_at = clock_us() +
				pacing_pause(database->failures, FIRST_RESTART_US, LONGEST_RESTART_US);
			break;
	}
}

static void
reap_workers(void)
{
	bool		ended = false;
	ListCell   *cell;

	foreach(cell, databases)
	{
		Database   *database = lfirst(cell);

		if (!has_worker(database))
			continue;
		tell_of_busy(database);
		reap_worker(database);
		ended |= !has_worker(database);
	}
	foreach(cell, databases)
		if (ended && ((Database *) lfirst(cell))->waiting_since != 0)
			((Database *) lfirst(cell))->start_at = 0;
}

/* The one to be started next, NULL: none is. */
static Database *
next_in_line(int64 now)
{
	Database   *first = NULL;
	ListCell   *cell;

	foreach(cell, databases)
	{
		Database   *database = lfirst(cell);

		if (!database->wanted || has_worker(database) || database->start_at > now)
			continue;
		if (first == NULL || database->pending > first->pending ||
			(database->pending == first->pending && database->waiting_since != 0 &&
			 (first->waiting_since == 0 || database->waiting_since < first->waiting_since)))
			first = database;
	}
	return first;
}

/*
 * No process was left for one of those whose turn it is.  A process of ours that becomes
 * free is noticed, another's is not.
 */
static void
wait_for_slots(Database *database, int64 now)
{
	static int64 warned_at = 0;

	if ((database->pending || database->has_worked) &&
		database->waiting_since != 0 && now - database->waiting_since > SHORTAGE_US &&
		(warned_at == 0 || now - warned_at > WARN_AGAIN_US))
	{
		warned_at = now;
		ereport(WARNING,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("no background worker is free for contacts_push in database \"%s\"",
						NameStr(database->name)),
				 errdetail("Databases take turns: those with something to send come first."),
				 errhint("Increase max_worker_processes.")));
	}
	for (; database; database = next_in_line(now))
	{
		if (database->waiting_since == 0)
			database->waiting_since = now;
		database->start_at = now + SLOT_RETRY_US;
	}
}

/* Where nobody waits any more, those who made room have their workers again, as far as it goes. */
static void
bring_back(void)
{
	ListCell   *cell;

	foreach(cell, databases)
	{
		Database   *database = lfirst(cell);

		if (!database->wanted || !database->gave_up || has_worker(database))
			continue;
		if (!start_worker(database))
			break;
		database->gave_up = false;
	}
}

/* Returns ms until there is more to do. */
static long
start_workers(int64 now)
{
	Database   *database;
	int64		next = Max(look_at - now, 0);
	int			nwaiting = 0;
	ListCell   *cell;

	while ((database = next_in_line(now)) != NULL && start_worker(database))
	{
		database->pending = database->gave_up = false;
		database->waiting_since = 0;
	}
	if (database)
		wait_for_slots(database, now);
	foreach(cell, databases)
	{
		database = lfirst(cell);
		if (!database->wanted || has_worker(database))
			continue;
		next = Min(next, Max(database->start_at - now, 0));
		if (database->waiting_since != 0)
			nwaiting++;
	}
	slots_want(nwaiting);
	if (nwaiting == 0)
		bring_back();
	return (long) (next / 1000) + 1;
}

void
contacts_push_launcher_main(Datum main_arg)
{
	pqsignal(SIGTERM, die);
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	slots_attach_launcher();
	pgstat_report_activity(STATE_IDLE, "contacts_push: starting workers where they are needed");

	for (;;)
	{
		int64		now = clock_us();
		long		timeout;

		take_installations();
		reap_workers();
		/* Before anything is started: the database may have been dropped, or be a template. */
		if (look_at <= now || next_in_line(now) != NULL)
		{
			look_at_databases();
			look_at = now + LOOK_MS * INT64CONST(1000);
		}
		timeout = start_workers(now);
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 timeout, wait_event(WAIT_LAUNCHER_MAIN));
		ResetLatch(MyLatch);
		/* as each shutdown does: not worth the FATAL of the interrupt */
		if (ProcDiePending)
			proc_exit(1);
		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
	}
}
