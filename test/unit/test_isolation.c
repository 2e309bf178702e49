/*
 * test_isolation.c
 *		Group testing, as the caller of isolation.h sees it: fresh contacts, dirty
 *		sets, the learnt rate, the limit on requests.
 *
 * Each rule by itself.  Random sequences, and how many requests it takes on average,
 * are bench/simulate_isolation.c's.
 */
#include "isolation_case.h"
#include "grouping/isolation_rate.h"

static void
test_fresh(void)
{
	Isolation  *isolation = fresh(1, 1500);
	IsolationRequest *request = next(isolation, MAX_REQUEST);

	ok(went(1, 1000), "the first request carries 1000, in order of arrival");
	ok(isolation_inside(isolation) == 1500 && isolation_waiting(isolation) == 500,
	   "contacts under way are inside but do not wait");
	isolation_clean(isolation, request);
	is_int(isolation_inside(isolation), 500, "clean contacts leave");
	request = next(isolation, 7);
	ok(went(1001, 1007), "no more go than max");
	next(isolation, MAX_REQUEST);
	ok(went(1008, 1500), "another request takes what is left");
	next(isolation, MAX_REQUEST);
	is_int(nsent, 0, "nothing goes when nothing waits");
	isolation_free(isolation);
}

static void
test_add(void)
{
	Isolation  *isolation = fresh(1, 3);

	isolation_clean(isolation, next(isolation, 2));
	isolation_remove(isolation, &contacts[3]);
	is_int(isolation_inside(isolation), 0, "contacts leave by an answer, or are taken out");
	add(isolation, 2, 3);
	add_group(isolation, 1, 1);
	is_int(isolation_inside(isolation), 3, "and may be added again");
	add_group(isolation, 4, 3);
	is_int(isolation_inside(isolation), 3, "an unconfirmed group may be empty");
	isolation_clean(isolation, next(isolation, MAX_REQUEST));
	ok(went(2, 3), "contacts that are added again come last");
	isolation_free(isolation);
	isolation_free(NULL);
}

/* What a caller may do: free a contact as soon as it is outside. */
static void
test_embedded(void)
{
	typedef struct Caller
	{
		int			number;
		IsolationNode node;
	} Caller;
	Isolation  *isolation = create();
	Caller	   *callers[9];
	IsolationNode *nodes[9];
	IsolationRequest *request;
	bool		same = true;

	for (int i = 0; i < 9; i++)
	{
		callers[i] = calloc(1, sizeof(Caller));
		if (!callers[i])
			exit(1);
		callers[i]->number = i;
		isolation_add(isolation, &callers[i]->node);
	}
	for (int i = 0; i < 9; i += 2)
	{
		same &= isolation_remove(isolation, &callers[i]->node);
		free(callers[i]);
	}
	is_int(isolation_next(isolation, 3, NULL, NULL, nodes, &request), 3,
		   "every other contact was taken out and freed; of the others three go");
	for (int i = 0; i < 3; i++)
		same &= isolation_container(Caller, node, nodes[i])->number == 2 * i + 1;
	ok(same, "they are found by their nodes");
	isolation_clean(isolation, request);
	for (int i = 1; i < 6; i += 2)
		free(callers[i]);
	is_int(isolation_next(isolation, 3, NULL, NULL, nodes, &request), 1,
		   "then the last one goes");
	isolation_dirty(isolation, request, -1);
	free(callers[7]);
	isolation_free(isolation);
}

static void
test_dirty_set(void)
{
	Isolation  *isolation = dirty_set(1000, -1);

	is_int(isolation_waiting(isolation), 1000, "contacts of a dirty group stay");
	next(isolation, MAX_REQUEST);
	ok(nsent >= 20 && nsent <= 600 && went(1, nsent), "a part of it goes");
	isolation_free(isolation);

	isolation = fresh(1, 20000);
	work_off(isolation, 1000);
	add(isolation, 1, 500);
	isolation_dirty(isolation, next(isolation, 500), -1);
	next(isolation, MAX_REQUEST);
	ok(nsent >= 200 && nsent <= 260 && went(1, nsent),
	   "where bad contacts are known to be rare, about a half");
	isolation_free(isolation);

	isolation = dirty_set(1000, -1);
	next(isolation, 10);
	ok(went(1, 10), "a part is no larger than max");
	isolation_free(isolation);
}

/* A part is clean: what is left is known to be dirty, and sent alone at last. */
static void
test_part_clean(void)
{
	Isolation  *isolation = dirty_set(2, -1);
	IsolationRequest *request;

	add(isolation, 3, 20);
	request = next(isolation, MAX_REQUEST);
	ok(went(1, 1), "one of a dirty pair goes alone");
	isolation_clean(isolation, request);
	request = next(isolation, MAX_REQUEST);
	ok(went(2, 2), "the other is bad for certain, and still goes alone");
	isolation_dirty(isolation, request, -1);
	is_int(isolation_inside(isolation), 18, "a bad contact leaves");
	next(isolation, MAX_REQUEST);
	ok(nsent > 1 && went(3, 2 + nsent), "then fresh contacts go on");
	isolation_free(isolation);

	isolation = dirty_set(2, -1);
	isolation_clean(isolation, next(isolation, MAX_REQUEST));
	isolation_clean(isolation, next(isolation, MAX_REQUEST));
	is_int(isolation_inside(isolation), 0, "certain or not, the answer decides");
	isolation_free(isolation);
}

/* A part is dirty: nothing is known of what is left. */
static void
test_part_dirty(void)
{
	Isolation  *isolation = fresh(1, 20000);
	int			part;

	/* now bad ones are known to be rare, and fresh contacts go by the hundred */
	work_off(isolation, 300);
	add(isolation, 1, 100);
	isolation_dirty(isolation, next(isolation, 40), -1);
	isolation_dirty(isolation, next(isolation, MAX_REQUEST), -1);
	part = nsent;
	ok(part > 1 && part < 40, "a part of a dirty set goes");
	next(isolation, MAX_REQUEST);
	ok(nsent < part && went(1, nsent), "it is dirty: a part of the part goes");
	next(isolation, MAX_REQUEST);
	ok(went(part + 1, part + nsent) && nsent > 40 - part,
	   "those left go with fresh contacts, before those that came later");
	isolation_free(isolation);

	isolation = dirty_set(3, -1);
	isolation_dirty(isolation, next(isolation, MAX_REQUEST), -1);
	is_int(isolation_inside(isolation), 2, "a part of one is dirty: it leaves");
	isolation_free(isolation);
}

static void
test_culprit(void)
{
	Isolation  *isolation = dirty_set(100, 41);
	IsolationRequest *request;

	request = next(isolation, MAX_REQUEST);
	ok(went(42, 42), "the culprit that the answer named goes first, alone");
	next(isolation, MAX_REQUEST);
	is_int(nsent, 0, "the others wait for its answer");
	isolation_returned(isolation, request);
	request = next(isolation, MAX_REQUEST);
	ok(went(42, 42), "returned, it goes first again");
	isolation_dirty(isolation, request, -1);
	next(isolation, MAX_REQUEST);
	ok(nsent > 50 && sent[40] == 41 && sent[41] == 43,
	   "it is bad: of the others nothing is known, they go on in order");
	isolation_free(isolation);

	isolation = dirty_set(100, 41);
	isolation_clean(isolation, next(isolation, MAX_REQUEST));
	isolation_clean(isolation, next(isolation, MAX_REQUEST));
	add(isolation, 101, 101);
	for (int i = 0; i < 20 && isolation_inside(isolation) > 2; i++)
		isolation_clean(isolation, next(isolation, MAX_REQUEST));
	next(isolation, MAX_REQUEST);
	ok(went(100, 100), "it is good: the others are a dirty set");
	isolation_free(isolation);

	isolation = dirty_set(100, 100);
	next(isolation, MAX_REQUEST);
	ok(nsent > 1 && went(1, nsent), "a culprit that was not in the request is ignored");
	isolation_free(isolation);
}

static void
test_parallel(void)
{
	Isolation  *isolation = fresh(1, 6);
	IsolationRequest *a = next(isolation, 2);
	IsolationRequest *b = next(isolation, 2);
	IsolationRequest *c;

	isolation_dirty(isolation, a, -1);
	isolation_dirty(isolation, b, -1);
	a = next(isolation, MAX_REQUEST);
	ok(went(1, 1), "a part of one dirty set goes");
	b = next(isolation, MAX_REQUEST);
	ok(went(3, 3), "and a part of the other meanwhile");
	c = next(isolation, MAX_REQUEST);
	ok(nsent > 0 && went(5, 4 + nsent), "and fresh contacts");
	isolation_clean(isolation, c);
	isolation_clean(isolation, b);
	b = next(isolation, MAX_REQUEST);
	ok(went(4, 4), "answers come in any order");
	isolation_clean(isolation, a);
	next(isolation, MAX_REQUEST);
	ok(went(2, 2), "and each goes to its set");
	isolation_free(isolation);
}

static void
test_rate(void)
{
	Isolation  *isolation = fresh(1, 20000);

	work_off(isolation, 50);
	ok(isolation_rate(isolation) > 0.01 && isolation_rate(isolation) < 0.04,
	   "a rate of 0.02 is learnt: %.4f", isolation_rate(isolation));
	add(isolation, 1, 20000);
	work_off(isolation, 10);
	ok(isolation_rate(isolation) > 0.07 && isolation_rate(isolation) < 0.14,
	   "and then one of 0.1: %.4f", isolation_rate(isolation));
	add(isolation, 1, 20000);
	ok(work_off(isolation, 30000) <= 40, "and then that all are good");
	isolation_free(isolation);
}

/* Whatever the input, the requests stay within 1.01 a contact and ten. */
static void
test_limit(void)
{
	Isolation  *isolation = fresh(1, 2000);
	int			requests = work_off(isolation, 1);
	IsolationRequest *request;

	ok(requests >= 2000 && requests <= 2030, "2000 bad contacts: %d requests", requests);
	add(isolation, 1, 5000);
	requests = work_off(isolation, 10000);
	ok(requests <= 15, "5000 good ones after them: %d requests", requests);
	isolation_free(isolation);

	/* the worst there is: every group is dirty, every contact alone is clean */
	isolation = fresh(1, 5000);
	for (requests = 0; request = next(isolation, MAX_REQUEST), nsent > 0; requests++)
	{
		if (nsent > 1)
			isolation_dirty(isolation, request, -1);
		else
			isolation_clean(isolation, request);
	}
	ok(requests <= 5000 * 1.01 + 10, "answers that mislead: %d requests for 5000", requests);
	isolation_free(isolation);
}

/* Sizes where the rate is known: the optimum is computed by the simulator. */
static void
test_sizes(void)
{
	static const struct
	{
		int			good;		/* for each bad one */
		int			least;
		int			most;
	}			expected[] = {{0, 1, 1}, {1, 1, 1}, {3, 3, 3}, {9, 6, 8}, {19, 12, 16},
	{99, 54, 86}};

	for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++)
	{
		IsolationRate rate;
		int			n;

		isolation_rate_init(&rate);
		for (int j = 0; j < 20000; j++)
			/* ends in the middle between two */
			isolation_rate_learn(&rate, 1, 0,
								 j % (expected[i].good + 1) != expected[i].good / 2);
		n = isolation_rate_group(&rate, MAX_REQUEST);
		ok(n >= expected[i].least && n <= expected[i].most,
		   "one bad contact in %d: groups of %d", expected[i].good + 1, n);
		ok(isolation_rate_part(&rate, 1) == 1 && isolation_rate_part(&rate, 2) == 1 &&
		   isolation_rate_part(&rate, 4) == 1, "and one of a small dirty set");
	}
}

int
main(void)
{
	test_fresh();
	test_add();
	test_embedded();
	test_dirty_set();
	test_part_clean();
	test_part_dirty();
	test_culprit();
	test_parallel();
	test_rate();
	test_limit();
	test_sizes();
	return done_testing();
}
