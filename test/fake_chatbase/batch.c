/*
 * batch.c
 *		The contacts of one request; see batch.h for what must not enter here.
 */
#include "batch.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "json_scan.h"

/* Message of the API's BadRequest (openapi.yaml, components/responses). */
#define INVALID "Invalid request data"

typedef enum Member
{
	EXTERNAL_ID,
	NAME,
	EMAIL,
	PHONENUMBER,
	STRIPE_ACCOUNTS,
	CUSTOM_ATTRIBUTES
} Member;

#define MEMBERS 6

/* The members of a ContactInput, as openapi.yaml has them. */
static const struct
{
	const char *name;
	JsonKind	kind;
}			known[MEMBERS] = {
	[EXTERNAL_ID] = {"external_id", JSON_STRING},
	[NAME] = {"name", JSON_STRING},
	[EMAIL] = {"email", JSON_STRING},
	[PHONENUMBER] = {"phonenumber", JSON_STRING},
	[STRIPE_ACCOUNTS] = {"stripe_accounts", JSON_ARRAY},
	[CUSTOM_ATTRIBUTES] = {"custom_attributes", JSON_OBJECT},
};

/* What a batch is while it is read. */
typedef struct Reader
{
	Buffer		memory;			/* contacts, moving as it grows */
	Buffer		offsets;		/* size_t: where each begins */
	size_t		ncontacts;
	const StripList *strip;
	const char *problem;
} Reader;

static char
lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char) (c | 0x20) : c;
}

bool
email_equal(const char *a, const char *b, size_t len)
{
	size_t		i;

	for (i = 0; i < len; i++)
	{
		if (lower(a[i]) != lower(b[i]))
			return false;
	}
	return true;
}

/* FNV-1a (its constants), with the finalizer of MurmurHash3 for the low bits. */
static uint64_t
hash(const char *text, size_t len, bool fold)
{
	uint64_t	h = UINT64_C(0xcbf29ce484222325);
	size_t		i;

	for (i = 0; i < len; i++)
	{
		h ^= (unsigned char) (fold ? lower(text[i]) : text[i]);
		h *= UINT64_C(0x100000001b3);
	}
	h ^= h >> 33;
	h *= UINT64_C(0xff51afd7ed558ccd);
	return h ^ (h >> 33);
}

/* The ids look random and are unique: the mixing is a bijection of the serial. */
static uint64_t
mixed(uint64_t serial)
{
	uint64_t	x = serial * UINT64_C(0x9e3779b97f4a7c15);	/* odd: 2^64 / golden
															 * ratio */

	x ^= x >> 32;
	return x * UINT64_C(0x9e3779b97f4a7c15);
}

/* something@something, in a string that is decoded. */
static bool
is_email(const char *text, size_t len)
{
	const char *at = memchr(text, '@', len);

	return at != NULL && at > text && at < text + len - 1;
}

static bool
is_email_value(const JsonValue *value)
{
	char	   *text;
	bool		is;

	if (value->kind != JSON_STRING)
		return false;
	text = must_alloc(value->len);
	is = is_email(text, json_decode(value, text));
	free(text);
	return is;
}

/* Checks one StripeAccountInput; false: refused. */
static bool
take_stripe_account(JsonScan *scan)
{
	JsonKind	label = JSON_ABSENT;
	JsonKind	stripe_id = JSON_ABSENT;
	bool		good = true;
	JsonValue	name;
	JsonValue	value;

	if (!json_enter(scan, JSON_OBJECT))
		return false;
	while (json_next(scan, JSON_OBJECT))
	{
		json_take_name(scan, &name);
		if (!json_take(scan, &value))
			return false;
		if (json_equals(&name, "label"))
			label = value.kind;
		else if (json_equals(&name, "stripe_id"))
			stripe_id = value.kind;
		else if (json_equals(&name, "stripe_email"))
			good = is_email_value(&value);
	}
	return good && label == JSON_STRING && stripe_id == JSON_STRING;
}

static bool
are_stripe_accounts(const JsonValue *accounts)
{
	JsonScan	scan;

	json_scan_init(&scan, accounts->text, accounts->len);
	json_enter(&scan, JSON_ARRAY);
	while (json_next(&scan, JSON_ARRAY))
	{
		if (!take_stripe_account(&scan))
			return false;
	}
	return !scan.failed;
}

/* Adds the custom attributes without those of the list. */
static void
write_stripped(Buffer *out, const JsonValue *attributes, const StripList *strip)
{
	JsonScan	scan;
	JsonValue	name;
	JsonValue	value;

	json_scan_init(&scan, attributes->text, attributes->len);
	buffer_text(out, "{");
	json_enter(&scan, JSON_OBJECT);
	while (json_next(&scan, JSON_OBJECT))
	{
		bool		named = false;
		size_t		i;

		if (!json_take_name(&scan, &name) || !json_take(&scan, &value))
			break;
		for (i = 0; i < strip->n && !named; i++)
			named = json_equals(&name, strip->names[i]);
		if (named == strip->others)
		{
			buffer_add(out, name.text, name.len);
			buffer_text(out, ":");
			buffer_add(out, value.text, value.len);
			buffer_text(out, ",");
		}
	}
	buffer_close(out, '}');
}

static void
write_members(Buffer *out, const JsonValue *found, const StripList *strip)
{
	bool		first = true;
	int			i;

	for (i = 0; i < MEMBERS; i++)
	{
		if (found[i].kind == JSON_ABSENT)
			continue;
		buffer_text(out, first ? "\"" : ",\"");
		first = false;
		buffer_text(out, known[i].name);
		buffer_text(out, "\":");
		if (i == CUSTOM_ATTRIBUTES && found[i].kind == JSON_OBJECT && (strip->n > 0 || strip->others))
			write_stripped(out, &found[i], strip);
		else
			buffer_add(out, found[i].text, found[i].len);
	}
}

/* Adds the string decoded; returns its length, 0 if it is no string. */
static uint32_t
write_decoded(Buffer *out, const JsonValue *value)
{
	size_t		len;

	if (value->kind != JSON_STRING)
		return 0;
	buffer_reserve(out, value->len);
	len = json_decode(value, out->data + out->len);
	out->len += len;
	return (uint32_t) len;
}

/* Adds the contact to the reader's memory, and to its offsets where that is. */
static Contact *
write_contact(Reader *reader, const JsonValue *found)
{
	Buffer	   *memory = &reader->memory;
	size_t		offset = (memory->len + 7) & ~(size_t) 7;	/* a Contact's alignment */
	Contact		contact;
	size_t		start;

	memset(&contact, 0, sizeof(contact));
	buffer_reserve(memory, offset - memory->len + sizeof(contact));
	memory->len = offset + offsetof(Contact, bytes);
	start = memory->len;
	contact.external_id_len = write_decoded(memory, &found[EXTERNAL_ID]);
	contact.external_id_hash = hash(memory->data + start, contact.external_id_len, false);
	buffer_add(memory, "", 1);
	start = memory->len;
	contact.email_len = write_decoded(memory, &found[EMAIL]);
	contact.email_hash = hash(memory->data + start, contact.email_len, true);
	contact.phone_len = write_decoded(memory, &found[PHONENUMBER]);
	start = memory->len;
	write_members(memory, found, reader->strip);
	contact.members_len = (uint32_t) (memory->len - start);
	memcpy(memory->data + offset, &contact, offsetof(Contact, bytes));

	buffer_add(&reader->offsets, &offset, sizeof(offset));
	reader->ncontacts++;
	return (Contact *) (memory->data + offset);
}

static bool
is_valid(const Contact *contact, const JsonValue *found)
{
	int			i;

	if (contact->external_id_len == 0)
		return false;
	for (i = 0; i < MEMBERS; i++)
	{
		if (found[i].kind != JSON_ABSENT && found[i].kind != known[i].kind)
			return false;
	}
	if (found[EMAIL].kind != JSON_ABSENT && !is_email(contact_email(contact), contact->email_len))
		return false;
	return found[STRIPE_ACCOUNTS].kind == JSON_ABSENT || are_stripe_accounts(&found[STRIPE_ACCOUNTS]);
}

/* Takes one element of users, of whatever kind. */
static void
take_contact(Reader *reader, JsonScan *scan)
{
	JsonValue	found[MEMBERS] = {{JSON_ABSENT, false, NULL, 0}};
	JsonValue	name;
	JsonValue	value;

	if (json_peek(scan) != JSON_OBJECT)
		json_take(scan, &value);
	else
	{
		json_enter(scan, JSON_OBJECT);
		while (json_next(scan, JSON_OBJECT))
		{
			int			i;

			if (!json_take_name(scan, &name) || !json_take(scan, &value))
				return;
			for (i = 0; i < MEMBERS; i++)
			{
				if (json_equals(&name, known[i].name))
					found[i] = value;
			}
		}
	}
	if (!scan->failed && !is_valid(write_contact(reader, found), found))
		reader->problem = INVALID;
}

/* Takes what stands behind "users"; the last one counts if there are several. */
static void
take_users(Reader *reader, JsonScan *scan)
{
	JsonValue	ignored;

	reader->memory.len = 0;
	reader->offsets.len = 0;
	reader->ncontacts = 0;
	reader->problem = NULL;
	if (json_peek(scan) != JSON_ARRAY)
	{
		reader->problem = INVALID;
		json_take(scan, &ignored);
		return;
	}
	json_enter(scan, JSON_ARRAY);
	while (json_next(scan, JSON_ARRAY))
		take_contact(reader, scan);
}

static void
take_body(Reader *reader, const char *body, size_t len)
{
	JsonScan	scan;
	JsonValue	name;
	JsonValue	ignored;

	json_scan_init(&scan, body, len);
	json_enter(&scan, JSON_OBJECT);
	while (json_next(&scan, JSON_OBJECT))
	{
		if (!json_take_name(&scan, &name))
			break;
		if (json_equals(&name, "users"))
			take_users(reader, &scan);
		else
			json_take(&scan, &ignored);
	}
	if (!json_finish(&scan))
		reader->problem = INVALID;
}

Batch *
batch_read(const char *body, size_t len, size_t max_contacts, const StripList *strip)
{
	Reader		reader;
	Batch	   *batch = must_alloc(sizeof(*batch));
	size_t		i;

	memset(&reader, 0, sizeof(reader));
	reader.strip = strip;
	reader.problem = INVALID;	/* until there are users */
	/* The members once more, and external_id and e-mail a second time. */
	buffer_reserve(&reader.memory, len + len / 2 + 1);
	take_body(&reader, body, len);
	if (max_contacts > 0 && (reader.ncontacts == 0 || reader.ncontacts > max_contacts))
		reader.problem = INVALID;

	atomic_init(&batch->references, 1);
	batch->problem = reader.problem;
	batch->ncontacts = reader.ncontacts;
	batch->memory = must_realloc(reader.memory.data, reader.memory.len);
	batch->contacts = must_alloc(reader.ncontacts * sizeof(Contact *));
	for (i = 0; i < reader.ncontacts; i++)
	{
		size_t		offset;

		memcpy(&offset, reader.offsets.data + i * sizeof(offset), sizeof(offset));
		batch->contacts[i] = (Contact *) (batch->memory + offset);
	}
	buffer_free(&reader.offsets);
	return batch;
}

Batch *
batch_retain(Batch *batch)
{
	atomic_fetch_add(&batch->references, 1);
	return batch;
}

void
batch_release(Batch *batch)
{
	if (batch == NULL || atomic_fetch_sub(&batch->references, 1) > 1)
		return;
	free(batch->contacts);
	free(batch->memory);
	free(batch);
}

long
batch_find(const Batch *batch, const regex_t *pattern)
{
	size_t		i;

	for (i = 0; i < batch->ncontacts; i++)
	{
		if (regexec(pattern, contact_external_id(batch->contacts[i]), 0, NULL, 0) == 0)
			return (long) i;
	}
	return -1;
}

void
contact_write_id(Buffer *out, const Contact *contact)
{
	static const char digits[] = "0123456789abcdef";
	char		id[] = "\"contact_0123456789abcdef\"";
	uint64_t	rest = mixed(contact->serial);
	size_t		i;

	for (i = sizeof(id) - 3; id[i] != '_'; i--)
	{
		id[i] = digits[rest & 0xF];
		rest >>= 4;
	}
	buffer_add(out, id, sizeof(id) - 1);
}

void
contact_write(Buffer *out, const Contact *contact)
{
	char		times[80];		/* two numbers of 20 digits and their names */
	int			len;

	buffer_text(out, "{\"id\":");
	contact_write_id(out, contact);
	buffer_text(out, ",");
	buffer_add(out, contact_members(contact), contact->members_len);
	len = snprintf(times, sizeof(times), ",\"created_at\":%" PRId64 ",\"updated_at\":%" PRId64 "}",
				   contact->created_at, contact->updated_at);
	buffer_add(out, times, (size_t) len);
}
