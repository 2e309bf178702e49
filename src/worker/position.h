/*
 * position.h
 *		Publishing the ranges of seq that may hold pending rows.
 *
 * Called inside a pass's transaction unless said otherwise; throws like SQL: an error ends
 * the process, and the next one recovers.
 */
#ifndef CONTACTS_PUSH_POSITION_H
#define CONTACTS_PUSH_POSITION_H

#include "worker/worker.h"

/*
 * Writes down where pending rows can be, at the end of a pass; false if that is not
 * written yet.  What stands there until then comprises what there is.
 */
extern bool position_write(void);

/* True if the row for that was not found: it was deleted, or somebody holds it locked. */
extern bool position_has_no_row(void);

#endif							/* CONTACTS_PUSH_POSITION_H */
