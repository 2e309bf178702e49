/*
 * shared_budget.h
 *		Where the budgets of the keys lie: between shared.c and shared_budget.c.
 *
 * Layer 2.  What others call is in shared.h.  Plain values only.
 */
#ifndef CONTACTS_PUSH_SHARED_BUDGET_H
#define CONTACTS_PUSH_SHARED_BUDGET_H

#include "pacing.h"
#include "storage/lwlock.h"

/* Keys with a budget of their own; the one unused for longest makes room. */
#define SHARED_MAX_BUDGETS 64

typedef struct SharedBudget
{
	uint64		key_hash;		/* 0: free */
	int64		used_at;
	PacingBudget pacing;
} SharedBudget;

/* The budgets are these SHARED_MAX_BUDGETS from now on, behind the lock. */
extern void shared_budget_attach(SharedBudget *shared_budgets, LWLock *shared_lock);

#endif							/* CONTACTS_PUSH_SHARED_BUDGET_H */
