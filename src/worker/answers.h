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

/* Pauses the chatbot of a request with the answer's words as the reason. */
extern void answers_pause(Request *request, PauseKind kind, const HttpResult *result,
						 const ReadAnswer *answer);

/*
 * Marks pending rows unconfirmed, for a status (0: none) and a reason; returns
 * how many are now that were not.
 */
extern uint64 answers_mark_unconfirmed(const int64 *seqs, int n, int http_status,
									  const char *why);

/* True if something waits for rows that somebody holds locked. */
extern bool answers_are_behind(void);

#endif							/* CONTACTS_PUSH_ANSWERS_H */
