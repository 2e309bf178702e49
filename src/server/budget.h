/*
 * budget.h
 *		When a request may leave with a key: one budget a key for the whole server.
 *
 * The rules are pacing.h's.  Keys are known by a hash only.  The budgets lie in shared
 * memory, which shared.c provides; without it each process has budgets of its own.
 * Plain values only.  Nothing here throws or waits.
 */
#ifndef CONTACTS_PUSH_BUDGET_H
#define CONTACTS_PUSH_BUDGET_H

#include "chatbase/pacing.h"
#include "storage/lwlock.h"

/* Keys with a budget of their own; the one unused for longest makes room. */
#define BUDGETS_MAX 64

typedef struct KeyBudget
{
	uint64		key_hash;		/* 0: free */
	int64		used_at;
	PacingBudget pacing;
} KeyBudget;

/* The budgets are these BUDGETS_MAX from now on, behind the lock. */
extern void budget_attach(KeyBudget *shared_budgets, LWLock *shared_lock);

extern uint64 budget_key_hash(const char *key);

/* As the functions of pacing.h, on the budget of the key. */

/*
 * Takes a request for a call of an SQL function.  0, or, where it would take from a worker
 * that waits more than the calls' share, the microseconds until one may be made.
 */
extern int64 budget_take_call(uint64 key_hash);

/* Ends the waits that 429s have imposed, of all keys. */
extern void budget_release_all(void);

extern void budget_return(uint64 key_hash);

/* Takes a request for a worker if one may leave now; else microseconds until one may. */
extern int64 budget_try(uint64 key_hash, bool proven);
extern void budget_answered(uint64 key_hash);

/* left_at: clock_us() when the request left that was answered 429; told_us: how long it says to wait. */
extern void budget_throttled(uint64 key_hash, int64 left_at, int64 told_us);

/* Microseconds for which a 429 keeps the key from being used yet; 0: not at all. */
extern int64 budget_held_us(uint64 key_hash);

/* Requests a second that the budget allows now; 0 while it is held. */
extern double budget_rate(uint64 key_hash);

#endif							/* CONTACTS_PUSH_BUDGET_H */
