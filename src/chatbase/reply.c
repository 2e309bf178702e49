/*
 * reply.c
 *		The body of an answer of the API, as plain structs.
 *
 * The bytes come from the network, so reply_ascii.c checks their encoding and they
 * are scanned before json-c sees them: json-c lets pass what JSON does not (NaN,
 * single quotes), alters integers that do not fit 64 bits, and needs up to 400
 * bytes of memory for a byte of input.  The scan takes care of these; the
 * grammar is json-c's.
 *
 * The only file that includes json-c.  postgres.h must not enter: nothing here
 * throws, and all memory is malloc'd and freed on every path.
 */
#include "chatbase/reply.h"
#include "chatbase/reply_ascii.h"
#include "chatbase/reply_time.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <json-c/json.h>

/* Levels of an answer around a contact: the document, data, data.created. */
#define LEVELS_AROUND 3

/*
 * Memory that json-c 0.16 takes on a 64-bit machine, allocator included, by the
 * character that makes it necessary: an object has a table of 16 members from
 * the start, an array is shrunk to fit, and each comma stands for a value with
 * its key and its slot.
 */
#define OBJECT_BYTES 832
#define ARRAY_BYTES 128
#define VALUE_BYTES 224

/* 10^18 is the largest power of ten below 2^63: so many digits always fit. */
#define SAFE_DIGITS 18

/* Times above are milliseconds; in seconds it would be the year 5138. */
#define MAX_SECONDS 1e11

/* 9999-12-31 23:59:59, the last moment that ISO 8601 can write. */
#define LAST_TIME 253402300799.0

/* The API page: "max 1000 per request".  No index can be larger. */
#define MAX_USERS 1000

typedef struct Document
{
	Reply		reply;			/* first: what reply_free() is given */
	struct json_object *root;
	struct json_object **elements;	/* of reply.contacts, borrowed from root */
	char	   *message;		/* a copy, where it has a NUL that is not to end it */
} Document;

/* What is known of a body once it has been scanned. */
typedef struct Scan
{
	const unsigned char *at;
	const unsigned char *end;
	size_t		tree_bytes;		/* what its document may take, roughly */
	int			depth;			/* of objects and arrays at hand */
	int			max_depth;		/* of them so far */
	const unsigned char **breaks;	/* ends of integers of many digits */
	size_t		nbreaks;
	size_t		breaks_allocated;
	bool		out_of_memory;
} Scan;

/* Steps over a string, its opening quote at hand. */
static bool
scan_string(Scan *scan)
{
	scan->at++;
	while (scan->at < scan->end)
	{
		unsigned char c = *scan->at;

		scan->at++;
		if (c == '"')
			return true;
		if (c < 0x20)
			return false;
		/* the byte escaped may be a quote; any other is json-c's affair */
		if (c == '\\' && scan->at < scan->end)
			scan->at++;
	}
	return false;
}

static bool
scan_add_break(Scan *scan)
{
	if (scan->nbreaks == scan->breaks_allocated)
	{
		size_t		n = scan->breaks_allocated ? scan->breaks_allocated * 2 : 16;
		const unsigned char **larger = realloc(scan->breaks, n * sizeof(*larger));

		if (larger == NULL)
		{
			scan->out_of_memory = true;
			return false;
		}
		scan->breaks = larger;
		scan->breaks_allocated = n;
	}
	scan->breaks[scan->nbreaks++] = scan->at;
	return true;
}

/* Steps over a number, and notes where it ends if it is a large integer. */
static bool
scan_number(Scan *scan)
{
	int			digits = 0;
	bool		integer = true;

	for (; scan->at < scan->end; scan->at++)
	{
		unsigned char c = *scan->at;

		if (c >= '0' && c <= '9')
		{
			if (digits <= SAFE_DIGITS)
				digits++;
		}
		else if (c == '.' || c == 'e' || c == 'E')
		{
			integer = false;
			/* json-c takes "1." */
			if (c == '.' && (scan->at + 1 == scan->end ||
							 scan->at[1] < '0' || scan->at[1] > '9'))
				return false;
		}
		else if (c != '-' && c != '+')
			break;
	}
	return !integer || digits <= SAFE_DIGITS || scan_add_break(scan);
}

/* Keeps count of the levels. */
static void
scan_level(Scan *scan, unsigned char c)
{
	if ((c == '{' || c == '[') && ++scan->depth > scan->max_depth)
		scan->max_depth = scan->depth;
	else if (c == '}' || c == ']')
		scan->depth--;
}

/* False: certainly not JSON, too large a document, or out of memory. */
static bool
scan_body(Scan *scan)
{
	while (scan->at < scan->end)
	{
		unsigned char c = *scan->at;

		if (c == '"')
		{
			if (!scan_string(scan))
				return false;
			continue;
		}
		if (c == '-' || (c >= '0' && c <= '9'))
		{
			if (!scan_number(scan))
				return false;
			continue;
		}
		if (c == '\0' || strchr(" \t\r\n{}[]:,truefalsn", c) == NULL)
			return false;
		if (c == '{')
			scan->tree_bytes += OBJECT_BYTES;
		else if (c == '[')
			scan->tree_bytes += ARRAY_BYTES;
		else if (c == ',')
			scan->tree_bytes += VALUE_BYTES;
		scan_level(scan, c);
		scan->at++;
	}
	return scan->tree_bytes <= REPLY_MAX_COST;
}

size_t
reply_cost(const char *json, size_t len)
{
	Scan		scan = {0};
	bool		legible;

	scan.at = (const unsigned char *) json;
	scan.end = scan.at + len;
	legible = scan_body(&scan);
	free(scan.breaks);
	/* a value in the innermost one is a level as well */
	if (!legible || scan.max_depth + 1 + LEVELS_AROUND > REPLY_MAX_DEPTH)
		return REPLY_MAX_COST;
	return scan.tree_bytes;
}

/*
 * Gives json-c the body piece by piece, with "e0" behind each large integer:
 * json-c then keeps its digits, where it would clamp (0.16) or refuse (later)
 * the integer.  NULL: not one JSON value and nothing but.
 */
static struct json_object *
parse_pieces(struct json_tokener *tokener, const char *body, size_t len, const Scan *scan)
{
	const char *at = body;
	const char *end = body + len;
	struct json_object *root;

	for (size_t i = 0; i < scan->nbreaks; i++)
	{
		const char *stop = (const char *) scan->breaks[i];

		root = json_tokener_parse_ex(tokener, at, (int) (stop - at));
		if (root == NULL && json_tokener_get_error(tokener) == json_tokener_continue)
			root = json_tokener_parse_ex(tokener, "e0", 2);
		if (root != NULL || json_tokener_get_error(tokener) != json_tokener_continue)
		{
			json_object_put(root);
			return NULL;
		}
		at = stop;
	}

	root = json_tokener_parse_ex(tokener, at, (int) (end - at));
	if (root != NULL && json_tokener_get_parse_end(tokener) != (size_t) (end - at))
	{
		json_object_put(root);
		return NULL;
	}
	return root;
}

/* The document of a body in ASCII, owned by the caller; NULL as parse_object(). */
static struct json_object *
parse_ascii(const char *body, size_t len, bool *out_of_memory)
{
	Scan		scan = {0};
	struct json_tokener *tokener;
	struct json_object *root = NULL;

	scan.at = (const unsigned char *) body;
	scan.end = scan.at + len;
	if (scan_body(&scan))
	{
		tokener = json_tokener_new_ex(REPLY_MAX_DEPTH);
		if (tokener != NULL)
		{
			json_tokener_set_flags(tokener, JSON_TOKENER_STRICT);
			root = parse_pieces(tokener, body, len, &scan);
			json_tokener_free(tokener);
		}
		else
			scan.out_of_memory = true;
	}
	*out_of_memory = scan.out_of_memory;
	free(scan.breaks);
	return root;
}

/*
 * The document, owned by the caller; NULL if the body is not one JSON object or
 * when out of memory, which *out_of_memory tells as far as json-c does.
 */
static struct json_object *
parse_object(const char *body, size_t len, bool *out_of_memory)
{
	struct json_object *root = NULL;
	size_t		ascii_len;
	char	   *ascii = reply_to_ascii(body, len, &ascii_len, out_of_memory);

	/* json-c counts in int */
	if (ascii != NULL && ascii_len > 0 && ascii_len <= INT_MAX)
		root = parse_ascii(ascii, ascii_len, out_of_memory);
	free(ascii);
	if (root != NULL && !json_object_is_type(root, json_type_object))
	{
		json_object_put(root);
		root = NULL;
	}
	return root;
}

/* The text of a string without NUL, borrowed; NULL for anything else. */
static const char *
get_text(struct json_object *value)
{
	const char *text;

	if (!json_object_is_type(value, json_type_string))
		return NULL;
	text = json_object_get_string(value);
	if (text == NULL || strlen(text) != (size_t) json_object_get_string_len(value))
		return NULL;
	return text;
}

/* A time in seconds or milliseconds, or as text; false if it is none. */
static bool
get_time(struct json_object *value, double *seconds)
{
	const char *text = get_text(value);
	double		number;

	if (text != NULL)
		return reply_time_read(text, seconds) && *seconds <= LAST_TIME;
	if (!json_object_is_type(value, json_type_int) &&
		!json_object_is_type(value, json_type_double))
		return false;
	number = json_object_get_double(value);
	if (isfinite(number) && fabs(number) > MAX_SECONDS)
		number /= 1000;
	if (!isfinite(number) || fabs(number) > LAST_TIME)
		return false;
	*seconds = number;
	return true;
}

/* One pass over the members, since a look-up of each would cost more. */
static void
read_contact(ReplyContact *contact, struct json_object *element)
{
	json_object_object_foreach(element, key, value)
	{
		if (strcmp(key, "id") == 0)
			contact->id = get_text(value);
		else if (strcmp(key, "external_id") == 0)
			contact->external_id = get_text(value);
		else if (strcmp(key, "name") == 0)
			contact->name = get_text(value);
		else if (strcmp(key, "email") == 0)
			contact->email = get_text(value);
		else if (strcmp(key, "phonenumber") == 0)
			contact->phonenumber = get_text(value);
		else if (strcmp(key, "created_at") == 0)
			contact->has_created_at = get_time(value, &contact->created_at);
		else if (strcmp(key, "updated_at") == 0)
			contact->has_updated_at = get_time(value, &contact->updated_at);
	}
}

/* False: out of memory. */
static bool
read_contacts(Document *document, struct json_object *array)
{
	Reply	   *reply = &document->reply;
	size_t		n = json_object_array_length(array);

	reply->has_contacts = true;
	if (n == 0)
		return true;
	reply->contacts = calloc(n, sizeof(ReplyContact));
	document->elements = calloc(n, sizeof(struct json_object *));
	if (reply->contacts == NULL || document->elements == NULL)
		return false;
	for (size_t i = 0; i < n; i++)
	{
		struct json_object *element = json_object_array_get_idx(array, i);

		if (!json_object_is_type(element, json_type_object))
			continue;
		document->elements[reply->ncontacts] = element;
		read_contact(&reply->contacts[reply->ncontacts++], element);
	}
	return true;
}

/* The array of contacts, borrowed, wherever it is; NULL if there is none. */
static struct json_object *
find_contacts(struct json_object *data)
{
	struct json_object *created;

	if (json_object_is_type(data, json_type_array))
		return data;
	if (json_object_is_type(data, json_type_object) &&
		json_object_object_get_ex(data, "created", &created) &&
		json_object_is_type(created, json_type_array))
		return created;
	return NULL;
}

/* The string that says what is wrong, borrowed; NULL if there is none. */
static struct json_object *
find_message(struct json_object *root)
{
	struct json_object *value;

	if (json_object_object_get_ex(root, "message", &value) &&
		json_object_is_type(value, json_type_string))
		return value;
	if (!json_object_object_get_ex(root, "error", &value))
		return NULL;
	if (json_object_is_type(value, json_type_object) &&
		!json_object_object_get_ex(value, "message", &value))
		return NULL;
	return json_object_is_type(value, json_type_string) ? value : NULL;
}

/*
 * The message is for people, so that a NUL in it must not hide the rest: it becomes a
 * space.  False: out of memory.
 */
static bool
read_message(Document *document)
{
	struct json_object *value = find_message(document->root);
	size_t		length;

	if (value == NULL)
		return true;
	document->reply.message = get_text(value);
	if (document->reply.message != NULL)
		return true;
	length = json_object_get_string_len(value);
	document->message = malloc(length + 1);
	if (document->message == NULL)
		return false;
	memcpy(document->message, json_object_get_string(value), length + 1);
	for (size_t i = 0; i < length; i++)
	{
		if (document->message[i] == '\0')
			document->message[i] = ' ';
	}
	document->reply.message = document->message;
	return true;
}

/* The index in "users[i]..." or "users.i..."; -1: names no user. */
static int
culprit_index(const char *field)
{
	static const char prefix[] = "users";
	const char *p;
	int			index = 0;
	char		opening;

	if (strncmp(field, prefix, strlen(prefix)) != 0)
		return -1;
	p = field + strlen(prefix);
	opening = *p++;
	if (opening != '[' && opening != '.')
		return -1;
	if (*p < '0' || *p > '9')
		return -1;
	for (; *p >= '0' && *p <= '9'; p++)
	{
		index = index * 10 + (*p - '0');
		if (index >= MAX_USERS)
			return -1;
	}
	if (opening == '[')
		return *p == ']' ? index : -1;
	return *p == '\0' || *p == '.' || *p == '[' ? index : -1;
}

/* False: out of memory. */
static bool
read_culprits(Reply *reply, struct json_object *root)
{
	bool		named[MAX_USERS] = {false};
	struct json_object *issues;
	struct json_object *field;
	int			n = 0;

	if (!json_object_object_get_ex(root, "issues", &issues) ||
		!json_object_is_type(issues, json_type_array))
		return true;
	for (size_t i = 0; i < json_object_array_length(issues); i++)
	{
		struct json_object *issue = json_object_array_get_idx(issues, i);
		const char *text = NULL;
		int			index;

		if (json_object_is_type(issue, json_type_object) &&
			json_object_object_get_ex(issue, "field", &field))
			text = get_text(field);
		index = text ? culprit_index(text) : -1;
		if (index >= 0 && !named[index])
		{
			named[index] = true;
			n++;
		}
	}
	if (n == 0)
		return true;
	reply->culprits = malloc(n * sizeof(int));
	if (reply->culprits == NULL)
		return false;
	for (int i = 0; i < MAX_USERS; i++)
	{
		if (named[i])
			reply->culprits[reply->nculprits++] = i;
	}
	return true;
}

Reply *
reply_parse(const char *body, size_t len)
{
	Document   *document = calloc(1, sizeof(Document));
	struct json_object *data;
	struct json_object *array;
	bool		out_of_memory = false;

	if (document == NULL)
		return NULL;
	document->reply.private = document;
	document->root = parse_object(body, len, &out_of_memory);
	if (document->root != NULL)
	{
		document->reply.is_json = true;
		out_of_memory = !read_message(document);
		if (!out_of_memory && json_object_object_get_ex(document->root, "data", &data) &&
			(array = find_contacts(data)) != NULL)
			out_of_memory = !read_contacts(document, array);
		if (!out_of_memory)
			out_of_memory = !read_culprits(&document->reply, document->root);
	}
	if (out_of_memory)
	{
		reply_free(&document->reply);
		return NULL;
	}
	return &document->reply;
}

void
reply_free(Reply *reply)
{
	Document   *document;

	if (reply == NULL)
		return;
	document = reply->private;
	json_object_put(document->root);
	free(document->elements);
	free(document->message);
	free(reply->contacts);
	free(reply->culprits);
	free(document);
}

/* A member of contact number i, borrowed; NULL if absent or of another type. */
static struct json_object *
contact_member(const Reply *reply, int i, const char *name, json_type type)
{
	const Document *document = reply->private;
	struct json_object *value;

	if (i < 0 || i >= reply->ncontacts ||
		!json_object_object_get_ex(document->elements[i], name, &value) ||
		!json_object_is_type(value, type))
		return NULL;
	return value;
}

const char *
reply_contact_json(const Reply *reply, int i, ReplyField field)
{
	struct json_object *value;

	if (field == REPLY_STRIPE_ACCOUNTS)
		value = contact_member(reply, i, "stripe_accounts", json_type_array);
	else
		value = contact_member(reply, i, "custom_attributes", json_type_object);
	if (value == NULL)
		return NULL;
	return json_object_to_json_string_ext(value, JSON_C_TO_STRING_PLAIN |
										  JSON_C_TO_STRING_NOSLASHESCAPE);
}

bool
reply_has_attribute(const Reply *reply, int i, const char *name)
{
	struct json_object *attributes;

	attributes = contact_member(reply, i, "custom_attributes", json_type_object);
	return attributes != NULL && json_object_object_get_ex(attributes, name, NULL);
}
