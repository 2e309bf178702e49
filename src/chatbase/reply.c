/*
 * reply.c
 *		The body of an answer of the API, as plain structs.
 *
 * The bytes come from the network, and most of them are read by nobody: the worker
 * wants to know of a thousand contacts which ids they have.  So no document is made
 * of them.  One pass over a copy checks that it is JSON (RFC 8259) in UTF-8, and notes
 * where the members are that somebody may want; these are terminated where they are.
 * json-c decodes strings that have escapes in them.
 *
 * Only this file and reply_compare.c include json-c.  postgres.h must not enter: nothing here
 * throws, and all memory is malloc'd and freed on every path.
 */
#include "chatbase/reply.h"
#include "chatbase/reply_time.h"
#include "chatbase/reply_token.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <json-c/json.h>

#define LENGTH(array) ((int) (sizeof(array) / sizeof((array)[0])))

/* Levels of an answer around a contact: the document, data, data.created. */
#define LEVELS_AROUND 3

/* Times above are milliseconds; in seconds it would be the year 5138. */
#define MAX_SECONDS 1e11

/* 9999-12-31 23:59:59, the last moment that ISO 8601 can write. */
#define LAST_TIME 253402300799.0

/* The API page: "max 1000 per request".  No index can be larger. */
#define MAX_USERS 1000

/* No request has a hundredth of it.  What is read of a contact takes memory, too. */
#define MAX_CONTACTS (100 * 1000)

typedef struct Document
{
	Reply		reply;			/* first: what reply_free() is given */
	char	   *text;			/* the body, to which all strings point */
	int			room;			/* for contacts */
	bool		out_of_memory;
} Document;

/* A place in JSON text, which has a NUL at its end. */
typedef struct Scan
{
	char	   *at;
	int			depth;
	bool		escaped;		/* the last string has a backslash */
	Document   *document;
} Scan;

/* The text of a value; text is NULL if there is none. */
typedef struct Value
{
	char	   *text;
	size_t		len;
} Value;

/* Each scan_ steps over what is at hand.  False: it is not what it should be. */
typedef bool (*ScanFunction) (Scan *scan);

/* A member that is looked for in an object. */
typedef struct Member
{
	const char *name;
	ScanFunction scan;			/* for its value; NULL: scan_value() */
	Value		value;			/* of the last one of the name */
} Member;

static bool scan_value(Scan *scan);
static bool scan_contacts(Scan *scan);

static void
skip_space(Scan *scan)
{
	scan->at = reply_skip_space(scan->at);
}

/* Goes on behind a token; NULL: there was none. */
static bool
scan_token(Scan *scan, char *behind)
{
	if (behind == NULL)
		return false;
	scan->at = behind;
	return true;
}

/* A value that lies a level deeper; function NULL: scan_value(). */
static bool
scan_nested(Scan *scan, ScanFunction function)
{
	bool		done;

	if (++scan->depth > REPLY_MAX_DEPTH)
		return false;
	done = function ? function(scan) : scan_value(scan);
	scan->depth--;
	return done;
}

/* What is between two values and behind the last one; *last tells which. */
static bool
scan_separator(Scan *scan, char closing, bool *last)
{
	skip_space(scan);
	*last = *scan->at == closing;
	if (!*last && *scan->at != ',')
		return false;
	scan->at++;
	if (!*last)
		skip_space(scan);
	return true;
}

/* What opens an array or an object; *empty tells whether it is closed at once. */
static void
scan_opening(Scan *scan, char closing, bool *empty)
{
	scan->at++;
	skip_space(scan);
	*empty = *scan->at == closing;
	if (*empty)
		scan->at++;
}

/* element: for its elements; NULL: scan_value(). */
static bool
scan_array(Scan *scan, ScanFunction element)
{
	bool		last;

	scan_opening(scan, ']', &last);
	while (!last)
	{
		if (!scan_nested(scan, element) || !scan_separator(scan, ']', &last))
			return false;
	}
	return true;
}

/*
 * A string that has been scanned, decoded by json-c: then it need not be strict, which
 * one version (0.18, which Debian 13 has) takes for "refuse all that is not ASCII".
 * NULL when out of memory.
 */
static struct json_object *
decode(const char *text, size_t len)
{
	struct json_tokener *tokener = json_tokener_new();
	struct json_object *string;

	if (tokener == NULL)
		return NULL;
	string = json_tokener_parse_ex(tokener, text, (int) len);
	json_tokener_free(tokener);
	return string;
}

/* The member that has the name that was just scanned; NULL: none of these. */
static Member *
find_member(const Scan *scan, const char *name, Member *members, int n)
{
	struct json_object *decoded = NULL;
	size_t		len = scan->at - name - 2;
	Member	   *found = NULL;

	if (n > 0 && scan->escaped && (decoded = decode(name, len + 2)) != NULL)
	{
		name = json_object_get_string(decoded);
		len = json_object_get_string_len(decoded);
	}
	else
		name++;
	for (int i = 0; i < n && !found; i++)
	{
		if ((len == 0 || *members[i].name == *name) && strlen(members[i].name) == len &&
			memcmp(members[i].name, name, len) == 0)
			found = &members[i];
	}
	json_object_put(decoded);
	return found;
}

/* Notes the values of those of its members that are among the n given. */
static bool
scan_object(Scan *scan, Member *members, int n)
{
	bool		last;

	scan_opening(scan, '}', &last);
	while (!last)
	{
		char	   *name = scan->at;
		Member	   *member;
		char	   *value;

		if (!scan_token(scan, reply_skip_string(scan->at, &scan->escaped)))
			return false;
		member = find_member(scan, name, members, n);
		skip_space(scan);
		if (*scan->at++ != ':')
			return false;
		skip_space(scan);
		value = scan->at;
		if (!scan_nested(scan, member ? member->scan : NULL))
			return false;
		if (member)
			member->value = (Value) {value, scan->at - value};
		if (!scan_separator(scan, '}', &last))
			return false;
	}
	return true;
}

static bool
scan_value(Scan *scan)
{
	switch (*scan->at)
	{
		case '{':
			return scan_object(scan, NULL, 0);
		case '[':
			return scan_array(scan, NULL);
		case '"':
			return scan_token(scan, reply_skip_string(scan->at, &scan->escaped));
		case 't':
			return scan_token(scan, reply_skip_word(scan->at, "true"));
		case 'f':
			return scan_token(scan, reply_skip_word(scan->at, "false"));
		case 'n':
			return scan_token(scan, reply_skip_word(scan->at, "null"));
		default:
			return scan_token(scan, reply_skip_number(scan->at));
	}
}

/*
 * The string that a value is, decoded and terminated where it is; NULL for anything
 * else.  What a NUL in it becomes is nul; if that is NUL, such a string is none.
 */
static const char *
get_text(Value value, char nul)
{
	struct json_object *decoded;
	char	   *text;
	size_t		len;

	if (value.text == NULL || *value.text != '"')
		return NULL;
	text = value.text + 1;
	len = value.len - 2;
	if (memchr(text, '\\', len))
	{
		decoded = decode(value.text, value.len);
		if (decoded == NULL)
			return NULL;
		/* never longer than with its escapes */
		len = json_object_get_string_len(decoded);
		memcpy(text, json_object_get_string(decoded), len);
		json_object_put(decoded);
		for (char *p = text; (p = memchr(p, '\0', text + len - p)) != NULL; *p = nul)
		{
			if (nul == '\0')
				return NULL;
		}
	}
	text[len] = '\0';
	return text;
}

/* The JSON text of a value that begins so, terminated where it is; NULL for others. */
static const char *
get_json(Value value, char opening)
{
	if (value.text == NULL || *value.text != opening)
		return NULL;
	value.text[value.len] = '\0';
	reply_mend_surrogates(value.text);
	return value.text;
}

/* A time in seconds or milliseconds, or as text; false if it is none. */
static bool
get_time(Value value, double *seconds)
{
	const char *text = get_text(value, '\0');
	double		number;

	if (text != NULL)
		return reply_time_read(text, seconds) && *seconds <= LAST_TIME;
	if (value.text == NULL || (*value.text != '-' && (*value.text < '0' || *value.text > '9')))
		return false;
	number = strtod(value.text, NULL);
	if (isfinite(number) && fabs(number) > MAX_SECONDS)
		number /= 1000;
	if (!isfinite(number) || fabs(number) > LAST_TIME)
		return false;
	*seconds = number;
	return true;
}

/* Room for one more contact, zeroed; NULL: none. */
static ReplyContact *
add_contact(Document *document)
{
	Reply	   *reply = &document->reply;

	if (reply->ncontacts == MAX_CONTACTS)
		return NULL;
	if (reply->ncontacts == document->room)
	{
		int			room = document->room ? document->room * 2 : 16;
		ReplyContact *larger = realloc(reply->contacts, room * sizeof(ReplyContact));

		if (larger == NULL)
		{
			document->out_of_memory = true;
			return NULL;
		}
		reply->contacts = larger;
		document->room = room;
	}
	return memset(&reply->contacts[reply->ncontacts++], 0, sizeof(ReplyContact));
}

/* An object that is a contact, or one that has all of them as "created" if it is the data. */
static bool
scan_contact_object(Scan *scan, bool is_data)
{
	Member		members[] = {
		{.name = "id"}, {.name = "external_id"}, {.name = "name"}, {.name = "email"},
		{.name = "phonenumber"}, {.name = "stripe_accounts"}, {.name = "custom_attributes"}, {.name = "created_at"}, {.name = "updated_at"},
		{.name = "created",.scan = scan_contacts}
	};
	ReplyContact *contact;

	if (!scan_object(scan, members, LENGTH(members) - !is_data))
		return false;
	if (is_data && (members[9].value.text || !members[0].value.text))
		return true;
	contact = add_contact(scan->document);
	if (contact == NULL)
		return false;
	contact->id = get_text(members[0].value, '\0');
	contact->external_id = get_text(members[1].value, '\0');
	contact->name = get_text(members[2].value, '\0');
	contact->email = get_text(members[3].value, '\0');
	contact->phonenumber = get_text(members[4].value, '\0');
	contact->stripe_accounts = get_json(members[5].value, '[');
	contact->custom_attributes = get_json(members[6].value, '{');
	contact->has_created_at = get_time(members[7].value, &contact->created_at);
	contact->has_updated_at = get_time(members[8].value, &contact->updated_at);
	return true;
}

/* An element of the contacts, which is one if it is an object. */
static bool
scan_contact(Scan *scan)
{
	return *scan->at == '{' ? scan_contact_object(scan, false) : scan_value(scan);
}

static bool
scan_contacts(Scan *scan)
{
	scan->document->reply.ncontacts = 0;
	scan->document->reply.has_list = *scan->at == '[';
	return *scan->at == '[' ? scan_array(scan, scan_contact) : scan_value(scan);
}

/* data is the array of contacts, an object that has it, or a contact. */
static bool
scan_data(Scan *scan)
{
	if (*scan->at != '{')
		return scan_contacts(scan);
	scan->document->reply.ncontacts = 0;
	scan->document->reply.has_list = false;
	return scan_contact_object(scan, true);
}

static bool
scan_pages(Scan *scan)
{
	Member		total = {.name = "total_pages"};
	double		number = -1;

	if (*scan->at != '{')
		return scan_value(scan);
	if (!scan_object(scan, &total, 1))
		return false;
	if (total.value.text && *total.value.text >= '0' && *total.value.text <= '9')
		number = strtod(total.value.text, NULL);
	scan->document->reply.total_pages = number < INT_MAX ? (int) number : INT_MAX;
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

static bool
scan_issue(Scan *scan)
{
	Reply	   *reply = &scan->document->reply;
	Member		members[] = {{.name = "field"}, {.name = "message"}};
	ReplyIssue	issue;
	int			index;

	if (*scan->at != '{')
		return scan_value(scan);
	if (!scan_object(scan, members, LENGTH(members)))
		return false;
	issue.field = get_text(members[0].value, '\0');
	issue.message = get_text(members[1].value, ' ');
	if ((issue.field || issue.message) && reply->nissues < REPLY_MAX_ISSUES)
		reply->issues[reply->nissues++] = issue;
	index = issue.field ? culprit_index(issue.field) : -1;
	if (index >= 0 && (reply->culprit < 0 || index < reply->culprit))
		reply->culprit = index;
	return true;
}

static bool
scan_issues(Scan *scan)
{
	scan->document->reply.culprit = -1;
	scan->document->reply.nissues = 0;
	return *scan->at == '[' ? scan_array(scan, scan_issue) : scan_value(scan);
}

/* What "error" says, which is a string or has a "message". */
static const char *
get_error(Value value)
{
	Scan		scan = {.at = value.text};
	Member		message = {.name = "message"};

	if (value.text == NULL || *value.text != '{')
		return get_text(value, ' ');
	(void) scan_object(&scan, &message, 1);
	return get_text(message.value, ' ');
}

/* The whole body.  False: it is not a JSON object and nothing but. */
static bool
scan_body(Scan *scan)
{
	Member		members[] = {
		{.name = "message"}, {.name = "error"}, {.name = "data",.scan = scan_data}, {.name = "issues",.scan = scan_issues},
		{.name = "pages",.scan = scan_pages}
	};
	Reply	   *reply = &scan->document->reply;

	scan->depth = 1;
	skip_space(scan);
	if (*scan->at != '{' || !scan_object(scan, members, LENGTH(members)))
		return false;
	skip_space(scan);
	reply->message = get_text(members[0].value, ' ');
	if (reply->message == NULL)
		reply->message = get_error(members[1].value);
	return true;
}

Reply *
reply_parse(const char *body, size_t len)
{
	Document   *document = calloc(1, sizeof(Document));
	Scan		scan = {.document = document};
	Reply	   *reply = &document->reply;

	if (document == NULL)
		return NULL;
	reply->private = document;
	reply->culprit = reply->total_pages = -1;
	document->text = scan.at = malloc(len + 1);
	if (document->text == NULL)
	{
		reply_free(reply);
		return NULL;
	}
	memcpy(document->text, body, len);
	document->text[len] = '\0';
	/* json-c counts in int */
	reply->is_json = len <= INT_MAX && scan_body(&scan) && scan.at == document->text + len;
	if (document->out_of_memory)
	{
		reply_free(reply);
		return NULL;
	}
	if (!reply->is_json)
	{
		reply->message = NULL;
		reply->has_list = false;
		reply->ncontacts = reply->nissues = 0;
		reply->culprit = reply->total_pages = -1;
	}
	return reply;
}

void
reply_free(Reply *reply)
{
	Document   *document;

	if (reply == NULL)
		return;
	document = reply->private;
	free(reply->contacts);
	free(document->text);
	free(document);
}

/* The value of an attribute of contact i; NULL: there is none. */
static const char *
find_attribute(const Reply *reply, int i, const char *name)
{
	Scan		scan = {0};
	Member		member = {.name = name};

	if (i < 0 || i >= reply->ncontacts || reply->contacts[i].custom_attributes == NULL)
		return NULL;
	scan.at = (char *) reply->contacts[i].custom_attributes;
	return scan_object(&scan, &member, 1) ? member.value.text : NULL;
}

bool
reply_has_attribute(const Reply *reply, int i, const char *name)
{
	return find_attribute(reply, i, name) != NULL;
}

bool
reply_sets_attribute(const Reply *reply, int i, const char *name)
{
	const char *value = find_attribute(reply, i, name);

	return value && *value != 'n';
}

bool
reply_can_repeat(const char *json)
{
	/* nothing is written where nothing is looked for */
	Scan		scan = {.at = (char *) json,.depth = LEVELS_AROUND};

	return scan_nested(&scan, NULL);
}
