/*
 * wake.h
 *		Waking the worker and the launcher when the transaction commits.
 *
 * All of this needs a transaction, and does nothing if that does not commit, or if the library
 * was not preloaded.
 */
#ifndef CONTACTS_PUSH_WAKE_H
#define CONTACTS_PUSH_WAKE_H

/* Tells this database's worker of rows, and wakes it unless it could not send them yet. */
extern void wake_for_rows_at_commit(void);

/* Wakes this database's worker in any case, and tells it SHARED_TOLD_ flags. */
extern void wake_worker_at_commit(int told);

/*
 * Tells the launcher that a database has got the extension, or has become a template or ceased
 * to be one.
 */
extern void wake_launcher_at_commit(Oid database);

#endif							/* CONTACTS_PUSH_WAKE_H */
