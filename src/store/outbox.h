/*
 * outbox.h
 *		The tables of the extension: every SQL statement, and the only use of SPI.
 *
 * A statement is run by its name; its result is read through the
 * outbox_get functions until the next one is run.  All of it throws like any SQL.
 */
#ifndef CONTACTS_PUSH_OUTBOX_H
#define CONTACTS_PUSH_OUTBOX_H

#include "commands/trigger.h"
#include "datatype/timestamp.h"
#include "nodes/params.h"
#include "utils/tuplestore.h"

/* In the order of their texts in outbox.c, where each is described. */
typedef enum OutboxStatement
{
	OUTBOX_FIND_MISSING,
	OUTBOX_FIND_DUE,
	OUTBOX_UNSETTLED,
	OUTBOX_ANY_PENDING,
	OUTBOX_INTENTS,
	OUTBOX_EMAIL_OWNER,
	OUTBOX_STILL_TO_SEND,
	OUTBOX_SOURCE_NAME,
	OUTBOX_REQUEST_BEGIN,
	OUTBOX_REQUEST_FINISH,
	OUTBOX_REQUESTS_UNFINISHED,
	OUTBOX_REQUEST_PRUNE,
	OUTBOX_UNSENT_PRUNE,
	OUTBOX_CHANGED_PRUNE,
	OUTBOX_CHATBOT_ADD,
	OUTBOX_CHATBOT_PAUSE,
	OUTBOX_CHATBOT_BACKOFF,
	OUTBOX_BACKOFFS_FORGET,
	OUTBOX_CHATBOT_STRIPPED,
	OUTBOX_CHATBOT_HELD,
	OUTBOX_SWITCHES,
	OUTBOX_MEMBERS,
	OUTBOX_MEMBER_ADD,
	OUTBOX_STATE,
	OUTBOX_LINEAGE_WRITE,
	OUTBOX_STATE_ADD,
	OUTBOX_POSITION,
	OUTBOX_FOLD_FAILURES,
	OUTBOX_FAILURE_PRUNE,
	OUTBOX_TALLY,
	OUTBOX_FOLD_TALLY,
	OUTBOX_STATEMENTS			/* how many */
} OutboxStatement;

/* Columns of OUTBOX_STATE, from 1, and what a row of it may be about. */
typedef enum OutboxStateColumn
{
	OUTBOX_STATE_ABOUT = 1,
	OUTBOX_STATE_IS_SO,			/* of the lineage: it is that of here; of a pause: it has been
								 * ended; of what is due: some of it is */
	OUTBOX_STATE_NUMBER,		/* the last one drawn; milliseconds left; until more is due */
	OUTBOX_STATE_CHATBOT_ID,
	OUTBOX_STATE_REASON,
	OUTBOX_STATE_KIND,
	OUTBOX_STATE_SINCE
} OutboxStateColumn;

typedef enum OutboxStateAbout
{
	OUTBOX_ABOUT_LINEAGE,
	OUTBOX_ABOUT_PAUSE,
	OUTBOX_ABOUT_DUE
} OutboxStateAbout;

/* ---- inside of somebody's transaction ---- */

extern void outbox_connect(void);
extern void outbox_disconnect(void);

/* The same as outbox_connect() for a procedure that ends transactions, and how it does. */
extern void outbox_connect_to_commit(void);
extern void outbox_commit_and_begin(void);

/* Runs a statement; returns how many rows it returned or changed. */
extern uint64 outbox_run(OutboxStatement statement, const Datum *values,
						 const char *nulls);

/* A statement that stands beside the function that runs it. */
typedef struct OutboxSql
{
	const char *sql;
	int			nargs;
	Oid			types[15];
	struct _SPI_plan *plan;		/* once it has been prepared */
} OutboxSql;

extern uint64 outbox_run_sql(OutboxSql *statement, const Datum *values, const char *nulls);

/* Where a worker is while it does what a row may make fail, for shared_enter(). */
#define OUTBOX_STEP_LOAD 1
#define OUTBOX_STEP_WRITE 2

/* The result of the last statement: row from 0, column from 1. */
extern Datum outbox_get(uint64 row, int column, bool *isnull);
extern int64 outbox_get_int64(uint64 row, int column);	/* NULL: 0 */
extern int	outbox_get_int(uint64 row, int column); /* NULL: 0 */
extern bool outbox_get_bool(uint64 row, int column);	/* NULL: false */
extern TimestampTz outbox_get_timestamp(uint64 row, int column);	/* must not be NULL */
extern char *outbox_get_text(uint64 row, int column);	/* palloc'd; NULL: NULL */

/* Arrays as arguments, palloc'd.  A NULL element of texts or byteas is a NULL. */
extern Datum outbox_int8_array(const int64 *elements, int n);
extern Datum outbox_text_array(char *const *elements, int n);
extern Datum outbox_bytea_array(bytea *const *elements, int n);
extern Datum outbox_int4_array(const int *elements, int n);
extern Datum outbox_bool_array(const bool *elements, int n);

/* ---- what enqueuers need ---- */

/* Adds a row (external_id text, contact jsonb) to those on their way into the outbox. */
extern void outbox_rows_add(Tuplestorestate *rows, Datum external_id, Datum contact);

/*
 * How many of the rows the outbox does not have an intent of that counts; replace: or whose
 * newest one is not created and says something else.
 */
extern int64 outbox_count_missing(const char *chatbot_id, Tuplestorestate *rows, bool replace);

/* Adds the external_ids of those to another store. */
extern void outbox_find_missing(const char *chatbot_id, Tuplestorestate *rows,
								Tuplestorestate *missing, TupleDesc missing_desc);

/*
 * Appends these as the current user, with the watched table that they come from, under the
 * n numbers that outbox_draw() has given; more than there are numbers are left out.  Returns
 * how many are in the outbox now.
 */
extern int64 outbox_append_missing(const char *chatbot_id, Tuplestorestate *rows, bool replace,
								   Oid relation, const int64 *numbers, int64 n);

/*
 * Draws n numbers for rows that are appended later in the transaction, palloc'd.  Until
 * the transaction ends the worker waits for them to appear.
 */
extern int64 *outbox_draw(int64 n);

#endif							/* CONTACTS_PUSH_OUTBOX_H */
