/*
 * patch.c
 *		What an update makes of a contact; see patch.h for what must not enter here.
 */
#include "patch.h"

#include <stdlib.h>

#include "json_scan.h"

#define ATTRIBUTES "custom_attributes"

static const JsonValue no_members = {JSON_OBJECT, false, "{}", 2};

/* The last member of that name; its kind is JSON_ABSENT if there is none. */
static JsonValue
find_member(const JsonValue *object, const char *name)
{
	JsonValue	found = {JSON_ABSENT, false, NULL, 0};
	JsonScan	scan;
	JsonValue	other;
	JsonValue	value;

	json_scan_init(&scan, object->text, object->len);
	json_enter(&scan, JSON_OBJECT);
	while (json_next(&scan, JSON_OBJECT))
	{
		if (!json_take_name(&scan, &other) || !json_take(&scan, &value))
			break;
		if (json_equals(&other, name))
			found = value;
	}
	return found;
}

/* The name decoded, for free(). */
static char *
decode_name(const JsonValue *name)
{
	char	   *text = must_alloc(name->len + 1);

	text[json_decode(name, text)] = '\0';
	return text;
}

static void
write_member(Buffer *out, const JsonValue *name, const JsonValue *value)
{
	buffer_add(out, name->text, name->len);
	buffer_text(out, ":");
	buffer_add(out, value->text, value->len);
	buffer_text(out, ",");
}

static bool write_merged(Buffer *out, const JsonValue *old, const JsonValue *patch, const Config *config);

/*
 * Adds a member as the patch leaves it.  old and patch: its values, either may be absent.
 * False: a null that is refused.
 */
static bool
write_patched(Buffer *out, const JsonValue *name, const char *text, const JsonValue *old,
			  const JsonValue *patch, const Config *config)
{
	if (patch->kind == JSON_NULL && config->nulls == NULL_REFUSED)
		return false;
	if (strcmp(text, ATTRIBUTES) == 0 && patch->kind == JSON_OBJECT)
	{
		bool		good;

		buffer_add(out, name->text, name->len);
		buffer_text(out, ":");
		good = write_merged(out, old->kind == JSON_OBJECT && !config->replaces ? old : &no_members,
							patch, config);
		buffer_text(out, ",");
		return good;
	}
	if (patch->kind == JSON_ABSENT || (patch->kind == JSON_NULL && config->nulls == NULL_IGNORED))
		patch = old;
	if (patch->kind != JSON_ABSENT && (patch->kind != JSON_NULL || patch == old))
		write_member(out, name, patch);
	return true;
}

/* Adds the object with the members of the patch in place of its own. */
static bool
write_merged(Buffer *out, const JsonValue *old, const JsonValue *patch, const Config *config)
{
	const JsonValue *objects[] = {old, patch};
	bool		good = true;
	int			i;

	buffer_text(out, "{");
	for (i = 0; i < 2; i++)
	{
		JsonScan	scan;
		JsonValue	name;
		JsonValue	value;

		json_scan_init(&scan, objects[i]->text, objects[i]->len);
		json_enter(&scan, JSON_OBJECT);
		while (json_next(&scan, JSON_OBJECT) && json_take_name(&scan, &name) && json_take(&scan, &value))
		{
			char	   *text = decode_name(&name);
			JsonValue	in_old = find_member(old, text);
			JsonValue	in_patch = find_member(patch, text);

			/* what both have was written with the old ones */
			if (i == 0 || in_old.kind == JSON_ABSENT)
				good &= write_patched(out, &name, text, &in_old, &in_patch, config);
			free(text);
		}
	}
	buffer_close(out, '}');
	return good;
}

/* The body's data; false: it has none, or is not JSON. */
static bool
read_data(JsonValue *data, const char *body, size_t len)
{
	JsonScan	scan;
	JsonValue	whole;

	json_scan_init(&scan, body, len);
	if (!json_take(&scan, &whole) || !json_finish(&scan) || whole.kind != JSON_OBJECT)
		return false;
	*data = find_member(&whole, "data");
	return data->kind == JSON_OBJECT;
}

bool
patch_contact(Buffer *out, const Contact *contact, const char *body, size_t len, const Config *config)
{
	Buffer		members = {NULL, 0, 0};
	JsonValue	data;
	JsonValue	old;
	bool		good;

	if (!read_data(&data, body, len))
		return false;
	buffer_text(&members, "{");
	buffer_add(&members, contact_members(contact), contact->members_len);
	buffer_text(&members, "}");
	old = (JsonValue) {JSON_OBJECT, false, members.data, members.len};
	buffer_text(out, "{\"users\":[");
	good = write_merged(out, &old, &data, config);
	buffer_text(out, "]}");
	buffer_free(&members);
	return good;
}
