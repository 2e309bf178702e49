/*
 * contact.h
 *		A ContactInput: what the API's schema says of it, and request bodies.
 *
 * The rules are those of ContactInput and StripeAccountInput on the API's OpenAPI page, and no
 * others: what the schema leaves open the server decides.
 */
#ifndef CONTACTS_PUSH_CONTACT_H
#define CONTACTS_PUSH_CONTACT_H

#include "lib/stringinfo.h"
#include "utils/jsonb.h"

/* Most contacts in one request: maxItems of "users". */
#define CONTACT_MAX_USERS 1000

/* Contacts in a page of the list: the maximum of per_page. */
#define CONTACT_PAGE 1000

/* Longest external_id, in bytes of the database's encoding; an index holds it. */
#define CONTACT_MAX_EXTERNAL_ID 1024

/*
 * Throws unless the outbox can have it as a chatbot_id.  A segment of "." or ".." cannot be
 * sent as one: whatever it is escaped to, a conforming URL parser (WHATWG URL, 4.4) walks up
 * a directory.
 */
extern void contact_check_chatbot_id(const char *chatbot_id);

/*
 * Returns what is wrong with a contact, palloc'd, e.g. "users[3].email must be ...";
 * NULL: nothing.  path names the contact ("users[3]"; "" for a message that begins with the
 * member's name).  external_id: the member of that name must be equal to it if it is there;
 * NULL: it must be there.
 */
extern char *contact_check(JsonbContainer *contact, const char *path,
						   const char *external_id);

/* The same for what is to be changed of a contact: any member may be left out, or null. */
extern char *contact_check_changes(JsonbContainer *changes, const char *path);

/* Returns a member as a palloc'd string of the database's encoding; NULL: it is none. */
extern char *contact_member(JsonbContainer *contact, const char *name);

/* Returns the digits of the contact's phone number, palloc'd; NULL: it has none. */
extern char *contact_phone_digits(JsonbContainer *contact);

/*
 * False: the contact's JSON text has more than max bytes.  True: it may, if strings in it have
 * to be escaped, but can be made of a contact of SETTINGS_MAX_REQUEST_BYTES.  Makes no such
 * text: it may be thousands of times larger than the contact is (1e100000 has a few bytes as
 * jsonb), and larger than any string can be.
 */
extern bool contact_fits(JsonbContainer *contact, int64 max);

/*
 * Returns the contact as JSON text in UTF-8, palloc'd, ready to be put into a body, with
 * external_id added if the contact leaves it out (NULL: it does not).
 * NULL if it has bytes that are no characters (in a database in SQL_ASCII), or
 * characters that Unicode does not have.  The text must fit into a string: see above.  *length
 * is set in any case.
 */
extern char *contact_to_json(JsonbContainer *contact, const char *external_id,
							 int *length);

/* Returns the hash of such a text that tells whether a contact is as it was sent; never 0. */
extern int64 contact_hash(const char *json, int length);

/* These write {"users":[...]} piece by piece.  What stands around the contacts has so many bytes. */
#define CONTACT_BODY_BYTES 12
extern void contact_body_begin(StringInfo body);
extern void contact_body_add(StringInfo body, const char *json, int length);
extern void contact_body_end(StringInfo body);

/*
 * Returns a text of the database's encoding in UTF-8, palloc'd or the argument itself; NULL if
 * it cannot be converted.  Needs a transaction.
 */
extern char *contact_to_utf8(const char *text);

#endif							/* CONTACTS_PUSH_CONTACT_H */
