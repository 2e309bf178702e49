/*
 * members.c
 *		Which members contacts have been sent with, so that what goes can be cleared at Chatbase.
 *
 * The numbers are written in the transaction of the first row that uses them.
 */
#include "postgres.h"

#include "compat.h"
#include "contact/contact.h"
#include "lib/stringinfo.h"
#include "store/outbox.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "worker/members.h"

#define ATTRIBUTES "custom_attributes"
#define PREFIX ATTRIBUTES "."

/* A contact has some; whoever has thousands of attributes keeps those that are cleared by hand. */
#define MAX_MEMBERS 1024

/* Has the numbers that a chatbot's members have already. */
static void
load(Chatbot *chatbot)
{
	Datum		value = CStringGetTextDatum(chatbot->id);
	uint64		n;
	MemoryContext old;

	if (chatbot->members)
		return;
	n = outbox_run(OUTBOX_MEMBERS, &value, NULL);
	old = MemoryContextSwitchTo(worker.context);
	chatbot->members = palloc0(MAX_MEMBERS * sizeof(char *));
	for (uint64 i = 0; i < n; i++)
	{
		int			number = outbox_get_int(i, 1);

		if (number < 0 || number >= MAX_MEMBERS)
			continue;
		chatbot->members[number] = outbox_get_text(i, 2);
		chatbot->nmembers = Max(chatbot->nmembers, number + 1);
	}
	chatbot->nmembers_written = chatbot->nmembers;
	MemoryContextSwitchTo(old);
}

/* The number of a name; -1: there is no room for another. */
static int
number_of(Chatbot *chatbot, const char *prefix, const JsonbValue *key)
{
	size_t		length = strlen(prefix);
	const char *name = key->val.string.val;
	int			name_length = key->val.string.len;
	MemoryContext old;

	for (int i = 0; i < chatbot->nmembers; i++)
	{
		const char *member = chatbot->members[i];

		if (member && strlen(member) == length + name_length &&
			memcmp(member, prefix, length) == 0 && memcmp(member + length, name, name_length) == 0)
			return i;
	}
	if (chatbot->nmembers == MAX_MEMBERS)
		return -1;
	old = MemoryContextSwitchTo(worker.context);
	chatbot->members[chatbot->nmembers] = psprintf("%s%.*s", prefix, name_length, name);
	MemoryContextSwitchTo(old);
	return chatbot->nmembers++;
}

/* The bits stand behind the header of a bytea. */
static void
set_bit(StringInfo bits, int number)
{
	int			place = VARHDRSZ + number / 8;

	if (number < 0)
		return;
	while (bits->len <= place)
		appendStringInfoChar(bits, 0);
	bits->data[place] |= 1 << number % 8;
}

static bool
has_bit(const bytea *bits, int number)
{
	return number / 8 < VARSIZE_ANY_EXHDR(bits) &&
		(VARDATA_ANY(bits)[number / 8] & 1 << number % 8) != 0;
}

static void
add_members(Chatbot *chatbot, JsonbContainer *object, const char *prefix, StringInfo bits)
{
	JsonbIterator *iterator = JsonbIteratorInit(object);
	JsonbValue	key;
	JsonbValue	custom;
	JsonbIteratorToken token;

	while ((token = JsonbIteratorNext(&iterator, &key, true)) != WJB_DONE)
	{
		if (token != WJB_KEY)
			continue;
		if (*prefix == '\0' && key.val.string.len == strlen(ATTRIBUTES) &&
			memcmp(key.val.string.val, ATTRIBUTES, strlen(ATTRIBUTES)) == 0)
		{
			if (getKeyJsonValueFromContainer(object, ATTRIBUTES, strlen(ATTRIBUTES), &custom) &&
				custom.type == jbvBinary)
				add_members(chatbot, custom.val.binary.data, PREFIX, bits);
		}
		else if (*prefix || key.val.string.len != strlen("external_id") ||
				 memcmp(key.val.string.val, "external_id", strlen("external_id")) != 0)
			set_bit(bits, number_of(chatbot, prefix, &key));
	}
}

bytea *
members_of(Chatbot *chatbot, JsonbContainer *contact)
{
	StringInfoData bits;

	load(chatbot);
	initStringInfo(&bits);
	appendStringInfoSpaces(&bits, VARHDRSZ);
	add_members(chatbot, contact, "", &bits);
	SET_VARSIZE(bits.data, bits.len);
	return (bytea *) bits.data;
}

/* True if a contact at Chatbase has the member, and not null. */
static bool
is_set(const Reply *reply, int i, const char *member)
{
	const ReplyContact *contact = &reply->contacts[i];

	if (strncmp(member, PREFIX, strlen(PREFIX)) == 0)
	{
		const char *name = contact_to_utf8(member + strlen(PREFIX));

		return name && reply_sets_attribute(reply, i, name);
	}
	if (strcmp(member, "name") == 0)
		return contact->name != NULL;
	if (strcmp(member, "email") == 0)
		return contact->email != NULL;
	if (strcmp(member, "phonenumber") == 0)
		return contact->phonenumber != NULL;
	/* None is an empty array, too. */
	return strcmp(member, "stripe_accounts") == 0 && contact->stripe_accounts &&
		strchr(contact->stripe_accounts, '{') != NULL;
}

bytea *
members_at_chatbase(Chatbot *chatbot, const Reply *reply, int i)
{
	StringInfoData bits;

	load(chatbot);
	initStringInfo(&bits);
	appendStringInfoSpaces(&bits, VARHDRSZ);
	for (int number = 0; number < chatbot->nmembers; number++)
		if (chatbot->members[number] &&
			(reply == NULL || is_set(reply, i, chatbot->members[number])))
			set_bit(&bits, number);
	SET_VARSIZE(bits.data, bits.len);
	return (bytea *) bits.data;
}

bool
members_exceed(const bytea *some, const bytea *others)
{
	for (int number = 0; number < 8 * VARSIZE_ANY_EXHDR(some); number++)
		if (has_bit(some, number) && !has_bit(others, number))
			return true;
	return false;
}

bytea *
members_join(const bytea *one, const bytea *other)
{
	bool		longer = VARSIZE_ANY(one) >= VARSIZE_ANY(other);
	const bytea *more = longer ? one : other;
	const bytea *less = longer ? other : one;
	bytea	   *joined = memcpy(palloc(VARSIZE_ANY(more)), more, VARSIZE_ANY(more));

	for (int i = 0; i < VARSIZE_ANY_EXHDR(less); i++)
		VARDATA_ANY(joined)[i] |= VARDATA_ANY(less)[i];
	return joined;
}

/* Adds the members of an object, and nulls for those with the prefix that have gone. */
static void
push_object(CompatJsonbState *state, Chatbot *chatbot, JsonbContainer *object, const char *prefix,
			const bool *gone)
{
	JsonbIterator *iterator = object ? JsonbIteratorInit(object) : NULL;
	size_t		length = strlen(prefix);
	JsonbValue	key;
	JsonbValue	value = {.type = jbvNull};
	JsonbIteratorToken token;

	compat_push_jsonb(state, WJB_BEGIN_OBJECT, NULL);
	while (iterator && (token = JsonbIteratorNext(&iterator, &key, true)) != WJB_DONE)
	{
		if (token != WJB_KEY)
			continue;
		(void) JsonbIteratorNext(&iterator, &value, true);
		if (*prefix == '\0' && key.val.string.len == strlen(ATTRIBUTES) &&
			memcmp(key.val.string.val, ATTRIBUTES, strlen(ATTRIBUTES)) == 0 && value.type == jbvBinary)
			continue;
		compat_push_jsonb(state, WJB_KEY, &key);
		compat_push_jsonb(state, WJB_VALUE, &value);
	}
	value.type = jbvNull;
	for (int i = 0; i < chatbot->nmembers; i++)
	{
		const char *name = chatbot->members[i];
		bool		is_attribute = name && strncmp(name, PREFIX, strlen(PREFIX)) == 0;

		if (!gone[i] || is_attribute != (*prefix != '\0'))
			continue;
		key.type = jbvString;
		key.val.string.val = unconstify(char *, name) + length;
		key.val.string.len = strlen(name) - length;
		compat_push_jsonb(state, WJB_KEY, &key);
		compat_push_jsonb(state, WJB_VALUE, &value);
	}
}

Jsonb *
members_clear(Chatbot *chatbot, JsonbContainer *contact, const bytea *sent, const bytea *now, char **gone)
{
	bool	   *has_gone;
	StringInfoData names;
	CompatJsonbState state = {0};
	JsonbValue	custom;
	JsonbValue	key = {.type = jbvString};
	bool		has_custom;
	bool		any_attribute = false;

	load(chatbot);
	has_gone = palloc0(MAX_MEMBERS * sizeof(bool));
	initStringInfo(&names);
	for (int i = 0; i < chatbot->nmembers; i++)
	{
		if (chatbot->members[i] == NULL || !has_bit(sent, i) || has_bit(now, i))
			continue;
		has_gone[i] = true;
		any_attribute |= strncmp(chatbot->members[i], PREFIX, strlen(PREFIX)) == 0;
		appendStringInfo(&names, "%s%s", names.len > 0 ? ", " : "", chatbot->members[i]);
	}
	if (names.len == 0)
		return NULL;
	*gone = names.data;
	push_object(&state, chatbot, contact, "", has_gone);
	has_custom = getKeyJsonValueFromContainer(contact, ATTRIBUTES, strlen(ATTRIBUTES), &custom) &&
		custom.type == jbvBinary;
	if (has_custom || any_attribute)
	{
		key.val.string.val = ATTRIBUTES;
		key.val.string.len = strlen(ATTRIBUTES);
		compat_push_jsonb(&state, WJB_KEY, &key);
		push_object(&state, chatbot, has_custom ? custom.val.binary.data : NULL, PREFIX, has_gone);
		compat_push_jsonb(&state, WJB_END_OBJECT, NULL);
	}
	compat_push_jsonb(&state, WJB_END_OBJECT, NULL);
	return JsonbValueToJsonb(state.result);
}

void
members_write(void)
{
	ListCell   *cell;

	foreach(cell, window_chatbots())
	{
		Chatbot    *chatbot = lfirst(cell);

		for (; chatbot->nmembers_written < chatbot->nmembers; chatbot->nmembers_written++)
		{
			Datum		values[3] = {
				CStringGetTextDatum(chatbot->id), Int32GetDatum(chatbot->nmembers_written),
				CStringGetTextDatum(chatbot->members[chatbot->nmembers_written])
			};

			outbox_run(OUTBOX_MEMBER_ADD, values, NULL);
		}
	}
}
