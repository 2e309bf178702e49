/*
 * intents.h
 *		What the several intents of one contact mean.
 *
 * Called inside a pass's transaction unless said otherwise; throws like SQL: an error ends
 * the process, and the next one recovers.
 */
#ifndef CONTACTS_PUSH_INTENTS_H
#define CONTACTS_PUSH_INTENTS_H

#include "worker/worker.h"

/* Has the intents of a contact looked at by the next intents_look(). */
extern void intents_note(Chatbot *chatbot, const char *external_id);

/* The same for one that was sent, maybe, under a row that is gone. */
extern void intents_note_sent(Chatbot *chatbot, const char *external_id);

/* True if there are such. */
extern bool intents_are_noted(void);

/* Lets go of the contacts that wait and whose rows are not pending any more. */
extern void intents_drop_gone(void);

/* Decides on all noted contacts. */
extern void intents_look(void);

/* True if refused rows that are to make way are held locked by somebody. */
extern bool intents_are_behind(void);

#endif							/* CONTACTS_PUSH_INTENTS_H */
