/*
 * slots.h
 *		Which databases have a worker: the side of the launcher and of commands.
 */
#ifndef CONTACTS_PUSH_SLOTS_H
#define CONTACTS_PUSH_SLOTS_H

#include "server/shared.h"

/* ---- commands that want to be alone in a database ---- */

/*
 * Ends the worker of a database, waits for that as long as it may take, and keeps the launcher
 * from starting another one for SHARED_HOLD_MS.  Interruptible.
 */
extern void slots_stop_worker(Oid database);
#define SHARED_HOLD_MS 5000

/* ---- the launcher's side ---- */

/* Returns the microseconds for which no worker may start in the database; 0: it may. */
extern int64 slots_hold_left(Oid database);

extern void slots_attach_launcher(void);

/*
 * Puts the databases that shared_tell_launcher() has told of since the last call into
 * databases[max]; returns how many, or -1 if the launcher has to look at all databases.
 */
extern int	slots_take_installations(Oid *databases, int max);

/* Reserves a slot for a worker.  False: none is free. */
extern bool slots_reserve(Oid database);

/*
 * Returns why the database's worker has ended, or that one runs, perhaps an earlier
 * launcher's.  With SHARED_EXIT_GAVE_UP *back_at is when to start it again; 0: at once,
 * because rows have come.  The database keeps the slot while no other needs it.
 */
extern SharedExit slots_worker_ended(Oid database, int64 *back_at);

/* Frees the slot, if no worker is attached to it. */
extern void slots_release(Oid database);

/*
 * Says how many databases wait for a worker that could not be started.  As many workers that
 * have nothing to do end for them, see shared_give_up().
 */
extern void slots_want(int n);

#endif							/* CONTACTS_PUSH_SLOTS_H */
