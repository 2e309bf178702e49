/*
 * state.h
 *		The stage that reads what others have changed since the last pass.
 *
 * Called inside a pass's transaction; throws like SQL: an error ends the process, and
 * the next one recovers.
 */
#ifndef CONTACTS_PUSH_STATE_H
#define CONTACTS_PUSH_STATE_H

/*
 * Reads pauses, the lineage and which rows are due, in one statement, where that may have
 * changed: when somebody has called, when rows become due, and once a second of work.
 * False: the outbox has become another one, with which another process has to begin.
 */
extern bool state_read(bool called);

#endif							/* CONTACTS_PUSH_STATE_H */
