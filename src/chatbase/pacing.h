/*
 * pacing.h
 *		When the next request may leave.
 *
 * Plain C on structs of plain values that the caller owns, so that a
 * budget can lie in shared memory under the caller's lock.  No clock, no random
 * source, no waiting in here: both are arguments.
 *
 * Times are microseconds on any clock that does not go backwards; delays are
 * microseconds.  random is uniform in [0, 1).
 */
#ifndef CONTACTS_PUSH_PACING_H
#define CONTACTS_PUSH_PACING_H

#include <stdbool.h>
#include <stdint.h>

/*
 * The requests that one key may make, shared by all of a server who use the key.  Requests
 * are spaced evenly rather than sent in bursts.  A 429 holds the budget.  One that the rate is
 * to blame for slows it down as well, and it recovers to the configured rate, and to more
 * than what was refused: quickly at first, then slowly.  What is not used is lost.
 *
 * Other servers that use the key have budgets of their own, and find their share by the same
 * rules: see pacing.c.
 */
typedef struct PacingBudget
{
	int64_t		next_at;		/* earliest departure of the next request */
	int64_t		held_until;		/* nothing leaves before, because of a 429 */
	double		rate;			/* requests a second now; 0: not used yet */
	double		ceiling;		/* recovery slows down near it; 0: never slowed down */
	double		start;			/* rate after the last slow-down */
	int64_t		recovered_at;	/* time up to which rate has recovered */
	int64_t		recovery;		/* time that was used to recover since the last slow-down */
	int64_t		accepted;		/* answers other than 429 in that time */
	int64_t		throttled;		/* bursts of 429 in a row */
	int64_t		refused_at;		/* when the last burst of 429s was noticed */
	int64_t		round_trip;		/* how long the first of them had been under way */
	int64_t		hold;			/* for how long it was to hold if it did not say */
	double		refusals;		/* 429s of late, beyond those that come by chance */
	int64_t		wanted_at;		/* when a worker last had to wait for the budget */
	int64_t		proven_wanted_at;	/* the same, for a chatbot that has had answers */
	int64_t		unproven_at;	/* until then those that have not use their share */
	int64_t		calls_at;		/* until then the calls of SQL functions use their share */
} PacingBudget;

/* A budget that nobody has used is all zero: memset is enough. */

/* Returns the microseconds until a request of any chatbot may leave; 0: now. */
extern int64_t pacing_delay(const PacingBudget *budget, int64_t now);

/*
 * Takes a request of a worker, if one may leave now, and returns 0; else returns the
 * microseconds until one may.  proven: the chatbot has answered for a contact before.  While a
 * proven one waits, the others, which may not even exist, get a tenth of the budget.
 */
extern int64_t pacing_try(PacingBudget *budget, double rate, bool proven, int64_t now);

/* Takes a request that leaves now, whatever pacing_delay() says.  rate: the setting. */
extern void pacing_take(PacingBudget *budget, double rate, int64_t now);

/*
 * Takes a request for a call of an SQL function, which does not wait for its turn, and returns
 * 0.  While a worker waits for the budget, such calls may have half of it, and a second's
 * worth at once; beyond that nothing is taken, and it returns the microseconds to wait.
 */
extern int64_t pacing_take_call(PacingBudget *budget, double rate, int64_t now);

/* Ends all waits, because an operator says so. */
extern void pacing_release(PacingBudget *budget, int64_t now);

/* Gives the last request back: it does not leave after all. */
extern void pacing_return(PacingBudget *budget, double rate);

/* Takes note of an answer other than 429. */
extern void pacing_answered(PacingBudget *budget, double rate, int64_t now);

/*
 * Takes note of a 429 for a request that had left at left_at.  told: the microseconds that it
 * says to wait, 0 or less: none.  A burst of 429s, of requests that had left before the first came,
 * slows the budget down once, and so do bursts in a row: if no other answer has come between
 * them, it is not the rate that is refused.  Nor is it where 429s that do not say how long to
 * wait are as seldom as they come by chance.
 */
extern void pacing_throttled(PacingBudget *budget, double rate, int64_t left_at,
							 int64_t told, double random, int64_t now);

/*
 * The back-off of one chatbot (or of one contact, or of one pause): full jitter
 * as in "Exponential Backoff And Jitter" (Brooker, AWS Architecture Blog, 2015).
 */
typedef struct PacingBackoff
{
	int			failures;		/* in a row */
	int64_t		until;			/* no request before; 0: none */
} PacingBackoff;

/*
 * One more failure, the n-th in a row: the next try is after told if the answer
 * said so (told >= 0), else after a random part of first * 2^(n-1), at most max.
 * told may exceed max, being the answer's own word, but counts as no less than a
 * random part of first, so that "0" makes nobody try without pause.
 */
extern void pacing_fail(PacingBackoff *backoff, int64_t first, int64_t max,
						int64_t told, double random, int64_t now);
extern void pacing_succeed(PacingBackoff *backoff);

/*
 * Returns a delay that doubles without jitter, for pauses that a person watches: first,
 * 2 * first, ... at most max, for the n-th failure in a row (n >= 1).
 */
extern int64_t pacing_pause(int64_t n, int64_t first, int64_t max);

/*
 * How many contacts a request may carry while a server is in trouble: at most
 * half of what failed, down to 1 (so that requests that fail together count once),
 * doubled with each success of a request that made use of at least half of it, up
 * to max.  limit 0: not in trouble, max.  The last two return the new limit.
 */
extern int	pacing_batch(int limit, int max);
extern int	pacing_batch_failed(int limit, int sent, int max);
extern int	pacing_batch_succeeded(int limit, int sent, int max);

/*
 * The same in bytes, for requests that were found too large: there the first two serve
 * as well, but the limit is one of somebody's configuration, as a rule, and may also be a
 * moment's.  So it is tried again slowly: each success of a request that made use of at
 * least half of it raises it by a 64th, to twice the limit within 45 requests, so that one
 * which stays costs at most every 45th request.
 */
extern int	pacing_bytes_succeeded(int limit, int sent, int max);

#endif							/* CONTACTS_PUSH_PACING_H */
