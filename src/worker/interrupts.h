/*
 * interrupts.h
 *		Signals that come to a worker, in a pass's transaction and between passes.
 */
#ifndef CONTACTS_PUSH_INTERRUPTS_H
#define CONTACTS_PUSH_INTERRUPTS_H

/* Installs the handlers and unblocks the signals; before the database is connected to. */
extern void interrupts_begin(void);

/* To be called once there is a session. */
extern void interrupts_session_began(void);

/*
 * Begins a pass: a transaction, in which the usual interrupts end the process.  records:
 * it records answers, for which SIGTERM grants it a moment.  Where the database does not
 * have the extension, or has another outbox than in the pass before, the process ends.
 */
extern void interrupts_begin_pass(bool records);
extern void interrupts_end_pass(void);

/* Between passes: serves what has come, and reads the configuration again after a SIGHUP. */
extern void interrupts_serve(void);

/* True once SIGTERM has come, and how much of the second that it grants is left. */
extern bool interrupts_terminated(void);
extern int64 interrupts_grace_left_us(void);

#endif							/* CONTACTS_PUSH_INTERRUPTS_H */
