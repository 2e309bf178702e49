/*
 * holding.h
 *		Requests that are held back: for a time, or until further notice.
 *
 * A held request occupies no thread: its connection is suspended, and one
 * thread of this file resumes whatever is due.  Why it is held is not known
 * here.
 */
#ifndef FAKE_CHATBASE_HOLDING_H
#define FAKE_CHATBASE_HOLDING_H

#include <microhttpd.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The delay of what is held until it is released. */
#define HOLD_FOREVER (-1)

/* Part of a request.  All zero to begin with; belongs to holding.c while held. */
typedef struct Hold
{
	struct MHD_Connection *connection;
	struct Hold *next;			/* of those held forever */
	struct Hold *previous;
	int64_t		due_us;
	uint64_t	id;				/* unique; an address may be used again */
	int			fd;
	bool		forever;
	bool		released;		/* let go before its time: not to be answered */
} Hold;

/* Starts the thread.  False: errno says why not. */
extern bool holding_start(void);

/*
 * Suspends the connection; its handler is called again when delay_ms have passed,
 * when its client has gone (only for HOLD_FOREVER: a late answer must still
 * have its effects), or when all are released.  To be called by that handler,
 * which then returns without an answer.  False: all is ending, not held.
 */
extern bool holding_hold(Hold *hold, struct MHD_Connection *connection, long delay_ms);

/* Lets those go that are held for a time, as if it had passed. */
extern void holding_end_delays(void);

/* Lets all go, marked as released. */
extern void holding_release_all(void);

/* The same, and holds nothing any more; ends the thread. */
extern void holding_stop(void);

#endif							/* FAKE_CHATBASE_HOLDING_H */
