/*
 * pacing.c
 *		When the next request may leave.
 *
 * Arithmetic on structs that may lie in shared memory: it keeps no pointer, asks no clock and no
 * random source, and does not wait.  Nothing of PostgreSQL may enter.
 *
 * Requests are spaced evenly; what is left is to find the rate that a server
 * accepts without being told it.  A 429 sets a ceiling.  The rate goes back to what
 * was accepted on the average since the last one, and from there recovers as in
 * CUBIC (Ha, Rhee, Xu 2008; RFC 9438): it nears the ceiling quickly, stays close to
 * it for long, then passes it and grows ever faster.  So it spends most of its
 * time slightly below a fixed limit, which is what a server that counts requests
 * by the second needs: requests evenly spaced at exactly 20 a second come 21 to a
 * second as soon as the network delays one and not another; at 19.6 they need
 * 20 ms of such luck.  And it forgets a limit that has gone within minutes.
 */
#include "chatbase/pacing.h"

/* See pacing_bytes_succeeded(). */
#define BYTES_STEP 64

#define MICROSECONDS 1000000.0

/*
 * Servers refuse for other reasons than the rate, too, and then at any rate.  So a 429 near
 * the ceiling counts if there was none since the last slow-down while the rate was below
 * LOW_OF_CEILING of it; and each slow-down goes deep enough to see.
 */
#define LOW_OF_CEILING 0.9
#define MOST_OF_CEILING 0.87

/*
 * Otherwise so many refusals are no surprise, and such a part of the answers: three times
 * what a server refuses by chance that fails one request in a hundred.  Beyond a limit that
 * is really there more come within a few bursts (test_pacing.c tries both).
 */
#define FREE_REFUSALS 1.0
#define FREE_PART 0.03

/*
 * Fewer answers tell nothing yet of a burst; after so many without a 429 at lower rates a
 * limit is found; old ones fade: halved when there are more.
 */
#define ANSWERS_MIN 24.0
#define ANSWERS_FOUND 100.0
#define ANSWERS_MAX 400.0

/* A 429 that is no surprise and does not say how long holds for so many requests at most. */
#define HOLD_REQUESTS 10.0

/*
 * While a worker has waited for the budget within that time, calls of SQL functions may
 * have this part of it.
 */
#define WANTED_FOR INT64_C(2000000)
#define SHARE_OF_CALLS 0.5

/*
 * The part of the budget for chatbots that have never answered, while others wait; and for
 * how many requests and how long one that has waited is taken to wait still.
 */
#define SHARE_OF_UNPROVEN 0.1
#define WAITING_REQUESTS 2.0
#define WAITING_FOR INT64_C(100000)

/* Longest debt that requests can leave which ask for no leave, those of SQL functions. */
#define MAX_DEBT INT64_C(1000000)

/*
 * Slowest rate: a try every ten seconds notices a recovery soon, and troubles
 * nobody.
 */
#define SLOWEST_RATE 0.1

/*
 * No slower than that part of the setting: a server whose 429s come at random, and
 * not for the rate, must not bring the budget down for ever.
 */
#define LEAST_OF_SETTING 0.01

/*
 * The rate after a 429 is at most this part of the rate before it: so far below
 * the ceiling that jitter of 50 ms a second does no harm.
 */
#define MOST_LEFT 0.95

/* The same where the rate before was too much at once: it was far off. */
#define MOST_LEFT_AT_ONCE 0.85
#define AT_ONCE INT64_C(2000000)

/*
 * Where much less was accepted than was allowed, the limit is near to what was
 * accepted: the ceiling is set this much above it, not to the rate before.
 */
#define CEILING_ABOVE_ACCEPTED 1.1

/* Servers that count in windows mostly do so by the second. */
#define COMMON_WINDOW INT64_C(1000000)

/*
 * Time to reach the ceiling again: such that trying what is beyond it costs well
 * under 2 % of the requests, a try costing as many 429s as are under way (4 by
 * default).  Seldom requests would make this too long to ever recover from an
 * outage, thus the limit.
 */
#define RECOVERY_SECONDS 60.0
#define RECOVERY_REQUESTS 400.0
#define RECOVERY_SECONDS_MAX 300.0

/* Intervals that one answer can count as used, when demand is low. */
#define USED_INTERVALS 2

/* Wait after a 429 that does not say how long: from 1 s to 5 min. */
#define FIRST_HOLD INT64_C(1000000)
#define LONGEST_HOLD INT64_C(300000000)

static int64_t
later(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

/* No overflow whatever n is. */
int64_t
pacing_pause(int64_t n, int64_t first, int64_t max)
{
	int64_t		value = first;

	while (n-- > 1 && value < max)
		value = value > max / 2 ? max : value * 2;
	return value < max ? value : max;
}

/* The setting, made usable whatever it is. */
static double
usable(double rate)
{
	return rate > 0 ? rate : SLOWEST_RATE;
}

static double
current_rate(const PacingBudget *budget, double setting)
{
	setting = usable(setting);
	return budget->rate > 0 && budget->rate < setting ? budget->rate : setting;
}

int64_t
pacing_delay(const PacingBudget *budget, int64_t now)
{
	int64_t		at = later(budget->next_at, budget->held_until);

	return at > now ? at - now : 0;
}

void
pacing_take(PacingBudget *budget, double rate, int64_t now)
{
	double		current = current_rate(budget, rate);
	int64_t		free_since = later(budget->next_at, budget->held_until);

	if (budget->rate == 0)
	{
		budget->slowed_at = now;
		budget->recovered_at = now;
	}
	else if (now > free_since)
		budget->idle += now - free_since;
	budget->rate = current;
	budget->next_at = later(now, budget->next_at) + (int64_t) (MICROSECONDS / current);
	/* calls take without asking, and must not leave the others more than that to wait for */
	if (budget->next_at > now + MAX_DEBT + (int64_t) (MICROSECONDS / current))
		budget->next_at = now + MAX_DEBT + (int64_t) (MICROSECONDS / current);
}

int64_t
pacing_try(PacingBudget *budget, double rate, bool proven, int64_t now)
{
	int64_t		interval = (int64_t) (MICROSECONDS / current_rate(budget, rate));
	int64_t		waiting = WAITING_FOR + (int64_t) (WAITING_REQUESTS * interval);
	int64_t		delay = pacing_delay(budget, now);

	if (!proven && delay == 0 && budget->unproven_at > now &&
		budget->proven_wanted_at > 0 && budget->proven_wanted_at > now - waiting)
		return budget->unproven_at - now;
	if (delay > 0)
	{
		budget->wanted_at = now;
		if (proven)
			budget->proven_wanted_at = now;
		return delay;
	}
	pacing_take(budget, rate, now);
	if (!proven)
		budget->unproven_at = now + (int64_t) (interval / SHARE_OF_UNPROVEN);
	return 0;
}

int64_t
pacing_take_call(PacingBudget *budget, double rate, int64_t now)
{
	double		share = current_rate(budget, rate) * SHARE_OF_CALLS;

	if (budget->wanted_at > 0 && budget->wanted_at > now - WANTED_FOR &&
		budget->calls_at > now + MAX_DEBT)
		return budget->calls_at - now - MAX_DEBT;
	/* calls that were made while nobody else wanted the budget do not count */
	if (budget->calls_at > now + MAX_DEBT)
		budget->calls_at = now + MAX_DEBT;
	budget->calls_at = later(budget->calls_at, now) + (int64_t) (MICROSECONDS / share);
	pacing_take(budget, rate, now);
	return 0;
}

void
pacing_release(PacingBudget *budget, int64_t now)
{
	if (budget->held_until > now)
		budget->held_until = now;
	if (budget->next_at > now)
		budget->next_at = now;
	budget->throttled = 0;
}

void
pacing_return(PacingBudget *budget, double rate)
{
	budget->next_at -= (int64_t) (MICROSECONDS / current_rate(budget, rate));
}

/* The rate after so many seconds of recovery. */
static double
recovered_rate(const PacingBudget *budget, double seconds)
{
	double		whole = RECOVERY_REQUESTS / budget->ceiling;
	double		part;

	if (whole < RECOVERY_SECONDS)
		whole = RECOVERY_SECONDS;
	else if (whole > RECOVERY_SECONDS_MAX)
		whole = RECOVERY_SECONDS_MAX;
	part = seconds / whole - 1;
	return budget->ceiling + (budget->ceiling - budget->start) * part * part * part;
}

/* Counts an answer, to tell chance from a limit. */
static void
count_answer(PacingBudget *budget, bool refused)
{
	budget->answers++;
	budget->refusals += refused;
	if (budget->answers > ANSWERS_MAX)
	{
		budget->answers /= 2;
		budget->refusals /= 2;
	}
	if (refused && budget->rate < budget->ceiling * LOW_OF_CEILING)
		budget->low_refusals++;
}

/* Returns whether no more was refused of late than may come by chance. */
static bool
is_chance(const PacingBudget *budget)
{
	return budget->refusals <= FREE_REFUSALS + FREE_PART * budget->answers;
}

void
pacing_answered(PacingBudget *budget, double rate, int64_t now)
{
	int64_t		most = (int64_t) (USED_INTERVALS * MICROSECONDS / current_rate(budget, rate));
	int64_t		elapsed = now - budget->recovered_at;

	budget->accepted++;
	count_answer(budget, false);
	/* while held, answers are to requests from before: they prove nothing */
	if (now < budget->held_until)
		return;
	budget->throttled = 0;
	if (elapsed <= 0)
		return;
	budget->recovered_at = now;
	if (budget->ceiling == 0)
		budget->rate = usable(rate);
	else if (budget->rate < usable(rate))
	{
		budget->recovery += elapsed < most ? elapsed : most;
		budget->rate = recovered_rate(budget, budget->recovery / MICROSECONDS);
	}
	budget->rate = current_rate(budget, rate);
}

/*
 * The time that what was accepted since the last slow-down is a fair share of, in
 * seconds: that in which there was demand, and at least a window.
 */
static double
accepted_during(const PacingBudget *budget, int64_t now)
{
	int64_t		time = now - budget->slowed_at - budget->idle;

	return later(time, COMMON_WINDOW) / MICROSECONDS;
}

/* Goes on at a rate, and recovers to the ceiling and beyond it. */
static void
recover_from(PacingBudget *budget, double start, double ceiling)
{
	budget->start = start;
	budget->ceiling = ceiling > start ? ceiling : start;
	budget->rate = start;
	budget->recovery = 0;
}

/* A 429 that the rate is to blame for. */
static void
slow_down(PacingBudget *budget, double rate, bool is_burst, int64_t now)
{
	double		before = current_rate(budget, rate);
	double		after = budget->accepted / accepted_during(budget, now);
	double		ceiling = before;
	bool		at_once = now - budget->slowed_at < AT_ONCE;
	double		slowest = usable(rate) * LEAST_OF_SETTING;
	double		most = before * (at_once ? MOST_LEFT_AT_ONCE : MOST_LEFT);

	if (slowest < SLOWEST_RATE)
		slowest = SLOWEST_RATE;
	if (before > after * CEILING_ABOVE_ACCEPTED)
	{
		ceiling = after * CEILING_ABOVE_ACCEPTED;
		budget->is_far = budget->is_far || is_burst;
	}
	else if (budget->answers >= ANSWERS_FOUND)
		budget->is_far = false;
	if (after > most)
		after = most;
	if (after > ceiling * MOST_OF_CEILING)
		after = ceiling * MOST_OF_CEILING;
	if (after < slowest)
		after = before < slowest ? before : slowest;
	recover_from(budget, after, ceiling);
	budget->answers = budget->refusals = 0;
	budget->low_refusals = 0;
	budget->accepted = 0;
	budget->idle = 0;
}

/* How long the first 429 of a burst holds the budget. */
static int64_t
hold_for(const PacingBudget *budget, double rate, int64_t told, double random, bool chance)
{
	int64_t		hold = pacing_pause(budget->throttled, FIRST_HOLD, LONGEST_HOLD);

	if (told >= 0)
		return told;
	if (chance && budget->accepted > 0 && budget->throttled == 1 &&
		hold > HOLD_REQUESTS * MICROSECONDS / current_rate(budget, rate))
		hold = (int64_t) (HOLD_REQUESTS * MICROSECONDS / current_rate(budget, rate));
	/* at least half of it: a random part near to nothing would be a wasted try */
	return hold / 2 + (int64_t) (hold / 2 * random);
}

void
pacing_throttled(PacingBudget *budget, double rate, int64_t left_at,
				 int64_t told, double random, int64_t now)
{
	int64_t		left;
	int64_t		hold;
	bool		is_burst;
	bool		chance;

	count_answer(budget, true);
	chance = is_chance(budget);
	if (budget->refused_at > 0 && left_at <= budget->refused_at)
	{
		hold = told;
		budget->burst++;
		is_burst = true;
		chance = chance || budget->answers < ANSWERS_MIN;
	}
	else
	{
		/* near the ceiling it is the limit that has been found, if there was none below */
		is_burst = budget->burst > 1;
		budget->burst = 1;
		chance = chance && (budget->ceiling == 0 ||
							(budget->low_refusals > 0 && !budget->is_far));
		budget->refused_at = now;
		budget->throttled++;
		hold = hold_for(budget, rate, told, random, chance);
		/* what was accepted before is all that its window allows; the hold beyond is idle */
		left = COMMON_WINDOW - later(now - later(budget->slowed_at, budget->held_until), 0);
		budget->idle += later(hold - later(left, 0), 0);
	}
	if (hold >= 0)
		budget->held_until = later(budget->held_until, now + hold);
	budget->recovered_at = budget->held_until;
	/* nothing accepted since the last one: it is not the rate that is refused */
	if (budget->throttled > 1 || budget->accepted == 0)
		return;
	if (!chance)
	{
		slow_down(budget, rate, is_burst, now);
		budget->slowed_at = budget->held_until;
	}
	else if (budget->ceiling == 0)
		recover_from(budget, current_rate(budget, rate) * MOST_LEFT, current_rate(budget, rate));
}

void
pacing_fail(PacingBackoff *backoff, int64_t first, int64_t max,
			int64_t told, double random, int64_t now)
{
	int64_t		delay;

	if (backoff->failures < INT32_MAX)
		backoff->failures++;
	if (told >= 0)
		delay = later(told, (int64_t) (first * random));
	else
		delay = (int64_t) (pacing_pause(backoff->failures, first, max) * random);
	backoff->until = now + delay;
}

void
pacing_succeed(PacingBackoff *backoff)
{
	backoff->failures = 0;
	backoff->until = 0;
}

int
pacing_batch(int limit, int max)
{
	return limit > 0 && limit < max ? limit : max;
}

int
pacing_batch_failed(int limit, int sent, int max)
{
	int			half = sent > 1 ? sent / 2 : 1;

	limit = pacing_batch(limit, max);
	return half < limit ? half : limit;
}

int
pacing_batch_succeeded(int limit, int sent, int max)
{
	if (limit <= 0 || limit >= max)
		return 0;
	if (sent < limit - limit / 2)
		return limit;
	return limit > max / 2 ? 0 : limit * 2;
}

int
pacing_bytes_succeeded(int limit, int sent, int max)
{
	int64_t		raised = (int64_t) limit + limit / BYTES_STEP + 1;

	if (limit <= 0 || limit >= max)
		return 0;
	if (sent < limit - limit / 2)
		return limit;
	return raised < max ? (int) raised : 0;
}
