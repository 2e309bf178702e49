/*
 * holding.c
 *		Requests that are held back; see holding.h for what must not enter here.
 *
 * Those with a time are in a binary heap, those held forever in a list and in the
 * thread's epoll set, which tells when their clients go.  A hold that has been
 * handed back to its connection is not touched again.
 */
#include "holding.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "buffer.h"

/* Events taken at once; more are taken in the next round. */
#define EVENTS 64

/* Stands for wake_fd among the events; holds are numbered from 1. */
#define WAKE_ID 0

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_t thread;
static int	epoll_fd = -1;
static int	wake_fd = -1;

/* All below is under the lock. */
static Hold **heap;				/* the earliest first */
static size_t heap_used;
static size_t heap_size;
static Hold *forever;
static uint64_t last_id;
static bool ending;

static int64_t
now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t) now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static void
heap_add(Hold *hold)
{
	size_t		place = heap_used++;

	if (heap_used > heap_size)
	{
		heap_size = heap_size > 0 ? heap_size * 2 : 64;
		heap = must_realloc(heap, heap_size * sizeof(Hold *));
	}
	while (place > 0 && heap[(place - 1) / 2]->due_us > hold->due_us)
	{
		heap[place] = heap[(place - 1) / 2];
		place = (place - 1) / 2;
	}
	heap[place] = hold;
}

static Hold *
heap_take_first(void)
{
	Hold	   *first = heap[0];
	Hold	   *last = heap[--heap_used];
	size_t		place = 0;

	for (;;)
	{
		size_t		child = 2 * place + 1;

		if (child + 1 < heap_used && heap[child + 1]->due_us < heap[child]->due_us)
			child++;
		if (child >= heap_used || heap[child]->due_us >= last->due_us)
			break;
		heap[place] = heap[child];
		place = child;
	}
	heap[place] = last;
	return first;
}

static void
forever_add(Hold *hold)
{
	struct epoll_event event = {.events = EPOLLRDHUP, .data.u64 = hold->id};

	hold->previous = NULL;
	hold->next = forever;
	if (forever != NULL)
		forever->previous = hold;
	forever = hold;
	epoll_ctl(epoll_fd, EPOLL_CTL_ADD, hold->fd, &event);
}

static void
forever_remove(Hold *hold)
{
	epoll_ctl(epoll_fd, EPOLL_CTL_DEL, hold->fd, NULL);
	if (hold->next != NULL)
		hold->next->previous = hold->previous;
	if (hold->previous != NULL)
		hold->previous->next = hold->next;
	else
		forever = hold->next;
}

/* Hands it back to its connection. */
static void
let_go(Hold *hold, bool released)
{
	hold->released = released;
	MHD_resume_connection(hold->connection);
}

/* Lets those go whose time has come; milliseconds to the next, -1: none. */
static int
let_due_go(void)
{
	int64_t		left = 0;

	pthread_mutex_lock(&lock);
	while (heap_used > 0 && (left = heap[0]->due_us - now_us()) <= 0)
		let_go(heap_take_first(), false);
	if (heap_used == 0)
		left = -1;
	pthread_mutex_unlock(&lock);
	if (left < 0)
		return -1;
	/* Rounded up, not to turn in circles; a day is as good as any longer. */
	return left > INT64_C(86400000000) ? 86400000 : (int) ((left + 999) / 1000);
}

/* Lets those go whose clients have gone. */
static void
let_left_go(const struct epoll_event *events, int n)
{
	uint64_t	ignored;
	int			i;

	pthread_mutex_lock(&lock);
	for (i = 0; i < n; i++)
	{
		Hold	   *held = forever;

		if (events[i].data.u64 == WAKE_ID && read(wake_fd, &ignored, sizeof(ignored)) < 0)
			continue;
		/* It may have been let go since the event was taken: look for it. */
		while (held != NULL && held->id != events[i].data.u64)
			held = held->next;
		if (held != NULL)
		{
			forever_remove(held);
			let_go(held, true);
		}
	}
	pthread_mutex_unlock(&lock);
}

static void *
run(void *arg)
{
	(void) arg;
	for (;;)
	{
		struct epoll_event events[EVENTS];
		int			timeout = let_due_go();
		int			n;
		bool		end;

		pthread_mutex_lock(&lock);
		end = ending;
		pthread_mutex_unlock(&lock);
		if (end)
			return NULL;
		n = epoll_wait(epoll_fd, events, EVENTS, timeout);
		if (n > 0)
			let_left_go(events, n);
	}
}

static void
wake(void)
{
	uint64_t	one = 1;

	/* Fails only if the counter is full, and then the thread wakes anyway. */
	if (write(wake_fd, &one, sizeof(one)) < 0)
		return;
}

bool
holding_start(void)
{
	struct epoll_event event = {.events = EPOLLIN, .data.u64 = WAKE_ID};

	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return epoll_fd >= 0 && wake_fd >= 0 &&
		epoll_ctl(epoll_fd, EPOLL_CTL_ADD, wake_fd, &event) == 0 &&
		pthread_create(&thread, NULL, run, NULL) == 0;
}

bool
holding_hold(Hold *hold, struct MHD_Connection *connection, long delay_ms)
{
	bool		first = false;

	hold->connection = connection;
	hold->released = false;
	hold->forever = delay_ms == HOLD_FOREVER;
	hold->due_us = now_us() + (int64_t) delay_ms * 1000;
	hold->fd = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;

	pthread_mutex_lock(&lock);
	if (ending)
	{
		pthread_mutex_unlock(&lock);
		return false;
	}
	MHD_suspend_connection(connection);
	hold->id = ++last_id;
	if (hold->forever)
		forever_add(hold);
	else
	{
		heap_add(hold);
		first = heap[0] == hold;
	}
	pthread_mutex_unlock(&lock);
	if (first)
		wake();
	return true;
}

void
holding_end_delays(void)
{
	pthread_mutex_lock(&lock);
	while (heap_used > 0)
		let_go(heap[--heap_used], false);
	pthread_mutex_unlock(&lock);
}

/* Under the lock. */
static void
release_all(void)
{
	while (heap_used > 0)
		let_go(heap[--heap_used], true);
	while (forever != NULL)
	{
		Hold	   *hold = forever;

		forever_remove(hold);
		let_go(hold, true);
	}
}

void
holding_release_all(void)
{
	pthread_mutex_lock(&lock);
	release_all();
	pthread_mutex_unlock(&lock);
}

void
holding_stop(void)
{
	pthread_mutex_lock(&lock);
	ending = true;
	release_all();
	pthread_mutex_unlock(&lock);
	wake();
	pthread_join(thread, NULL);
	free(heap);
	heap = NULL;
	close(wake_fd);
	close(epoll_fd);
}
