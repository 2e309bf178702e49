/*
 * writes.h
 *		The list of changes of the outbox's rows, which alone has them written.
 *
 * A change stays in the list until its row has taken it: a row that another session holds
 * locked is not waited for, and tried again.  There is one change for a row at most; a later
 * one takes the place of an earlier one that has not been written.
 *
 * Called inside a pass's transaction unless said otherwise; throws like SQL: an error ends
 * the process, and the next one recovers.
 */
#ifndef CONTACTS_PUSH_WRITES_H
#define CONTACTS_PUSH_WRITES_H

#include "store/outbox_write.h"
#include "worker/worker.h"

/*
 * A contact of the window gets an outcome, and leaves when that is written; text: its id at
 * Chatbase if it is created or updated, else why it is not, or NULL.  It has left its isolation.
 */
extern void writes_settle(Contact *contact, OutboxStatus status, int http_status,
						  const char *text);

/* Chatbase has been found to have it, under this id; is_same: as it is to be. */
extern void writes_find(Contact *contact, const char *contact_id, bool is_same);

/* It failed alone, which its row tells when it is written: pending, and due in a while. */
extern void writes_defer(Contact *contact, int64 delay_ms, int http_status, const char *why);

/*
 * A row that is pending may have been sent, which it tells when it is written; request: in
 * which, or NULL.
 */
extern void writes_unconfirmed(Chatbot *chatbot, int64 seq, Request *request, int http_status,
							   const char *why);

/*
 * A row that is pending and not in the window is not sent; unconfirmed: Chatbase may have the
 * contact; why may be NULL.
 */
extern void writes_unsent(Chatbot *chatbot, const char *external_id, int64 seq,
						  OutboxStatus status, bool unconfirmed, const char *why);

/* A refused row makes way for a newer intent. */
extern void writes_supersede(Chatbot *chatbot, const char *external_id, int64 seq);

/* What the list has for a row that is not WRITING: that it may have been sent, or its outcome. */
extern bool writes_have_doubt(int64 seq);
extern bool writes_have_outcome(int64 seq);

/* Has all of the list written; changes of locked rows stay in it. */
extern void writes_flush(void);

/* True if there are such. */
extern bool writes_are_behind(void);

#endif							/* CONTACTS_PUSH_WRITES_H */
