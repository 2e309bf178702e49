/*
 * attributes.h
 *		The custom attributes that each chatbot's schema has.
 *
 * Knows what makes an attribute valid, and nothing of HTTP.  Every function may be
 * called from any thread.
 */
#ifndef FAKE_CHATBASE_ATTRIBUTES_H
#define FAKE_CHATBASE_ATTRIBUTES_H

#include <stdbool.h>

#include "batch.h"
#include "buffer.h"

typedef enum AttributeOutcome
{
	ATTRIBUTE_DONE,
	ATTRIBUTE_TAKEN,			/* the chatbot has one of that name */
	ATTRIBUTE_INVALID			/* a member of it is not valid */
} AttributeOutcome;

/*
 * Adds what the JSON in body says to the chatbot's schema, and what became of it to out.  After
 * ATTRIBUTE_INVALID out has the name of the member that is to blame, "" for the whole.
 * snake_only: names are of lower-case letters, digits and underscores.
 */
extern AttributeOutcome attributes_add(Buffer *out, const char *chatbot, const char *body, size_t len,
									   bool snake_only);

/* Adds the JSON array of the chatbot's attributes. */
extern void attributes_write(Buffer *out, const char *chatbot);

/* What is not kept of a contact's: all but the chatbot's attributes.  For strip_free(). */
extern StripList attributes_strip(const char *chatbot);

/* Forgets all. */
extern void attributes_reset(void);

#endif							/* FAKE_CHATBASE_ATTRIBUTES_H */
