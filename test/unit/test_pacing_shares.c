/*
 * test_pacing_shares.c
 *		Whether servers that use one key make use of its limit, and share it.
 *
 * Each server has a budget of its own and knows of no other; see pacing_simulation.h.  The
 * setting of each is the whole limit, as it is when nobody thinks of the others.
 */
#include "pacing_simulation.h"
#include "tap.h"

#include <stdlib.h>

#define SEEDS 10

/* What must hold, of each outcome: parts of the limit, of all answers, of all accepted. */
typedef struct Bounds
{
	double		used;
	double		refused;
	double		share;
} Bounds;

static const char *const limiters[] = {"fixed window", "own window", "sliding window", "token bucket"};
static const char *const tellings[] = {"tells nothing", "tells seconds", "tells exactly"};

/* Near: 40 ms and four requests under way, as is usual; else 300 ms and sixteen. */
static Scenario
servers_with_key(int servers, bool near)
{
	return (Scenario) {
		.servers = servers, .setting = 20, .limit = 20, .window = SECOND,
		.slots = near ? 4 : 16, .latency = near ? 20 * MS : 150 * MS,
		.jitter = 6 * MS, .lateness = MS, .settling = 120 * SECOND, .length = 600 * SECOND,
	};
}

static void
note_worst(Bounds *worst, const Scenario *scenario)
{
	Outcome		outcome = simulate(scenario);
	double		limit = (double) scenario->limit * scenario->length / scenario->window;
	double		used = outcome.accepted / limit;
	double		refused = (double) outcome.refused / (outcome.accepted + outcome.refused);

	worst->used = used < worst->used ? used : worst->used;
	worst->refused = refused > worst->refused ? refused : worst->refused;
	for (int s = 0; s < scenario->servers; s++)
	{
		double		share = (double) outcome.accepted_of[s] / outcome.accepted;

		worst->share = share < worst->share ? share : worst->share;
	}
}

/* Runs a scenario with each seed, and windows that begin everywhere. */
static void
check(Scenario scenario, Bounds bounds, const char *name)
{
	Bounds		worst = {.used = 2, .share = 1};

	for (int i = 0; i < SEEDS; i++)
	{
		scenario.seed = 1 + i * 7919;
		scenario.phase = i * 53 * MS;
		note_worst(&worst, &scenario);
	}
	if (!ok(worst.used >= bounds.used && worst.refused <= bounds.refused && worst.share >= bounds.share,
			"%d servers, %s: %s of %lld s, %d ms away, %s", scenario.servers, name,
			limiters[scenario.limiter], (long long) (scenario.window / SECOND),
			(int) (2 * scenario.latency / MS), tellings[scenario.telling]) || getenv("VERBOSE"))
		diag("%.1f %% used at least, %.2f %% refused at most, the smallest share is %.1f %%",
			 worst.used * 100, worst.refused * 100, worst.share * 100);
}

/* Runs a scenario with each kind of limit: so many in a second, and ten times that in ten. */
static void
check_limiters(Scenario scenario, Bounds bounds, const char *name)
{
	for (Limiter limiter = FIXED_WINDOW; limiter <= TOKEN_BUCKET; limiter++)
		for (Telling telling = TELLS_NOTHING; telling <= TELLS_EXACTLY; telling++)
			for (int tenfold = 1; tenfold <= 10; tenfold *= 10)
			{
				Scenario	kind = scenario;

				kind.limiter = limiter;
				kind.telling = telling;
				kind.limit *= tenfold;
				kind.window *= tenfold;
				check(kind, bounds, name);
			}
}

/*
 * The promise: two servers make use of 85 % of the limit at least, 3 % of the answers are 429 at
 * most, and neither has less than a third.
 */
static const Bounds promise = {.used = 0.85, .refused = 0.03, .share = 1.0 / 3};

static void
test_two(void)
{
	Scenario	scenario;

	check_limiters(servers_with_key(2, true), promise, "limit of 20/s");
	check_limiters(servers_with_key(2, false), promise, "limit of 20/s");

	/* Chatbase's own limit, and the default: all takes twice as long */
	scenario = servers_with_key(2, true);
	scenario.setting = scenario.limit = 10;
	scenario.settling *= 2;
	scenario.length *= 2;
	check_limiters(scenario, promise, "limit of 10/s");
}

/* One alone, whose setting is beyond the limit, makes use of 90 % with 2 % at most. */
static void
test_one(void)
{
	Scenario	scenario = servers_with_key(1, true);

	scenario.setting = 25;
	check_limiters(scenario, (Bounds) {.used = 0.9, .refused = 0.02}, "setting beyond the limit");
}

/*
 * A third one has each make do with less, which takes more 429s to find: where these do not
 * say how long to wait, up to 4 %.  None has less than a fifth.
 */
static void
test_three(void)
{
	Bounds		bounds = {.used = 0.85, .refused = 0.04, .share = 1.0 / 5};

	check_limiters(servers_with_key(3, true), bounds, "limit of 20/s");
}

/* One that comes a minute after the other, which has had all of the limit until then. */
static void
test_newcomer(void)
{
	Scenario	scenario = servers_with_key(2, true);

	scenario.stagger = 60 * SECOND;
	scenario.settling = 180 * SECOND;
	for (scenario.limiter = FIXED_WINDOW; scenario.limiter <= TOKEN_BUCKET; scenario.limiter++)
		for (scenario.telling = TELLS_NOTHING; scenario.telling <= TELLS_EXACTLY; scenario.telling++)
			check(scenario, promise, "one comes later");
}

/* The first minute of both, where 429s say how long to wait. */
static void
test_first_minute(void)
{
	Scenario	scenario = servers_with_key(2, true);

	scenario.settling = 0;
	scenario.length = 60 * SECOND;
	for (scenario.limiter = FIXED_WINDOW; scenario.limiter <= TOKEN_BUCKET; scenario.limiter++)
		for (scenario.telling = TELLS_SECONDS; scenario.telling <= TELLS_EXACTLY; scenario.telling++)
			check(scenario, promise, "first minute");
}

int
main(void)
{
	test_two();
	test_one();
	test_three();
	test_newcomer();
	test_first_minute();
	return done_testing();
}
