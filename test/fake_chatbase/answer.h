/*
 * answer.h
 *		An answer as it takes shape, and how it is sent, whole or damaged.
 *
 * Why it is what it is, is not known here.
 */
#ifndef FAKE_CHATBASE_ANSWER_H
#define FAKE_CHATBASE_ANSWER_H

#include <microhttpd.h>

#include "buffer.h"

/* Most headers: those of the rate limit, Content-Type, and a fault's. */
#define ANSWER_MAX_HEADERS 32

typedef struct AnswerHeader
{
	char	   *name;
	char	   *value;
} AnswerHeader;

typedef struct Answer
{
	int			status;
	Buffer		body;
	size_t		padding;		/* bytes of 'x' behind it, and then... */
	const char *tail;			/* ...this, a constant */
	long		cut;			/* bytes sent before the connection is closed,
								 * Content-Length being the whole; -1: all */
	AnswerHeader headers[ANSWER_MAX_HEADERS];
	int			nheaders;
} Answer;

/* An empty answer of this status, with Content-Type: application/json. */
extern void answer_init(Answer *answer, int status);

/* The same with the body {"message": message}. */
extern void answer_message(Answer *answer, int status, const char *message);

/* Sets a header, in place of one of that name.  Ignored beyond the maximum. */
extern void answer_header(Answer *answer, const char *name, const char *value);

/* Queues it and frees what it holds. */
extern enum MHD_Result answer_send(Answer *answer, struct MHD_Connection *connection);

/* Frees what it holds. */
extern void answer_free(Answer *answer);

#endif							/* FAKE_CHATBASE_ANSWER_H */
