/*
 * outbox_append.h
 *		Rows into contacts_push.outbox, and notes of those that could not go there.
 *
 * The writing role needs no right on anything of contacts_push, and nothing runs
 * with any other's.  All of it throws as an INSERT does (see append.h): what must not fail
 * the caller's statement is called inside a subtransaction.
 */
#ifndef CONTACTS_PUSH_OUTBOX_APPEND_H
#define CONTACTS_PUSH_OUTBOX_APPEND_H

typedef struct TableAppend OutboxAppend;

/* A row of the outbox; (Datum) 0 or InvalidOid: NULL. */
typedef struct OutboxIntent
{
	int64		seq;			/* 0 unless the append is numbered */
	Datum		chatbot_id;		/* text */
	Datum		external_id;	/* text */
	Oid			relation;		/* the watched table that it comes from */
	Datum		previous_external_id;	/* text */
	Datum		contact;		/* jsonb; NULL: a withdrawal */
} OutboxIntent;

/*
 * Locks the outbox until the transaction ends, as every writer does before it gets a seq.
 * numbered: the seqs of all rows were drawn before, with outbox_draw().
 */
extern OutboxAppend *outbox_append_begin(bool numbered);

/* Appends an intent; everything is copied. */
extern void outbox_append_row(OutboxAppend *append, const OutboxIntent *intent);

/*
 * Writes what is still buffered, and has the worker woken when the transaction commits.  Returns
 * how many rows are in the outbox: a trigger may have kept some out.
 */
extern int64 outbox_append_end(OutboxAppend *append);

/* Notes that rows of a watched table were left out. */
extern void outbox_append_failure(const char *chatbot_id, const char *relation, int64 rows,
								  const char *reason);

#endif							/* CONTACTS_PUSH_OUTBOX_APPEND_H */
