/*
 * wake.h
 *		Waking the worker and the launcher when the transaction commits.
 *
 * Needs a transaction; nothing happens if it does not commit, or where
 * the library was not preloaded.
 */
#ifndef CONTACTS_PUSH_WAKE_H
#define CONTACTS_PUSH_WAKE_H

/* This database's worker, unless it says that it could not send anything yet: rows were appended. */
extern void wake_for_rows_at_commit(void);

/* This database's worker, whatever it says, with SHARED_TOLD_ flags. */
extern void wake_worker_at_commit(int told);

/*
 * The launcher: the extension has come to this database, or it has become a template or
 * ceased to be one.
 */
extern void wake_launcher_at_commit(Oid database);

#endif							/* CONTACTS_PUSH_WAKE_H */
