/*
 * try.h
 *		Running something in a subtransaction, so that its error can be outlived.
 */
#ifndef CONTACTS_PUSH_TRY_H
#define CONTACTS_PUSH_TRY_H

/*
 * Calls run(arg) in a subtransaction of its own.  False: it raised, what it did is
 * rolled back, and *reason is the message, palloc'd in the caller's context.  Errors that
 * are about the session or the machine and not about what was run (cancel, shutdown,
 * out of memory, disk full, a serialization failure) are passed on.
 */
extern bool try_run(void (*run) (void *), void *arg, char **reason);

#endif							/* CONTACTS_PUSH_TRY_H */
