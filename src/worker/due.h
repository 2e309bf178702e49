/*
 * due.h
 *		When rows that wait for another attempt are due.
 */
#ifndef CONTACTS_PUSH_DUE_H
#define CONTACTS_PUSH_DUE_H

#include "worker/window.h"

/* Forgets what is known; due_take() tells it again, of each chatbot. */
extern void due_forget(void);

/* Some rows of the chatbot are due or not, and others at that time (clock_us()). */
extern void due_take(Chatbot *chatbot, bool is_due, int64 next_at);

/* A row of the chatbot that waits so long for another attempt has been read or written. */
extern void due_note(Chatbot *chatbot, int64 delay_ms);

/* clock_us() when others become due; INT64_MAX: none do. */
extern int64 due_next_at(void);

/* True if rows of the chatbot wait for another attempt. */
extern bool due_exists(const Chatbot *chatbot);

#endif							/* CONTACTS_PUSH_DUE_H */
