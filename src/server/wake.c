/*
 * wake.c
 *		Waking the worker and the launcher when the transaction commits.
 *
 * By latch and never by NOTIFY, whose commits wait for each other.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "server/shared.h"
#include "server/wake.h"

static bool rows_pending = false;
static bool wake_worker_pending = false;
static int	wake_told = 0;		/* SHARED_TOLD_ flags for the worker */
static bool wake_launcher_pending = false;
static Oid	wake_launcher_for;	/* the database it is to look at; InvalidOid: all */

/*
 * Runs after the transaction has become visible to others, so that a process finds what it is
 * woken for.  The worker's slow poll finds what COMMIT PREPARED commits, which calls nothing of
 * ours.
 */
static void
wake_callback(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_COMMIT && wake_worker_pending)
		shared_wake_worker(MyDatabaseId, wake_told);
	else if (event == XACT_EVENT_COMMIT && rows_pending)
		shared_tell_rows(MyDatabaseId);
	if (event == XACT_EVENT_COMMIT && wake_launcher_pending)
		shared_tell_launcher(wake_launcher_for);
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT ||
		event == XACT_EVENT_PREPARE)
	{
		rows_pending = wake_worker_pending = wake_launcher_pending = false;
		wake_told = 0;
	}
}

static void
register_wake_callback(void)
{
	static bool registered = false;

	if (!registered)
	{
		RegisterXactCallback(wake_callback, NULL);
		registered = true;
	}
}

void
wake_for_rows_at_commit(void)
{
	register_wake_callback();
	rows_pending = true;
}

void
wake_worker_at_commit(int told)
{
	register_wake_callback();
	wake_worker_pending = true;
	wake_told |= told;
}

void
wake_launcher_at_commit(Oid database)
{
	register_wake_callback();
	wake_launcher_for = !wake_launcher_pending || wake_launcher_for == database ?
		database : InvalidOid;
	wake_launcher_pending = true;
}
