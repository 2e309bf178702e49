/*
 * answer.h
 *		What a finished request means: its HTTP result, its reply and the verdict
 *		in one.
 *
 * Joins http.c, reply.c and verdict.c for the SQL function and the
 * worker.
 */
#ifndef CONTACTS_PUSH_ANSWER_H
#define CONTACTS_PUSH_ANSWER_H

#include "chatbase/http.h"
#include "chatbase/reply.h"
#include "chatbase/verdict.h"

typedef struct ReadAnswer
{
	Reply	   *reply;			/* malloc'd; answer_free() */
	int		   *match;			/* for each contact sent: its index in the reply's
								 * contacts, -1 if it is not named with an id */
	int			named;			/* how many are */
	Judgement	judgement;
	char	   *message;		/* palloc'd, cleaned, in the database's encoding: the
								 * API's message, else what failed; never NULL */
	bool		from_api;		/* message is the API's own */
	char	   *issues;			/* what it says of fields, made as message is; NULL:
								 * nothing */
} ReadAnswer;

/*
 * Reads the result of a request for n contacts whose external_ids (UTF-8) are
 * given in the order in which they were sent, in the body sent.  key: is not repeated in
 * message though the answer does.  Throws when out of memory; the reply is then lost.
 */
extern void answer_read(ReadAnswer *answer, const HttpResult *result, const char *key,
						const char *sent, const char *const *external_ids, int n);
extern void answer_free(ReadAnswer *answer);

/* True of the id of a contact that can be stored as it is. */
extern bool answer_can_be_kept(const char *id);

/* An answer that is no good as a person wants to read it: its status, and what it says; palloc'd. */
extern char *answer_in_words(const HttpResult *result, const ReadAnswer *answer);

/* "503", or what happened instead of a status; a constant or palloc'd. */
extern const char *answer_describe(const HttpResult *result);

/*
 * UTF-8 text in the database's encoding: itself where that is no other, else palloc'd;
 * NULL if the encoding does not have all of it.
 */
extern const char *answer_to_server(const char *utf8);

/* The same, palloc'd, with "?" for what the encoding does not have; *exact: there is none. */
extern char *answer_convert(const char *utf8, bool *exact);

/* Longest message of the API that is passed on, bytes. */
#define ANSWER_MAX_MESSAGE 1024

/* Longest id of a contact that is kept, bytes; the API's have some 25. */
#define ANSWER_MAX_ID 1024

#endif							/* CONTACTS_PUSH_ANSWER_H */
