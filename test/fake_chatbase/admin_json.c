/*
 * admin_json.c
 *		What the admin side sends; see admin_json.h for what must not enter.
 */
#include "admin_json.h"

#include <limits.h>

#include "buffer.h"

bool
admin_json_read(const char *text, size_t len, struct json_object **document)
{
	struct json_tokener *tokener;
	bool		whole;

	*document = NULL;
	if (len == 0)
	{
		*document = json_object_new_object();
		return true;
	}
	if (len > INT_MAX)
		return false;
	tokener = json_tokener_new();
	if (tokener == NULL)
		return false;
	/* not strict: json-c 0.18 then refuses every character that is not ASCII */
	*document = json_tokener_parse_ex(tokener, text, (int) len);
	whole = json_tokener_get_error(tokener) == json_tokener_success &&
		json_tokener_get_parse_end(tokener) == len;
	json_tokener_free(tokener);
	if (!whole)
	{
		json_object_put(*document);
		*document = NULL;
	}
	return whole;
}

bool
admin_json_long(struct json_object *value, long min, long *result)
{
	if (!json_object_is_type(value, json_type_int))
		return false;
	*result = (long) json_object_get_int64(value);
	return *result >= min;
}

bool
admin_json_text(struct json_object *value, char **result)
{
	if (!json_object_is_type(value, json_type_string))
		return false;
	*result = must_strdup(json_object_get_string(value));
	return true;
}
