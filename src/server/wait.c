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

/* The event set of a pool; NULL: of none. */
static WaitEventSet *
current_event_set(HttpPool *pool)
{
	unsigned long generation = 0;
	int			count = 0;
	const HttpSocket *sockets = pool ? http_sockets(pool, &count, &generation) : NULL;
	WaitEventSet *old = event_set;

	if (old && event_set_pool == pool && event_set_generation == generation)
		return old;
	event_set = NULL;
	if (old)
		FreeWaitEventSet(old);
	event_set = compat_create_wait_event_set(count + 2);
	AddWaitEventToSet(event_set, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, NULL);
	AddWaitEventToSet(event_set, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET, NULL, NULL);
	for (int i = 0; i < count; i++)
	{
		uint32		events = (sockets[i].readable ? WL_SOCKET_READABLE : 0) |
			(sockets[i].writable ? WL_SOCKET_WRITEABLE : 0);

		if (events)
			AddWaitEventToSet(event_set, events, sockets[i].fd, NULL, NULL);
	}
	event_set_pool = pool;
	event_set_generation = generation;
	return event_set;
}

bool
wait_for_http(HttpPool *pool, long timeout_ms, WaitReason reason)
{
	WaitEvent	events[MAX_EVENTS];
	long		pool_timeout = pool ? http_timeout_ms(pool) : -1;
	bool		woken = false;
	int			n;

	if (pool_timeout >= 0 && (timeout_ms < 0 || pool_timeout < timeout_ms))
		timeout_ms = pool_timeout;

	n = WaitEventSetWait(current_event_set(pool), timeout_ms, events, MAX_EVENTS,
						 wait_event(reason));
	for (int i = 0; i < n; i++)
	{
		if (events[i].events & WL_LATCH_SET)
		{
			ResetLatch(MyLatch);
			woken = true;
		}
		else if (events[i].events & (WL_SOCKET_READABLE | WL_SOCKET_WRITEABLE))
			http_step(pool, events[i].fd,
					  (events[i].events & WL_SOCKET_READABLE ? HTTP_STEP_READABLE : 0) |
					  (events[i].events & WL_SOCKET_WRITEABLE ? HTTP_STEP_WRITABLE : 0));
	}
	if (pool && http_timeout_ms(pool) == 0)
		http_step(pool, -1, 0);
	return woken;
}
