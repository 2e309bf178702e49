/*
 * isolation_rate.c
 *		The rate of bad contacts as learnt from answers, and the group sizes that
 *		follow from it.
 *
 * Group testing pays only as far as the rate p of bad contacts is known, and the
 * rate of a real table is no constant: a bad import makes a run of bad ones in
 * the middle of a clean table.  A decayed average must choose between being
 * precise where p is steady and being quick where it jumps.  So we keep a
 * posterior over a grid of rates instead, and let the rate jump with a small
 * probability at each answer (a hidden Markov model; the update is the "fixed
 * share" of Herbster and Warmuth, "Tracking the best expert", 1998).  A steady
 * rate is learnt from all that was seen, and two or three answers that do not fit
 * are enough to leave it.
 *
 * Every answer counts at once, with its probability given what was known when it
 * came: a group is clean with q^n (q = 1-p), a part x of a dirty m is dirty with
 * (1-q^x) / (1-q^m).  Would dirty sets count only when they are worked off, then with
 * several of them at work p would be taken for less than it is, since good
 * contacts are found at once and a bad one after some ten requests.
 *
 * Sizes: Q(n), the chance that n contacts are all good, is the posterior mean of
 * (1-p)^n.  A bad contact must have been sent alone, which is not so in Sobel and
 * Groll's problem: a contact found to be bad by elimination costs one request
 * more.  The optimum for that, found by dynamic programming over all nested
 * procedures (bench/simulate_isolation.c computes it), is: one by one above
 * p = 0.307, three at a time down to 0.2, and below that the largest n with
 * Q(n) >= 0.47 costs at most half a percent more than the best n.
 *
 * Nothing of contacts, requests or sets may enter here, and no libm: PostgreSQL
 * modules and unit tests link alike.
 */
#include "grouping/isolation_rate.h"

/*
 * The grid: odds of 1 : 20000 times 1.5^i, that is p from 0.00005, where 1000
 * contacts are clean with 95 %, to 0.97.  Between neighbours the cost of a group
 * size differs by less than the 1 % that knowing p better could save.
 */
#define LOWEST_ODDS		(1.0 / 20000)
#define ODDS_STEP		1.5

/*
 * What is assumed of a rate before anything is seen of it, at the beginning and
 * after a jump: each step of the grid is less likely than the one below by this
 * factor.  With it, the first request of a table carries 1000.
 */
#define PRIOR_STEP		0.75

/*
 * The probability of a jump, per answer.  Found with bench/simulate_isolation.c:
 * from 0.0002 to 0.005 the requests differ by at most one percent for steady rates;
 * less is better there, more is better where bad contacts come in short runs.
 */
#define JUMP			0.001

/* See above.  The second is Q(3) at the rate where one by one becomes better. */
#define LEAST_CLEAN			0.47
#define LEAST_CLEAN_THREE	0.333

/* x^n for n >= 0. */
static double
power(double x, int n)
{
	double		result = 1.0;

	for (; n > 0; n >>= 1)
	{
		if (n & 1)
			result *= x;
		x *= x;
	}
	return result;
}

/* Scales the weights to a sum of 1, which must be above 0. */
static void
normalise(double *weight)
{
	double		sum = 0.0;

	for (int i = 0; i < ISOLATION_RATES; i++)
		sum += weight[i];
	for (int i = 0; i < ISOLATION_RATES; i++)
		weight[i] /= sum;
}

/* Fills in a prior that sums up to 1. */
static void
set_prior(double *weight)
{
	double		w = 1.0;

	for (int i = 0; i < ISOLATION_RATES; i++, w *= PRIOR_STEP)
		weight[i] = w;
	normalise(weight);
}

void
isolation_rate_init(IsolationRate *rate)
{
	set_prior(rate->weight);
}

/*
 * The probability of an answer at a rate, above 0 where the answer is possible.
 * Where the answer is certain, it teaches nothing: 1.
 */
static double
likelihood(double p, int n, int known, bool clean)
{
	double		q = 1.0 - p;
	double		chance = clean ? power(q, n) : 1.0 - power(q, n);

	if (clean && known > n)
		chance *= 1.0 - power(q, known - n);
	if (clean ? known > n : known > 0)
		chance /= 1.0 - power(q, known);
	return chance;
}

/*
 * The jump comes first, so that no weight is 0 when it is multiplied, and the sum
 * cannot become 0: for requests of up to 1000, a clean answer has at least 0.0009 at
 * the lowest rate, a dirty one 0.9 at the highest.
 */
void
isolation_rate_learn(IsolationRate *rate, int n, int known, bool clean)
{
	double		prior[ISOLATION_RATES];
	double		odds = LOWEST_ODDS;

	set_prior(prior);
	for (int i = 0; i < ISOLATION_RATES; i++, odds *= ODDS_STEP)
	{
		double		weight = (1.0 - JUMP) * rate->weight[i] + JUMP * prior[i];

		rate->weight[i] = weight * likelihood(odds / (1.0 + odds), n, known, clean);
	}
	normalise(rate->weight);
}

double
isolation_rate_mean(const IsolationRate *rate)
{
	double		odds = LOWEST_ODDS;
	double		mean = 0.0;

	for (int i = 0; i < ISOLATION_RATES; i++, odds *= ODDS_STEP)
		mean += rate->weight[i] * odds / (1.0 + odds);
	return mean;
}

/* Q(n): the chance that n contacts are all good. */
static double
clean_chance(const IsolationRate *rate, int n)
{
	double		odds = LOWEST_ODDS;
	double		chance = 0.0;

	for (int i = 0; i < ISOLATION_RATES; i++, odds *= ODDS_STEP)
		chance += rate->weight[i] * power(1.0 / (1.0 + odds), n);
	return chance;
}

/* The largest n in 1..max with Q(n) >= least; 1 if there is none. */
static int
largest_group(const IsolationRate *rate, double least, int max)
{
	int			low = 1;
	int			high = max;

	while (low < high)
	{
		int			middle = low + (high - low + 1) / 2;

		if (clean_chance(rate, middle) >= least)
			low = middle;
		else
			high = middle - 1;
	}
	return low;
}

int
isolation_rate_group(const IsolationRate *rate, int max)
{
	int			n = largest_group(rate, LEAST_CLEAN, max);

	/* two are never best: a dirty pair costs what three in a row cost */
	if (n <= 2 && max >= 3)
		n = clean_chance(rate, 3) >= LEAST_CLEAN_THREE ? 3 : 1;
	return n;
}

/*
 * The part that is clean with a chance of a half, given that the whole is not:
 * (Q(x) - Q(n)) / (1 - Q(n)).  Of four and less, one: a contact that is sent alone
 * and dirty needs no second request to say so, and that outweighs the better
 * balance of two and two.
 */
int
isolation_rate_part(const IsolationRate *rate, int n)
{
	double		half;
	int			x;

	if (n <= 4)
		return 1;
	half = (1.0 + clean_chance(rate, n)) / 2;
	x = largest_group(rate, half, n - 1);
	if (x < n - 1 &&
		half - clean_chance(rate, x + 1) < clean_chance(rate, x) - half)
		x++;
	return x;
}
