/*
 * conflicts.h
 *		Contacts refused for what another one has, which may be about to give it away.
 *
 * Called inside a pass's transaction; throws like SQL: an error ends the process, and the
 * next one recovers.
 */
#ifndef CONTACTS_PUSH_CONFLICTS_H
#define CONTACTS_PUSH_CONFLICTS_H

#include "worker/worker.h"

/*
 * A contact was alone in a request, which conflicts with another one.  True: while others change
 * or are deleted that may end, so it waits, has left its queue, and is tried again; else it is
 * the caller's.
 */
extern bool conflicts_take(Request *request, const char *message);

/* Takes one of them out, which goes elsewhere. */
extern void conflicts_leave(Contact *contact);

/* The stage that tries again those for whom something has changed, and settles the others. */
extern void conflicts_settle(void);

#endif							/* CONTACTS_PUSH_CONFLICTS_H */
