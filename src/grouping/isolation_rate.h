/*
 * isolation_rate.h
 *		The rate of bad contacts as learnt from answers, and the group sizes that
 *		follow from it.
 *
 * A struct of plain values, no allocation, no failure.  It knows nothing
 * of contacts, requests and sets; isolation.c tells it what was found out.
 */
#ifndef CONTACTS_PUSH_ISOLATION_RATE_H
#define CONTACTS_PUSH_ISOLATION_RATE_H

#include <stdbool.h>

/*
 * Number of rates considered.  34 of them, each 1.5 times the odds of the one
 * before, reach from where a group of 1000 is clean for certain to where it
 * never is (see isolation_rate.c).
 */
#define ISOLATION_RATES 34

typedef struct IsolationRate
{
	double		weight[ISOLATION_RATES];	/* the posterior; sums up to 1 */
} IsolationRate;

/* Nothing seen yet: bad contacts are taken to be rare. */
extern void isolation_rate_init(IsolationRate *rate);

/*
 * A request with n contacts (n >= 1) was clean, or dirty.  known: how many contacts,
 * these included, were known to hold a bad one; 0: nothing was known.
 */
extern void isolation_rate_learn(IsolationRate *rate, int n, int known, bool clean);

/* The expected rate, above 0 and below 1. */
extern double isolation_rate_mean(const IsolationRate *rate);

/* How many contacts of which nothing is known go together: 1 to max. */
extern int	isolation_rate_group(const IsolationRate *rate, int max);

/*
 * How many contacts of a set of n that is known to hold a bad one are to be sent
 * next: 1 for n = 1, else 1 to n - 1.
 */
extern int	isolation_rate_part(const IsolationRate *rate, int n);

#endif							/* CONTACTS_PUSH_ISOLATION_RATE_H */
