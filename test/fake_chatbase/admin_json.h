/*
 * admin_json.h
 *		What the admin side sends, read with json-c.
 *
 * The API's own requests are not read with this, see json_scan.h.
 */
#ifndef FAKE_CHATBASE_ADMIN_JSON_H
#define FAKE_CHATBASE_ADMIN_JSON_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>

/*
 * The document in len bytes, to be given back with json_object_put(); false if
 * that is not what they are.  An empty text is the empty object.
 */
extern bool admin_json_read(const char *text, size_t len, struct json_object **document);

/* The value, if it is a whole number from min to what a long can hold. */
extern bool admin_json_long(struct json_object *value, long min, long *result);

/* A copy of the value for free(), if it is a string. */
extern bool admin_json_text(struct json_object *value, char **result);

#endif							/* FAKE_CHATBASE_ADMIN_JSON_H */
