/*
 * findings.h
 *		From the answers to reads to what is known of contacts in doubt.
 *
 * Called inside a pass's transaction; throws like SQL: an error ends the process, and the
 * next one recovers.
 */
#ifndef CONTACTS_PUSH_FINDINGS_H
#define CONTACTS_PUSH_FINDINGS_H

#include "worker/worker.h"

/*
 * Takes the answer to a request of lookups_next(); returns what it came to, a constant for
 * contacts_push.request.  NULL: it did not do what it should, as its verdict says.
 */
extern const char *findings_settle(Request *request, const HttpResult *result,
								   const ReadAnswer *answer);

#endif							/* CONTACTS_PUSH_FINDINGS_H */
