/*
 * shared_private.h
 *		The structures in shared memory, for shared.c and slots.c alone.
 *
 * No pointer and no descriptor may enter them.
 */
#ifndef CONTACTS_PUSH_SHARED_PRIVATE_H
#define CONTACTS_PUSH_SHARED_PRIVATE_H

#include "port/atomics.h"
#include "server/budget.h"
#include "server/shared.h"
#include "storage/condition_variable.h"
#include "storage/lwlock.h"

/* Installations told between two rounds of the launcher; more: it looks at all. */
#define MAX_INSTALLATIONS 16

/* Databases held at once; if more are, the oldest worker comes back early. */
#define MAX_HOLDS 16

typedef struct Worker
{
	Oid			database;		/* InvalidOid: the slot is free */
	int			procno;			/* of the worker, -1: not attached */
	SharedExit	exit;
	int64		back_at;		/* with SHARED_EXIT_GAVE_UP; clock_us() */
	bool		ended;			/* the slot is kept for the next one, unless it is needed */
	int			told;			/* SHARED_TOLD_ flags, not taken yet */

	/* read and written without the lock, see shared_tell_rows() */
	pg_atomic_uint32 has_rows;	/* rows were committed, or it was woken, since it last asked */
	pg_atomic_uint64 asleep_until;	/* clock_us() before which it could not send them */
	uint64		flush_done;		/* the highest ticket answered for the database */
	bool		flush_settled;	/* nothing was paused then */
	SharedPlace at;				/* where it is; of the worker alone */
	SharedPlace suspect;		/* where workers have ended, and how many in a row */
	int			suspect_ends;
	SharedReport report;
} Worker;

/* A database that a command wants to be alone in for a while. */
typedef struct Hold
{
	Oid			database;
	int64		until;			/* clock_us() */
} Hold;

typedef struct Shared
{
	int			launcher_procno;	/* -1: none */
	bool		look_at_all;
	int			ninstallations;
	Oid			installations[MAX_INSTALLATIONS];
	int			nwaiting;		/* databases that no worker could be started for */
	Hold		holds[MAX_HOLDS];
	int			next_hold;		/* to be overwritten next */
	KeyBudget budgets[BUDGETS_MAX];
	uint64		flush_drawn;	/* the last ticket; one count, as slots change hands */
	ConditionVariable flushed;	/* some flush_done has changed */
	int			nworkers;
	Worker		workers[FLEXIBLE_ARRAY_MEMBER];
} Shared;

extern Shared *shared;			/* NULL: there is none */
extern LWLock *shared_lock;

/* Returns the slot of a database, or NULL.  Without the lock it may become another's. */
extern Worker *shared_find_worker(Oid database);

/* Sets the latch of a process (-1: none); if another has its number by now, it wakes for nothing. */
extern void shared_set_latch(int procno);

/* Returns the microseconds for which a command holds a database.  The caller holds the lock. */
extern int64 shared_hold_left(Oid database);

#endif							/* CONTACTS_PUSH_SHARED_PRIVATE_H */
