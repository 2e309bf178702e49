/*
 * rate_limit.h
 *		How many requests a key has left in the present window.
 *
 * Counts and tells; what a request beyond the limit is answered is not here.
 */
#ifndef FAKE_CHATBASE_RATE_LIMIT_H
#define FAKE_CHATBASE_RATE_LIMIT_H

#include <stdbool.h>
#include <stdint.h>

typedef struct RateState
{
	long		limit;			/* 0: there is none, the rest says nothing */
	long		remaining;
	int64_t		now_ms;			/* since 1970 */
	int64_t		reset_ms;		/* end of the window, since 1970 */
	bool		exceeded;
} RateState;

/*
 * Counts a request of key number key.  A window begins with the first request
 * after the end of the one before.  key negative: a stranger, not counted.
 */
extern RateState rate_count(int key, long limit, long window_ms);

/* Ends all windows. */
extern void rate_reset(void);

#endif							/* FAKE_CHATBASE_RATE_LIMIT_H */
