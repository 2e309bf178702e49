/*
 * members.h
 *		Which members contacts have been sent with, so that what goes can be cleared at Chatbase.
 *
 * An update leaves alone what it does not have, so for a member that has gone it must have a
 * null.  Members have numbers for each chatbot, in contacts_push_internal.member; a row notes which
 * its contact had as bits.
 *
 * Called inside a pass's transaction; throws like SQL.
 */
#ifndef CONTACTS_PUSH_MEMBERS_H
#define CONTACTS_PUSH_MEMBERS_H

#include "utils/jsonb.h"
#include "worker/worker.h"

/* The bits of the contact's members, palloc'd; new ones get numbers. */
extern bytea *members_of(Chatbot *chatbot, JsonbContainer *contact);

/*
 * The contact with a null for each member that was sent and has gone, palloc'd; NULL: there is none.
 * gone: their names, for people.
 */
extern Jsonb *members_clear(Chatbot *chatbot, JsonbContainer *contact, const bytea *sent,
							const bytea *now, char **gone);

/*
 * Those that contact i of a reply has, of all that have ever been sent; palloc'd.  With no reply: all
 * of them, as it may have any.
 */
extern bytea *members_at_chatbase(Chatbot *chatbot, const Reply *reply, int i);

/* True if the first has any that the other has not. */
extern bool members_exceed(const bytea *some, const bytea *others);

/* All of the one and the other. */
extern bytea *members_join(const bytea *one, const bytea *other);

/* Writes the numbers that are new, of all chatbots. */
extern void members_write(void);

#endif							/* CONTACTS_PUSH_MEMBERS_H */
