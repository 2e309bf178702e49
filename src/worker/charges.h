/*
 * charges.h
 *		Failures counted against contacts that are put off.
 *
 * Called inside a pass's transaction unless said otherwise; throws like SQL: an error ends
 * the process, and the next one recovers.
 */
#ifndef CONTACTS_PUSH_CHARGES_H
#define CONTACTS_PUSH_CHARGES_H

#include "worker/worker.h"

/* Counts a failure; returns how many there were before. */
extern int	charges_add(const Contact *contact);

/* chatbot->answers when the row last was put off for failing alone; -1: not known. */
extern int64 charges_failed_at(const Contact *contact);

/* The contact leaves the window: its failures are of no more interest. */
extern void charges_forget(const Contact *contact);

#endif							/* CONTACTS_PUSH_CHARGES_H */
