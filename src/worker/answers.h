/*
 * answers.h
 *		From answers to outcomes.
 *
 * Called inside a pass's transaction unless said otherwise; throws like SQL: an error ends
 * the process, and the next one recovers.
 */
#ifndef CONTACTS_PUSH_ANSWERS_H
#define CONTACTS_PUSH_ANSWERS_H

#include "worker/worker.h"

/* Takes in the answers that have come; true if any. */
extern bool answers_take(void);

#endif							/* CONTACTS_PUSH_ANSWERS_H */
