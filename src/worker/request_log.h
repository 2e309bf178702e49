/*
 * request_log.h
 *		The worker's rows in contacts_push.request.
 *
 * Called inside a pass's transaction unless said otherwise; throws like SQL: an error ends
 * the process, and the next one recovers.
 */
#ifndef CONTACTS_PUSH_REQUEST_LOG_H
#define CONTACTS_PUSH_REQUEST_LOG_H

#include "worker/worker.h"

/*
 * Completes a request's row.  status 0 and duration_ms -1: none.  outcome: a constant.
 * over: false if its contacts could not all be marked, so that a later worker does.
 */
extern void request_log_finish(int64 id, int http_status, const char *outcome,
							   const char *message, int64 duration_ms, bool over);

/* Tries again what was found locked. */
extern void request_log_finish_again(void);

/* True if there is such. */
extern bool request_log_is_behind(void);

#endif							/* CONTACTS_PUSH_REQUEST_LOG_H */
