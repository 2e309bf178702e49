/*
 * call.h
 *		What the calls of the API have in common: one request, the answer as rows.
 *
 * A call works with and without shared_preload_libraries, and touches no table of the extension.
 */
#ifndef CONTACTS_PUSH_CALL_H
#define CONTACTS_PUSH_CALL_H

#include "chatbase/http.h"
#include "compat.h"
#include "contact/answer.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/jsonb.h"

/* Of contacts_push.contact. */
#define CALL_COLUMNS 9

typedef struct Call
{
	/* What the call is, the caller's to set. */
	const char *method;			/* NULL: POST */
	const char *doing;			/* "create contacts": what failed */
	const char *promised;		/* what an answer is that does not have what it should */
	const char *doubt;			/* the hint where what has happened is not known */
	const char *done;			/* the hint where it is, but cannot be shown; NULL: none */
	const char *instead;		/* behind "try again": what can be done, too; "": nothing */
	const char *not_found;		/* the hint for a 404 */

	/* What is sent.  The texts without a word are of the database's encoding. */
	const char *chatbot_id;
	const char *external_id;	/* in the path; NULL: none */
	int			page;			/* in the query; 0: none */
	int			per_page;
	bool		of_schema;		/* about the custom attributes and not the contacts */
	bool		anew;			/* over a connection of its own */
	const char *body;			/* NULL: none */
	int			body_len;
	const char *const *expected;	/* the external_ids (UTF-8) that the answer must name */
	int			nexpected;

	/* What has come of it. */
	HttpRequest *request;
	const HttpResult *result;	/* the request's */
	ReadAnswer	answer;
	MemoryContextCallback cleanup;
} Call;

pg_noreturn extern void call_bad_argument(const char *what);

/*
 * Makes a call of what it is, with the chatbot_id that is the SQL function's first argument.
 * It ends with the current memory context, or by call_end().
 */
extern Call *call_begin(const Call *what, FunctionCallInfo fcinfo);

/* Frees all that came of its last request. */
extern void call_end(Call *call);

/* As contact_to_json(); throws, with the contact's path, if it is too large or cannot be made. */
extern char *call_contact_json(JsonbContainer *contact, const char *path, int *length);

/*
 * Sends the request and reads the answer.  Throws if there is no key, if the budget is used up,
 * and when it is cancelled; what the answer says is for the caller.
 */
extern void call_exchange(Call *call);

/* Throws what there is to say of an answer that is not what was asked for. */
pg_noreturn extern void call_fail(Call *call);

/* The same for an answer that has the right status and nothing else. */
pg_noreturn extern void call_fail_broken(Call *call);

/* Throws unless contacts_push.contact is as call_contact() fills it. */
extern void call_check_type(TupleDesc desc);

/* Returns JSON of the answer, in the database's encoding, as jsonb; null if it is NULL or has U+0000. */
extern Datum call_jsonb(const Call *call, const char *text, bool *isnull);

/* Makes a row of a contact of the answer. */
extern void call_contact(Call *call, const ReplyContact *contact, Datum *values, bool *nulls);

#endif							/* CONTACTS_PUSH_CALL_H */
