/*
 * budget.c
 *		When a request may leave with a key: one budget a key for the whole server.
 *
 * The rules are those of pacing.c; this file applies them where all processes meet.  Nothing
 * about databases and workers may enter here.
 */
#include "postgres.h"

#include "chatbase/pacing.h"
#include "common/hashfn.h"
#include "common/pg_prng.h"
#include "compat.h"
#include "server/budget.h"
#include "server/settings.h"
#include "util/clock.h"

/* The budgets of a process without shared memory. */
static KeyBudget local_budgets[BUDGETS_MAX];

static KeyBudget *budgets = local_budgets;
static LWLock *lock = NULL;		/* NULL: no other process sees the budgets */

void
budget_attach(KeyBudget *shared_budgets, LWLock *shared_lock)
{
	budgets = shared_budgets;
	lock = shared_lock;
}

uint64
budget_key_hash(const char *key)
{
	uint64		hash = hash_bytes_extended((const unsigned char *) key, strlen(key), 0);

	return hash ? hash : 1;
}

/* Takes the lock and returns the budget of a key; makes one if it has none. */
static PacingBudget *
lock_budget(uint64 key_hash)
{
	KeyBudget *oldest = &budgets[0];

	if (lock)
		LWLockAcquire(lock, LW_EXCLUSIVE);
	for (int i = 0; i < BUDGETS_MAX; i++)
	{
		if (budgets[i].key_hash == key_hash)
		{
			oldest = &budgets[i];
			break;
		}
		if (budgets[i].used_at < oldest->used_at)
			oldest = &budgets[i];
	}
	if (oldest->key_hash != key_hash)
	{
		memset(oldest, 0, sizeof(*oldest));
		oldest->key_hash = key_hash;
	}
	oldest->used_at = clock_us();
	return &oldest->pacing;
}

static void
unlock_budget(void)
{
	if (lock)
		LWLockRelease(lock);
}

int64
budget_try(uint64 key_hash, bool proven)
{
	int64		delay = pacing_try(lock_budget(key_hash), settings_requests_per_second, proven,
								   clock_us());

	unlock_budget();
	return delay;
}

void
budget_return(uint64 key_hash)
{
	pacing_return(lock_budget(key_hash), settings_requests_per_second);
	unlock_budget();
}

int64
budget_take_call(uint64 key_hash)
{
	int64		wait = pacing_take_call(lock_budget(key_hash), settings_requests_per_second,
										clock_us());

	unlock_budget();
	return wait;
}

void
budget_release_all(void)
{
	int64		now = clock_us();

	if (lock)
		LWLockAcquire(lock, LW_EXCLUSIVE);
	for (int i = 0; i < BUDGETS_MAX; i++)
		if (budgets[i].key_hash != 0)
			pacing_release(&budgets[i].pacing, now);
	unlock_budget();
}

void
budget_answered(uint64 key_hash)
{
	pacing_answered(lock_budget(key_hash), settings_requests_per_second, clock_us());
	unlock_budget();
}

bool
budget_throttled(uint64 key_hash, int64 left_at, int64 told_us)
{
	double		random = pg_prng_double(&pg_global_prng_state);
	PacingBudget *budget = lock_budget(key_hash);
	bool		is_first;

	pacing_throttled(budget, settings_requests_per_second, left_at, told_us, random, clock_us());
	is_first = budget->throttled <= 1;
	unlock_budget();
	return is_first;
}

/* Returns the budget of a key as it is; a look must not push another key's budget out. */
static PacingBudget
look_at_budget(uint64 key_hash)
{
	PacingBudget budget = {0};

	if (lock)
		LWLockAcquire(lock, LW_SHARED);
	for (int i = 0; i < BUDGETS_MAX; i++)
		if (budgets[i].key_hash == key_hash)
			budget = budgets[i].pacing;
	unlock_budget();
	return budget;
}

int64
budget_held_us(uint64 key_hash)
{
	int64		left = look_at_budget(key_hash).held_until - clock_us();

	return Max(left, 0);
}

double
budget_rate(uint64 key_hash)
{
	PacingBudget budget = look_at_budget(key_hash);

	if (budget.held_until > clock_us())
		return 0;
	return budget.rate > 0 ? Min(budget.rate, settings_requests_per_second) : settings_requests_per_second;
}
