/*
 * ranges.h
 *		A set of integers as sorted ranges, of bounded size.
 *
 * Plain C, no PostgreSQL.  Sets of sequence numbers that are still to be
 * looked at.  When a set would need more than RANGES_MAX ranges, the two nearest
 * are joined: it then holds more than was put in, which costs its user a look in
 * vain and loses nothing.
 */
#ifndef CONTACTS_PUSH_RANGES_H
#define CONTACTS_PUSH_RANGES_H

#include <stdbool.h>
#include <stdint.h>

/* Few enough to search linearly; gaps of aborted transactions come in dozens. */
#define RANGES_MAX 64

typedef struct Range
{
	int64_t		low;			/* inclusive */
	int64_t		high;			/* inclusive */
} Range;

/* All zero is the empty set. */
typedef struct Ranges
{
	int			n;
	Range		range[RANGES_MAX + 1];	/* ascending, disjoint; one spare */
} Ranges;

extern void ranges_add(Ranges *set, int64_t low, int64_t high);

/* Adds a number, with what lies between it and a range that ends so near below. */
extern void ranges_add_near(Ranges *set, int64_t number, int64_t distance);
extern void ranges_add_all(Ranges *set, const Ranges *more);

/* Takes everything up to and including this number out. */
extern void ranges_remove_up_to(Ranges *set, int64_t number);

#endif							/* CONTACTS_PUSH_RANGES_H */
