/*
 * load.h
 *		Making what is sent of a contact's row.
 */
#ifndef CONTACTS_PUSH_LOAD_H
#define CONTACTS_PUSH_LOAD_H

#include "worker/window.h"

/*
 * Completes a contact whose seq, chatbot and external_id are given from the jsonb in its
 * row; what is added is palloc'd.  Returns why it cannot be sent (the contact has
 * no JSON then), or NULL.
 */
extern const char *load_contact(Datum value, NewContact *new);

#endif							/* CONTACTS_PUSH_LOAD_H */
