/*
 * pause.h
 *		Chatbots that nothing is sent to for a while, and why.
 *
 * Called inside a pass's transaction unless said otherwise; throws like SQL: an error ends
 * the process, and the next one recovers.
 */
#ifndef CONTACTS_PUSH_PAUSE_H
#define CONTACTS_PUSH_PAUSE_H

#include "worker/worker.h"

/* The chatbots that have a pause here, as the argument of a statement. */
extern Datum pause_known(void);

/*
 * Takes a pause that stands in contacts_push.chatbot, with the milliseconds that are left of
 * it (-1: for ever), and that none stands there any more for a chatbot that has one here.
 */
extern void pause_take(Chatbot *chatbot, int64 left_ms, const char *reason, const char *kind);
extern void pause_take_resume(Chatbot *chatbot);

/*
 * Pauses a chatbot of our own accord, for what came of a request that left then
 * (clock_us()).  One from before the pause that there is changes nothing.
 */
extern void pause_begin(Chatbot *chatbot, PauseKind kind, int64 left_at,
					   const char *reason);

/*
 * After a reload: what the worker has paused may be tried at once; for a quota or for
 * refusals only if the key or the URL is another one.
 */
extern void pause_lift_all(void);

/* As contacts_push.chatbot has it; NULL: none. */
extern const char *pause_kind_name(PauseKind kind);

extern bool pause_is_on(const Chatbot *chatbot);

/* The chatbot has answered for a contact: what it was paused for is over. */
extern void pause_is_over(Chatbot *chatbot);

#endif							/* CONTACTS_PUSH_PAUSE_H */
