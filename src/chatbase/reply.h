/*
 * reply.h
 *		The body of an answer of the API, as plain structs.
 *
 * The only place that knows json-c.  Nothing of PostgreSQL may enter
 * here.  The bytes are foreign: whatever they are, nothing here crashes, reads
 * outside of them or recurses without a limit.
 *
 * The shapes accepted are those of the API's OpenAPI page, POST
 * /chatbots/{chatbotId}/contacts: {"message", "data": [Contact...]}, and the
 * shape seen beside it, {"data": {"created": [Contact...]}}.
 */
#ifndef CONTACTS_PUSH_REPLY_H
#define CONTACTS_PUSH_REPLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * One Contact.  A member that is absent, null, of another type than the page
 * says, or a string with a NUL in it, is NULL (of the times: has_ is false).
 * Strings are valid UTF-8.  Of members of one name the last counts.  A time may
 * be a fraction, milliseconds where it is too large for seconds, or text in ISO
 * 8601; one beyond the year 9999 is none.
 */
typedef struct ReplyContact
{
	const char *id;
	const char *external_id;
	const char *name;
	const char *email;
	const char *phonenumber;
	bool		has_created_at;
	bool		has_updated_at;
	double		created_at;		/* seconds since 1970, UTC */
	double		updated_at;		/* the same */
} ReplyContact;

/* All memory is the reply's own, valid until reply_free(). */
typedef struct Reply
{
	bool		is_json;		/* the whole body is one JSON object */
	const char *message;		/* "message", or "error" (or its "message") where
								 * there is none, NULs in it replaced by
								 * spaces; NULL if absent */
	bool		has_contacts;	/* data is an array, or data.created is one */
	int			ncontacts;
	ReplyContact *contacts;		/* elements that are not objects are left out */
	int			nculprits;
	int		   *culprits;		/* indexes into the request's users that
								 * issues[].field names as users[i] or users.i:
								 * distinct, ascending, >= 0 */
	void	   *private;		/* the parsed document */
} Reply;

typedef enum ReplyField
{
	REPLY_STRIPE_ACCOUNTS,		/* an array */
	REPLY_CUSTOM_ATTRIBUTES		/* an object */
} ReplyField;

/*
 * Parses len bytes.  Never NULL but when out of memory: a body that is not JSON,
 * is cut short, nests deeper than REPLY_MAX_DEPTH, has bytes that are not UTF-8, has
 * something behind the JSON but white space, or would take more than REPLY_MAX_COST
 * when parsed gives a reply with is_json false.  body need not outlive the call.
 */
extern Reply *reply_parse(const char *body, size_t len);

/*
 * Levels of objects, arrays and values in them.  The API's own answers have 6, custom
 * attributes included, but it repeats what it was sent, and jsonb takes any depth that
 * the stack has room for.  Here the stack is what json-c recurses on to free and to
 * print a document, some 300 bytes a level.
 */
#define REPLY_MAX_DEPTH 1000

/*
 * Bytes that a parsed answer may take.  1000 contacts of 16 kB each (the largest answer
 * accepted by default), all of it Stripe accounts, come to 160 MB.
 */
#define REPLY_MAX_COST (256 * 1024 * 1024)

/*
 * What of REPLY_MAX_COST an answer takes, roughly, for repeating this JSON, len bytes of
 * it; REPLY_MAX_COST for what no answer can repeat legibly.  For whoever sends
 * contacts together: one whose answer can't be read takes it from all of them.
 */
extern size_t reply_cost(const char *json, size_t len);

/* Frees the reply and all that was got from it.  NULL is fine. */
extern void reply_free(Reply *reply);

/*
 * A member of contact number i as JSON text, owned by the reply and valid until
 * the next call; NULL if absent or of another type than the page says.  Numbers
 * keep their digits.  Its strings may hold \u0000, which jsonb refuses, so the
 * caller must be ready for that.
 */
extern const char *reply_contact_json(const Reply *reply, int i, ReplyField field);

/* True if contact number i came back with this custom attribute. */
extern bool reply_has_attribute(const Reply *reply, int i, const char *name);

#endif							/* CONTACTS_PUSH_REPLY_H */
