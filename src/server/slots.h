/*
 * slots.h
 *		Which databases have a worker: what the launcher and commands ask shared memory for.
 */
#ifndef CONTACTS_PUSH_SLOTS_H
#define CONTACTS_PUSH_SLOTS_H

#include "server/shared.h"

/* ---- commands that want to be alone in a database ---- */

/*
 * Has the worker of a database end, waits for that as long as it may take, and
 * keeps the launcher from starting another one for SHARED_HOLD_MS.  Interruptible.
 */
extern void slots_stop_worker(Oid database);
#define SHARED_HOLD_MS 5000

/* ---- the launcher's side ---- */

/* Microseconds for which no worker is to be started in the database; 0: none. */
extern int64 slots_hold_left(Oid database);

extern void slots_attach_launcher(void);

/*
 * Takes the databases that have told of an installation since the last call
 * into databases[max]; returns how many, or -1 when all databases are to be
 * looked at again.
 */
extern int	slots_take_installations(Oid *databases, int max);

/* Reserves a slot for a worker.  False: none is free. */
extern bool slots_reserve(Oid database);

/*
 * What the worker told that has ended, or that one runs, which may be an earlier
 * launcher's.  With SHARED_EXIT_GAVE_UP *back_at is when it is to be started again, 0: at
 * once, because rows have come.  The slot stays the database's while no other needs it.
 */
extern SharedExit slots_worker_ended(Oid database, int64 *back_at);

/* Frees the slot, if no worker is attached to it. */
extern void slots_release(Oid database);

/*
 * Says how many databases wait for a worker that could not be started.  As many of those
 * that have nothing to do end for them, see shared_give_up().
 */
extern void slots_want(int n);

#endif							/* CONTACTS_PUSH_SLOTS_H */
