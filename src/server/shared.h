/*
 * shared.h
 *		Shared memory: who works for which database.
 *
 * Plain values only: no pointer, no file descriptor.  Without
 * shared_preload_libraries there is none of it; every function here then does
 * nothing, and says so in what it returns.
 */
#ifndef CONTACTS_PUSH_SHARED_H
#define CONTACTS_PUSH_SHARED_H

#include "datatype/timestamp.h"

/* Longest texts that are kept, with their terminators: of an error, and of an id. */
#define SHARED_ERROR_BYTES 1024
#define SHARED_ID_BYTES 256

/* Why a worker has ended, as it told before it did. */
typedef enum SharedExit
{
	SHARED_EXIT_UNTOLD,			/* it did not say: an error or a crash */
	SHARED_EXIT_NO_EXTENSION,	/* the database does not have the extension */
	SHARED_EXIT_RESTART,		/* start it again at once */
	SHARED_EXIT_GAVE_UP,		/* it had nothing to do, and another database waited */
	SHARED_EXIT_OTHER_RUNS		/* none has: another process works there */
} SharedExit;

/* What a worker does at the moment, for operators, who see it where it takes long. */
typedef enum SharedActivity
{
	SHARED_IDLE,				/* it sleeps, or waits for answers */
	SHARED_RECOVERING,
	SHARED_RECORDING,
	SHARED_READING,
	SHARED_PLANNING,
	SHARED_TIDYING,
	SHARED_COMMITTING
} SharedActivity;

/* What contacts_push.worker shows of a worker; a copy. */
typedef struct SharedReport
{
	int			pid;			/* 0: not running */
	TimestampTz started_at;
	TimestampTz last_activity_at;
	SharedActivity activity;
	TimestampTz activity_since;
	int			requests_in_flight;
	int64		requests;		/* finished since the start */
	int64		contacts;		/* settled since the start */
	bool		gave_up;		/* ended with SHARED_EXIT_GAVE_UP */
	uint64		key_hash;		/* of the key that was used last, see budget.h; 0: none */

	/* from here on what outlives the worker: it may be the reason of its end */
	int			ends;			/* by an error, in a row, without an answer in between */
	char		end_error[SHARED_ERROR_BYTES];	/* that ended the last one */
	TimestampTz last_error_at;
	char		last_error[SHARED_ERROR_BYTES]; /* "": all is well */
	char		last_error_chatbot[SHARED_ID_BYTES];
} SharedReport;

/* Asks for the memory; called once, from _PG_init() while preloading. */
extern void shared_request(void);

/* True where the library was preloaded. */
extern bool shared_available(void);

/* ---- waking: callable by everybody, never throws ---- */

/* What a worker may be told when it is woken; flags. */
#define SHARED_TOLD_RESUMED 1	/* contacts_push.resume() was called */
#define SHARED_TOLD_DISCARDED 2	/* rows that it may have taken up are not pending any more */

/* Sets the latch of a database's worker. */
extern void shared_wake_worker(Oid database, int told);

/* Tells it that rows were appended; sets the latch unless it could not send them yet. */
extern void shared_tell_rows(Oid database);

/*
 * Tells the launcher to look at a database: the extension has come to it, or it has
 * become a template or ceased to be one.  InvalidOid: at all.
 */
extern void shared_tell_launcher(Oid database);

/* ---- the worker's side ---- */

/*
 * Makes the calling process the worker of the database; undone at its exit.
 * False: another one is, or none is wanted now; the caller has to end.  To be
 * called before the database is connected to: what is undone at exit is undone in
 * reverse, so that whoever finds the slot without a process finds no fence either.
 */
extern bool shared_attach_worker(Oid database);
extern void shared_tell_exit(SharedExit why);

/*
 * True if a database waits for a worker that no process is left for, and rows were not
 * told of here: the caller has to end, and will be started again at back_at (clock_us()),
 * or when somebody wants it.
 */
extern bool shared_give_up(int64 back_at);

/*
 * Notes that the worker is at a step (a number of the caller's; 0: at none) with the
 * rows of seqs low to high.  If it ends there by an error, and the next one with some of
 * the same rows, too, then shared_is_suspect() is true of them: they are to be taken one
 * by one.
 */
typedef struct SharedPlace
{
	int			step;
	int64		low;
	int64		high;
} SharedPlace;
extern void shared_enter(int step, int64 low, int64 high);
extern bool shared_is_suspect(int step, int64 low, int64 high);

/* Tells what this worker does from now on. */
extern void shared_report_activity(SharedActivity activity);
extern void shared_report(int in_flight, int64 requests, int64 contacts, uint64 key_hash);

/* The last error, and the chatbot it is about; NULL: all is well again. */
extern void shared_report_error(const char *chatbot_id, const char *error);

/* The error that this process is about to end by; may be called anywhere. */
extern void shared_note_end(const char *error);

/*
 * Says that what is committed before a time (clock_us()) need not wake the worker: it
 * could send nothing, and asks with shared_take_rows() when the time has come.  0: wake it.
 */
extern void shared_sleep_until(int64 until);

/* True if rows were committed, or somebody has called, since the last call. */
extern bool shared_take_rows(void);

/* What it was told since the last call. */
extern int	shared_take_told(void);

/* The last ticket of contacts_push.flush() drawn so far, in any database. */
extern uint64 shared_flush_wanted(void);

/* All that was committed before this ticket was drawn is settled, or some of it paused. */
extern void shared_flush_done(uint64 ticket, bool settled);

/* ---- contacts_push.flush() and the views ---- */

/*
 * Draws a ticket, wakes the worker, and waits for it to answer the ticket, for at most
 * timeout_ms (up to INT_MAX), for a worker to come as well.  True: all is settled.
 * Interruptible.
 */
extern bool shared_flush(int64 timeout_ms);

/* An activity in words; NULL: SHARED_IDLE. */
extern const char *shared_activity_name(SharedActivity activity);

/* False if the database has no worker's slot. */
extern bool shared_get_report(Oid database, SharedReport *report);

#endif							/* CONTACTS_PUSH_SHARED_H */
