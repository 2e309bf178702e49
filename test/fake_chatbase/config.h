/*
 * config.h
 *		How the API answers: what the admin may change while it runs.
 *
 * Values only; what they do is with those who read them.  Faults are not here:
 * see faults.h.
 */
#ifndef FAKE_CHATBASE_CONFIG_H
#define FAKE_CHATBASE_CONFIG_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "batch.h"

typedef enum ResetStyle
{
	RESET_MS,					/* milliseconds since 1970 */
	RESET_S,					/* seconds since 1970 */
	RESET_NONE					/* no such header */
} ResetStyle;

typedef enum ListOrder
{
	LIST_ARRIVAL,
	LIST_NEWEST,				/* pages shift while contacts come */
	LIST_SCATTERED				/* a new one may be on any page */
} ListOrder;

typedef enum NullStyle
{
	NULL_CLEARS,				/* a null in an update takes the value away */
	NULL_IGNORED,
	NULL_REFUSED
} NullStyle;

/* Immutable once it is in force. */
typedef struct Config
{
	atomic_int	references;
	long		limit;			/* requests a window and key; 0: no limit */
	long		window_ms;
	char	   *retry_after;	/* "seconds", "date", "none", or the very value */
	ResetStyle	reset;			/* style of X-RateLimit-Reset */
	bool		nested;			/* shape "created": data is {"created": [...]} */
	bool		reversed;		/* data is in the opposite order */
	StripList	strip;
	bool		by_schema;		/* of custom attributes those of the schema are kept */
	bool		snake_names;	/* of custom attributes: no capitals, no hyphens */
	ListOrder	list_order;
	bool		replaces;		/* an update replaces all custom attributes */
	NullStyle	nulls;
	bool		unique_phones;	/* a phone number belongs to one contact */
	long		delete_status;	/* 200, or 204 without a body */
	long		other_calls;	/* what all calls but create are answered; 0: they
								 * are served */
	char	   *chatbot_not_found;	/* the words of a 404 */
	char	   *contact_not_found;
} Config;

extern void strip_free(StripList *strip);

/* Puts the first configuration in force. */
extern void config_start(long limit, long window_ms);

/* The one in force; to be given back with config_release(). */
extern Config *config_get(void);
extern void config_release(Config *config);

/*
 * Changes what the JSON object names and leaves the rest.  NULL: done; else what
 * is wrong with it, and nothing has changed.
 */
extern const char *config_change(const char *text, size_t len);

/* Frees the one in force, at the end. */
extern void config_stop(void);

#endif							/* FAKE_CHATBASE_CONFIG_H */
