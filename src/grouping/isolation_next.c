/*
 * isolation_next.c
 *		Putting the next request together.
 *
 * isolation.c describes the procedure; here is what it comes to when a slot is
 * free: whose turn it is, how many may go, and which the caller admits.  What an
 * answer means must not enter here.
 */
#include <stdlib.h>

#include "grouping/isolation_private.h"

/*
 * The limit on requests, see may_test().  The README promises 1.02 per contact;
 * from 1000 contacts on, one percent and ten requests are within that.  Ten is
 * what it takes to halve a dirty 1000 down to one contact.
 */
#define EXTRA_PERCENT		1
#define EXTRA_REQUESTS		10

/*
 * Unconfirmed contacts get at least one of so many requests.  When a request can
 * carry only one, the server is in trouble; then a fresh contact saves nothing, and
 * becomes one more group of one if it gets no answer either.
 */
#define UNCONFIRMED_TURN		4
#define UNCONFIRMED_TURN_ALONE	2

/* A request that is being put together. */
typedef struct Draft
{
	Group	   *request;
	int			max;
	IsolationAdmit admit;
	void	   *arg;
	bool		stopped;
} Draft;

/*
 * May a request with two contacts or more go out?  Only if the limit holds even
 * if it is dirty, and all those under way are, and everything inside then goes
 * out one by one: answered + tests + 1 + inside <= 1.01 * (settled + inside) + 10.
 */
static bool
may_test(const Isolation *isolation)
{
	int64_t		contacts = isolation->settled + isolation->inside;
	int64_t		requests = isolation->answered + isolation->tests_under_way + 1 +
		isolation->inside;

	return 100 * requests <= (100 + EXTRA_PERCENT) * contacts + 100 * EXTRA_REQUESTS;
}

/* How many contacts of a dirty set are to go. */
static int
part_size(const Isolation *isolation, const Draft *draft, const Group *dirty)
{
	if (dirty->count == 1 || draft->max == 1 || !may_test(isolation))
		return 1;
	return isolation_rate_part(&isolation->rate, dirty->count);
}

/* How many fresh contacts are to go. */
static int
group_size(const Isolation *isolation, const Draft *draft)
{
	if (draft->max == 1 || !may_test(isolation))
		return 1;
	return isolation_rate_group(&isolation->rate, draft->max);
}

/* Asks the caller whether a contact may go now. */
static bool
admitted(Draft *draft, IsolationNode *node)
{
	bool		stop = false;
	bool		admit = !draft->admit ||
		draft->admit(draft->arg, node, &stop);

	draft->stopped |= stop;
	return admit && !stop;
}

/* Moves a contact into the request; if it was to be tried first, it still is. */
static void
take_along(Draft *draft, IsolationNode *node)
{
	if (node->group->first == node)
		draft->request->first = node;
	group_remove(node);
	group_append(draft->request, node);
}

/*
 * Moves up to want contacts of a group into the request.  True: there are some.  All of the
 * group are asked for: the one that others wait for may be the last.
 */
static bool
gather(Draft *draft, Group *group, int want)
{
	IsolationLink *at = group->nodes.next;

	if (want > draft->max)
		want = draft->max;
	while (at != &group->nodes && draft->request->count < want && !draft->stopped)
	{
		IsolationNode *node = node_of(at);

		at = at->next;
		if (admitted(draft, node))
			take_along(draft, node);
	}
	return draft->request->count > 0;
}

/* Of a dirty set one part is under way at most, of an unconfirmed group one scout. */
static bool
is_blocked(const Group *group)
{
	return group->under_way > 0 &&
		(group->kind == GROUP_DIRTY || group->kind == GROUP_SCOUTING);
}

/* Each take_ returns the group that the request's contacts were taken from. */
static Group *
take_unconfirmed(Isolation *isolation, Draft *draft)
{
	IsolationLink *queue = &isolation->unconfirmed;

	for (IsolationLink *at = queue->next; at != queue; at = at->next)
	{
		Group	   *group = group_of(at);

		if (is_blocked(group))
			continue;
		if (gather(draft, group, group->kind == GROUP_TOGETHER ? draft->max : 1))
			return group;
		if (draft->stopped)
			break;
	}
	return NULL;
}

static Group *
take_dirty(Isolation *isolation, Draft *draft)
{
	IsolationLink *queue = &isolation->dirty;

	for (IsolationLink *at = queue->next; at != queue; at = at->next)
	{
		Group	   *group = group_of(at);

		if (is_blocked(group))
			continue;
		if (group->first && admitted(draft, group->first))
		{
			take_along(draft, group->first);
			return group;
		}
		if (gather(draft, group, part_size(isolation, draft, group)))
			return group;
		if (draft->stopped)
			break;
	}
	return NULL;
}

static Group *
take_fresh(Isolation *isolation, Draft *draft)
{
	Group	   *fresh = &isolation->fresh;

	return gather(draft, fresh, group_size(isolation, draft)) ? fresh : NULL;
}

/*
 * The order of precedence.  Dirty sets come before fresh contacts: theirs are the
 * older ones, and what they tell of p serves the fresh.
 */
static Group *
take(Isolation *isolation, Draft *draft)
{
	int			turns = draft->max > 1 ? UNCONFIRMED_TURN : UNCONFIRMED_TURN_ALONE;
	bool		turn = isolation->since >= turns - 1;
	Group	   *origin = NULL;

	if (turn)
		origin = take_unconfirmed(isolation, draft);
	if (!origin && !draft->stopped)
		origin = take_dirty(isolation, draft);
	if (!origin && !draft->stopped)
		origin = take_fresh(isolation, draft);
	if (!origin && !draft->stopped && !turn)
		origin = take_unconfirmed(isolation, draft);
	return origin;
}

static bool
is_unconfirmed(const Group *group)
{
	return group->kind == GROUP_SCOUTING || group->kind == GROUP_TOGETHER ||
		group->kind == GROUP_SINGLY;
}

/* The request has been filled from origin: it is under way from now on. */
static void
depart(Isolation *isolation, Group *request, Group *origin)
{
	request->origin = origin;
	if (is_unconfirmed(origin))
	{
		request->since = isolation->since;
		isolation->since = 0;
	}
	else if (isolation->since < UNCONFIRMED_TURN)
		isolation->since++;
	isolation->under_way += request->count;
	if (request->count > 1)
		isolation->tests_under_way++;
	list_insert(&isolation->requests, &request->link);

	origin->under_way++;
	if (origin->kind == GROUP_DIRTY)
		origin->part = request;
	/* those that go one by one let others have their turn */
	isolation_place(isolation, origin, origin->kind != GROUP_SINGLY);
}

int
isolation_next(Isolation *isolation, int max, IsolationAdmit admit, void *arg,
			   IsolationNode **nodes, IsolationRequest **request)
{
	Draft		draft = {.max = max,.admit = admit,.arg = arg};
	Group	   *origin;
	int			n = 0;

	if (isolation_waiting(isolation) == 0 || max < 1)
		return 0;
	draft.request = group_create(GROUP_REQUEST);
	if (!draft.request)
		return -1;
	origin = take(isolation, &draft);
	if (!origin)
	{
		free(draft.request);
		return 0;
	}
	depart(isolation, draft.request, origin);
	for (IsolationLink *at = draft.request->nodes.next; n < draft.request->count; at = at->next)
		nodes[n++] = node_of(at);
	*request = draft.request;
	return n;
}
