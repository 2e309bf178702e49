/*
 * load.c
 *		Making what is sent of a contact's row.
 *
 * Nothing but the row's own memory (and the names of its attributes) is changed in
 * here: this is the part of taking a row up that may fail for one row and not for
 * another.
 */
#include "postgres.h"

#include "access/detoast.h"
#include "catalog/pg_collation.h"
#include "chatbase/reply.h"
#include "common/string.h"
#include "compat.h"
#include "contact/contact.h"
#include "server/settings.h"
#include "server/shared.h"
#include "server/try.h"
#include "store/outbox.h"
#include "utils/formatting.h"
#include "utils/jsonb.h"
#include "worker/load.h"
#include "worker/members.h"

/*
 * A value of jsonb has at most so many times the bytes of its text: [1,1,1] takes 12
 * bytes for each three, and nothing takes more.
 */
#define JSONB_GROWTH 8

/*
 * The text of so small a value is looked at when it is there: with numbers that have a
 * few bytes and 150,000 digits it may have some megabytes, but no more.
 */
#define SMALL_BYTES 1024

static const char *
too_large(void)
{
	return psprintf("it is too large for a request, which has at most %d bytes (contacts_push.max_request_bytes)",
					settings_max_request_bytes);
}

/* Before the value is fetched, and before its text is made: either may be huge. */
static const char *
check(Datum value, const char *external_id, JsonbContainer **contact)
{
	Size		size = toast_raw_datum_size(value);
	const char *why;

	if (size / JSONB_GROWTH > (Size) settings_max_request_bytes)
		return too_large();
	*contact = &DatumGetJsonbP(value)->root;
	why = contact_check(*contact, "", external_id);
	if (why == NULL && size > SMALL_BYTES && !contact_fits(*contact, settings_max_request_bytes))
		why = too_large();
	return why;
}

/* Which members it has, and a null for each that Chatbase has and that it has not. */
static void
note_members(JsonbContainer *contact, NewContact *new)
{
	Jsonb	   *cleared = NULL;
	int			length;

	new->members = members_of(new->chatbot, contact);
	if (new->sent_members == NULL || new->call != CALL_UPDATE)
		return;
	cleared = members_clear(new->chatbot, contact, new->sent_members, new->members, &new->gone);
	if (cleared == NULL)
		return;
	new->cleared = contact_to_json(&cleared->root, new->external_id, &length);
	new->kept = members_join(new->members, new->sent_members);
}

static const char *
load(Datum value, NewContact *new)
{
	JsonbContainer *contact = NULL;
	const char *why = check(value, new->external_id, &contact);
	char	   *email;

	if (why)
		return why;
	new->external_id_utf8 = contact_to_utf8(new->external_id);
	new->json = contact_to_json(contact, new->external_id, &new->length);
	if (new->length + CONTACT_BODY_BYTES > settings_max_request_bytes)
		return too_large();
	if (new->json == NULL || new->external_id_utf8 == NULL)
		return "it has text that cannot be converted to UTF-8";
	/* A level takes two bytes at least. */
	new->illegible = new->length > REPLY_MAX_DEPTH && !reply_can_repeat(new->json);
	email = contact_member(contact, "email");
	if (email)
		new->address[ADDRESS_EMAIL] = pg_is_ascii(email) ? asc_tolower(email, strlen(email)) :
			str_tolower(email, strlen(email), DEFAULT_COLLATION_OID);
	new->address[ADDRESS_PHONE] = contact_phone_digits(contact);
	new->attributes = window_attributes(new->chatbot, contact);
	if (new->chatbot->updates)
		note_members(contact, new);
	return NULL;
}

/* A row that is loaded, and why it cannot be sent. */
typedef struct Loading
{
	Datum		value;
	NewContact *new;
	const char *why;
} Loading;

static void
try_load(void *arg)
{
	Loading    *loading = arg;

	loading->why = load(loading->value, loading->new);
}

const char *
load_contact(Datum value, NewContact *new)
{
	Loading		loading = {value, new};
	char	   *reason;

	shared_enter(OUTBOX_STEP_LOAD, new->seq, new->seq);
	if (!shared_is_suspect(OUTBOX_STEP_LOAD, new->seq, new->seq))
		loading.why = load(value, new);
	else if (!try_run(try_load, &loading, &reason))
		loading.why = psprintf("it could not be read: %s", reason);
	shared_enter(0, 0, 0);
	if (loading.why)
	{
		new->json = NULL;
		new->length = 0;
		new->external_id_utf8 = new->external_id;
	}
	return loading.why;
}
