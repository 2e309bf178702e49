/*
 * wait.h
 *		Waiting for a pool's sockets, the process latch and a time-out at once.
 */
#ifndef CONTACTS_PUSH_WAIT_H
#define CONTACTS_PUSH_WAIT_H

#include "chatbase/http.h"
#include "server/wait_event.h"

/*
 * Waits until the latch is set, timeout_ms (-1: none) have passed or something
 * happened on the pool (NULL: none), and takes the pool one step further; the reason is
 * what pg_stat_activity shows.  Resets
 * the latch and tells whether it was set; the caller then serves interrupts and looks at its work again.
 * Ends the process when the postmaster has died.  Throws when no wait event set
 * can be had.  At most one pool a process.
 */
extern bool wait_for_http(HttpPool *pool, long timeout_ms, WaitReason reason);

#endif							/* CONTACTS_PUSH_WAIT_H */
