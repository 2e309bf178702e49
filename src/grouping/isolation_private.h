/*
 * isolation_private.h
 *		What isolation.c and isolation_next.c share.
 *
 * isolation.c says what the answers mean, isolation_next.c what goes next.  Nobody
 * else includes this.
 */
#ifndef CONTACTS_PUSH_ISOLATION_PRIVATE_H
#define CONTACTS_PUSH_ISOLATION_PRIVATE_H

#include "grouping/isolation.h"
#include "grouping/isolation_rate.h"
#include "grouping/isolation_set.h"

struct Isolation
{
	Directory	inside;
	uint64_t	arrivals;
	Group		fresh;
	Queue		dirty;			/* sets of which a part can go */
	Queue		unconfirmed;	/* groups of which some can go */
	Queue		resting;		/* other groups, waiting for an answer */
	Queue		requests;		/* under way */
	int			under_way;		/* contacts in them */
	int			tests_under_way;	/* of them, those with two contacts or more */
	int			next_token;
	int			since;			/* requests since unconfirmed contacts had one */
	int64_t		settled;		/* contacts that left by an answer */
	int64_t		answered;		/* requests that were clean or dirty */
	IsolationRate rate;
};

/*
 * Puts a group into the queue where it belongs, after its kind, its contacts or
 * its requests have changed.  One that is empty and has no request is freed.
 */
extern void isolation_place(Isolation *isolation, Group *group, bool front);

#endif							/* CONTACTS_PUSH_ISOLATION_PRIVATE_H */
