/*
 * isolation_case.h
 *		What the unit tests of isolation.c have in common.
 *
 * For programs of one source file, like tap.h.
 */
#ifndef CONTACTS_PUSH_ISOLATION_CASE_H
#define CONTACTS_PUSH_ISOLATION_CASE_H

#include <stdlib.h>
#include <string.h>

#include "grouping/isolation.h"
#include "tap.h"

#define MAX_REQUEST		1000	/* the API's limit */

/* The contacts of these tests, called by their numbers. */
#define CONTACTS		20001
static IsolationNode contacts[CONTACTS];

/* The request that next() has put together last. */
static int	sent[MAX_REQUEST];
static int	nsent;

/* Without contacts; those of the one before, which has been freed, are outside again. */
static inline Isolation *
create(void)
{
	Isolation  *isolation = isolation_create();

	if (!isolation)
		exit(1);
	memset(contacts, 0, sizeof(contacts));
	return isolation;
}

static inline void
add(Isolation *isolation, int from, int to)
{
	for (int i = from; i <= to; i++)
		isolation_add(isolation, &contacts[i]);
}

/* Contacts from..to that nothing is known of. */
static inline Isolation *
fresh(int from, int to)
{
	Isolation  *isolation = create();

	add(isolation, from, to);
	return isolation;
}

/* Contacts from..to as one unconfirmed group. */
static inline void
add_group(Isolation *isolation, int from, int to)
{
	IsolationNode *nodes[MAX_REQUEST];

	for (int i = from; i <= to; i++)
		nodes[i - from] = &contacts[i];
	if (!isolation_add_unconfirmed(isolation, nodes, to - from + 1))
		exit(1);
}

static inline Isolation *
unconfirmed(int from, int to)
{
	Isolation  *isolation = create();

	add_group(isolation, from, to);
	return isolation;
}

/* The next request of those that admit lets in, its contacts in sent[]. */
static inline IsolationRequest *
next_admitted(Isolation *isolation, int max, IsolationAdmit admit, void *arg)
{
	IsolationNode *nodes[MAX_REQUEST];
	IsolationRequest *request = NULL;

	nsent = isolation_next(isolation, max, admit, arg, nodes, &request);
	for (int i = 0; i < nsent; i++)
		sent[i] = (int) (nodes[i] - contacts);
	return request;
}

static inline IsolationRequest *
next(Isolation *isolation, int max)
{
	return next_admitted(isolation, max, NULL, NULL);
}

/* Was from..to, in this order, what went last? */
static inline bool
went(int from, int to)
{
	bool		same = nsent == to - from + 1;

	for (int i = 0; same && i < nsent; i++)
		same = sent[i] == from + i;
	if (!same)
		diag("%d contacts went, beginning with %d", nsent, nsent > 0 ? sent[0] : -1);
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
		IsolationRequest *request = next(isolation, MAX_REQUEST);
		bool		dirty = false;

		if (nsent == 0)
			return requests;
		for (int i = 0; i < nsent; i++)
			dirty |= sent[i] % k == 0;
		if (dirty)
			isolation_dirty(isolation, request, -1);
		else
			isolation_clean(isolation, request);
	}
}

#endif							/* CONTACTS_PUSH_ISOLATION_CASE_H */
