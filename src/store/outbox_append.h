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

/*
 * Locks the outbox until the transaction ends, as every writer does before it gets a seq.
 * numbered: the seqs of all rows were drawn before, with outbox_draw().
 */
extern OutboxAppend *outbox_append_begin(bool numbered);

/*
 * Appends an intent.  seq is 0 unless the append is numbered; chatbot_id and external_id are
 * text, relation is the watched table that it comes from or InvalidOid, previous_external_id is
 * text, contact jsonb; NULL: there is none.  Everything is copied.
 */
extern void outbox_append_row(OutboxAppend *append, int64 seq, Datum chatbot_id, Datum external_id,
							  Oid relation, const Datum *previous_external_id,
							  const Datum *contact);

/* Writes what is still buffered, and has the worker woken when the transaction commits. */
extern void outbox_append_end(OutboxAppend *append);

/* Notes that rows of a watched table were left out. */
extern void outbox_append_failure(const char *chatbot_id, const char *relation, int64 rows,
								  const char *reason);

#endif							/* CONTACTS_PUSH_OUTBOX_APPEND_H */
