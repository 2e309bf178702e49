/*
 * requests.h
 *		The worker's rows in contacts_push.request.
 *
 * A request's row is written before it leaves; its answer when that has come, and that it is
 * over when the last change that follows from the answer has been written (writes.c).  A row
 * that another session holds locked is not waited for, and tried again.
 *
 * Called inside a pass's transaction; throws like SQL: an error ends the process, and the
 * next one recovers.
 */
#ifndef CONTACTS_PUSH_REQUESTS_H
#define CONTACTS_PUSH_REQUESTS_H

#include "worker/worker.h"

/*
 * Makes a request of n contacts that wait, which are under way from now on; n is 0 for a page
 * of the list.  The caller fills in what the call needs, and plans it in send.c.
 */
extern Request *requests_new(Chatbot *chatbot, RequestCall call, Contact *const *contacts, int n);

/*
 * A request has its answer: it is not under way any more, and what was needed for that is
 * freed.  status 0: none.  outcome: a constant.  request_id: the API's; "": none.
 */
extern void requests_answered(Request *request, int http_status, const char *outcome,
							  const char *message, int64 duration_ms, const char *request_id);

/*
 * A request that an earlier worker has left, for the changes that follow from that; its
 * answer is in its row, or it is said now to have been interrupted.
 */
extern Request *requests_recover(int64 id, bool is_answered);

/* Writes what has changed: those planned, those answered, those over. */
extern void requests_write(void);

/* True if another session holds some of these rows locked. */
extern bool requests_are_behind(void);

#endif							/* CONTACTS_PUSH_REQUESTS_H */
