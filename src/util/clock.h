/*
 * clock.h
 *		The clock by which everything here is timed.
 *
 * Plain C, no PostgreSQL.  All processes of a machine share it, it never goes back, and
 * it knows nothing of the time of day (clock_gettime(2), CLOCK_MONOTONIC).
 */
#ifndef CONTACTS_PUSH_CLOCK_H
#define CONTACTS_PUSH_CLOCK_H

#include <stdint.h>
#include <time.h>

/* Microseconds since some moment before the machine's start. */
static inline int64_t
clock_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t) now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

#endif							/* CONTACTS_PUSH_CLOCK_H */
