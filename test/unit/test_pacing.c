/*
 * test_pacing.c
 *		Whether budgets, back-offs and batch limits do as pacing.h says.
 *
 * Time is simulated throughout (pacing_simulation.h).  How servers share a key is in
 * test_pacing_shares.c.
 */
#include "pacing_simulation.h"
#include "tap.h"

#include <stdlib.h>

/*
 * The promise, whatever the server tells and wherever its seconds begin (53 ms
 * apart, so that they fall everywhere between two of 20 requests a second): at
 * least 90 % of what is allowed and wanted is used, at most 2 % of the answers are
 * 429.
 */
static void
check_promise(Scenario scenario, const char *name)
{
	static const char *const tellings[] = {"tells nothing", "tells seconds", "tells exactly"};
	double		wanted = scenario.setting < scenario.limit ? scenario.setting : scenario.limit;

	for (int telling = TELLS_NOTHING; telling <= TELLS_EXACTLY; telling++)
	{
		double		least = 2;
		double		most = 0;

		for (int i = 0; i < 20; i++)
		{
			Outcome		outcome;
			double		used;
			double		refused;

			scenario.telling = telling;
			scenario.phase = i * 53 * MS;
			scenario.seed = scenario.phase + 1;
			outcome = simulate(&scenario);
			used = outcome.accepted / (wanted * scenario.length / SECOND);
			refused = (double) outcome.refused / (outcome.accepted + outcome.refused);
			least = used < least ? used : least;
			most = refused > most ? refused : most;
		}
		if (!ok(least >= 0.9 && most <= 0.02, "%s, setting %g, server %s", name,
				scenario.setting, tellings[telling]) || getenv("VERBOSE"))
			diag("%s, setting %g, %s: %.1f %% used at least, %.2f %% refused at most", name,
				 scenario.setting, tellings[telling], least * 100, most * 100);
	}
}

static void
test_promise(void)
{
	static const double settings[] = {10, 20, 25, 1000};

	for (int i = 0; i < 4; i++)
	{
		Scenario	near = {.servers = 1, .setting = settings[i], .limit = 20, .window = SECOND,
		.slots = 4, .latency = 20 * MS, .jitter = 6 * MS, .lateness = MS, .length = 600 * SECOND};
		Scenario	punctual = near;
		Scenario	far = near;

		/* a limit that is a fiftieth of the setting takes a minute to find */
		if (settings[i] > 100)
			near.settling = 60 * SECOND;
		punctual.settling = far.settling = near.settling;
		check_promise(near, "40 ms away");
		punctual.lateness = 0;
		check_promise(punctual, "no lateness");
		far.latency = 150 * MS;
		far.slots = 16;
		check_promise(far, "300 ms away");
	}
}

/* What the way to an unknown limit costs, and that there is none without one. */
static void
test_first_seconds(void)
{
	Scenario	scenario = {.servers = 1, .setting = 1000, .limit = 20, .window = SECOND,
	.telling = TELLS_SECONDS, .seed = 1, .slots = 4, .latency = 20 * MS, .jitter = 6 * MS,
	.lateness = MS, .length = 60 * SECOND};
	Outcome		outcome = simulate(&scenario);

	ok(outcome.accepted > 60 * 20 / 2, "in the first minute, too, half of the limit is used");
	ok(outcome.refused < 100, "and the server is refused no more than needed");
	if (getenv("VERBOSE"))
		diag("accepted %lld, refused %lld", (long long) outcome.accepted,
			 (long long) outcome.refused);
	scenario.limit = 0;
	scenario.setting = 50;
	outcome = simulate(&scenario);
	ok(outcome.refused == 0 && outcome.accepted > 0.9 * 50 * 60,
	   "without a limit the setting is kept");
}

/*
 * 429s that have nothing to do with the rate: one in a hundred costs at most a tenth of what is
 * possible without them, and a quarter of ten minutes in which many come together.
 */
#define STRAY_SEEDS 20

static void
test_strays(void)
{
	static const double settings[] = {5, 10, 20, 100, 1000};

	for (int i = 0; i < 5; i++)
	{
		Scenario	scenario = {.servers = 1, .setting = settings[i], .slots = 4, .latency = MS,
		.lateness = MS / 10, .seed = 1, .length = 600 * SECOND};
		double		possible = simulate(&scenario).accepted;
		double		least = 1;
		double		mean = 0;
		PacingBudget budget = {0};
		int64_t		now = NOW;
		bool		refused = false;
		int			n;

		scenario.strays = 0.01;
		for (int seed = 1; seed <= STRAY_SEEDS; seed++)
		{
			double		used;

			scenario.seed = seed;
			used = simulate(&scenario).accepted / possible;
			least = used < least ? used : least;
			mean += used / STRAY_SEEDS;
		}
		if (!ok(mean >= 0.9 && least >= 0.75, "setting %g, 1 %% refused by chance: it costs a tenth at most",
				settings[i]) || getenv("VERBOSE"))
			diag("setting %g, strays: %.1f %% used, %.1f %% at least", settings[i], mean * 100, least * 100);

		/* a minute with one stray 429, 5 s after its begin */
		for (n = 0; now < NOW + 60 * SECOND; n++)
		{
			now += pacing_delay(&budget, now);
			pacing_take(&budget, settings[i], now);
			if (now - NOW >= 5 * SECOND && !refused)
			{
				pacing_throttled(&budget, settings[i], now, -1, 0.5, now + MS);
				refused = true;
			}
			else
				pacing_answered(&budget, settings[i], now + MS);
		}
		ok(n >= 0.98 * 60 * settings[i], "setting %g: a single 429 costs a second", settings[i]);
	}
}

/* Calls of SQL functions beside a worker. */
static void
test_calls(void)
{
	PacingBudget budget = {0};
	int64_t		now = NOW;
	int64_t		wait;
	int			calls = 0;
	int			sent = 0;

	for (int i = 0; i < 100; i++)
		calls += pacing_take_call(&budget, 10, now) == 0;
	is_int(calls, 100, "calls are free while no worker wants the budget");
	ok(pacing_delay(&budget, now) <= 1100 * MS, "and leave it a second's debt at most");

	/* a loop of calls, 1000 a second, and a worker that always has something to send */
	calls = 0;
	for (; now < NOW + 60 * SECOND; now += MS)
	{
		calls += pacing_take_call(&budget, 10, now) == 0;
		sent += pacing_try(&budget, 10, true, now) == 0;
	}
	ok(sent >= 290, "the worker has half of the budget at least");
	ok(calls >= 290 && calls <= 310, "the calls have the other half");
	while ((wait = pacing_take_call(&budget, 10, now)) == 0)
		continue;
	ok(wait > 0 && wait <= 200 * MS, "a call beyond that is refused");
	is_int(pacing_take_call(&budget, 10, now + wait), 0, "until the time that is told");
}

/* Chatbots that have never answered, beside one that has. */
static void
test_unproven(void)
{
	PacingBudget budget = {0};
	int64_t		now = NOW;
	int			proven = 0;
	int			unproven = 0;

	for (; now < NOW + 60 * SECOND; now += MS)
		unproven += pacing_try(&budget, 10, false, now) == 0;
	ok(unproven >= 590, "all of the budget is theirs while nobody else wants it");
	for (unproven = 0; now < NOW + 120 * SECOND; now += MS)
	{
		unproven += pacing_try(&budget, 10, false, now) == 0;
		proven += pacing_try(&budget, 10, true, now) == 0;
	}
	ok(unproven >= 50 && unproven <= 61, "a tenth of it while another always waits");
	ok(proven >= 530, "and the other has the rest");
	for (unproven = 0; now < NOW + 180 * SECOND; now += MS)
		unproven += pacing_try(&budget, 10, false, now) == 0;
	ok(unproven >= 590, "all of it again when the other is done");
	now += 50 * MS;
	while (pacing_try(&budget, 10, true, now) > 0)
	{
		now += MS;
		(void) pacing_try(&budget, 10, false, now);
	}
	ok(now < NOW + 181 * SECOND, "one that has answered before waits for a turn or two only");
}

/* resume() */
static void
test_release(void)
{
	PacingBudget budget = {0};

	pacing_take(&budget, 10, NOW);
	pacing_throttled(&budget, 10, NOW, 3600 * SECOND, 0.5, NOW + MS);
	ok(pacing_delay(&budget, NOW + SECOND) > 3590 * SECOND, "an hour is waited for");
	pacing_release(&budget, NOW + SECOND);
	is_int(pacing_delay(&budget, NOW + SECOND), 0, "until an operator says so");
}

static void
test_spacing(void)
{
	PacingBudget budget = {0};

	is_int(pacing_delay(&budget, NOW), 0, "an unused budget lets a request leave at once");
	pacing_take(&budget, 10, NOW);
	is_int(pacing_delay(&budget, NOW), 100 * MS, "the next one has to wait its turn");
	is_int(pacing_delay(&budget, NOW + 99 * MS), MS, "nearly all of it");
	is_int(pacing_delay(&budget, NOW + 100 * MS), 0, "and no longer");
	pacing_take(&budget, 10, NOW);
	is_int(pacing_delay(&budget, NOW), 200 * MS, "one that leaves out of turn delays the next");
	pacing_take(&budget, 10, NOW + 3600 * SECOND);
	is_int(pacing_delay(&budget, NOW + 3600 * SECOND), 100 * MS,
		   "what was not used does not pile up");
	memset(&budget, 0, sizeof(budget));
	pacing_take(&budget, 0, NOW);
	ok(pacing_delay(&budget, NOW) > 0, "a setting of 0 is survived");
}

/* A budget that has sent and been answered for so many seconds at 10 a second. */
static PacingBudget
used_budget(int seconds)
{
	PacingBudget budget = {0};

	for (int i = 0; i < seconds * 10; i++)
	{
		pacing_take(&budget, 10, NOW + i * 100 * MS);
		pacing_answered(&budget, 10, NOW + i * 100 * MS + 50 * MS);
	}
	return budget;
}

static void
test_throttling(void)
{
	PacingBudget budget = used_budget(10);
	int64_t		now = NOW + 10 * SECOND;
	double		slowed;

	pacing_take(&budget, 10, now);
	pacing_return(&budget, 10);
	is_int(pacing_delay(&budget, now), 0, "what is given back can be taken again");

	pacing_throttled(&budget, 10, now - 40 * MS, 7 * SECOND, 0.5, now);
	slowed = budget.rate;
	is_int(pacing_delay(&budget, now), 7 * SECOND, "a 429 is obeyed");
	ok(slowed < 10 && slowed > 8, "and slows down by a little what went well until now");
	pacing_throttled(&budget, 10, now - 20 * MS, 9 * SECOND, 0.5, now + MS);
	is_int(pacing_delay(&budget, now), 9 * SECOND + MS, "one of the same burst may say more");
	pacing_throttled(&budget, 10, now - 10 * MS, -1, 0.5, now + 2 * MS);
	is_int(pacing_delay(&budget, now), 9 * SECOND + MS, "or nothing");
	pacing_throttled(&budget, 10, now - 10 * MS, 0, 0.5, now + 2 * MS);
	is_int(pacing_delay(&budget, now), 9 * SECOND + MS, "or less");
	ok(budget.rate == slowed && budget.throttled == 1, "it does not count again");
	pacing_throttled(&budget, 10, now + 10 * SECOND, 5 * SECOND, 0.5, now + 11 * SECOND);
	ok(budget.rate == slowed, "one with nothing accepted since is not the rate's fault");
	ok(budget.throttled == 2, "but counts");

	budget = used_budget(3);
	pacing_throttled(&budget, 10, NOW + 3 * SECOND, 3600 * SECOND, 0.5, NOW + 3 * SECOND);
	ok(budget.rate == slowed, "an hour's wait says no more of the rate than a shorter one");

	/* refused for an hour: back at the rate as soon as before */
	for (int i = 0; i < 100; i++)
		pacing_throttled(&budget, 10, now + (60 + i * 36) * SECOND, -1, 0.5,
						 now + (60 + i * 36) * SECOND + MS);
	ok(budget.rate == slowed, "however often");
}

static void
test_untold_hold(void)
{
	PacingBudget budget = {0};
	int64_t		now = NOW;
	bool		doubling = true;
	int64_t		expected = SECOND;

	for (int i = 0; i < 70; i++)
	{
		pacing_throttled(&budget, 10, now, -1, 0, now + MS);
		now += MS;
		doubling = doubling && budget.held_until - now == expected / 2;
		now = budget.held_until;
		expected = expected * 2 < 10 * SECOND ? expected * 2 : 10 * SECOND;
	}
	ok(doubling, "429s that tell nothing: at least half of 1 s, 2 s, ... 10 s");
	pacing_throttled(&budget, 10, now, -1, 0.999999, now + MS);
	ok(budget.held_until - now > 9 * SECOND && budget.held_until - now <= 11 * SECOND,
	   "and at most all of it");
	now = budget.held_until;
	pacing_answered(&budget, 10, now + MS);
	pacing_throttled(&budget, 10, now + 2 * MS, -1, 0, now + 3 * MS);
	is_int(budget.held_until - (now + 3 * MS), 4 * SECOND / 10 / 2,
		   "after an answer: at least half of the time for four requests");
	pacing_throttled(&budget, 10, now + SECOND, -1, 0, now + SECOND + MS);
	is_int(budget.held_until - (now + SECOND + MS), 4 * SECOND / 10, "and doubled from there");

	budget = used_budget(1);
	pacing_throttled(&budget, 10, NOW + SECOND, 0, 0, NOW + SECOND);
	is_int(pacing_delay(&budget, NOW + SECOND), 4 * SECOND / 10 / 2, "told not to wait: as if nothing was told");
	ok(budget.rate == 10, "and the first one is no reason to slow down");
}

static void
test_recovery(void)
{
	PacingBudget budget = used_budget(10);
	int64_t		now = NOW + 10 * SECOND;
	double		idle;
	int			seconds = 0;

	pacing_throttled(&budget, 10, now, SECOND, 0.5, now + MS);
	idle = budget.rate;
	now += 3600 * SECOND;
	pacing_take(&budget, 10, now);
	pacing_answered(&budget, 10, now);
	ok(budget.rate < idle * 1.01, "an idle hour proves nothing");
	for (; budget.rate < 10 && seconds < 3600; seconds++)
	{
		for (int i = 0; i < 10; i++)
			pacing_answered(&budget, 10, now += 100 * MS);
	}
	ok(seconds > 10 && seconds < 120, "the setting is reached again within two minutes");
	for (int i = 0; i < 100; i++)
		pacing_answered(&budget, 10, now += 100 * MS);
	ok(budget.rate == 10, "and not passed");
	pacing_answered(&budget, 5, now += 100 * MS);
	ok(budget.rate == 5, "a lower setting counts at once");
	pacing_take(&budget, 5, now += SECOND);
	is_int(pacing_delay(&budget, now), 200 * MS, "for the spacing as well");
}

static void
test_backoff(void)
{
	PacingBackoff backoff = {0};
	bool		bounded = true;
	int64_t		expected = SECOND;

	for (int i = 0; i < 100; i++)
	{
		PacingBackoff low = backoff;

		pacing_fail(&low, SECOND, 300 * SECOND, -1, 0, NOW);
		pacing_fail(&backoff, SECOND, 300 * SECOND, -1, 0.5, NOW);
		bounded = bounded && low.until == NOW && backoff.until == NOW + expected / 2;
		expected = expected * 2 < 300 * SECOND ? expected * 2 : 300 * SECOND;
	}
	ok(bounded && backoff.failures == 100, "full jitter of 1 s, 2 s, ... to the maximum");
	pacing_fail(&backoff, SECOND, 300 * SECOND, 3600 * SECOND, 0.5, NOW);
	is_int(backoff.until - NOW, 3600 * SECOND, "told more than the maximum");
	pacing_fail(&backoff, SECOND, 300 * SECOND, 2 * SECOND, 0.9, NOW);
	is_int(backoff.until - NOW, 2 * SECOND, "told less than it would have been");
	pacing_fail(&backoff, SECOND, 300 * SECOND, 0, 0.5, NOW);
	is_int(backoff.until - NOW, SECOND / 2, "told not to wait: not without a pause");
	backoff.failures = INT32_MAX;
	pacing_fail(&backoff, SECOND, INT64_MAX, -1, 0.5, 0);
	ok(backoff.until > 0 && backoff.failures == INT32_MAX, "no overflow");
	pacing_succeed(&backoff);
	ok(backoff.failures == 0 && backoff.until == 0, "a success ends it");
}

static void
test_pause(void)
{
	static const int minutes[] = {1, 2, 4, 8, 16, 32, 60, 60};

	for (int i = 0; i < 8; i++)
		is_int(pacing_pause(i + 1, 60 * SECOND, 3600 * SECOND), minutes[i] * 60 * SECOND,
			   "pauses double to an hour");
	is_int(pacing_pause(INT32_MAX, 60 * SECOND, 3600 * SECOND), 3600 * SECOND, "for ever");
	ok(pacing_pause(INT32_MAX, SECOND, INT64_MAX) == INT64_MAX, "without overflow");
	is_int(pacing_pause(0, 60 * SECOND, 3600 * SECOND), 60 * SECOND, "at least the first");
}

static void
test_batch(void)
{
	int			limit = 0;
	int			steps = 0;

	is_int(pacing_batch(0, 1000), 1000, "not in trouble: all that is allowed");
	is_int(pacing_batch(200, 1000), 200, "in trouble: less");
	is_int(pacing_batch(200, 100), 100, "never more than is allowed");
	limit = pacing_batch_failed(0, 1000, 1000);
	is_int(limit, 500, "half of what failed");
	is_int(pacing_batch_failed(limit, 1000, 1000), 500, "one that left before counts once");
	is_int(pacing_batch_failed(500, 30, 1000), 15, "half of what was really sent");
	is_int(pacing_batch_failed(10, 900, 1000), 10, "never more than before");
	for (limit = 0; limit != 1 && steps < 100; steps++)
		limit = pacing_batch_failed(limit, pacing_batch(limit, 1000), 1000);
	is_int(steps, 9, "from 1000 to 1 in nine failures");
	is_int(pacing_batch_failed(1, 1, 1000), 1, "and not to 0");
	for (steps = 0; limit != 0 && steps < 100; steps++)
		limit = pacing_batch_succeeded(limit, limit, 1000);
	is_int(steps, 10, "and out of trouble in ten successes");
	is_int(pacing_batch_succeeded(9, 5, 1000), 18, "half used is enough");
	is_int(pacing_batch_succeeded(9, 4, 1000), 9, "less is not");
	is_int(pacing_batch_succeeded(0, 4, 1000), 0, "out of trouble stays out");
	is_int(pacing_batch_succeeded(600, 600, 500), 0, "a lower setting ends it");
}

static void
test_bytes(void)
{
	int			limit = 2000000;
	int			steps;

	for (steps = 0; limit != 0 && steps < 1000; steps++)
		limit = pacing_bytes_succeeded(limit, limit, 4000000);
	ok(steps > 30 && steps <= 45, "from half to all in some forty successes: %d", steps);
	for (limit = 1, steps = 0; limit != 0 && steps < 10000; steps++)
		limit = pacing_bytes_succeeded(limit, limit, 4000000);
	ok(steps < 1000, "even from nothing it comes back: %d", steps);
	is_int(pacing_bytes_succeeded(6400, 3200, 10000), 6501, "half used is enough");
	is_int(pacing_bytes_succeeded(6400, 3199, 10000), 6400, "less is not");
	is_int(pacing_bytes_succeeded(10, 500, 10000), 11, "one contact that is larger is");
	is_int(pacing_bytes_succeeded(0, 6400, 10000), 0, "without a limit there is none to raise");
	is_int(pacing_bytes_succeeded(9990, 9990, 10000), 0, "what is as much as is allowed is none");
	is_int(pacing_bytes_succeeded(9000, 10, 8000), 0, "a lower setting ends it");
	is_int(pacing_bytes_succeeded(INT32_MAX - 1, INT32_MAX, INT32_MAX), 0, "no overflow");
}

int
main(void)
{
	test_strays();
	test_calls();
	test_unproven();
	test_release();
	test_spacing();
	test_throttling();
	test_untold_hold();
	test_recovery();
	test_backoff();
	test_pause();
	test_batch();
	test_bytes();
	test_promise();
	test_first_seconds();
	return done_testing();
}
