/*
 * shared.h
 *		Shared memory: who works for which database.
 *
 * It holds plain values only, no pointer and no file descriptor.  Without
 * shared_preload_libraries there is none; every function here then does nothing, and says so
 * in what it returns.
 */
#ifndef CONTACTS_PUSH_SHARED_H
#define CONTACTS_PUSH_SHARED_H

#include "datatype/timestamp.h"

/* Room for the text of an error, and for an id; longer ones are cut. */
#define SHARED_ERROR_BYTES 1024
#define SHARED_ID_BYTES 256

/* Why a worker has ended, as it has told before. */
typedef enum SharedExit
{
	SHARED_EXIT_UNTOLD,			/* it did not say: an error or a crash */
	SHARED_EXIT_NO_EXTENSION,	/* the database does not have the extension */
	SHARED_EXIT_RESTART,		/* start it again at once */
	SHARED_EXIT_GAVE_UP,		/* it had nothing to do, and another database waited */
	SHARED_EXIT_OTHER_RUNS		/* it has not: another process works there */
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

	/* the rest outlives the worker, since it may be the reason of its end */
	int			ends;			/* by an error, in a row, without an answer in between */
	char		end_error[SHARED_ERROR_BYTES];	/* ended the last worker */
	TimestampTz last_error_at;
	char		last_error[SHARED_ERROR_BYTES]; /* "": all is well */
	char		last_error_chatbot[SHARED_ID_BYTES];
} SharedReport;

/* Asks for the memory; _PG_init() calls it once while preloading. */
extern void shared_request(void);

/* Returns whether the library was preloaded. */
extern bool shared_available(void);

/* ---- waking: callable by everybody, never throws ---- */

/* What a worker may be told when it is called; flags. */
#define SHARED_TOLD_RESUMED 1	/* contacts_push.resume() was called */
#define SHARED_TOLD_DISCARDED 2	/* rows that it may have taken up are not pending any more */
#define SHARED_TOLD_CALLED 4	/* it is called, for these or for anything else */

/* Sets the latch of a database's worker and has it look what others have changed. */
extern void shared_wake_worker(Oid database, int told);

/* Tells the worker that rows were appended; sets its latch unless it could not send them yet. */
extern void shared_tell_rows(Oid database);

/*
 * Tells the launcher to look at a database: it has got the extension, or has become a
 * template or ceased to be one.  InvalidOid: at all databases.
 */
extern void shared_tell_launcher(Oid database);

/* ---- the worker's side ---- */

/*
 * Makes the calling process the worker of the database, until it exits.  False: there is
 * another one, or none is wanted now, and the caller has to end.  The caller connects to the
 * database after this call: exit undoes both in reverse order, so that whoever finds the
 * slot without a process finds no fence either.
 */
extern bool shared_attach_worker(Oid database);
extern void shared_tell_exit(SharedExit why);

/*
 * Returns whether a database waits for a worker, no process is left for it, and this one has
 * heard of no rows.  Then the caller has to end, and is started again at back_at (clock_us())
 * or when it is wanted.
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

/* Reports what this worker does from now on. */
extern void shared_report_activity(SharedActivity activity);
extern void shared_report(int in_flight, int64 requests, int64 contacts, uint64 key_hash);

/* Reports the last error, and the chatbot it is about; NULL: all is well again. */
extern void shared_report_error(const char *chatbot_id, const char *error);

/* Notes the error that ends this process; may be called anywhere. */
extern void shared_note_end(const char *error);

/*
 * Says that commits before a time (clock_us()) need not wake the worker: it could send nothing
 * before, and asks with shared_take_rows() then.  0: they have to.
 */
extern void shared_sleep_until(int64 until);

/* Returns whether rows were committed, or the worker was woken, since the last call. */
extern bool shared_take_rows(void);

/* Returns what the worker was told (SHARED_TOLD_) since the last call. */
extern int	shared_take_told(void);

/* Returns the last ticket that contacts_push.flush() has drawn, in any database. */
extern uint64 shared_flush_wanted(void);

/* Says that all that was committed before a ticket was drawn is settled, or some of it paused. */
extern void shared_flush_done(uint64 ticket, bool settled);

/* ---- contacts_push.flush() and the views ---- */

/*
 * Draws a ticket, wakes the worker, and waits for it to answer the ticket, for at most
 * timeout_ms (up to INT_MAX), for a worker to come as well.  True: all is settled.
 * Interruptible.
 */
extern bool shared_flush(int64 timeout_ms);

/* Returns an activity in words; NULL for SHARED_IDLE. */
extern const char *shared_activity_name(SharedActivity activity);

/* False if the database has no worker's slot. */
extern bool shared_get_report(Oid database, SharedReport *report);

#endif							/* CONTACTS_PUSH_SHARED_H */
