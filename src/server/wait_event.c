/*
 * wait_event.c
 *		What pg_stat_activity says that a process of contacts_push waits for.
 *
 * Names only; who waits, and how, is not for here.
 */
#include "postgres.h"

#include "compat.h"
#include "server/wait_event.h"

static const char *const names[] = {
	[WAIT_LAUNCHER_MAIN] = "ContactsPushLauncherMain",
	[WAIT_WORKER_MAIN] = "ContactsPushWorkerMain",
	[WAIT_ANSWER] = "ContactsPushAnswer",
	[WAIT_BUDGET] = "ContactsPushBudget",
	[WAIT_BACKOFF] = "ContactsPushBackoff",
	[WAIT_FENCE] = "ContactsPushFence",
	[WAIT_WORKER_END] = "ContactsPushWorkerEnd",
	[WAIT_FLUSH] = "ContactsPushFlush"
};

uint32
wait_event(WaitReason reason)
{
	static uint32 events[lengthof(names)];

	if (events[reason] == 0)
		events[reason] = compat_wait_event_new(names[reason]);
	return events[reason];
}
