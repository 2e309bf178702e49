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
} Config;

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
