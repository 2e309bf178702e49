/*
 * send.h
 *		Which requests leave now.
 *
 * Called inside a pass's transaction unless said otherwise; throws like SQL: an error ends
 * the process, and the next one recovers.
 */
#ifndef CONTACTS_PUSH_SEND_H
#define CONTACTS_PUSH_SEND_H

#include "worker/worker.h"

/* Decides on the requests that leave after this pass; true if there are any. */
extern bool send_plan(void);

/* Has them leave. Outside of transactions. */
extern void send_planned(void);

/* True if what may leave next waits for a slot or for the budget of a key. */
extern bool send_is_throttled(void);

/* Milliseconds until a chatbot or a budget allows a request again; -1: no need. */
extern int64 send_timeout_ms(void);

/* Has every chatbot that is backing off tried at once. */
extern void send_end_backoffs(void);

#endif							/* CONTACTS_PUSH_SEND_H */
