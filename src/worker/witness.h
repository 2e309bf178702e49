/*
 * witness.h
 *		Whether a chatbot answers, when the only contact to be sent keeps failing.
 *
 * Called inside a pass's transaction unless said otherwise; throws like SQL: an error ends
 * the process, and the next one recovers.
 */
#ifndef CONTACTS_PUSH_WITNESS_H
#define CONTACTS_PUSH_WITNESS_H

#include "worker/worker.h"

/* Has the chatbot asked for a contact that exists; nothing if none is known. */
extern void witness_ask(Chatbot *chatbot);

/* This contact is known to exist. */
extern void witness_note(Chatbot *chatbot, const char *external_id_utf8);

/* True if the chatbot is to be asked, and of whom. */
extern bool witness_is_wanted(const Chatbot *chatbot);

/* The body of the question. */
extern void witness_fill_body(const Chatbot *chatbot, StringInfo body);

/* The answer to the question: all that counts is whether it is a definite one. */
extern void witness_answered(Request *request, const HttpResult *result,
							 const ReadAnswer *answer);

#endif							/* CONTACTS_PUSH_WITNESS_H */
