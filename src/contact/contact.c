/*
 * contact.c
 *		A ContactInput: what the API's schema says of it, and request bodies.
 *
 * Neither SQL nor HTTP may enter.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "common/hashfn.h"
#include "common/string.h"
#include "compat.h"
#include "contact/contact.h"
#include "mb/pg_wchar.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/jsonb.h"

/* First allocation for a contact's text, bytes; the rest is grown. */
#define JSON_SIZE_GUESS 512

void
contact_check_chatbot_id(const char *chatbot_id)
{
	if (*chatbot_id == '\0' || strlen(chatbot_id) > CONTACT_MAX_EXTERNAL_ID ||
		strcmp(chatbot_id, ".") == 0 || strcmp(chatbot_id, "..") == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("chatbot_id must have 1 to %d bytes, and cannot be \".\" or \"..\"",
						CONTACT_MAX_EXTERNAL_ID)));
}

/* Returns a member, or NULL. */
static JsonbValue *
get_member(JsonbContainer *object, const char *name, JsonbValue *value)
{
	return getKeyJsonValueFromContainer(object, name, strlen(name), value);
}

char *
contact_member(JsonbContainer *contact, const char *name)
{
	JsonbValue	value;

	if (!JsonContainerIsObject(contact) ||
		!get_member(contact, name, &value) || value.type != jbvString)
		return NULL;
	return pnstrdup(value.val.string.val, value.val.string.len);
}

char *
contact_phone_digits(JsonbContainer *contact)
{
	char	   *phone = contact_member(contact, "phonenumber");
	int			n = 0;

	if (phone == NULL)
		return NULL;
	for (const char *p = phone; *p; p++)
		if (*p >= '0' && *p <= '9')
			phone[n++] = *p;
	phone[n] = '\0';
	return n > 0 ? phone : NULL;
}

/* Makes "users[3].email" of "users[3]" and "email", and "email" of "" and "email". */
static char *
join_path(const char *path, const char *name)
{
	return *path ? psprintf("%s.%s", path, name) : pstrdup(name);
}

/*
 * The schema says format: email.  Servers differ in what they take for one, and all of them ask
 * for something@something.
 */
static bool
looks_like_email(const JsonbValue *value)
{
	const char *at = memchr(value->val.string.val, '@', value->val.string.len);

	return at && at > value->val.string.val &&
		at < value->val.string.val + value->val.string.len - 1;
}

/* What check_string() asks of a member beside being a string. */
#define REQUIRED 1				/* it is there, and not empty */
#define EMAIL 2					/* its format is e-mail */
#define OR_NULL 4				/* null will do */

static char *
check_string(JsonbContainer *object, const char *path, const char *name, int asked)
{
	JsonbValue	value;

	if (!get_member(object, name, &value))
		return asked & REQUIRED ? psprintf("%s is missing", join_path(path, name)) : NULL;
	if (value.type == jbvNull && (asked & OR_NULL))
		return NULL;
	if (value.type != jbvString)
		return psprintf("%s must be a string%s", join_path(path, name),
						asked & OR_NULL ? ", or null" :
						asked & REQUIRED ? "" : "; leave it out where there is none");
	if ((asked & REQUIRED) && value.val.string.len == 0)
		return psprintf("%s must not be empty", join_path(path, name));
	if ((asked & EMAIL) && !looks_like_email(&value))
		return psprintf("%s must be an e-mail address, something@something",
						join_path(path, name));
	return NULL;
}

static char *
check_stripe_accounts(JsonbContainer *contact, const char *path, int asked)
{
	JsonbValue	accounts;
	char	   *here = join_path(path, "stripe_accounts");
	char	   *why = NULL;

	if (!get_member(contact, "stripe_accounts", &accounts) ||
		(accounts.type == jbvNull && (asked & OR_NULL)))
		return NULL;
	if (accounts.type != jbvBinary || !JsonContainerIsArray(accounts.val.binary.data))
		return psprintf("%s must be an array", here);
	for (uint32 i = 0; why == NULL && i < JsonContainerSize(accounts.val.binary.data); i++)
	{
		JsonbValue *account = getIthJsonbValueFromContainer(accounts.val.binary.data, i);
		char	   *element = psprintf("%s[%u]", here, i);

		if (account->type != jbvBinary || !JsonContainerIsObject(account->val.binary.data))
			return psprintf("%s must be an object with label and stripe_id", element);
		why = check_string(account->val.binary.data, element, "label", REQUIRED);
		if (why == NULL)
			why = check_string(account->val.binary.data, element, "stripe_id", REQUIRED);
		if (why == NULL)
			why = check_string(account->val.binary.data, element, "stripe_email", EMAIL);
	}
	return why;
}

/* What is asked of all members but external_id; asked: OR_NULL, or 0. */
static char *
check_members(JsonbContainer *contact, const char *path, int asked)
{
	JsonbValue	value;
	char	   *why = check_string(contact, path, "name", asked);

	if (why == NULL)
		why = check_string(contact, path, "phonenumber", asked);
	if (why == NULL)
		why = check_string(contact, path, "email", EMAIL | asked);
	if (why == NULL)
		why = check_stripe_accounts(contact, path, asked);
	if (why == NULL && get_member(contact, "custom_attributes", &value) &&
		!(value.type == jbvBinary && JsonContainerIsObject(value.val.binary.data)) &&
		!(value.type == jbvNull && (asked & OR_NULL)))
		why = psprintf("%s must be an object%s", join_path(path, "custom_attributes"),
					   asked & OR_NULL ? ", or null" : "");
	return why;
}

char *
contact_check_changes(JsonbContainer *changes, const char *path)
{
	JsonbValue	value;
	char	   *why = NULL;

	if (!JsonContainerIsObject(changes))
		return psprintf("%s must be an object", path);
	if (JsonContainerSize(changes) == 0)
		return psprintf("%s has no member that could be changed", path);
	if (get_member(changes, "external_id", &value))
		why = check_string(changes, path, "external_id", REQUIRED);
	return why ? why : check_members(changes, path, OR_NULL);
}

char *
contact_check(JsonbContainer *contact, const char *path, const char *external_id)
{
	JsonbValue	value;
	bool		has_id;
	char	   *why = NULL;

	if (!JsonContainerIsObject(contact))
		return psprintf("%s must be an object", *path ? path : "a contact");
	has_id = get_member(contact, "external_id", &value) != NULL;
	if (has_id || external_id == NULL)
		why = check_string(contact, path, "external_id", REQUIRED);
	if (why == NULL && has_id && external_id &&
		(value.val.string.len != strlen(external_id) ||
		 memcmp(value.val.string.val, external_id, value.val.string.len) != 0))
		why = psprintf("%s differs from the external_id of its row", join_path(path, "external_id"));
	return why ? why : check_members(contact, path, 0);
}

/*
 * Converts text of the database's encoding to UTF-8; NULL if it has bytes that are no characters
 * (SQL_ASCII), or characters that Unicode does not have.
 */
static char *
to_utf8(char *text, int length, int *utf8_length)
{
	int			encoding = GetDatabaseEncoding();
	char	   *utf8;
	int			size;
	Oid			conversion;

	*utf8_length = length;
	if (encoding == PG_UTF8 || pg_is_ascii(text))
		return text;
	if (encoding == PG_SQL_ASCII)
		return pg_verify_mbstr(PG_UTF8, text, length, true) ? text : NULL;
	conversion = FindDefaultConversionProc(encoding, PG_UTF8);
	if (!OidIsValid(conversion) || length >= MaxAllocSize / MAX_CONVERSION_GROWTH)
		return NULL;
	size = length * MAX_CONVERSION_GROWTH + 1;
	utf8 = palloc(size);
	if (pg_do_encoding_conversion_buf(conversion, encoding, PG_UTF8,
									  (unsigned char *) text, length,
									  (unsigned char *) utf8, size, true) < length)
		return NULL;
	*utf8_length = strlen(utf8);
	return utf8;
}

char *
contact_to_utf8(const char *text)
{
	int			length;

	return to_utf8(unconstify(char *, text), strlen(text), &length);
}

bool
contact_fits(JsonbContainer *contact, int64 max)
{
	JsonbIterator *iterator = JsonbIteratorInit(contact);
	JsonbValue	value;
	JsonbIteratorToken token;
	int64		bytes = 0;

	while (bytes <= max && (token = JsonbIteratorNext(&iterator, &value, false)) != WJB_DONE)
	{
		/* a bracket, or what stands beside a value */
		bytes++;
		if (token != WJB_KEY && token != WJB_VALUE && token != WJB_ELEM)
			continue;
		if (value.type == jbvString)
			bytes += value.val.string.len;
		else if (value.type == jbvNumeric)
		{
			char	   *number = DatumGetCString(DirectFunctionCall1(numeric_out,
																	 NumericGetDatum(value.val.numeric)));

			bytes += strlen(number);
			pfree(number);
		}
	}
	return bytes <= max;
}

char *
contact_to_json(JsonbContainer *contact, const char *external_id, int *length)
{
	StringInfoData text;
	JsonbValue	value;
	int			brace = -1;		/* where an opening one stands that is not wanted */

	initStringInfo(&text);
	if (external_id && !get_member(contact, "external_id", &value))
	{
		appendStringInfoString(&text, "{\"external_id\": ");
		escape_json(&text, external_id);
		if (JsonContainerSize(contact) > 0)
			appendStringInfoChar(&text, ',');
		brace = text.len;
	}
	JsonbToCString(&text, contact, JSON_SIZE_GUESS);
	if (brace >= 0)
		text.data[brace] = ' ';
	return to_utf8(text.data, text.len, length);
}

void
contact_body_begin(StringInfo body)
{
	appendStringInfoString(body, "{\"users\":[");
}

void
contact_body_add(StringInfo body, const char *json, int length)
{
	if (body->data[body->len - 1] != '[')
		appendStringInfoChar(body, ',');
	appendBinaryStringInfo(body, json, length);
}

void
contact_body_end(StringInfo body)
{
	appendStringInfoString(body, "]}");
}

int64
contact_hash(const char *json, int length)
{
	int64		hash = DatumGetInt64(hash_any_extended((const unsigned char *) json, length, 0));

	return hash ? hash : 1;
}
