/*
 * rate_limit.c
 *		How many requests a key has left in the present window; see rate_limit.h.
 */
#include "rate_limit.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "buffer.h"

typedef struct Window
{
	int64_t		end_ms;			/* since 1970 */
	long		used;
} Window;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static Window *windows;			/* under the lock, as what follows */
static int	nwindows;

static int64_t
clock_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (int64_t) now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static Window *
window_of(int key)
{
	if (key >= nwindows)
	{
		windows = must_realloc(windows, (size_t) (key + 1) * sizeof(Window));
		memset(windows + nwindows, 0, (size_t) (key + 1 - nwindows) * sizeof(Window));
		nwindows = key + 1;
	}
	return &windows[key];
}

/* Under the lock. */
static void
count(RateState *state, Window *window, long window_ms)
{
	if (state->now_ms >= window->end_ms)
	{
		window->end_ms = state->now_ms + window_ms;
		window->used = 0;
	}
	window->used++;
	state->reset_ms = window->end_ms;
	state->exceeded = window->used > state->limit;
	state->remaining = state->exceeded ? 0 : state->limit - window->used;
}

RateState
rate_count(int key, long limit, long window_ms)
{
	RateState	state;

	memset(&state, 0, sizeof(state));
	if (limit == 0)
		return state;
	state.limit = limit;
	state.remaining = limit;
	state.now_ms = clock_ms();
	state.reset_ms = state.now_ms + window_ms;
	if (key >= 0)
	{
		pthread_mutex_lock(&lock);
		count(&state, window_of(key), window_ms);
		pthread_mutex_unlock(&lock);
	}
	return state;
}

void
rate_reset(void)
{
	pthread_mutex_lock(&lock);
	free(windows);
	windows = NULL;
	nwindows = 0;
	pthread_mutex_unlock(&lock);
}
