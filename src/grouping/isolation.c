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
		isolation->fresh.kind = GROUP_FRESH;
		isolation_rate_init(&isolation->rate);
	}
	return isolation;
}

void
isolation_free(Isolation *isolation)
{
	if (!isolation)
		return;
	group_free_members(&isolation->fresh);
	queue_free(&isolation->dirty);
	queue_free(&isolation->unconfirmed);
	queue_free(&isolation->resting);
	queue_free(&isolation->requests);
	free(isolation->inside.slot);
	free(isolation);
}

int
isolation_inside(const Isolation *isolation)
{
	return isolation->inside.count;
}

int
isolation_waiting(const Isolation *isolation)
{
	return isolation->inside.count - isolation->under_way;
}

double
isolation_rate(const Isolation *isolation)
{
	return isolation_rate_mean(&isolation->rate);
}

/* The contact is in no group yet and not inside; a slot for it is reserved. */
static void
enter(Isolation *isolation, Member *member, IsolationContact contact, Group *group)
{
	member->contact = contact;
	member->arrival = isolation->arrivals++;
	directory_put(&isolation->inside, member);
	group_append(group, member);
}

static void
leave(Isolation *isolation, Member *member)
{
	group_unlink(member);
	directory_drop(&isolation->inside, member);
	free(member);
}

void
isolation_place(Isolation *isolation, Group *group, bool front)
{
	bool		blocked;

	if (group->kind == GROUP_FRESH)
		return;
	queue_unlink(group);
	if (group->count == 0 && group->under_way == 0)
	{
		free(group);
		return;
	}
	blocked = group->under_way > 0 &&
		(group->kind == GROUP_DIRTY || group->kind == GROUP_SCOUTING);
	if (group->count == 0 || blocked)
		queue_put(&isolation->resting, group, front);
	else if (group->kind == GROUP_DIRTY)
		queue_put(&isolation->dirty, group, front);
	else
		queue_put(&isolation->unconfirmed, group, front);
}

bool
isolation_add(Isolation *isolation, IsolationContact contact)
{
	Member	   *member;

	if (directory_find(&isolation->inside, contact))
		return true;
	if (!directory_reserve(&isolation->inside, 1))
		return false;
	member = malloc(sizeof(Member));
	if (!member)
		return false;
	enter(isolation, member, contact, &isolation->fresh);
	return true;
}

bool
isolation_add_unconfirmed(Isolation *isolation,
						  const IsolationContact *contacts, int n)
{
	Group	   *group;

	if (n <= 0)
		return true;
	group = calloc(1, sizeof(Group));
	if (!group || !directory_reserve(&isolation->inside, n))
	{
		free(group);
		return false;
	}
	group->kind = GROUP_SCOUTING;
	for (int i = 0; i < n; i++)
	{
		Member	   *member;

		if (directory_find(&isolation->inside, contacts[i]))
			continue;
		member = malloc(sizeof(Member));
		if (!member)
		{
			while (group->head)
				leave(isolation, group->head);
			free(group);
			return false;
		}
		enter(isolation, member, contacts[i], group);
	}
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
isolation_remove(Isolation *isolation, IsolationContact contact)
{
	Member	   *member = directory_find(&isolation->inside, contact);
	Group	   *group;

	if (!member || member->group->kind == GROUP_REQUEST)
		return false;
	group = member->group;
	leave(isolation, member);
	/* the bad one may have been this */
	if (group->kind == GROUP_DIRTY)
		weaken(isolation, group);
	else if (group->count == 0)
		isolation_place(isolation, group, false);
	return true;
}

/* NULL if there is none: the token was answered before. */
static Group *
find_request(const Isolation *isolation, int token)
{
	Group	   *request = isolation->requests.head;

	while (request && request->token != token)
		request = request->next;
	return request;
}

/*
 * Ends a request: it is under way no more, and belongs to the caller, with its
 * contacts.  Its origin is still to be placed.  NULL: there is no such token.
 */
static Group *
arrive(Isolation *isolation, int token)
{
	Group	   *request = find_request(isolation, token);

	if (!request)
		return NULL;
	queue_unlink(request);
	isolation->under_way -= request->count;
	if (request->count > 1)
		isolation->tests_under_way--;
	request->origin->under_way--;
	request->origin->part = NULL;
	return request;
}

/*
 * Learns the rate from the answer to a request that has ended.  Nothing is learnt
 * where a contact may be refused because a request before has created it, and from
 * the culprit that an answer has named: that it is bad was to be expected.
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
	if (clean)
		isolation_rate_clean(&isolation->rate, n, known);
	else
		isolation_rate_dirty(&isolation->rate, n, known);
}

bool
isolation_clean(Isolation *isolation, int token)
{
	Group	   *request = arrive(isolation, token);
	Group	   *origin;

	if (!request)
		return false;
	origin = request->origin;
	learn(isolation, request, request->count, true);
	isolation->answered++;
	isolation->settled += request->count;
	while (request->head)
		leave(isolation, request->head);
	free(request);
	if (origin->kind == GROUP_SCOUTING)
		origin->kind = GROUP_TOGETHER;
	isolation_place(isolation, origin, origin->kind != GROUP_SINGLY);
	return true;
}

/* A request of one was dirty: that one is bad. */
static void
dirty_alone(Isolation *isolation, Group *request)
{
	Group	   *origin = request->origin;

	isolation->settled++;
	leave(isolation, request->head);
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
dirty_group(Isolation *isolation, Group *request, int culprit)
{
	Group	   *origin = request->origin;

	if (culprit >= 0 && culprit < request->count)
	{
		request->first = request->head;
		while (culprit-- > 0)
			request->first = request->first->next;
	}
	request->kind = GROUP_DIRTY;
	request->origin = NULL;
	isolation_place(isolation, request, false);
	if (origin->kind == GROUP_DIRTY)
		weaken(isolation, origin);
	else
		isolation_place(isolation, origin, true);
}

bool
isolation_dirty(Isolation *isolation, int token, int culprit)
{
	Group	   *request = arrive(isolation, token);

	if (!request)
		return false;
	learn(isolation, request, request->count, false);
	isolation->answered++;
	if (request->count == 1)
		dirty_alone(isolation, request);
	else
		dirty_group(isolation, request, culprit);
	return true;
}

/*
 * The contacts of an ended request, if any, become an unconfirmed group.  It is
 * the last in the queue but for the group whose scout it was: the same scout goes
 * again before another does, and an outage makes few groups of one.
 */
static void
become_unconfirmed(Isolation *isolation, Group *request)
{
	Group	   *origin = request->origin;

	request->kind = GROUP_SCOUTING;
	request->origin = NULL;
	request->first = NULL;
	isolation_place(isolation, request, false);
	if (origin->kind == GROUP_DIRTY)
		weaken(isolation, origin);
	else
		isolation_place(isolation, origin, origin->kind == GROUP_TOGETHER);
}

bool
isolation_unanswered(Isolation *isolation, int token)
{
	Group	   *request = arrive(isolation, token);

	if (!request)
		return false;
	become_unconfirmed(isolation, request);
	return true;
}

/* Those of a request with gone[i] leave. */
static void
leave_some(Isolation *isolation, Group *request, const bool *gone)
{
	Member	   *next;
	int			i = 0;

	for (Member *member = request->head; member; member = next, i++)
	{
		next = member->next;
		if (gone[i])
			leave(isolation, member);
	}
}

bool
isolation_partial(Isolation *isolation, int token, const bool *created)
{
	Group	   *request = find_request(isolation, token);
	int			good = 0;

	if (!request)
		return false;
	for (int i = 0; i < request->count; i++)
		good += created[i];
	if (good == request->count)
		return isolation_clean(isolation, token);
	if (good > 0)
		learn(isolation, request, good, true);
	isolation->settled += good;
	(void) arrive(isolation, token);
	leave_some(isolation, request, created);
	become_unconfirmed(isolation, request);
	return true;
}

/* The contacts of an ended request go back to where they came from. */
static void
give_back(Isolation *isolation, Group *request)
{
	Group	   *origin = request->origin;
	Member	   *first = request->first;

	group_merge(origin, request);
	if (origin->kind == GROUP_DIRTY)
		origin->first = first ? first : origin->first;
	free(request);
	isolation_place(isolation, origin, true);
}

bool
isolation_returned(Isolation *isolation, int token)
{
	Group	   *request = arrive(isolation, token);

	if (!request)
		return false;
	/* was it the unconfirmed contacts' turn, it still is */
	isolation->since += request->since;
	give_back(isolation, request);
	return true;
}

bool
isolation_dropped(Isolation *isolation, int token, const bool *drop)
{
	Group	   *request = arrive(isolation, token);
	Group	   *origin;
	int			before;

	if (!request)
		return false;
	origin = request->origin;
	before = request->count;
	leave_some(isolation, request, drop);
	/* the bad one may have been among those that left */
	if (request->count < before && origin->kind == GROUP_DIRTY)
	{
		weaken(isolation, origin);
		request->origin = &isolation->fresh;
	}
	give_back(isolation, request);
	return true;
}
