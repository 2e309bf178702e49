/*
 * batch.h
 *		The contacts of one request: read from its body, checked, kept together.
 *
 * A batch is one block of memory, filled before any lock is taken; the store
 * adds a whole batch or nothing of it.  Whether a contact exists already is
 * not known here.
 */
#ifndef FAKE_CHATBASE_BATCH_H
#define FAKE_CHATBASE_BATCH_H

#include <regex.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buffer.h"

/* Most contacts of a request (openapi.yaml, maxItems). */
#define BATCH_MAX_CONTACTS 1000

/* A contact; the bytes behind it are what its lengths say, in this order. */
typedef struct Contact
{
	uint64_t	serial;			/* unique; what its id is made of */
	int64_t		created_at;		/* seconds since 1970 */
	int64_t		updated_at;		/* the same */
	uint64_t	external_id_hash;
	uint64_t	email_hash;		/* of the e-mail in lower case */
	uint32_t	external_id_len;	/* 0: it has none, so it is not valid */
	uint32_t	email_len;		/* 0: it has none */
	uint32_t	phone_len;		/* 0: it has none */
	uint32_t	members_len;
	char		bytes[];		/* external_id, e-mail and phone number decoded,
								 * a NUL behind the first; then its members as
								 * JSON, "name":value,... */
} Contact;

typedef struct Batch
{
	atomic_int	references;
	const char *problem;		/* why the body is refused; NULL: it is good */
	size_t		ncontacts;		/* elements of users, valid or not */
	Contact   **contacts;
	char	   *memory;			/* theirs */
} Batch;

/* Names of custom attributes that are left out of what is kept. */
typedef struct StripList
{
	bool		others;			/* all but these are left out */
	size_t		n;
	char	  **names;
} StripList;

static inline const char *
contact_external_id(const Contact *contact)
{
	return contact->bytes;
}

static inline const char *
contact_email(const Contact *contact)
{
	return contact->bytes + contact->external_id_len + 1;
}

static inline const char *
contact_phone(const Contact *contact)
{
	return contact_email(contact) + contact->email_len;
}

static inline const char *
contact_members(const Contact *contact)
{
	return contact_phone(contact) + contact->phone_len;
}

/*
 * Reads a request's body.  Never NULL: a body that is refused gives a batch with
 * its problem set, and with the contacts as far as they could be read.
 * max_contacts 0: any number of them, none included.
 */
extern Batch *batch_read(const char *body, size_t len, size_t max_contacts,
						 const StripList *strip);

extern Batch *batch_retain(Batch *batch);
extern void batch_release(Batch *batch);	/* NULL is fine */

/* Index of the first contact whose external_id matches; -1: none does. */
extern long batch_find(const Batch *batch, const regex_t *pattern);

/* Adds the Contact as the API shows it. */
extern void contact_write(Buffer *out, const Contact *contact);

/* Adds the contact's id as a JSON string. */
extern void contact_write_id(Buffer *out, const Contact *contact);

/* True if the two e-mails are one, ASCII letters compared without case. */
extern bool email_equal(const char *a, const char *b, size_t len);

#endif							/* FAKE_CHATBASE_BATCH_H */
