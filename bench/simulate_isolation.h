/*
 * simulate_isolation.h
 *		What the simulator and its fuzzer share.
 */
#ifndef CONTACTS_PUSH_SIMULATE_ISOLATION_H
#define CONTACTS_PUSH_SIMULATE_ISOLATION_H

#include "grouping/isolation.h"

/* Says what is wrong and ends the program with 1. */
extern void fail(const char *what) __attribute__((noreturn));

extern uint64_t random_next(uint64_t *state);

/* Uniform in 0..n-1. */
extern int	random_below(uint64_t *state, int n);
extern bool random_chance(uint64_t *state, double p);

/* So many rounds of random operations; returns what main() does. */
extern int	fuzz(long rounds);

#endif							/* CONTACTS_PUSH_SIMULATE_ISOLATION_H */
