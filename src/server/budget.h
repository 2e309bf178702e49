/*
 * budget.h
 *		When a request may leave with a key: one budget a key for the whole server.
 *
 * The rules are those of pacing.h.  Keys are known by a hash only.  The budgets lie in shared
 * memory, which shared.c provides; without it each process has budgets of its own.  Nothing
 * here throws or waits.
 */
#ifndef CONTACTS_PUSH_BUDGET_H
#define CONTACTS_PUSH_BUDGET_H

#include "chatbase/pacing.h"
#include "storage/lwlock.h"

/* Keys that have a budget; the one unused for longest makes room for another. */
#define BUDGETS_MAX 64

typedef struct KeyBudget
{
	uint64		key_hash;		/* 0: free */
	int64		used_at;
	PacingBudget pacing;
} KeyBudget;

/* Makes these BUDGETS_MAX the budgets, behind that lock. */
extern void budget_attach(KeyBudget *shared_budgets, LWLock *shared_lock);

extern uint64 budget_key_hash(const char *key);

/* Takes a request for a call of an SQL function, see pacing_take_call(). */
extern int64 budget_take_call(uint64 key_hash);

/* Ends the waits that 429s have imposed, of all keys. */
extern void budget_release_all(void);

/*
 * As pacing_try(), pacing_return(), pacing_answered() and pacing_throttled(), with clock_us().
 * The last one returns whether there was another answer since the 429 before.
 */
extern int64 budget_try(uint64 key_hash, bool proven);
extern void budget_return(uint64 key_hash);
extern void budget_answered(uint64 key_hash);
extern bool budget_throttled(uint64 key_hash, int64 left_at, int64 told_us);

/* Returns the microseconds for which a 429 still holds the key; 0: it is not held. */
extern int64 budget_held_us(uint64 key_hash);

/* Returns the requests a second that the budget allows now; 0 while it is held. */
extern double budget_rate(uint64 key_hash);

#endif							/* CONTACTS_PUSH_BUDGET_H */
