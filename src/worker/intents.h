/*
 * intents.h
 *		What the several intents of one contact mean.
 *
 * Called inside a pass's transaction unless said otherwise; throws like SQL: an error ends
 * the process, and the next one recovers.
 */
#ifndef CONTACTS_PUSH_INTENTS_H
#define CONTACTS_PUSH_INTENTS_H

#include "worker/worker.h"

/* Lets go of the contacts that wait and whose rows are not pending any more. */
extern void intents_drop_gone(void);

/*
 * Decides on contacts of queue_look(), on some of them if they have many intents; false: there
 * was none.  The changes that follow are to be written before it is called again.
 */
extern bool intents_decide(void);

#endif							/* CONTACTS_PUSH_INTENTS_H */
