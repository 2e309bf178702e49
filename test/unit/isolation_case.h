/*
 * isolation_case.h
 *		What the unit tests of isolation.c have in common.
 *
 * For programs of one source file, like tap.h.
 */
#ifndef CONTACTS_PUSH_ISOLATION_CASE_H
#define CONTACTS_PUSH_ISOLATION_CASE_H

#include <stdlib.h>

#include "grouping/isolation.h"
#include "tap.h"

#define MAX_REQUEST		1000	/* the API's limit */

/* The request that next() has put together last. */
static IsolationContact sent[MAX_REQUEST];
static int	nsent;

/* Contacts from..to that nothing is known of. */
static inline Isolation *
fresh(int from, int to)
{
	Isolation  *isolation = isolation_create();

	for (int i = from; isolation && i <= to; i++)
	{
		if (!isolation_add(isolation, i))
			exit(1);
	}
	return isolation;
}

/* Contacts from..to as one unconfirmed group. */
static inline void
add_group(Isolation *isolation, int from, int to)
{
	IsolationContact contacts[MAX_REQUEST];

	for (int i = from; i <= to; i++)
		contacts[i - from] = i;
	if (!isolation_add_unconfirmed(isolation, contacts, to - from + 1))
		exit(1);
}

static inline Isolation *
unconfirmed(int from, int to)
{
	Isolation  *isolation = isolation_create();

	add_group(isolation, from, to);
	return isolation;
}

/* The token of the next request, its contacts in sent[]. */
static inline int
next(Isolation *isolation, int max)
{
	int			token = -1;

	nsent = isolation_next(isolation, max, NULL, NULL, sent, &token);
	return token;
}

/* Was from..to, in this order, what went last? */
static inline bool
went(int from, int to)
{
	bool		same = nsent == to - from + 1;

	for (int i = 0; same && i < nsent; i++)
		same = sent[i] == from + i;
	if (!same)
		diag("%d contacts went, beginning with %d", nsent, nsent > 0 ? (int) sent[0] : -1);
	return same;
}

/* Fresh contacts 1..n of which those that went as one request were dirty. */
static inline Isolation *
dirty_set(int n, int culprit)
{
	Isolation  *isolation = fresh(1, n);

	isolation_dirty(isolation, next(isolation, n), culprit);
	return isolation;
}

/* Sends and answers requests until nothing is left; bad ones: multiples of k. */
static inline int
work_off(Isolation *isolation, int k)
{
	int			requests = 0;

	for (;; requests++)
	{
		int			token = next(isolation, MAX_REQUEST);
		bool		dirty = false;

		if (nsent == 0)
			return requests;
		for (int i = 0; i < nsent; i++)
			dirty |= sent[i] % k == 0;
		if (dirty)
			isolation_dirty(isolation, token, -1);
		else
			isolation_clean(isolation, token);
	}
}

#endif							/* CONTACTS_PUSH_ISOLATION_CASE_H */
