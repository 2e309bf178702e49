/*
 * isolation.c
 *		Which contacts go into the next request, given the answers so far.
 *
 * A refused request names no culprit, and requests are the scarce good.  To find
 * the bad contacts of a refused batch is group testing, and the procedure here is
 * the nested one of M. Sobel and P. A. Groll, "Group testing to eliminate
 * efficiently all defectives in a binomial sample", Bell System Technical Journal
 * 38 (1959), 1179-1252:
 *
 *	 - Contacts of which nothing is known go out in a group as large as is clean
 *	   with a chance of about a half.
 *	 - Of a set known to be dirty, a part goes out that is clean with a chance of
 *	   about a half.  Clean: the rest is the dirty set now.  Dirty: the part is, and
 *	   of the rest nothing is known; the chances of its contacts are exactly those
 *	   of fresh ones, so that it goes back to them.
 *
 * Halving differs in that it tests the rest on its own, for an answer that is
 * worth little.  Known p, the nested procedure stays within 1 % of the information
 * limit N * H(p).  Two things differ here.  p is learnt (isolation_rate.c).  And a
 * contact is bad only if a request with it alone said so, even where it is certain
 * by elimination; that costs about half a request a bad contact, 5 to 12 % in all.
 * It cannot be had for less: the answers that lead to the one bad contact of a set
 * are a code word that ends in "dirty" (T. Berger and R. W. Yeung, "Optimal '1'-ended
 * binary prefix codes", IEEE Transactions on Information Theory 36, 1990).
 *
 * Whatever the answers, the answered requests never exceed 1.01 times the contacts
 * plus ten: a group is sent only if, were it and all those under way dirty, sending
 * all that is left one by one would still keep to that (isolation_next.c).  Only
 * the rest of an unconfirmed group goes without asking: its scout spoke for it.
 *
 * Contacts whose request got no usable answer may have been created.  Were they
 * sent together again, those would be refused and look like bad ones.  One goes
 * ahead as a scout: if it is created, the whole was not; if it is refused,
 * the whole probably was, and nothing is left but to ask for each.  Such refusals
 * say nothing about p.
 *
 * Several requests may be under way.  They share p and never a contact: a dirty
 * set has one part under way at most, other sets and fresh contacts go on
 * meanwhile.
 *
 * No clock, no I/O, no PostgreSQL, and no knowledge of what a contact is may enter
 * here.
 */
#include <stdlib.h>

#include "grouping/isolation_private.h"

Isolation *
isolation_create(void)
{
	Isolation  *isolation = calloc(1, sizeof(Isolation));

	if (isolation)
	{
		group_init(&isolation->fresh, GROUP_FRESH);
		list_init(&isolation->dirty);
		list_init(&isolation->unconfirmed);
		list_init(&isolation->requests);
		isolation_rate_init(&isolation->rate);
	}
	return isolation;
}

void
isolation_free(Isolation *isolation)
{
	if (!isolation)
		return;
	queue_free(&isolation->dirty);
	queue_free(&isolation->unconfirmed);
	queue_free(&isolation->requests);
	free(isolation);
}

int
isolation_inside(const Isolation *isolation)
{
	return isolation->inside;
}

int
isolation_waiting(const Isolation *isolation)
{
	return isolation->inside - isolation->under_way;
}

double
isolation_rate(const Isolation *isolation)
{
	return isolation_rate_mean(&isolation->rate);
}

static void
enter(Isolation *isolation, IsolationNode *node, Group *group)
{
	node->arrival = isolation->arrivals++;
	isolation->inside++;
	group_append(group, node);
}

static void
leave(Isolation *isolation, IsolationNode *node)
{
	isolation->inside--;
	group_remove(node);
}

void
isolation_place(Isolation *isolation, Group *group, bool front)
{
	IsolationLink *queue = group->kind == GROUP_DIRTY ? &isolation->dirty :
		&isolation->unconfirmed;

	if (group->kind == GROUP_FRESH)
		return;
	list_remove(&group->link);
	if (group->count == 0 && group->under_way == 0)
		free(group);
	else
		list_insert(front ? queue->next : queue, &group->link);
}

void
isolation_add(Isolation *isolation, IsolationNode *node)
{
	enter(isolation, node, &isolation->fresh);
}

bool
isolation_add_unconfirmed(Isolation *isolation, IsolationNode *const *nodes, int n)
{
	Group	   *group = group_create(GROUP_SCOUTING);

	if (!group)
		return false;
	for (int i = 0; i < n; i++)
		enter(isolation, nodes[i], group);
	isolation_place(isolation, group, false);
	return true;
}

/*
 * Nothing is known of a dirty set any more, or of what is left of it: its
 * contacts are fresh ones, and so are those of its part under way.
 */
static void
weaken(Isolation *isolation, Group *dirty)
{
	if (dirty->part)
	{
		dirty->part->origin = &isolation->fresh;
		isolation->fresh.under_way++;
		dirty->part = NULL;
		dirty->under_way--;
	}
	group_merge(&isolation->fresh, dirty);
	isolation_place(isolation, dirty, false);
}

bool
isolation_remove(Isolation *isolation, IsolationNode *node)
{
	Group	   *group = node->group;

	if (!group || group->kind == GROUP_REQUEST)
		return false;
	leave(isolation, node);
	/* the bad one may have been this */
	if (group->kind == GROUP_DIRTY)
		weaken(isolation, group);
	else if (group->count == 0)
		isolation_place(isolation, group, false);
	return true;
}

/*
 * Ends a request: it is under way no more, and belongs to the caller, with its
 * contacts.  Its origin is returned, and still to be placed.
 */
static Group *
arrive(Isolation *isolation, Group *request)
{
	list_remove(&request->link);
	isolation->under_way -= request->count;
	if (request->count > 1)
		isolation->tests_under_way--;
	request->origin->under_way--;
	request->origin->part = NULL;
	return request->origin;
}

/*
 * Learns the rate from the answer to a request, or to the n of its contacts that were
 * clean.  Nothing is learnt where a contact may be refused because a request before
 * has created it, and from the culprit that an answer has named: that it is bad was to
 * be expected.
 */
static void
learn(Isolation *isolation, const Group *request, int n, bool clean)
{
	const Group *origin = request->origin;
	int			known = 0;

	if (origin->kind == GROUP_SCOUTING || origin->kind == GROUP_SINGLY ||
		(request->count == 1 && request->first))
		return;
	if (origin->kind == GROUP_DIRTY)
		known = origin->count + request->count;
	isolation_rate_learn(&isolation->rate, n, known, clean);
}

void
isolation_clean(Isolation *isolation, Group *request)
{
	Group	   *origin = arrive(isolation, request);

	learn(isolation, request, request->count, true);
	isolation->answered++;
	isolation->settled += request->count;
	while (request->count > 0)
		leave(isolation, node_of(request->nodes.next));
	free(request);
	if (origin->kind == GROUP_SCOUTING)
		origin->kind = GROUP_TOGETHER;
	isolation_place(isolation, origin, origin->kind != GROUP_SINGLY);
}

/* A request of one was dirty: that one is bad. */
static void
dirty_alone(Isolation *isolation, Group *request, Group *origin)
{
	isolation->settled++;
	leave(isolation, node_of(request->nodes.next));
	free(request);
	if (origin->kind == GROUP_DIRTY)
	{
		weaken(isolation, origin);
		return;
	}
	if (origin->kind == GROUP_SCOUTING)
		origin->kind = GROUP_SINGLY;
	isolation_place(isolation, origin, false);
}

/* A group was dirty: it is a dirty set now, and of what it was part of nothing
 * is known. */
static void
dirty_group(Isolation *isolation, Group *request, Group *origin, int culprit)
{
	if (culprit >= 0 && culprit < request->count)
	{
		IsolationLink *at = request->nodes.next;

		while (culprit-- > 0)
			at = at->next;
		request->first = node_of(at);
	}
	request->kind = GROUP_DIRTY;
	isolation_place(isolation, request, false);
	if (origin->kind == GROUP_DIRTY)
		weaken(isolation, origin);
	else
		isolation_place(isolation, origin, true);
}

void
isolation_dirty(Isolation *isolation, Group *request, int culprit)
{
	Group	   *origin = arrive(isolation, request);

	learn(isolation, request, request->count, false);
	isolation->answered++;
	if (request->count == 1)
		dirty_alone(isolation, request, origin);
	else
		dirty_group(isolation, request, origin, culprit);
}

/*
 * The contacts of a request that has ended, if any, become an unconfirmed group.  It
 * is the last in the queue but for the group whose scout it was: the same scout goes
 * again before another does, and an outage makes few groups of one.
 */
static void
become_unconfirmed(Isolation *isolation, Group *request, Group *origin)
{
	request->kind = GROUP_SCOUTING;
	request->first = NULL;
	isolation_place(isolation, request, false);
	if (origin->kind == GROUP_DIRTY)
		weaken(isolation, origin);
	else
		isolation_place(isolation, origin, origin->kind == GROUP_TOGETHER);
}

void
isolation_unanswered(Isolation *isolation, Group *request)
{
	become_unconfirmed(isolation, request, arrive(isolation, request));
}

/* Those of a request with gone[i] leave. */
static void
leave_some(Isolation *isolation, Group *request, const bool *gone)
{
	IsolationLink *at = request->nodes.next;

	for (int i = 0; at != &request->nodes; i++)
	{
		IsolationNode *node = node_of(at);

		at = at->next;
		if (gone[i])
			leave(isolation, node);
	}
}

void
isolation_partial(Isolation *isolation, Group *request, const bool *created)
{
	int			good = 0;
	Group	   *origin;

	for (int i = 0; i < request->count; i++)
		good += created[i];
	if (good == request->count)
	{
		isolation_clean(isolation, request);
		return;
	}
	origin = arrive(isolation, request);
	if (good > 0)
		learn(isolation, request, good, true);
	isolation->settled += good;
	leave_some(isolation, request, created);
	become_unconfirmed(isolation, request, origin);
}

/* The contacts of an ended request go back to where they came from. */
static void
give_back(Isolation *isolation, Group *request, Group *origin)
{
	IsolationNode *first = request->first;

	group_merge(origin, request);
	free(request);
	if (first && origin->kind == GROUP_DIRTY)
		origin->first = first;
	isolation_place(isolation, origin, true);
}

void
isolation_returned(Isolation *isolation, Group *request)
{
	/* was it the unconfirmed contacts' turn, it still is */
	isolation->since += request->since;
	give_back(isolation, request, arrive(isolation, request));
}

void
isolation_dropped(Isolation *isolation, Group *request, const bool *drop)
{
	Group	   *origin = arrive(isolation, request);
	int			before = request->count;

	leave_some(isolation, request, drop);
	/* the bad one may have been among those that left */
	if (request->count < before && origin->kind == GROUP_DIRTY)
	{
		weaken(isolation, origin);
		origin = &isolation->fresh;
	}
	give_back(isolation, request, origin);
}
