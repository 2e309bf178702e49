/*
 * reply.h
 *		The body of an answer of the API, as plain structs.
 *
 * The only place that knows json-c (reply.c, reply_compare.c).  Nothing of PostgreSQL may enter
 * here.  The bytes are foreign: whatever they are, nothing here crashes, reads
 * outside of them or recurses without a limit.
 *
 * The shapes accepted are those of the API's reference: {"message", "data":
 * [Contact...]}, with "pages" where it is a list, and {"data": Contact}; and one
 * seen beside them, {"data": {"created": [Contact...]}}.
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
	const char *stripe_accounts;	/* JSON as it came: an array */
	const char *custom_attributes;	/* the same: an object */
	bool		has_created_at;
	bool		has_updated_at;
	double		created_at;		/* seconds since 1970, UTC */
	double		updated_at;		/* the same */
} ReplyContact;

/* What the API finds wrong with a field; either may be NULL. */
typedef struct ReplyIssue
{
	const char *field;			/* "custom_attributes.age" */
	const char *message;
} ReplyIssue;

/* Of the issues only the first are kept: they are for people. */
#define REPLY_MAX_ISSUES 8

/* All memory is the reply's own, valid until reply_free(). */
typedef struct Reply
{
	bool		is_json;		/* the whole body is one JSON object */
	const char *message;		/* "message", or "error" (or its "message") where
								 * there is none, NULs in it replaced by
								 * spaces; NULL if absent */
	bool		has_list;		/* there is an array of contacts */
	int			ncontacts;		/* in it, or 1: data is one, which has an id */
	ReplyContact *contacts;		/* elements that are not objects are left out */
	int			culprit;		/* the lowest index into the request's users that
								 * issues[].field names as users[i] or users.i;
								 * -1: none */
	int			nissues;
	ReplyIssue	issues[REPLY_MAX_ISSUES];
	int			total_pages;	/* in pages; -1: not said */
	void	   *private;
} Reply;

/*
 * Parses len bytes.  Never NULL but when out of memory: a body that is not JSON,
 * is cut short, nests deeper than REPLY_MAX_DEPTH, has bytes that are not UTF-8, has
 * something behind the JSON but white space, or has absurdly many contacts gives a
 * reply with is_json false.  body need not outlive the call.
 *
 * Strings in the JSON of a contact may hold \u0000, which jsonb refuses, so the caller
 * must be ready for that; halves of surrogate pairs have been replaced.
 */
extern Reply *reply_parse(const char *body, size_t len);

/*
 * Levels of objects, arrays and values in them.  The API's own answers have 6, custom
 * attributes included, but it repeats what it was sent, and jsonb takes any depth that
 * the stack has room for.  Here, too, it is the stack: some 200 bytes a level.
 */
#define REPLY_MAX_DEPTH 1000

/*
 * True if an answer that repeats this JSON, NUL-terminated, can be read.  For whoever
 * sends contacts together: one whose answer can't be read takes it from all of them.
 */
extern bool reply_can_repeat(const char *json);

/* Frees the reply and all that was got from it.  NULL is fine. */
extern void reply_free(Reply *reply);

/* True if contact number i came back with this custom attribute; and if that is not null. */
extern bool reply_has_attribute(const Reply *reply, int i, const char *name);
extern bool reply_sets_attribute(const Reply *reply, int i, const char *name);

/*
 * True if contact number i has all that the only contact of wanted has, but for external_id and
 * the n custom attributes that the chatbot is known to leave out.  What cannot be told is false.
 */
extern bool reply_has_contact(const Reply *reply, int i, const Reply *wanted,
							  const char *const *unknown, int n);

#endif							/* CONTACTS_PUSH_REPLY_H */
