/*
 * wait.c
 *		Waiting for a pool's sockets, the process latch and a time-out at once.
 *
 * No knowledge of what the requests are for may enter here.
 */
#include "postgres.h"

#include "chatbase/http.h"
#include "compat.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "server/wait.h"
#include "storage/ipc.h"
#include "storage/latch.h"

/* Events taken from the kernel at once; more are found by the next wait. */
#define MAX_EVENTS 16

/*
 * The set is kept while the pool watches the same sockets.  The kernel forgets a
 * closed descriptor by itself, and its number may come back for another socket,
 * hence the generation and not a comparison of numbers.
 */
static WaitEventSet *event_set = NULL;
static HttpPool *event_set_pool = NULL;
static unsigned long event_set_generation;

static WaitEventSet *
build_event_set(const HttpSocket *sockets, int count)
{
	WaitEventSet *set;

	if (event_set)
	{
		set = event_set;
		event_set = NULL;
		FreeWaitEventSet(set);
	}
	set = compat_create_wait_event_set(count + 2);
	event_set = set;
	AddWaitEventToSet(set, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, NULL);
	AddWaitEventToSet(set, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET, NULL, NULL);
	for (int i = 0; i < count; i++)
	{
		uint32		events = 0;

		if (sockets[i].readable)
			events |= WL_SOCKET_READABLE;
		if (sockets[i].writable)
			events |= WL_SOCKET_WRITEABLE;
		if (events)
			AddWaitEventToSet(set, events, sockets[i].fd, NULL, NULL);
	}
	return set;
}

static WaitEventSet *
current_event_set(HttpPool *pool)
{
	unsigned long generation = 0;
	int			count = 0;
	const HttpSocket *sockets = NULL;

	if (pool)
		sockets = http_sockets(pool, &count, &generation);
	if (event_set == NULL || event_set_pool != pool ||
		event_set_generation != generation)
	{
		build_event_set(sockets, count);
		event_set_pool = pool;
		event_set_generation = generation;
	}
	return event_set;
}

static void
step(HttpPool *pool, const WaitEvent *event)
{
	int			what = 0;

	if (event->events & WL_SOCKET_READABLE)
		what |= HTTP_STEP_READABLE;
	if (event->events & WL_SOCKET_WRITEABLE)
		what |= HTTP_STEP_WRITABLE;
	http_step(pool, event->fd, what);
}

bool
wait_for_http(HttpPool *pool, long timeout_ms)
{
	static uint32 wait_event = 0;
	WaitEvent	events[MAX_EVENTS];
	long		pool_timeout = pool ? http_timeout_ms(pool) : -1;
	bool		woken = false;
	int			n;

	if (wait_event == 0)
		wait_event = compat_wait_event_new("ContactsPushHttp");
	if (pool_timeout >= 0 && (timeout_ms < 0 || pool_timeout < timeout_ms))
		timeout_ms = pool_timeout;

	n = WaitEventSetWait(current_event_set(pool), timeout_ms, events, MAX_EVENTS,
						 wait_event);
	for (int i = 0; i < n; i++)
	{
		if (events[i].events & WL_LATCH_SET)
		{
			ResetLatch(MyLatch);
			woken = true;
		}
		else if (events[i].events & (WL_SOCKET_READABLE | WL_SOCKET_WRITEABLE))
			step(pool, &events[i]);
	}
	if (pool && http_timeout_ms(pool) == 0)
		http_step(pool, -1, 0);
	return woken;
}
