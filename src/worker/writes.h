/*
 * writes.h
 *		Writing down what became of contacts.
 *
 * Called inside a pass's transaction unless said otherwise; throws like SQL: an error ends
 * the process, and the next one recovers.
 */
#ifndef CONTACTS_PUSH_WRITES_H
#define CONTACTS_PUSH_WRITES_H

#include "worker/worker.h"

/* Writes all outcomes that are known; those of locked rows stay for later. */
extern void writes_flush(void);

/* Has a contact leave the window with an outcome; text may be NULL. */
extern void writes_add(Contact *contact, OutcomeKind outcome, int http_status,
						   const char *text);

/* True if outcomes wait for rows that somebody holds locked. */
extern bool writes_are_behind(void);

#endif							/* CONTACTS_PUSH_WRITES_H */
