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
	int			token = next(isolation, MAX_REQUEST);

	ok(went(1, 1000), "the first request carries 1000, in order of arrival");
	ok(isolation_inside(isolation) == 1500 && isolation_waiting(isolation) == 500,
	   "contacts under way are inside but do not wait");
	ok(isolation_clean(isolation, token), "a clean answer is taken");
	is_int(isolation_inside(isolation), 500, "clean contacts leave");
	ok(!isolation_clean(isolation, token), "a token is answered once");
	token = next(isolation, 7);
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
	IsolationContact some[] = {3, 4};

	ok(isolation_add(isolation, 2) && isolation_inside(isolation) == 3,
	   "a contact that is inside is not added again");
	ok(isolation_add_unconfirmed(isolation, some, 2) && isolation_inside(isolation) == 4,
	   "nor with an unconfirmed group");
	ok(isolation_add_unconfirmed(isolation, some, 0) &&
	   isolation_add_unconfirmed(isolation, some, 2) && isolation_inside(isolation) == 4,
	   "an unconfirmed group may be empty");
	isolation_free(isolation);
	isolation_free(NULL);
}

/* Contacts come and go by the thousand, with values that are far from dense. */
static void
test_many(void)
{
	const int64_t step = INT64_C(0x123456789ABC);
	Isolation  *isolation = isolation_create();
	bool		found = true;

	for (int i = -10000; i < 10000; i++)
		found &= isolation_add(isolation, i * step);
	for (int i = -10000; i < 10000; i++)
	{
		if (i % 100 != 0)
			found &= isolation_remove(isolation, i * step);
	}
	ok(found && isolation_inside(isolation) == 200, "contacts come and go");
	for (int i = -10000; i < 10000; i++)
		found &= isolation_remove(isolation, i * step) == (i % 100 == 0);
	ok(found && isolation_inside(isolation) == 0, "and the right ones are inside");
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
	for (int i = 1; i <= 500; i++)
		isolation_add(isolation, i);
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
	int			token;

	for (int i = 3; i <= 20; i++)
		isolation_add(isolation, i);
	token = next(isolation, MAX_REQUEST);
	ok(went(1, 1), "one of a dirty pair goes alone");
	isolation_clean(isolation, token);
	token = next(isolation, MAX_REQUEST);
	ok(went(2, 2), "the other is bad for certain, and still goes alone");
	isolation_dirty(isolation, token, -1);
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
	for (int i = 1; i <= 100; i++)
		isolation_add(isolation, i);
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
	int			token;

	token = next(isolation, MAX_REQUEST);
	ok(went(42, 42), "the culprit that the answer named goes first, alone");
	next(isolation, MAX_REQUEST);
	is_int(nsent, 0, "the others wait for its answer");
	isolation_returned(isolation, token);
	token = next(isolation, MAX_REQUEST);
	ok(went(42, 42), "returned, it goes first again");
	isolation_dirty(isolation, token, -1);
	next(isolation, MAX_REQUEST);
	ok(nsent > 50 && sent[40] == 41 && sent[41] == 43,
	   "it is bad: of the others nothing is known, they go on in order");
	isolation_free(isolation);

	isolation = dirty_set(100, 41);
	isolation_clean(isolation, next(isolation, MAX_REQUEST));
	isolation_clean(isolation, next(isolation, MAX_REQUEST));
	isolation_add(isolation, 101);
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
	int			a = next(isolation, 2);
	int			b = next(isolation, 2);
	int			c;

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
	for (int i = 1; i <= 20000; i++)
		isolation_add(isolation, i);
	work_off(isolation, 10);
	ok(isolation_rate(isolation) > 0.07 && isolation_rate(isolation) < 0.14,
	   "and then one of 0.1: %.4f", isolation_rate(isolation));
	for (int i = 1; i <= 20000; i++)
		isolation_add(isolation, i);
	ok(work_off(isolation, 30000) <= 40, "and then that all are good");
	isolation_free(isolation);
}

/* Whatever the input, the requests stay within 1.01 a contact and ten. */
static void
test_limit(void)
{
	Isolation  *isolation = fresh(1, 2000);
	int			requests = work_off(isolation, 1);
	int			token;

	ok(requests >= 2000 && requests <= 2030, "2000 bad contacts: %d requests", requests);
	for (int i = 1; i <= 5000; i++)
		isolation_add(isolation, i);
	requests = work_off(isolation, 10000);
	ok(requests <= 15, "5000 good ones after them: %d requests", requests);
	isolation_free(isolation);

	/* the worst there is: every group is dirty, every contact alone is clean */
	isolation = fresh(1, 5000);
	for (requests = 0; token = next(isolation, MAX_REQUEST), nsent > 0; requests++)
	{
		if (nsent > 1)
			isolation_dirty(isolation, token, -1);
		else
			isolation_clean(isolation, token);
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
		{
			/* ends in the middle between two */
			if (j % (expected[i].good + 1) == expected[i].good / 2)
				isolation_rate_dirty(&rate, 1, 0);
			else
				isolation_rate_clean(&rate, 1, 0);
		}
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
	test_many();
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
