/*
 * pass.h
 *		One pass of the worker: one transaction, in which the stages follow each other.
 */
#ifndef CONTACTS_PUSH_PASS_H
#define CONTACTS_PUSH_PASS_H

/*
 * Runs a pass, after which planned requests have left; returns milliseconds until the
 * next one is due, -1: none.  tidy: also prunes and folds.  Outside of transactions.
 */
extern int64 pass_run(bool tidy);

/* The first pass: takes over from an earlier worker.  Behind the fence. */
extern void pass_run_first(void);

/*
 * The last pass of a process that is told to end: records the answers that have come, and
 * what was found locked if it no longer is; claims and sends nothing.  Outside of transactions.
 */
extern void pass_run_last(void);

/* True if an answer has come that no pass has taken. */
extern bool pass_has_answer(void);

#endif							/* CONTACTS_PUSH_PASS_H */
