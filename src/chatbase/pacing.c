/*
 * pacing.c
 *		When the next request may leave.
 *
 * Arithmetic on structs that may lie in shared memory: it keeps no pointer, asks no clock and no
 * random source, and does not wait.  Nothing of PostgreSQL may enter.
 *
 * Requests are spaced evenly; what is left is to find the rate that an API accepts without
 * telling it, and that others who use the key leave.  As in TCP this is done by each on its own:
 * slow down by a part of the rate when refused, speed up by what does not depend on the rate
 * (AIMD; Chiu and Jain 1989).  Whoever has more gives up more, and all get back the same, so
 * that shares become equal.  The way back is the curve of CUBIC (Ha, Rhee, Xu 2008; RFC 9438):
 * it nears the rate that was refused quickly, stays close to it for long, then passes it and
 * grows ever faster.  So most of the time is spent slightly below the limit, and a limit that
 * has gone is forgotten within minutes.
 *
 * The numbers below were found by simulation, in which limits by the second and by ten
 * seconds, of fixed windows, sliding windows and token buckets, with and without a time to wait,
 * are shared by up to three servers (test_pacing_shares.c), and with 429s that come by chance
 * (test_pacing.c).  Each says what happened beyond it.
 */
#include "chatbase/pacing.h"

/* See pacing_bytes_succeeded(). */
#define BYTES_STEP 64

#define MICROSECONDS 1000000.0

/*
 * What a 429 leaves of the rate.  At 0.75 one server alone used less than 88 % of its limit; at
 * 0.92 close to 5 % of the answers were 429 where the setting was fifty times the limit.
 */
#define SLOWED_TO 0.85

/*
 * The way back to the rate that was refused: so many requests for a server that makes as many
 * as the setting allows, just under two minutes at the default of 10 a second.  For one that
 * makes a part of them it takes as small a part of the time, so that growth is the same for
 * all who share a key.  With half as many, 4 % of the answers to two servers were 429; with
 * twice as many, a chance 429 too many cost a quarter of ten minutes.
 *
 * Beyond 20 a second it is the time that counts, since an API may say to wait for a second,
 * and the setting says little about the limit.
 */
#define RECOVERY_REQUESTS 1150.0
#define REFERENCE_RATE_MAX 20.0

/*
 * For a rate far below the setting: no sooner than after so many requests, so that one in fifty
 * is a 429 at most, and no later than after five minutes.  With twice as many, one of three
 * servers could be left with a ninth of the limit.
 */
#define RECOVERY_REQUESTS_MIN 50.0
#define RECOVERY_SECONDS_MAX 300.0

/* Intervals that one answer can count as used, when demand is low. */
#define USED_INTERVALS 2

/*
 * An API refuses for other reasons than the rate, too, and then at any rate.  So a 429 that
 * does not say how long to wait is no reason to slow down while there are no more of them than
 * come by chance: 1.5 % of the answers, to be safe from 1 %, and a few that come close to each
 * other: three, and as many more as the rate has parts of the setting, or 20 a second.  In
 * a row the second counts as two, the third as three: one by chance is followed by an answer.
 * With one instead of three, or at 1.0 %, 1 % by chance cost a quarter of the requests; with
 * six, or at 2.5 %, more than 3 % of the answers to two servers were 429.
 */
#define CHANCE_PART 0.015
#define CHANCE_TOGETHER 3.0

/*
 * After so many answers a limit that is far below the rate can be told from them.  From three,
 * one of two servers could be left with a thirtieth of the limit.
 */
#define ACCEPTED_MIN 8

/* Longest wait that is taken for the rest of a window: Chatbase counts by ten seconds at most. */
#define WINDOW_MAX INT64_C(10000000)

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
 * No slower than that part of the setting: an API whose 429s have other reasons must not
 * bring the budget down for ever.
 */
#define LEAST_OF_SETTING 0.01

/*
 * Wait after a 429 that does not say how long: the time of so many requests, or a second if
 * nothing was ever accepted; doubled for each further one in a row, up to what Chatbase counts
 * by.  With ten, 1 % by chance cost a tenth of the requests.  With waits up to a minute a server
 * that came to another one's limit, used up at each moment, could be left with next to nothing.
 */
#define HOLD_REQUESTS 4.0
#define FIRST_HOLD INT64_C(1000000)
#define LONGEST_HOLD WINDOW_MAX

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

	if (budget->rate == 0)
		budget->recovered_at = now;
	budget->rate = current;
	budget->next_at = later(now, budget->next_at) + (int64_t) (MICROSECONDS / current);
	/* after 429s in a row one goes first, and others when that is answered as a rule */
	if (budget->throttled > 1)
		budget->next_at = later(budget->next_at, now + budget->round_trip * 3 / 2);
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

/* What a rate is measured by: what all who share a key have been told alike. */
static double
reference_rate(double setting)
{
	return usable(setting) < REFERENCE_RATE_MAX ? usable(setting) : REFERENCE_RATE_MAX;
}

/* The rate after so many seconds of recovery. */
static double
recovered_rate(const PacingBudget *budget, double setting, double seconds)
{
	double		reference = reference_rate(setting);
	double		part = budget->ceiling < reference ? budget->ceiling / reference : 1;
	double		whole = RECOVERY_REQUESTS / reference * part;
	double		progress;

	if (whole < RECOVERY_REQUESTS_MIN / budget->ceiling)
		whole = RECOVERY_REQUESTS_MIN / budget->ceiling;
	if (whole > RECOVERY_SECONDS_MAX)
		whole = RECOVERY_SECONDS_MAX;
	progress = seconds / whole - 1;
	return budget->ceiling + (budget->ceiling - budget->start) * progress * progress * progress;
}

void
pacing_answered(PacingBudget *budget, double rate, int64_t now)
{
	int64_t		most = (int64_t) (USED_INTERVALS * MICROSECONDS / current_rate(budget, rate));
	int64_t		elapsed = now - budget->recovered_at;

	budget->refusals = budget->refusals > CHANCE_PART ? budget->refusals - CHANCE_PART : 0;
	/* while held, answers are to requests from before: they prove nothing */
	if (now < budget->held_until)
		return;
	budget->accepted++;
	budget->throttled = 0;
	if (elapsed <= 0)
		return;
	budget->recovered_at = now;
	budget->recovery += elapsed < most ? elapsed : most;
	if (budget->ceiling == 0)
		budget->rate = usable(rate);
	else if (budget->rate < usable(rate))
		budget->rate = recovered_rate(budget, rate, budget->recovery / MICROSECONDS);
	budget->rate = current_rate(budget, rate);
}

/*
 * The seconds in which an API may have allowed what was accepted since the last slow-down: those
 * in which it was sent, and a wait that is longer, as after requests that came all at once at
 * the begin of a window.  A wait in whole seconds is up to one too long.  Where none is told
 * the window is taken for a second.
 */
static double
accepted_during(const PacingBudget *budget, bool is_told, int64_t hold)
{
	double		sent = budget->recovery / MICROSECONDS;
	double		window = sent + hold / MICROSECONDS;

	if (hold <= budget->recovery || hold > WINDOW_MAX)
		window = sent;
	else if (window > 1)
		window = window > 2 ? window - 1 : 1;
	if (!is_told)
		window = 1;
	return window > sent ? window : sent;
}

/* A 429 that the rate is to blame for. */
static void
slow_down(PacingBudget *budget, double rate, bool is_told, int64_t hold)
{
	double		before = current_rate(budget, rate);
	double		after = before * SLOWED_TO;
	double		slowest = usable(rate) * LEAST_OF_SETTING;
	double		seconds = accepted_during(budget, is_told, hold);

	if (budget->accepted >= ACCEPTED_MIN && after * seconds > budget->accepted)
		after = budget->accepted / seconds;
	if (slowest < SLOWEST_RATE)
		slowest = SLOWEST_RATE;
	if (after < slowest)
		after = before < slowest ? before : slowest;
	/* refused before it was as fast as the last time: others have come, who need room */
	budget->ceiling = before < budget->ceiling ? (before + after) / 2 : before;
	budget->start = after;
	budget->rate = after;
	budget->recovery = 0;
	budget->accepted = 0;
	budget->refusals = 0;
}

/* How long the first 429 of a burst holds the budget. */
static int64_t
hold_for(PacingBudget *budget, double rate, int64_t told, double random)
{
	if (told > 0)
		return told;
	if (budget->throttled > 1 && budget->hold > 0)
		budget->hold = pacing_pause(2, budget->hold, LONGEST_HOLD);
	else
	{
		budget->hold = (int64_t) (HOLD_REQUESTS * MICROSECONDS / current_rate(budget, rate));
		if (budget->accepted == 0 || budget->hold > FIRST_HOLD)
			budget->hold = FIRST_HOLD;
	}
	/* at least half of it: a random part near to nothing would be a wasted try */
	return budget->hold / 2 + (int64_t) (budget->hold / 2 * random);
}

void
pacing_throttled(PacingBudget *budget, double rate, int64_t left_at,
				 int64_t told, double random, int64_t now)
{
	bool		is_first = budget->refused_at == 0 || left_at > budget->refused_at;
	double		chance = CHANCE_TOGETHER + current_rate(budget, rate) / reference_rate(rate);
	int64_t		hold = told;

	if (is_first)
	{
		budget->refused_at = now;
		budget->round_trip = now - left_at;
		budget->throttled++;
		hold = hold_for(budget, rate, told, random);
	}
	budget->refusals += is_first ? budget->throttled : 1;
	/* nothing accepted since the last slow-down: it is not the rate that is refused */
	if (is_first && budget->accepted > 0 && (told > 0 || budget->refusals > chance))
		slow_down(budget, rate, told > 0, hold);
	if (hold > 0)
		budget->held_until = later(budget->held_until, now + hold);
	budget->recovered_at = budget->held_until;
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
