/*
 * trouble.h
 *		What keeps the worker from sending, told to those who look: the last error in
 *		contacts_push.worker, and one line a change of state in the server's log.
 *
 * Nothing is decided here, and nothing is written into tables.
 */
#ifndef CONTACTS_PUSH_TROUBLE_H
#define CONTACTS_PUSH_TROUBLE_H

#include "worker/worker.h"

/* Remembers the database's name for the lines, and says that its worker has started. */
extern void trouble_worker_started(void);

/* What went wrong with a request, or kept one from leaving: the last error. */
extern void trouble_note(const Chatbot *chatbot, const char *what);

/* chatbot->pause has begun, or has ended, for this reason. */
extern void trouble_pause_began(const Chatbot *chatbot);
extern void trouble_pause_ended(const Chatbot *chatbot, const char *why);

/* So many deletions are held, as more wait than are wanted; 0: they go on. */
extern void trouble_deletes_held(const Chatbot *chatbot, int held);

/* The chatbot gives no usable answer, or gives some again. */
extern void trouble_outage_began(Chatbot *chatbot, const char *what);
extern void trouble_outage_ended(Chatbot *chatbot);

/* Contacts of the chatbot cannot be looked up, for this reason. */
extern void trouble_no_reading(const Chatbot *chatbot, const char *why);

/* A 429 has come: nothing leaves with the chatbot's key for held_us, which began now. */
extern void trouble_key_held(const Chatbot *chatbot, int64 held_us, bool is_first, const char *what);

/* A usable answer has come: the last error may be a thing of the past. */
extern void trouble_answered(void);

/* Forgets the last error if all is well again. */
extern void trouble_forget(void);

#endif							/* CONTACTS_PUSH_TROUBLE_H */
