/*
 * test_isolation_trouble.c
 *		What isolation.h promises when things do not go their way: unconfirmed
 *		contacts, requests that come back, contacts that leave or must not go.
 */
#include "isolation_case.h"

static void
test_scout_clean(void)
{
	Isolation  *isolation = unconfirmed(1, 100);
	IsolationRequest *scout = next(isolation, MAX_REQUEST);
	IsolationRequest *request;

	ok(went(1, 1), "of an unconfirmed group one goes first");
	next(isolation, MAX_REQUEST);
	is_int(nsent, 0, "the others wait for it");
	isolation_clean(isolation, scout);
	request = next(isolation, 60);
	ok(went(2, 61), "the scout is clean: the rest goes together, max at a time");
	next(isolation, 60);
	ok(went(62, 100), "and the rest of the rest");
	isolation_dirty(isolation, request, -1);
	next(isolation, MAX_REQUEST);
	ok(nsent > 1 && nsent < 60 && went(2, 1 + nsent),
	   "is it dirty then, it is an ordinary dirty set");
	isolation_free(isolation);
}

static void
test_scout_dirty(void)
{
	Isolation  *isolation = unconfirmed(1, 4);
	IsolationRequest *request = next(isolation, MAX_REQUEST);
	double		rate = isolation_rate(isolation);

	isolation_dirty(isolation, request, -1);
	is_int(isolation_inside(isolation), 3, "a dirty scout leaves");
	request = next(isolation, MAX_REQUEST);
	ok(went(2, 2), "then the rest goes one by one");
	next(isolation, MAX_REQUEST);
	ok(went(3, 3), "without waiting for each other");
	isolation_dirty(isolation, request, -1);
	ok(isolation_rate(isolation) == rate,
	   "what may have been created before teaches nothing about the rate");
	isolation_free(isolation);
}

static void
test_two_groups(void)
{
	Isolation  *isolation = unconfirmed(1, 9);

	add_group(isolation, 11, 19);
	isolation_dirty(isolation, next(isolation, MAX_REQUEST), -1);
	isolation_dirty(isolation, next(isolation, MAX_REQUEST), -1);
	ok(went(11, 11), "each unconfirmed group has its scout");
	isolation_clean(isolation, next(isolation, MAX_REQUEST));
	ok(went(2, 2), "of two groups that go one by one, one goes");
	isolation_clean(isolation, next(isolation, MAX_REQUEST));
	ok(went(12, 12), "and then the other");
	next(isolation, MAX_REQUEST);
	next(isolation, MAX_REQUEST);
	ok(went(13, 13), "with or without answers");
	isolation_free(isolation);
}

static void
test_scout_unanswered(void)
{
	Isolation  *isolation = unconfirmed(1, 5);
	IsolationRequest *request;

	isolation_unanswered(isolation, next(isolation, MAX_REQUEST));
	request = next(isolation, MAX_REQUEST);
	ok(went(1, 1), "a scout without an answer goes again, as a group of its own");
	next(isolation, MAX_REQUEST);
	ok(went(2, 2), "the rest waits for another scout");
	isolation_dirty(isolation, request, -1);
	next(isolation, MAX_REQUEST);
	is_int(nsent, 0, "and not for the first");
	isolation_free(isolation);
}

/* An outage in which only one contact at a time is tried. */
static void
test_outage(void)
{
	Isolation  *isolation = fresh(1, 3000);
	int			requests = 0;

	isolation_unanswered(isolation, next(isolation, MAX_REQUEST));
	for (int i = 0; i < 50; i++)
		isolation_unanswered(isolation, next(isolation, 1));
	while (isolation_inside(isolation) > 0 && requests < 3000)
	{
		isolation_clean(isolation, next(isolation, MAX_REQUEST));
		requests++;
	}
	ok(requests <= 50 + 10, "after an outage, no more requests than during it");
	diag("%d requests for 3000 contacts after 51 without an answer", requests);
	isolation_free(isolation);
}

static void
test_turns(void)
{
	Isolation  *isolation = fresh(1, 3000);
	int			longest = 0;
	int			since = 0;

	add_group(isolation, 10001, 10012);
	isolation_dirty(isolation, next(isolation, MAX_REQUEST), -1);
	while (isolation_remove(isolation, &contacts[10012]))
	{
		IsolationRequest *request;

		add(isolation, 10012, 10012);
		request = next(isolation, 20);
		if (nsent == 0)
			break;
		since = sent[0] > 10000 ? 0 : since + 1;
		longest = since > longest ? since : longest;
		/* scouts are dirty, so that the group goes one by one */
		if (nsent == 1 && sent[0] > 10000)
			isolation_dirty(isolation, request, -1);
		else
			isolation_clean(isolation, request);
		if (sent[0] == 10011)
			break;
	}
	ok(longest == 3 && nsent == 1, "every fourth request serves unconfirmed contacts");
	isolation_free(isolation);

	isolation = fresh(1, 100);
	add_group(isolation, 10001, 10002);
	for (int i = 0; i < 3; i++)
		isolation_clean(isolation, next(isolation, 2));
	isolation_returned(isolation, next(isolation, 2));
	next(isolation, 2);
	ok(went(10001, 10001), "a turn that was returned is not used up");
	isolation_free(isolation);

	isolation = fresh(1, 100);
	add_group(isolation, 10001, 10010);
	isolation_clean(isolation, next(isolation, 1));
	ok(went(1, 1), "when requests carry one, a fresh contact goes");
	isolation_unanswered(isolation, next(isolation, 1));
	ok(went(10001, 10001), "and then an unconfirmed one");
	isolation_free(isolation);
}

static void
test_unanswered(void)
{
	Isolation  *isolation = fresh(1, 10);

	isolation_unanswered(isolation, next(isolation, MAX_REQUEST));
	isolation_clean(isolation, next(isolation, MAX_REQUEST));
	ok(went(1, 1), "contacts without an answer are unconfirmed: a scout goes");
	next(isolation, MAX_REQUEST);
	ok(went(2, 10), "and then the rest");
	isolation_free(isolation);

	isolation = dirty_set(40, -1);
	isolation_unanswered(isolation, next(isolation, MAX_REQUEST));
	nsent = nsent > 0 ? nsent : 1;
	next(isolation, MAX_REQUEST);
	ok(nsent > 1 && sent[nsent - 1] == 40,
	   "no answer for a part of a dirty set: of what is left nothing is known");
	isolation_free(isolation);
}

static void
test_partial(void)
{
	Isolation  *isolation = fresh(1, 6);
	bool		some[] = {true, false, true, false, false, true};
	bool		all[] = {true, true, true, true, true, true};
	bool		none[] = {false, false, false, false, false, false};

	isolation_partial(isolation, next(isolation, MAX_REQUEST), some);
	is_int(isolation_inside(isolation), 3, "those created leave");
	isolation_clean(isolation, next(isolation, MAX_REQUEST));
	ok(went(2, 2), "the others are one unconfirmed group: a scout");
	next(isolation, MAX_REQUEST);
	ok(went(4, 5), "and the rest");
	isolation_free(isolation);

	isolation = fresh(1, 6);
	isolation_partial(isolation, next(isolation, MAX_REQUEST), all);
	is_int(isolation_inside(isolation), 0, "all created is clean");
	isolation_free(isolation);

	isolation = fresh(1, 6);
	isolation_partial(isolation, next(isolation, MAX_REQUEST), none);
	next(isolation, MAX_REQUEST);
	ok(went(1, 1) && isolation_inside(isolation) == 6, "none created is no answer");
	isolation_free(isolation);
}

/* The next request, returned, is the same again. */
static bool
comes_back(Isolation *isolation, int max)
{
	int			before[MAX_REQUEST];
	int			n;

	isolation_returned(isolation, next(isolation, max));
	n = nsent;
	memcpy(before, sent, (size_t) n * sizeof(sent[0]));
	isolation_returned(isolation, next(isolation, max));
	return n > 0 && n == nsent && memcmp(before, sent, (size_t) n * sizeof(sent[0])) == 0;
}

static void
test_returned(void)
{
	Isolation  *isolation = fresh(1, 2000);
	IsolationRequest *a = next(isolation, 10);
	IsolationRequest *b = next(isolation, 10);

	isolation_returned(isolation, b);
	isolation_returned(isolation, a);
	next(isolation, 20);
	ok(went(1, 20), "returned contacts are in order again");
	isolation_free(isolation);

	isolation = dirty_set(2, -1);
	add(isolation, 3, 3);
	ok(comes_back(isolation, MAX_REQUEST), "a part is returned");
	isolation_clean(isolation, next(isolation, MAX_REQUEST));
	ok(comes_back(isolation, MAX_REQUEST) && went(2, 2), "its set is dirty as before");
	isolation_free(isolation);

	isolation = unconfirmed(1, 5);
	ok(comes_back(isolation, MAX_REQUEST) && went(1, 1), "a scout is returned");
	isolation_clean(isolation, next(isolation, MAX_REQUEST));
	ok(comes_back(isolation, MAX_REQUEST) && went(2, 5), "the rest is returned");
	isolation_free(isolation);

	isolation = unconfirmed(1, 5);
	isolation_dirty(isolation, next(isolation, MAX_REQUEST), -1);
	ok(comes_back(isolation, MAX_REQUEST) && went(2, 2), "one of one by one is returned");
	isolation_free(isolation);
}

static void
test_dropped(void)
{
	Isolation  *isolation = fresh(1, 4);
	bool		first[] = {true, false, false, false};
	bool		none[] = {false, false, false, false};

	isolation_dropped(isolation, next(isolation, MAX_REQUEST), first);
	next(isolation, MAX_REQUEST);
	ok(went(2, 4), "dropped contacts leave, the others are returned");
	isolation_free(isolation);

	isolation = dirty_set(3, -1);
	add(isolation, 4, 4);
	isolation_dropped(isolation, next(isolation, MAX_REQUEST), none);
	isolation_clean(isolation, next(isolation, MAX_REQUEST));
	isolation_clean(isolation, next(isolation, MAX_REQUEST));
	next(isolation, MAX_REQUEST);
	ok(went(3, 3), "none dropped: a dirty set is dirty as before");
	isolation_free(isolation);

	isolation = dirty_set(3, -1);
	isolation_dropped(isolation, next(isolation, MAX_REQUEST), first);
	next(isolation, MAX_REQUEST);
	ok(went(2, 3), "one dropped: the others may be good, they are fresh");
	isolation_free(isolation);

	isolation = unconfirmed(1, 3);
	isolation_dropped(isolation, next(isolation, MAX_REQUEST), first);
	next(isolation, MAX_REQUEST);
	ok(went(2, 2), "a dropped scout is followed by another");
	isolation_free(isolation);
}

static void
test_remove(void)
{
	Isolation  *isolation = fresh(1, 5);
	IsolationRequest *request = next(isolation, 2);

	ok(!isolation_remove(isolation, &contacts[2]), "a contact under way is not removed");
	ok(!isolation_remove(isolation, &contacts[6]), "nor one that is not inside");
	ok(isolation_remove(isolation, &contacts[4]), "one that waits is");
	isolation_dirty(isolation, request, -1);
	next(isolation, MAX_REQUEST);
	next(isolation, MAX_REQUEST);
	ok(nsent == 2 && sent[0] == 3 && sent[1] == 5, "and does not go");
	isolation_free(isolation);

	isolation = dirty_set(3, -1);
	isolation_remove(isolation, &contacts[2]);
	next(isolation, MAX_REQUEST);
	ok(nsent == 2 && sent[0] == 1 && sent[1] == 3,
	   "one of a dirty set is removed: the others may be good, they are fresh");
	isolation_free(isolation);

	isolation = dirty_set(3, -1);
	request = next(isolation, MAX_REQUEST);
	isolation_remove(isolation, &contacts[2]);
	isolation_clean(isolation, request);
	add(isolation, 4, 4);
	next(isolation, MAX_REQUEST);
	ok(went(3, 4), "so they are when a part is under way");
	isolation_free(isolation);

	isolation = unconfirmed(1, 2);
	isolation_remove(isolation, &contacts[1]);
	request = next(isolation, MAX_REQUEST);
	isolation_clean(isolation, request);
	ok(went(2, 2) && isolation_inside(isolation) == 0,
	   "one of an unconfirmed group is removed");
	isolation_free(isolation);
}

/* What an admit callback is to do, and what it has seen. */
typedef struct Door
{
	int			divisor;		/* lets in multiples of it only */
	int			stop_at;		/* ends the request before this one */
	int			calls;
} Door;

static bool
door(void *arg, IsolationNode *node, bool *stop)
{
	Door	   *d = arg;
	int			contact = (int) (node - contacts);

	d->calls++;
	*stop = contact == d->stop_at;
	return contact % d->divisor == 0;
}

static IsolationRequest *
next_through(Isolation *isolation, int max, Door *d)
{
	d->calls = 0;
	return next_admitted(isolation, max, door, d);
}

static void
test_admit(void)
{
	Isolation  *isolation = fresh(1, 30);
	Door		even = {2, 0, 0};
	Door		nobody = {1000000, 0, 0};
	Door		closed = {1, 9, 0};
	Door		last = {10000, 0, 0};
	IsolationRequest *request = next_through(isolation, 5, &even);

	ok(nsent == 5 && sent[0] == 2 && sent[4] == 10 && even.calls == 10,
	   "those refused are passed over");
	isolation_returned(isolation, request);
	next_through(isolation, MAX_REQUEST, &closed);
	ok(went(1, 8), "returned, all are in order again; a request may be ended");
	next_through(isolation, MAX_REQUEST, &closed);
	is_int(nsent, 0, "also before its first");
	next_through(isolation, MAX_REQUEST, &nobody);
	ok(nsent == 0 && isolation_waiting(isolation) == 22, "all may be refused");
	isolation_free(isolation);

	isolation = fresh(1, 10000);
	next_through(isolation, 100, &last);
	ok(went(10000, 10000) && last.calls == 10000, "whom all others wait for is found behind them");
	isolation_free(isolation);
}

/* A part of a dirty set is not what was planned. */
static void
test_admit_dirty(void)
{
	Isolation  *isolation = dirty_set(8, -1);
	Door		last = {8, 0, 0};
	Door		seventh = {7, 0, 0};

	isolation_clean(isolation, next_through(isolation, MAX_REQUEST, &last));
	ok(went(8, 8), "only one of a dirty set is admitted");
	isolation_clean(isolation, next_through(isolation, MAX_REQUEST, &seventh));
	ok(went(7, 7), "and then another");
	add(isolation, 9, 9);
	for (int i = 0; i < 6 && isolation_inside(isolation) > 2; i++)
		isolation_clean(isolation, next(isolation, MAX_REQUEST));
	next(isolation, MAX_REQUEST);
	ok(went(6, 6), "they are clean: what is left is dirty, down to the last");
	isolation_free(isolation);

	isolation = dirty_set(8, 2);
	next_through(isolation, MAX_REQUEST, &last);
	ok(went(8, 8), "a culprit that is refused holds nobody up");
	isolation_free(isolation);
}

int
main(void)
{
	test_scout_clean();
	test_scout_dirty();
	test_two_groups();
	test_scout_unanswered();
	test_outage();
	test_turns();
	test_unanswered();
	test_partial();
	test_returned();
	test_dropped();
	test_remove();
	test_admit();
	test_admit_dirty();
	return done_testing();
}
