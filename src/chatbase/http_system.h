/*
 * http_system.h
 *		The signal mask and descriptors, as http.c needs them.
 *
 * A part of http.c that needs no libcurl.
 */
#ifndef CONTACTS_PUSH_HTTP_SYSTEM_H
#define CONTACTS_PUSH_HTTP_SYSTEM_H

#include <signal.h>

/* Blocks all signals for this thread, and for threads it starts meanwhile. */
extern void http_system_block(sigset_t *saved);
extern void http_system_restore(const sigset_t *saved);

/* Has exec() close the descriptor. */
extern void http_system_close_on_exec(int fd);

#endif							/* CONTACTS_PUSH_HTTP_SYSTEM_H */
