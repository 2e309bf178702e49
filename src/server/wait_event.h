/*
 * wait_event.h
 *		What pg_stat_activity says that a process of contacts_push waits for.
 */
#ifndef CONTACTS_PUSH_WAIT_EVENT_H
#define CONTACTS_PUSH_WAIT_EVENT_H

typedef enum WaitReason
{
	WAIT_LAUNCHER_MAIN,			/* for a database that needs a worker */
	WAIT_WORKER_MAIN,			/* for something to send */
	WAIT_ANSWER,				/* of the API, the worker or a call */
	WAIT_BUDGET,				/* of the key: its rate, or a 429 */
	WAIT_BACKOFF,				/* of chatbots that give no usable answer */
	WAIT_FENCE,					/* an earlier worker of the database */
	WAIT_WORKER_END,			/* a command that wants the database for itself */
	WAIT_FLUSH					/* contacts_push.flush() */
} WaitReason;

/*
 * The wait event to give to PostgreSQL's functions that wait; each has a name of its own from
 * PostgreSQL 17 on.  Takes a lock of the server at first, so not for a signal handler.
 */
extern uint32 wait_event(WaitReason reason);

#endif							/* CONTACTS_PUSH_WAIT_EVENT_H */
