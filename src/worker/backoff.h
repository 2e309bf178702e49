/*
 * backoff.h
 *		The back-off of a chatbot that gives no usable answer.
 *
 * Called inside a pass's transaction; nothing is written from here (see chatbots.c).
 */
#ifndef CONTACTS_PUSH_BACKOFF_H
#define CONTACTS_PUSH_BACKOFF_H

#include "worker/worker.h"

/* First back-off of a chatbot or a contact in trouble; it doubles. */
#define BACKOFF_FIRST_US (INT64CONST(1000) * 1000)

/*
 * Counts a request that had no usable answer, and has its chatbot wait: for told_ms, if it
 * says so (-1: it does not).
 */
extern void backoff_fail(const Request *request, int64 told_ms, const char *what);

/* The chatbot answers. */
extern void backoff_end(Chatbot *chatbot);

/* A request has had a definite answer to some contact: whatever the trouble was is over. */
extern void backoff_answered(const Request *request);

#endif							/* CONTACTS_PUSH_BACKOFF_H */
