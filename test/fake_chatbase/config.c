/*
 * config.c
 *		How the API answers; see config.h for what must not enter here.
 */
#include "config.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "admin_json.h"
#include "buffer.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static Config *current;			/* under the lock */

void
strip_free(StripList *strip)
{
	size_t		i;

	for (i = 0; i < strip->n; i++)
		free(strip->names[i]);
	free(strip->names);
	memset(strip, 0, sizeof(*strip));
}

static void
strip_copy(StripList *to, const StripList *from)
{
	size_t		i;

	to->others = from->others;
	to->n = from->n;
	to->names = must_alloc(from->n * sizeof(char *));
	for (i = 0; i < from->n; i++)
		to->names[i] = must_strdup(from->names[i]);
}

/* A copy of what is in force, to be changed; one reference. */
static Config *
config_copy(void)
{
	Config	   *old = config_get();
	Config	   *copy = must_alloc(sizeof(*copy));

	memcpy(copy, old, sizeof(*copy));
	atomic_init(&copy->references, 1);
	copy->retry_after = must_strdup(old->retry_after);
	copy->chatbot_not_found = must_strdup(old->chatbot_not_found);
	copy->contact_not_found = must_strdup(old->contact_not_found);
	strip_copy(&copy->strip, &old->strip);
	config_release(old);
	return copy;
}

static void
put_in_force(Config *config)
{
	Config	   *old;

	pthread_mutex_lock(&lock);
	old = current;
	current = config;
	pthread_mutex_unlock(&lock);
	config_release(old);
}

void
config_start(long limit, long window_ms)
{
	Config	   *config = must_alloc(sizeof(*config));

	memset(config, 0, sizeof(*config));
	atomic_init(&config->references, 1);
	config->limit = limit;
	config->window_ms = window_ms;
	config->retry_after = must_strdup("seconds");
	config->delete_status = 200;
	config->chatbot_not_found = must_strdup("Resource not found");
	config->contact_not_found = must_strdup("Contact not found");
	put_in_force(config);
}

void
config_stop(void)
{
	put_in_force(NULL);
}

Config *
config_get(void)
{
	Config	   *config;

	pthread_mutex_lock(&lock);
	config = current;
	atomic_fetch_add(&config->references, 1);
	pthread_mutex_unlock(&lock);
	return config;
}

void
config_release(Config *config)
{
	if (config == NULL || atomic_fetch_sub(&config->references, 1) > 1)
		return;
	strip_free(&config->strip);
	free(config->retry_after);
	free(config->chatbot_not_found);
	free(config->contact_not_found);
	free(config);
}

/* Index of the string in the list, -1 if it is none of them. */
static int
one_of(struct json_object *value, const char *const *words)
{
	int			i;

	for (i = 0; words[i] != NULL; i++)
	{
		if (json_object_is_type(value, json_type_string) &&
			strcmp(json_object_get_string(value), words[i]) == 0)
			return i;
	}
	return -1;
}

static bool
read_strip(StripList *strip, bool others, struct json_object *value)
{
	size_t		n;
	size_t		i;

	if (!json_object_is_type(value, json_type_array))
		return false;
	strip_free(strip);
	strip->others = others;
	n = json_object_array_length(value);
	strip->names = must_alloc(n * sizeof(char *));
	for (i = 0; i < n; i++)
	{
		if (!admin_json_text(json_object_array_get_idx(value, i), &strip->names[strip->n]))
			return false;
		strip->n++;
	}
	return true;
}

static bool
read_text(char **setting, struct json_object *value)
{
	char	   *text;

	if (!admin_json_text(value, &text))
		return false;
	free(*setting);
	*setting = text;
	return true;
}

/* One of the statuses; false: it is none. */
static bool
read_status(struct json_object *value, const long *statuses, int n, long *setting)
{
	int			i;

	if (!admin_json_long(value, 0, setting))
		return false;
	for (i = 0; i < n; i++)
	{
		if (statuses[i] == *setting)
			return true;
	}
	return false;
}

/* False: no such setting, or not such a value. */
static bool
read_setting(Config *config, const char *name, struct json_object *value)
{
	/* In the order of their values in Config. */
	static const char *const resets[] = {"ms", "s", "none", NULL};
	static const char *const shapes[] = {"array", "created", NULL};
	static const char *const orders[] = {"input", "reverse", NULL};
	static const char *const list_orders[] = {"arrival", "newest", "scattered", NULL};
	static const char *const updates[] = {"merge", "replace", NULL};
	static const char *const nulls[] = {"clear", "ignored", "refused", NULL};
	static const char *const phones[] = {"any", "unique", NULL};
	static const char *const schemas[] = {"ignored", "applied", NULL};
	static const char *const names[] = {"any", "snake", NULL};
	static const long delete_statuses[] = {200, 204};
	static const long other_calls[] = {0, 404, 405, 501};
	int			choice;

	if (strcmp(name, "limit") == 0)
		return admin_json_long(value, 0, &config->limit);
	if (strcmp(name, "window_ms") == 0)
		return admin_json_long(value, 1, &config->window_ms);
	if (strcmp(name, "retry_after") == 0)
		return read_text(&config->retry_after, value);
	if (strcmp(name, "strip_attributes") == 0)
		return read_strip(&config->strip, false, value);
	if (strcmp(name, "known_attributes") == 0)
		return read_strip(&config->strip, true, value);
	if (strcmp(name, "delete_status") == 0)
		return read_status(value, delete_statuses, 2, &config->delete_status);
	if (strcmp(name, "other_calls") == 0)
		return read_status(value, other_calls, 4, &config->other_calls);
	if (strcmp(name, "chatbot_not_found") == 0)
		return read_text(&config->chatbot_not_found, value);
	if (strcmp(name, "contact_not_found") == 0)
		return read_text(&config->contact_not_found, value);
	if (strcmp(name, "reset") == 0 && (choice = one_of(value, resets)) >= 0)
		config->reset = (ResetStyle) choice;
	else if (strcmp(name, "shape") == 0 && (choice = one_of(value, shapes)) >= 0)
		config->nested = choice == 1;
	else if (strcmp(name, "order") == 0 && (choice = one_of(value, orders)) >= 0)
		config->reversed = choice == 1;
	else if (strcmp(name, "list_order") == 0 && (choice = one_of(value, list_orders)) >= 0)
		config->list_order = (ListOrder) choice;
	else if (strcmp(name, "attributes") == 0 && (choice = one_of(value, updates)) >= 0)
		config->replaces = choice == 1;
	else if (strcmp(name, "nulls") == 0 && (choice = one_of(value, nulls)) >= 0)
		config->nulls = (NullStyle) choice;
	else if (strcmp(name, "phonenumbers") == 0 && (choice = one_of(value, phones)) >= 0)
		config->unique_phones = choice == 1;
	else if (strcmp(name, "schema") == 0 && (choice = one_of(value, schemas)) >= 0)
		config->by_schema = choice == 1;
	else if (strcmp(name, "attribute_names") == 0 && (choice = one_of(value, names)) >= 0)
		config->snake_names = choice == 1;
	else
		return false;
	return true;
}

const char *
config_change(const char *text, size_t len)
{
	struct json_object *document;
	Config	   *config;
	bool		good;

	if (!admin_json_read(text, len, &document))
		return "not JSON";
	good = json_object_is_type(document, json_type_object);
	config = config_copy();
	if (good)
	{
		json_object_object_foreach(document, name, value)
			good = good && read_setting(config, name, value);
	}
	json_object_put(document);
	if (good)
		put_in_force(config);
	else
		config_release(config);
	return good ? NULL : "an unknown setting, or a value that it cannot have";
}
