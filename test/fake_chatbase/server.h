/*
 * server.h
 *		Listens, receives requests whole, and hands each to its kind.
 */
#ifndef FAKE_CHATBASE_SERVER_H
#define FAKE_CHATBASE_SERVER_H

#include <stdbool.h>
#include <stdint.h>

typedef struct ServerOptions
{
	uint16_t	port;			/* 0: a free one */
	const char *certificate;	/* PEM text; NULL: no TLS */
	const char *certificate_key;
} ServerOptions;

/*
 * Listens on 127.0.0.1 and serves in threads of its own.  Returns the port; 0: it
 * has said on stderr why it can't.
 */
extern uint16_t server_start(const ServerOptions *options);

/* Ends at once, whatever is under way.  holding_stop() must have been called. */
extern void server_stop(void);

#endif							/* FAKE_CHATBASE_SERVER_H */
