/*
 * attributes.h
 *		Custom attributes that a chatbot does not know.
 *
 * The API takes any custom attribute and leaves out of its answer those
 * that are not in the chatbot's schema.  Each contact notes which it was sent with,
 * as a set of numbers, so that an answer costs nothing where all is as before.
 */
#ifndef CONTACTS_PUSH_ATTRIBUTES_H
#define CONTACTS_PUSH_ATTRIBUTES_H

#include "chatbase/reply.h"
#include "utils/jsonb.h"

/* Attributes that are told apart; of a chatbot with more, the first of them. */
#define ATTRIBUTES_MAX 64

/* Of one chatbot; all zero is a good start. */
typedef struct Attributes
{
	int			n;
	char	   *names[ATTRIBUTES_MAX];
	char	   *utf8[ATTRIBUTES_MAX];
	uint64		known;			/* came back in the last answer about them */
	uint64		stripped;		/* did not */
} Attributes;

/* The set of the contact's custom attributes; names are kept in the context. */
extern uint64 attributes_of(Attributes *attributes, JsonbContainer *contact,
							MemoryContext context);

/*
 * Compares what contact i of a reply came back with to what it was sent with.
 * thoroughly: also what was known already.  True if known or stripped has changed.
 */
extern bool attributes_compare(Attributes *attributes, uint64 sent,
							   const Reply *reply, int i, bool thoroughly);

#endif							/* CONTACTS_PUSH_ATTRIBUTES_H */
