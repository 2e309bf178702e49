/*
 * chatbots.h
 *		The worker's writes to contacts_push.chatbot.
 *
 * What is to be written stands in the Chatbots; a row that another session holds locked is
 * not waited for, and tried again.
 */
#ifndef CONTACTS_PUSH_CHATBOTS_H
#define CONTACTS_PUSH_CHATBOTS_H

#include "worker/worker.h"

/* Writes what has changed, and what has been settled.  Inside a pass's transaction. */
extern void chatbots_write(void);

/* True if another session holds some of these rows locked. */
extern bool chatbots_are_behind(void);

/* A row may have been deleted by hand: chatbots_add_rows() looks. */
extern void chatbots_doubt_rows(void);

/*
 * Gives chatbots the rows that they do not have, and the worker the one in which it writes
 * down how far it is; state_may_be_missing: that may have been deleted.  In a transaction of
 * its own.
 */
extern void chatbots_add_rows(bool state_may_be_missing);

#endif							/* CONTACTS_PUSH_CHATBOTS_H */
