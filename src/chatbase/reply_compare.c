/*
 * reply_compare.c
 *		Whether a contact at Chatbase is as it was to be.
 *
 * Like reply.c: json-c, no postgres.h, and all memory is freed on every path.
 */
#include "chatbase/reply.h"

#include <string.h>

#include <json-c/json.h>

/* NULL: none, or out of memory. */
static struct json_object *
parse(const char *text)
{
	struct json_tokener *tokener = text ? json_tokener_new_ex(REPLY_MAX_DEPTH) : NULL;
	struct json_object *value;

	if (tokener == NULL)
		return NULL;
	value = json_tokener_parse_ex(tokener, text, (int) strlen(text));
	json_tokener_free(tokener);
	return value;
}

static bool
is_number(struct json_object *value)
{
	return json_object_is_type(value, json_type_int) || json_object_is_type(value, json_type_double);
}

/* 1.0 comes back as 1. */
static bool
are_equal(struct json_object *one, struct json_object *other)
{
	if (is_number(one) && is_number(other) &&
		json_object_get_type(one) != json_object_get_type(other))
		return json_object_get_double(one) == json_object_get_double(other);
	return json_object_equal(one, other);
}

static bool
has_text(const char *there, const char *wanted)
{
	return wanted == NULL || (there && strcmp(there, wanted) == 0);
}

static bool
has_stripe_accounts(const char *there, const char *wanted)
{
	struct json_object *is = parse(there);
	struct json_object *should = parse(wanted);
	bool		same = wanted == NULL ||
		(should && (is ? json_object_equal(is, should) : json_object_array_length(should) == 0));

	json_object_put(is);
	json_object_put(should);
	return same;
}

static bool
is_named(const char *name, const char *const *names, int n)
{
	for (int i = 0; i < n; i++)
		if (strcmp(names[i], name) == 0)
			return true;
	return false;
}

static bool
has_attributes(const char *there, const char *wanted, const char *const *unknown, int n)
{
	struct json_object *is = parse(there);
	struct json_object *should = parse(wanted);
	bool		same = wanted == NULL || should;

	if (should)
	{
		json_object_object_foreach(should, name, value)
		{
			struct json_object *found = NULL;

			if (!(is && json_object_object_get_ex(is, name, &found)))
				same &= value == NULL || is_named(name, unknown, n);
			else
				same &= are_equal(found, value);
		}
	}
	json_object_put(is);
	json_object_put(should);
	return same;
}

bool
reply_has_contact(const Reply *there, int i, const Reply *wanted, const char *const *unknown, int n)
{
	const ReplyContact *is = &there->contacts[i];
	const ReplyContact *should = &wanted->contacts[0];

	return has_text(is->name, should->name) && has_text(is->email, should->email) &&
		has_text(is->phonenumber, should->phonenumber) &&
		has_stripe_accounts(is->stripe_accounts, should->stripe_accounts) &&
		has_attributes(is->custom_attributes, should->custom_attributes, unknown, n);
}
