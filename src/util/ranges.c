/*
 * ranges.c
 *		A set of integers as sorted ranges, of bounded size.
 *
 * No allocation, no PostgreSQL.
 */
#include "util/ranges.h"

#include <string.h>

static void
remove_at(Ranges *set, int at)
{
	memmove(&set->range[at], &set->range[at + 1],
			(size_t) (set->n - at - 1) * sizeof(Range));
	set->n--;
}

/* Joins the neighbours with the least between them. */
static void
join_nearest(Ranges *set)
{
	int			best = 0;

	for (int i = 1; i + 1 < set->n; i++)
		if (set->range[i + 1].low - set->range[i].high <
			set->range[best + 1].low - set->range[best].high)
			best = i;
	set->range[best].high = set->range[best + 1].high;
	remove_at(set, best + 1);
}

void
ranges_add(Ranges *set, int64_t low, int64_t high)
{
	int			at = 0;

	while (at < set->n && set->range[at].high < low - 1)
		at++;
	if (at < set->n && set->range[at].low - 1 <= high)
	{
		/* Touches one: grow it, and swallow what follows. */
		if (low < set->range[at].low)
			set->range[at].low = low;
		if (high > set->range[at].high)
			set->range[at].high = high;
		while (at + 1 < set->n && set->range[at + 1].low - 1 <= set->range[at].high)
		{
			if (set->range[at + 1].high > set->range[at].high)
				set->range[at].high = set->range[at + 1].high;
			remove_at(set, at + 1);
		}
		return;
	}
	memmove(&set->range[at + 1], &set->range[at],
			(size_t) (set->n - at) * sizeof(Range));
	set->range[at].low = low;
	set->range[at].high = high;
	set->n++;
	if (set->n > RANGES_MAX)
		join_nearest(set);
}

void
ranges_add_near(Ranges *set, int64_t number, int64_t distance)
{
	int64_t		low = number;

	for (int i = 0; i < set->n && set->range[i].low <= number; i++)
		if (set->range[i].high >= number - distance)
			low = set->range[i].high < number ? set->range[i].high : number;
	ranges_add(set, low, number);
}

void
ranges_add_all(Ranges *set, const Ranges *more)
{
	for (int i = 0; i < more->n; i++)
		ranges_add(set, more->range[i].low, more->range[i].high);
}

void
ranges_remove_up_to(Ranges *set, int64_t number)
{
	while (set->n > 0 && set->range[0].high <= number)
		remove_at(set, 0);
	if (set->n > 0 && set->range[0].low <= number)
		set->range[0].low = number + 1;
}
