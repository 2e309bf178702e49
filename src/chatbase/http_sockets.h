/*
 * http_sockets.h
 *		The sockets of a pool that are to be watched.
 *
 * A part of http.c that needs no libcurl.
 */
#ifndef CONTACTS_PUSH_HTTP_SOCKETS_H
#define CONTACTS_PUSH_HTTP_SOCKETS_H

#include "chatbase/http.h"

/* All zero is an empty set; sockets is malloc'd, the owner frees it. */
typedef struct HttpSockets
{
	HttpSocket *sockets;
	int			n;
	int			allocated;
	unsigned long generation;	/* changes with every change */
} HttpSockets;

/* Adds or changes a socket.  False: out of memory. */
extern bool http_sockets_watch(HttpSockets *set, int fd, bool readable, bool writable);

extern void http_sockets_forget(HttpSockets *set, int fd);

#endif							/* CONTACTS_PUSH_HTTP_SOCKETS_H */
