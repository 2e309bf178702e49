/*
 * attributes.c
 *		The custom attributes that each chatbot's schema has; see attributes.h for what
 *		must not enter.
 */
#include "attributes.h"

#include <ctype.h>
#include <pthread.h>
#include <stdlib.h>

#include "admin_json.h"

typedef struct Attribute
{
	struct Attribute *next;		/* in order of arrival, of all chatbots */
	char	   *chatbot;
	char	   *name;
	struct json_object *object; /* as it is shown */
} Attribute;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static Attribute *attributes;	/* under the lock */

/* Names that a contact's own members have. */
static const char *const reserved[] = {
	"id", "external_id", "name", "email", "phonenumber", "stripe_accounts", "custom_attributes",
	"created_at", "updated_at", NULL
};
static const char *const types[] = {"text", "number", "boolean", "date", NULL};

static bool
is_one_of(const char *text, const char *const *words)
{
	while (*words != NULL && strcmp(*words, text) != 0)
		words++;
	return *words != NULL;
}

static bool
is_name(const char *name, bool snake_only)
{
	const char *p;

	if (!isalpha((unsigned char) *name))
		return false;
	for (p = name; *p != '\0'; p++)
	{
		if (!isalnum((unsigned char) *p) && *p != '_' && (*p != '-' || snake_only))
			return false;
		if (snake_only && isupper((unsigned char) *p))
			return false;
	}
	return true;
}

/* A member that is a string, "" where it is none. */
static const char *
text_of(struct json_object *object, const char *name)
{
	struct json_object *value;

	return json_object_object_get_ex(object, name, &value) && json_object_is_type(value, json_type_string) ?
		json_object_get_string(value) : "";
}

/* The member that keeps the object from being an attribute; NULL: none. */
static const char *
find_culprit(struct json_object *object, bool snake_only)
{
	struct json_object *archived;

	if (!json_object_is_type(object, json_type_object))
		return "";
	if (!is_name(text_of(object, "name"), snake_only) || is_one_of(text_of(object, "name"), reserved))
		return "name";
	if (!is_one_of(text_of(object, "type"), types))
		return "type";
	if (*text_of(object, "label") == '\0')
		return "label";
	if (json_object_object_get_ex(object, "archived", &archived) &&
		!json_object_is_type(archived, json_type_boolean))
		return "archived";
	return NULL;
}

/* The attribute as it is shown: with all members and no others. */
static struct json_object *
shown(struct json_object *object)
{
	static const char *const members[] = {"name", "label", "type", "description"};
	struct json_object *result = json_object_new_object();
	struct json_object *archived = NULL;
	size_t		i;

	for (i = 0; i < sizeof(members) / sizeof(members[0]); i++)
		json_object_object_add(result, members[i], json_object_new_string(text_of(object, members[i])));
	json_object_object_get_ex(object, "archived", &archived);
	json_object_object_add(result, "archived", json_object_new_boolean(json_object_get_boolean(archived)));
	return result;
}

/* Under the lock.  False: the chatbot has one of that name. */
static bool
add(const char *chatbot, struct json_object *object)
{
	Attribute **place;
	Attribute  *attribute;

	for (place = &attributes; *place != NULL; place = &(*place)->next)
	{
		if (strcmp((*place)->chatbot, chatbot) == 0 && strcmp((*place)->name, text_of(object, "name")) == 0)
			return false;
	}
	attribute = must_alloc(sizeof(*attribute));
	attribute->next = NULL;
	attribute->chatbot = must_strdup(chatbot);
	attribute->name = must_strdup(text_of(object, "name"));
	attribute->object = shown(object);
	*place = attribute;
	return true;
}

AttributeOutcome
attributes_add(Buffer *out, const char *chatbot, const char *body, size_t len, bool snake_only)
{
	AttributeOutcome outcome = ATTRIBUTE_INVALID;
	struct json_object *object;
	struct json_object *result;
	const char *culprit;

	if (!admin_json_read(body, len, &object))
		return ATTRIBUTE_INVALID;
	culprit = find_culprit(object, snake_only);
	if (culprit == NULL)
	{
		pthread_mutex_lock(&lock);
		outcome = add(chatbot, object) ? ATTRIBUTE_DONE : ATTRIBUTE_TAKEN;
		pthread_mutex_unlock(&lock);
		result = shown(object);
		buffer_text(out, json_object_to_json_string_ext(result, JSON_C_TO_STRING_PLAIN));
		json_object_put(result);
	}
	else
		buffer_text(out, culprit);
	json_object_put(object);
	return outcome;
}

void
attributes_write(Buffer *out, const char *chatbot)
{
	const Attribute *attribute;

	buffer_text(out, "[");
	pthread_mutex_lock(&lock);
	for (attribute = attributes; attribute != NULL; attribute = attribute->next)
	{
		if (strcmp(attribute->chatbot, chatbot) != 0)
			continue;
		buffer_text(out, json_object_to_json_string_ext(attribute->object, JSON_C_TO_STRING_PLAIN));
		buffer_text(out, ",");
	}
	pthread_mutex_unlock(&lock);
	buffer_close(out, ']');
}

StripList
attributes_strip(const char *chatbot)
{
	StripList	strip = {.others = true};
	const Attribute *attribute;

	pthread_mutex_lock(&lock);
	for (attribute = attributes; attribute != NULL; attribute = attribute->next)
	{
		if (strcmp(attribute->chatbot, chatbot) != 0)
			continue;
		strip.names = must_realloc(strip.names, (strip.n + 1) * sizeof(char *));
		strip.names[strip.n++] = must_strdup(attribute->name);
	}
	pthread_mutex_unlock(&lock);
	return strip;
}

void
attributes_reset(void)
{
	pthread_mutex_lock(&lock);
	while (attributes != NULL)
	{
		Attribute  *next = attributes->next;

		json_object_put(attributes->object);
		free(attributes->chatbot);
		free(attributes->name);
		free(attributes);
		attributes = next;
	}
	pthread_mutex_unlock(&lock);
}
