/*
 * test_ranges.c
 *		Sets of sequence numbers: none that was put in is lost, whatever is joined.
 */
#include "tap.h"
#include "util/ranges.h"

#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>

#define NUMBERS 2000
#define ROUNDS 2000

static bool
has(const Ranges *set, int64_t number)
{
	for (int i = 0; i < set->n; i++)
		if (number >= set->range[i].low && number <= set->range[i].high)
			return true;
	return false;
}

/* Ascending, apart from each other, and no more than there is room for. */
static bool
is_sound(const Ranges *set)
{
	for (int i = 0; i < set->n; i++)
		if (set->range[i].low > set->range[i].high ||
			(i > 0 && set->range[i].low <= set->range[i - 1].high + 1))
			return false;
	return set->n <= RANGES_MAX;
}

static const char *
text_of(const Ranges *set)
{
	static char text[RANGES_MAX * 48 + 1];
	size_t		length = 0;

	text[0] = '\0';
	for (int i = 0; i < set->n; i++)
		length += (size_t) snprintf(text + length, sizeof(text) - length,
									"[%" PRId64 ",%" PRId64 "]", set->range[i].low, set->range[i].high);
	return text;
}

static void
test_few(void)
{
	Ranges		set = {0};
	Ranges		more = {0};

	ranges_add(&set, 10, 20);
	ranges_add(&set, 30, 30);
	is_str(text_of(&set), "[10,20][30,30]", "two apart");
	ranges_add(&set, 21, 21);
	is_str(text_of(&set), "[10,21][30,30]", "one that touches another");
	ranges_add(&set, 15, 29);
	is_str(text_of(&set), "[10,30]", "one that fills what is between");
	ranges_add_near(&set, 35, 5);
	is_str(text_of(&set), "[10,35]", "one that is near");
	ranges_add_near(&set, 41, 5);
	is_str(text_of(&set), "[10,35][41,41]", "one that is not");
	ranges_add_near(&set, 12, 5);
	ranges_add_near(&set, 8, 5);
	is_str(text_of(&set), "[8,8][10,35][41,41]", "one inside, and one below, which is near nothing");
	ranges_remove_up_to(&set, 20);
	is_str(text_of(&set), "[21,35][41,41]", "without what is up to a number");
	ranges_add(&more, 1, 1);
	ranges_add(&more, 36, 40);
	ranges_add_all(&set, &more);
	is_str(text_of(&set), "[1,1][21,41]", "with all of another set");
	ranges_add(&set, INT64_MAX, INT64_MAX);
	ranges_remove_up_to(&set, INT64_MAX);
	is_int(set.n, 0, "without everything");
}

static void
test_many(void)
{
	int			lost = 0;
	int			broken = 0;
	int			kept = 0;

	srand(1);
	for (int round = 0; round < ROUNDS; round++)
	{
		static bool in[NUMBERS];
		Ranges		set = {0};

		memset(in, 0, sizeof(in));
		for (int i = 0; i < 200; i++)
		{
			int			low = rand() % NUMBERS;
			int			high = low + rand() % 10;

			if (high >= NUMBERS)
				high = low;
			switch (rand() % 40)
			{
				case 0:
					ranges_remove_up_to(&set, low / 4);
					memset(in, 0, (size_t) (low / 4 + 1) * sizeof(bool));
					kept += has(&set, low / 4);
					break;
				case 1:
					ranges_add_near(&set, low, 20);
					in[low] = true;
					break;
				default:
					ranges_add(&set, low, high);
					memset(in + low, true, (size_t) (high - low + 1) * sizeof(bool));
			}
			broken += !is_sound(&set);
		}
		for (int number = 0; number < NUMBERS; number++)
			lost += in[number] && !has(&set, number);
	}
	is_int(lost, 0, "none of many is lost");
	is_int(kept, 0, "none that was taken out is kept");
	is_int(broken, 0, "the set is always in order");
}

int
main(void)
{
	test_few();
	test_many();
	return done_testing();
}
