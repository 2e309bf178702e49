/*
 * verdict.h
 *		From an answer to whose fault it is, and what is to be done about it.
 *
 * A pure function of its argument, plain C: no PostgreSQL, no libcurl, no JSON, no clock.
 * Cause before isolation: a trouble of the key, the chatbot or the network must never be
 * blamed on contacts.
 */
#ifndef CONTACTS_PUSH_VERDICT_H
#define CONTACTS_PUSH_VERDICT_H

#include "chatbase/http.h"

typedef struct Answer
{
	const HttpResult *http;		/* of its body nothing is looked at */
	bool		is_json;		/* the body is one JSON object */
	bool		names_all;		/* it names every contact of the request */
	const char *message;		/* the API's message, or NULL */
	bool		names_contact;	/* it says which contact is to blame */
	const char *sent;			/* the JSON that was sent, or NULL: words that stand
								 * in it may have been repeated from there */
	int64_t		now;			/* seconds since 1970, for times in headers */
} Answer;

/* Whose fault it is: the one place where to act. */
typedef enum Verdict
{
	VERDICT_CREATED,			/* 200 that names every contact */
	VERDICT_PARTIAL,			/* 200, but not JSON, cut, too large, or without some:
								 * those named are created, the rest unconfirmed */
	VERDICT_CONTACT,			/* some contact: isolate (400, 409, 422) */
	VERDICT_QUOTA,				/* chatbot: 400 that speaks of a limit or quota; pause,
								 * if a contact alone is answered so */
	VERDICT_KEY,				/* key: pause (401, 403) */
	VERDICT_CHATBOT,			/* chatbot: pause (404, 3xx, anything unknown) */
	VERDICT_BATCH,				/* batch too large: halve the bytes (413) */
	VERDICT_RATE,				/* key: slow down (429) */
	VERDICT_SERVER,				/* chatbot: back off, contacts unconfirmed (408, 425,
								 * 5xx, 2xx other than 200, time-out, lost) */
	VERDICT_NETWORK				/* chatbot: back off, nothing was sent */
} Verdict;

/*
 * Longest wait that an answer can impose, in seconds.  A header that says more is a mistake
 * or a time in another unit, and an hour is what a pause doubles to.
 */
#define VERDICT_MAX_WAIT 3600

typedef struct Judgement
{
	Verdict		verdict;
	bool		unconfirmed;	/* the contacts of the request may have been created */
	int64_t		wait_ms;		/* what it says to wait, at most VERDICT_MAX_WAIT; -1:
								 * nothing, or until what is past */
} Judgement;

/*
 * Of an answer that broke off, timed out or was too large, a status that has
 * arrived counts as far as it can: a refusal (4xx) stands without its body, since
 * calling its contacts unconfirmed would make a later 409 look like their own
 * doing.
 *
 * A 400 speaks of a limit or quota if its message has, in any case, one of the
 * words quota, limit, exceed, upgrade (and their other forms), or both "maximum"
 * and "reached", and no word for a part of a contact or of a request: "name
 * exceeds the limit of 100 characters" is some contact's fault.  Words that stand in
 * what was sent do not count: "Acme Limited is not valid" speaks of a company.  Nor does
 * an answer that names the contact.  When in doubt it is the contact's: that is found out
 * with a few requests more, while the pause that a quota brings about would make all
 * contacts wait for a bad one.
 */
extern Judgement verdict_judge(const Answer *answer);

/* A constant word for logs and the request table: "created", "partial",
 * "contact", "quota", "key", "chatbot", "batch", "rate", "server", "network". */
extern const char *verdict_name(Verdict verdict);

#endif							/* CONTACTS_PUSH_VERDICT_H */
