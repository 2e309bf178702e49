/*
 * changes.h
 *		What an answer to an update or a deletion means, where that differs from other calls.
 *
 * Called inside a pass's transaction; throws like SQL: an error ends the process, and the
 * next one recovers.
 */
#ifndef CONTACTS_PUSH_CHANGES_H
#define CONTACTS_PUSH_CHANGES_H

#include "worker/worker.h"

/*
 * Takes the answer to a request with a contact that is updated or deleted.  Returns its outcome, for
 * the log; NULL: it means what it would to any call, which is left to the caller.
 */
extern const char *changes_take(Request *request, const HttpResult *result,
								const ReadAnswer *answer);

#endif							/* CONTACTS_PUSH_CHANGES_H */
