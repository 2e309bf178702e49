/*
 * test_reply.c
 *		Whether foreign bytes become a reply, or are refused, as reply.h says.
 *
 * Bodies are handed over in allocations of exactly their length, so that the
 * sanitizer sees a read beyond their end.
 */
#include "chatbase/reply.h"
#include "tap.h"

#include <math.h>
#include <stdlib.h>

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

/* A body of several contacts that has all there is. */
static const char whole[] =
"{\"message\":\"Success\",\"data\":[{\"id\":\"c1\",\"external_id\":\"u1\",\"name\":\"J\\u00f6 \xc3\xa4\","
"\"email\":\"a@b\",\"phonenumber\":\"+1\",\"stripe_accounts\":[{\"label\":\"m\",\"stripe_id\":\"x/y\"}],"
"\"custom_attributes\":{\"a\":1.50,\"b\":null},\"created_at\":1704067200,\"updated_at\":1704153600},"
"null,3,[],{\"id\":\"c2\",\"external_id\":\"u2\",\"created_at\":1704067200250,\"updated_at\":1.5}]}";

/* Parses a copy without a terminator. */
static Reply *
parse_bytes(const char *body, size_t len)
{
	char	   *copy = malloc(len > 0 ? len : 1);
	Reply	   *reply;

	if (copy == NULL)
		exit(2);
	memcpy(copy, body, len);
	reply = reply_parse(copy, len);
	free(copy);
	if (reply == NULL)
		exit(2);
	return reply;
}

static Reply *
parse(const char *body)
{
	return parse_bytes(body, strlen(body));
}

/* A reply that is not JSON has nothing in it. */
static bool
is_refused(const char *body, size_t len)
{
	Reply	   *reply = parse_bytes(body, len);
	bool		refused = !reply->is_json && reply->message == NULL &&
		reply->ncontacts == 0 && !reply->has_list && reply->culprit == -1 &&
		reply->nissues == 0 && reply->total_pages == -1;

	reply_free(reply);
	return refused;
}

static void
test_whole(void)
{
	Reply	   *reply = parse(whole);
	const ReplyContact *first = &reply->contacts[0];
	const ReplyContact *second = &reply->contacts[1];

	ok(reply->is_json, "the page's shape");
	is_str(reply->message, "Success", "message");
	is_int(reply->ncontacts, 2, "elements that are not objects are left out");
	is_str(first->id, "c1", "id");
	is_str(first->external_id, "u1", "external_id");
	is_str(first->name, "J\xc3\xb6 \xc3\xa4", "name");
	is_str(first->email, "a@b", "email");
	is_str(first->phonenumber, "+1", "phonenumber");
	ok(first->has_created_at && first->created_at == 1704067200, "created_at");
	ok(first->has_updated_at && first->updated_at == 1704153600, "updated_at");
	is_str(first->stripe_accounts,
		   "[{\"label\":\"m\",\"stripe_id\":\"x/y\"}]", "stripe_accounts");
	is_str(first->custom_attributes,
		   "{\"a\":1.50,\"b\":null}", "custom_attributes, digits as they came");
	ok(reply_has_attribute(reply, 0, "a") && reply_has_attribute(reply, 0, "b") &&
	   !reply_has_attribute(reply, 0, "c"), "attributes, null ones too");
	is_str(second->external_id, "u2", "second external_id");
	ok(second->name == NULL && second->email == NULL && second->phonenumber == NULL,
	   "absent members");
	ok(second->has_created_at && second->created_at == 1704067200.25, "milliseconds");
	ok(second->has_updated_at && second->updated_at == 1.5, "fractions");
	ok(second->stripe_accounts == NULL && second->custom_attributes == NULL &&
	   !reply_has_attribute(reply, 1, "a"), "absent accounts and attributes");
	ok(!reply_has_attribute(reply, 2, "a") && !reply_has_attribute(reply, -1, "a"),
	   "contacts that are not there");
	reply_free(reply);
	reply_free(NULL);
}

static void
test_shapes(void)
{
	static const struct
	{
		const char *body;
		int			ncontacts;
	}			shapes[] = {
		{"{\"data\":{\"created\":[{\"id\":\"a\"},{\"id\":\"b\"}]}}", 2},
		{"{\"data\":[]}", 0},
		{"{\"data\":{\"created\":[]}}", 0},
		{"{\"data\":[{}]}", 1},
		{"{\"data\":[null]}", 0},
		{"{\"data\":{}}", 0},
		{"{\"data\":{\"created\":{}}}", 0},
		{"{\"data\":null}", 0},
		{"{\"data\":\"[]\"}", 0},
		{"{\"created\":[{}]}", 0},
		{"{}", 0},
		{"{\"data\":[{}],\"data\":{}}", 0},
		{"{\"data\":{\"created\":[{}],\"created\":[{},{}]}}", 2},
		{" \t\r\n{} \t\r\n", 0},
	};

	for (size_t i = 0; i < LENGTH(shapes); i++)
	{
		Reply	   *reply = parse(shapes[i].body);

		ok(reply->is_json && reply->ncontacts == shapes[i].ncontacts, "shape %d", (int) i);
		reply_free(reply);
	}
}

static void
test_refused(void)
{
	static const char *const bodies[] = {
		"", " ", "null", "true", "1", "\"a\"", "[]", "[{}]", "{", "}", "{}{}", "{} x", "{},",
		"{\"a\"}", "{\"a\":}", "{\"a\":1,}", "{a:1}", "{'a':1}", "{\"a\":'b'}", "{\"a\":NaN}",
		"{\"a\":Infinity}", "{\"a\":-Infinity}", "{\"a\":1.}", "{\"a\":.5}", "{\"a\":+5}",
		"{\"a\":01}", "{\"a\":1e}", "{\"a\":-}", "{\"a\":True}", "{\"a\":nul}", "{\"a\":[1,]}",
		"{\"a\":[1 2]}", "{\"a\":/**/1}", "{\"a\":1}//", "{\"a\":\"\\x\"}", "{\"a\":\"\\u12\"}",
		"{\"a\":\"\n\"}", "{\"a\":\"\x01\"}", "{\"a\":\"b}", "<html></html>", "\xef\xbb\xbf{}",
		"{\"a\":1-2}", "{\"a\":1111111111111111111111-2}", "{\"a\":\"\\", "{\"a\":\"\\\xc3\xa4\"}",
	};
	static const char *const not_utf8[] = {
		"\x80", "\xbf", "\xc0\x80", "\xc1\xbf", "\xc3", "\xc3(", "\xe0\x80\x80", "\xe0\x9f\xbf",
		"\xe2\x82", "\xe2(\xa1", "\xed\xa0\x80", "\xed\xbf\xbf", "\xf0\x80\x80\x80",
		"\xf0\x8f\xbf\xbf", "\xf0\x9f\x98", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xfe", "\xff",
	};
	static const char with_nul[] = "{\"a\":1}\0";
	static const char within[] = "{\"a\":\"b\0c\"}";

	for (size_t i = 0; i < LENGTH(bodies); i++)
		ok(is_refused(bodies[i], strlen(bodies[i])), "not a JSON object: %d", (int) i);
	for (size_t i = 0; i < LENGTH(not_utf8); i++)
	{
		char		body[64];
		int			len = snprintf(body, sizeof(body), "{\"message\":\"%s\"}", not_utf8[i]);

		ok(is_refused(body, len), "not UTF-8: %d", (int) i);
		len = snprintf(body, sizeof(body), "{\"message\":\"%s", not_utf8[i]);
		ok(is_refused(body, len), "not UTF-8, and cut: %d", (int) i);
	}
	ok(is_refused(with_nul, sizeof(with_nul) - 1), "a NUL behind");
	ok(is_refused(within, sizeof(within) - 1), "a NUL within a string");
}

/* What UTF-8 can write comes back as it was, in values and in names of members. */
static void
test_utf8(void)
{
	static const char *const texts[] = {
		"\xc2\x80", "\xdf\xbf", "\xe0\xa0\x80", "\xed\x9f\xbf", "\xee\x80\x80", "\xef\xbf\xbf",
		"\xf0\x90\x80\x80", "\xf0\x9f\x98\x80", "\xf4\x8f\xbf\xbf", "a\xe4\xb8\xad\xc3\xa4z",
	};

	for (size_t i = 0; i < LENGTH(texts); i++)
	{
		char		body[256];
		char		attributes[64];
		Reply	   *reply;

		snprintf(body, sizeof(body), "{\"data\":[{\"id\":\"%s\",\"custom_attributes\":{\"%s\":1}}]}",
				 texts[i], texts[i]);
		snprintf(attributes, sizeof(attributes), "{\"%s\":1}", texts[i]);
		reply = parse(body);
		is_str(reply->ncontacts == 1 ? reply->contacts[0].id : NULL, texts[i], "UTF-8 in a value");
		is_str(reply->contacts[0].custom_attributes, attributes,
			   "UTF-8 in the name of a member");
		ok(reply_has_attribute(reply, 0, texts[i]), "and it is found by it");
		reply_free(reply);
	}
}

static void
test_cuts(void)
{
	bool		all = true;

	for (size_t len = 0; len < sizeof(whole) - 1; len++)
	{
		if (!is_refused(whole, len))
		{
			diag("cut to %d bytes", (int) len);
			all = false;
		}
	}
	ok(all, "no part of an object from its start is one");
}

static void
test_types(void)
{
	static const char *const values[] = {"null", "true", "1", "1.5", "\"\\u0000\"", "\"a\\u0000b\"",
	"[]", "{}", "[\"a\"]", "\"2024-01-01T00:00:00Z\"", "-1e999", "1e300", "253402300800000"};
	static const char *const names[] = {"id", "external_id", "name", "email", "phonenumber",
	"created_at", "updated_at", "stripe_accounts", "custom_attributes"};

	for (size_t i = 0; i < LENGTH(values); i++)
	{
		bool		text = strncmp(values[i], "\"2024", 5) == 0;
		bool		number = values[i][0] == '1' && strcmp(values[i], "1e300") != 0;
		bool		time = number || text;
		bool		array = values[i][0] == '[';
		bool		object = values[i][0] == '{';
		char		body[1024] = "{\"data\":[{";
		Reply	   *reply;
		const ReplyContact *contact;

		for (size_t j = 0; j < LENGTH(names); j++)
			sprintf(body + strlen(body), "%s\"%s\":%s", j > 0 ? "," : "", names[j], values[i]);
		strcat(body, "}]}");
		reply = parse(body);
		ok(reply->is_json && reply->ncontacts == 1, "a contact of %s", values[i]);
		contact = &reply->contacts[0];
		ok((contact->id != NULL) == text && (contact->external_id != NULL) == text &&
		   (contact->name != NULL) == text && (contact->email != NULL) == text &&
		   (contact->phonenumber != NULL) == text, "strings of %s", values[i]);
		ok(contact->has_created_at == time && contact->has_updated_at == time,
		   "times of %s", values[i]);
		ok((contact->stripe_accounts != NULL) == array &&
		   (contact->custom_attributes != NULL) == object,
		   "accounts and attributes of %s", values[i]);
		reply_free(reply);
	}
}

/* One time, or NAN if it was not taken. */
static double
time_of(const char *value)
{
	char		body[256];
	Reply	   *reply;
	double		seconds = NAN;

	snprintf(body, sizeof(body), "{\"data\":[{\"created_at\":%s}]}", value);
	reply = parse(body);
	if (reply->ncontacts == 1 && reply->contacts[0].has_created_at)
		seconds = reply->contacts[0].created_at;
	reply_free(reply);
	return seconds;
}

static void
test_times(void)
{
	ok(time_of("0") == 0, "1970");
	ok(time_of("-1") == -1, "before 1970");
	ok(time_of("100000000000") == 1e11, "the largest number that is seconds");
	ok(time_of("100000000001") == 100000000.001, "the smallest that is milliseconds");
	ok(time_of("-200000000000") == -2e8, "milliseconds before 1970");
	ok(time_of("1704067200.75") == 1704067200.75, "a fraction");
	ok(time_of("1.7040672e9") == 1704067200, "an exponent");
	ok(time_of("253402300799000") == 253402300799.0, "the end of the year 9999");
	ok(isnan(time_of("253402300800000")), "and not beyond");
	ok(isnan(time_of("99999999999999999999999999")), "a huge integer");
	ok(isnan(time_of("\"1704067200\"")), "a string");
}

static void
test_times_as_text(void)
{
	static const struct
	{
		const char *text;
		double		seconds;	/* NAN: not taken */
	}			times[] = {
		{"2024-01-01T00:00:00Z", 1704067200},
		{"2024-01-01t00:00:00z", 1704067200},
		{"2024-01-01 00:00:00", 1704067200},
		{"2024-01-01", 1704067200},
		{"2024-01-01T00:00Z", 1704067200},
		{"2024-01-01T00:00:00.75Z", 1704067200.75},
		{"2024-01-01T00:00:00,5", 1704067200.5},
		{"2024-01-01T01:00:00+01:00", 1704067200},
		{"2023-12-31T18:30:00.250-0530", 1704067200.25},
		{"2024-01-01T02+02", NAN},
		{"2024-01-01T02:00:00+02", 1704067200},
		{"2024-01-01T00:00:00-00:00", 1704067200},
		{"2016-12-31T23:59:60Z", 1483228800},
		{"2024-02-29T12:34:56Z", 1709210096},
		{"1970-01-01T00:00:00Z", 0},
		{"1969-12-31T23:59:59.5Z", -0.5},
		{"2000-03-01T00:00:00Z", 951868800},
		{"0001-01-01T00:00:00Z", -62135596800.0},
		{"9999-12-31T23:59:59Z", 253402300799.0},
		{"9999-12-31T23:59:59-01:00", NAN},
		{"0000-01-01T00:00:00Z", NAN},
		{"10000-01-01T00:00:00Z", NAN},
		{"2023-02-29T00:00:00Z", NAN},
		{"1900-02-29T00:00:00Z", NAN},
		{"2024-13-01T00:00:00Z", NAN},
		{"2024-00-01T00:00:00Z", NAN},
		{"2024-04-31T00:00:00Z", NAN},
		{"2024-01-00T00:00:00Z", NAN},
		{"2024-01-01T24:00:00Z", NAN},
		{"2024-01-01T00:60:00Z", NAN},
		{"2024-01-01T00:00:61Z", NAN},
		{"2024-01-01T00:00:00.Z", NAN},
		{"2024-01-01T00:00:00+", NAN},
		{"2024-01-01T00:00:00+1", NAN},
		{"2024-01-01T00:00:00+01:", NAN},
		{"2024-01-01T00:00:00+16:00", NAN},
		{"2024-01-01T00:00:00+01:60", NAN},
		{"2024-01-01T00:00:00Z ", NAN},
		{"2024-01-01T", NAN},
		{"2024-1-1", NAN},
		{"2024-01-01T00:00:00\\u0000Z", NAN},
		{" 2024-01-01", NAN},
		{"yesterday", NAN},
		{"", NAN},
	};

	for (size_t i = 0; i < LENGTH(times); i++)
	{
		char		value[64];
		double		seconds;

		snprintf(value, sizeof(value), "\"%s\"", times[i].text);
		seconds = time_of(value);
		ok(isnan(times[i].seconds) ? isnan(seconds) : seconds == times[i].seconds,
		   "a time as text: '%s'", times[i].text);
	}
}

static void
test_duplicates(void)
{
	Reply	   *reply = parse("{\"message\":\"a\",\"message\":\"b\",\"data\":1,\"data\":"
							  "[{\"id\":\"a\",\"id\":\"b\",\"created_at\":1,\"created_at\":null}]}");

	is_str(reply->message, "b", "the last message");
	ok(reply->ncontacts == 1, "the last data");
	is_str(reply->contacts[0].id, "b", "the last id");
	ok(!reply->contacts[0].has_created_at, "the last time, even if it is none");
	reply_free(reply);
}

static void
test_messages(void)
{
	static const char *const cases[][2] = {
		{"{\"message\":\"a\",\"error\":\"b\"}", "a"},
		{"{\"error\":\"b\"}", "b"},
		{"{\"error\":{\"message\":\"c\",\"code\":1}}", "c"},
		{"{\"message\":null,\"error\":\"b\"}", "b"},
		{"{\"message\":{\"x\":1},\"error\":{\"message\":\"c\"}}", "c"},
		{"{\"message\":\"\"}", ""},
		{"{\"message\":\"a\\u0000b\"}", "a b"},
		{"{\"message\":\"\\u0000\"}", " "},
		{"{\"message\":\"\\u0000\",\"error\":\"b\"}", " "},
		{"{\"error\":{\"message\":\"c\\u0000\\u0000\"}}", "c  "},
		{"{\"error\":{\"message\":1}}", NULL},
		{"{\"error\":{}}", NULL},
		{"{\"error\":[\"message\"]}", NULL},
		{"{}", NULL},
		{"{\"message\":\"\\ud83d\\ude00 \\ud800\"}", "\xf0\x9f\x98\x80 \xef\xbf\xbd"},
	};

	for (size_t i = 0; i < LENGTH(cases); i++)
	{
		Reply	   *reply = parse(cases[i][0]);

		is_str(reply->message, cases[i][1], cases[i][0]);
		reply_free(reply);
	}
}

static void
check_culprit(const char *issues, int expected, const char *name)
{
	char		body[2048];
	Reply	   *reply;

	snprintf(body, sizeof(body), "{\"issues\":%s}", issues);
	reply = parse(body);
	ok(reply->is_json && reply->culprit == expected, "%s: %d", name, reply->culprit);
	reply_free(reply);
}

static void
test_culprits(void)
{
	check_culprit("[{\"field\":\"users[3].email\"}]", 3, "users[i].x");
	check_culprit("[{\"field\":\"users.3.email\"}]", 3, "users.i.x");
	check_culprit("[{\"field\":\"users[3]\"}]", 3, "users[i]");
	check_culprit("[{\"field\":\"users.4\"}]", 4, "users.i");
	check_culprit("[{\"field\":\"users[3][email]\"}]", 3, "users[i][x]");
	check_culprit("[{\"field\":\"users.5[a]\"}]", 5, "users.i[x]");
	check_culprit("[{\"field\":\"users[9].a\"},{\"field\":\"users[2].b\"},{\"field\":\"users.9\"}]",
				  2, "the lowest of several");
	check_culprit("[{\"field\":\"users[9].a\"},{\"field\":\"users[0].b\"}]", 0, "the first user");
	check_culprit("[{\"field\":\"users[999]\"},{\"field\":\"users[1000]\"}]", 999, "the largest");
	check_culprit("[{\"field\":\"users[-1]\"},{\"field\":\"users[99999999999999999999]\"},"
				  "{\"field\":\"users.4294967296\"},{\"field\":\"users[18446744073709551616]\"}]",
				  -1, "absurd indexes");
	check_culprit("[{\"field\":\"users[]\"},{\"field\":\"users.\"},{\"field\":\"users[a]\"},"
				  "{\"field\":\"users[1\"},{\"field\":\"users[1a]\"},{\"field\":\"users.1a\"},"
				  "{\"field\":\"users1\"},{\"field\":\"users\"},{\"field\":\"\"},{\"field\":\"u\"},"
				  "{\"field\":\"users[+1]\"},{\"field\":\"users[ 1]\"},{\"field\":\"xusers[1]\"}]",
				  -1, "nearly indexes");
	check_culprit("[null,1,\"users[1]\",[],{},{\"field\":1},{\"field\":\"users[2]\\u0000\"},"
				  "{\"field\":\"users[7].name\",\"message\":\"x\"}]", 7, "among other things");
	check_culprit("[{\"field\":\"\\u0075sers[8\\u005d\"}]", 8, "with escapes");
	check_culprit("[{\"field\":\"users[1]\"}],\"issues\":[]", -1, "the last issues");
	check_culprit("{\"field\":\"users[1]\"}", -1, "not an array");
	check_culprit("null", -1, "null");
}

static void
test_depth(void)
{
	static char deep[200064];
	char		body[2 * REPLY_MAX_DEPTH + 64];
	int			len;

	for (int levels = REPLY_MAX_DEPTH - 10; levels <= REPLY_MAX_DEPTH + 10; levels++)
	{
		/* the object is a level, and so is the innermost value */
		len = sprintf(body, "{\"a\":");
		memset(body + len, '[', levels);
		body[len + levels] = '1';
		memset(body + len + levels + 1, ']', levels);
		body[len + 2 * levels + 1] = '}';
		len += 2 * levels + 2;
		ok(is_refused(body, len) == (levels + 2 > REPLY_MAX_DEPTH), "%d levels", levels + 2);
	}
	strcpy(deep, "{\"a\":");
	memset(deep + 5, '[', 100000);
	memset(deep + 100005, ']', 100000);
	deep[200005] = '}';
	ok(is_refused(deep, 200006), "100,000 levels");
	ok(is_refused(deep, 100005), "and never closed");
	ok(is_refused(deep + 5, 200000), "arrays only");
	for (int i = 0; i < 20000; i++)
		memcpy(deep + i * 5, "{\"a\":", 5);
	ok(is_refused(deep, 100000), "20,000 objects");
}

/* What is said of fields, as far as it is text. */
static void
test_issues(void)
{
	Reply	   *reply = parse("{\"issues\":[{\"field\":\"a\",\"message\":\"b\\n\"},7,{},{\"field\":1,\"message\":\"c\"}]}");
	char		many[1024] = "{\"issues\":[";

	is_int(reply->nissues, 2, "issues");
	is_str(reply->issues[0].field, "a", "field");
	is_str(reply->issues[0].message, "b\n", "message");
	ok(reply->issues[1].field == NULL, "no field");
	is_str(reply->issues[1].message, "c", "its message");
	reply_free(reply);
	for (int i = 0; i <= REPLY_MAX_ISSUES; i++)
		strcat(many, i > 0 ? ",{\"field\":\"f\"}" : "{\"field\":\"f\"}");
	reply = parse(strcat(many, "]}"));
	ok(reply->is_json && reply->nissues == REPLY_MAX_ISSUES, "the first ones of many");
	reply_free(reply);
	reply = parse("{\"issues\":[{\"field\":\"f\"}],\"issues\":[]}");
	is_int(reply->nissues, 0, "the last of a name counts");
	reply_free(reply);
}

/* A contact alone, and a list of them with its pages. */
static void
test_other_calls(void)
{
	static const struct
	{
		const char *body;
		int			ncontacts;
		bool		has_list;
		int			total_pages;
	}			cases[] = {
		{"{\"data\":{\"id\":\"a\",\"external_id\":\"u\"}}", 1, false, -1},
		{"{\"data\":{\"external_id\":\"u\"}}", 0, false, -1},
		{"{\"data\":{\"id\":\"a\",\"created\":[]}}", 0, true, -1},
		{"{\"data\":{\"id\":\"a\",\"created\":null}}", 0, false, -1},
		{"{\"data\":[],\"data\":{\"id\":\"a\"}}", 1, false, -1},
		{"{\"data\":{\"id\":\"a\"},\"data\":[]}", 0, true, -1},
		{"{\"data\":{\"id\":\"a\"},\"data\":null}", 0, false, -1},
		{"{\"data\":[{\"id\":\"a\"}],\"total\":1,\"pages\":{\"page\":1,\"per_page\":1000,\"total_pages\":1}}", 1, true, 1},
		{"{\"pages\":{\"total_pages\":0},\"data\":[]}", 0, true, 0},
		{"{\"pages\":{\"total_pages\":12345678901234567890}}", 0, false, 2147483647},
		{"{\"pages\":{\"total_pages\":-1}}", 0, false, -1},
		{"{\"pages\":{\"total_pages\":\"3\"}}", 0, false, -1},
		{"{\"pages\":{\"total_pages\":3},\"pages\":{}}", 0, false, -1},
		{"{\"pages\":[3]}", 0, false, -1},
	};

	for (size_t i = 0; i < LENGTH(cases); i++)
	{
		Reply	   *reply = parse(cases[i].body);

		ok(reply->is_json && reply->ncontacts == cases[i].ncontacts && reply->has_list == cases[i].has_list &&
		   reply->total_pages == cases[i].total_pages, cases[i].body);
		reply_free(reply);
	}
}

/* What can be repeated is legible in either shape of an answer. */
static void
test_can_repeat(void)
{
	static char contact[2 * REPLY_MAX_DEPTH + 64];
	static char body[2 * REPLY_MAX_DEPTH + 128];
	bool		all = true;
	int			repeatable = 0;

	ok(reply_can_repeat("{\"a\":\"b{[,\\u00e4\xc3\xa4\",\"c\":[1,-2.5e3,true,null,{}]}"), "a contact");
	for (int levels = REPLY_MAX_DEPTH - 10; levels <= REPLY_MAX_DEPTH + 10; levels++)
	{
		size_t		len = sprintf(contact, "{\"id\":\"c\",\"custom_attributes\":");
		bool		legible;

		memset(contact + len, '[', levels);
		contact[len + levels] = '1';
		memset(contact + len + levels + 1, ']', levels);
		strcpy(contact + len + 2 * levels + 1, "}");
		legible = !is_refused(body, sprintf(body, "{\"data\":{\"created\":[%s]}}", contact));
		if (legible != reply_can_repeat(contact))
			all = false;
		repeatable += legible;
	}
	ok(all && repeatable > 0 && repeatable < 21, "one that nests too deep can't be read in an answer");
}

/* Escapes that an answer may have where it was sent none, and the other way round. */
static void
test_escapes(void)
{
	Reply	   *reply = parse("{\"d\\u0061ta\":[{\"\\u0069d\":\"\\u0061\\/\\n\\ud83d\\ude00\",\"name\":\"\\ud800x\","
							  "\"email\":\"\\\"\\\\\",\"id\\u0000\":\"not it\",\"external_id\":\"\xc3\xa4\\u00e4\","
							  "\"custom_attributes\":{\"\\u00e4\":\"\\ud83d\\ude00\",\"b\":\"\\udc00\\uD800\\ud800\\udc00\","
							  "\"c\":\"\\\\ud800\",\"d\":\"\\u0000\\ud7ff\\ue000\",\"e\":12345678901234567890}}]}");
	const ReplyContact *contact = reply->contacts;

	is_int(reply->ncontacts, 1, "the names of members may have escapes");
	is_str(contact->id, "a/\n\xf0\x9f\x98\x80", "and so may strings");
	is_str(contact->external_id, "\xc3\xa4\xc3\xa4", "beside other characters");
	is_str(contact->name, "\xef\xbf\xbdx", "half of a pair becomes the replacement character");
	is_str(contact->email, "\"\\", "quotes and backslashes");
	is_str(contact->custom_attributes,
		   "{\"\\u00e4\":\"\\ud83d\\ude00\",\"b\":\"\\ufffd\\ufffd\\ud800\\udc00\","
		   "\"c\":\"\\\\ud800\",\"d\":\"\\u0000\\ud7ff\\ue000\",\"e\":12345678901234567890}",
		   "in JSON as well, which else is as it came");
	ok(reply_has_attribute(reply, 0, "\xc3\xa4") && reply_has_attribute(reply, 0, "e") &&
	   !reply_has_attribute(reply, 0, "\\u00e4"), "attributes are found by their names");
	ok(!reply_has_attribute(reply, 0, ""), "one without a name is not there");
	reply_free(reply);
	reply = parse("{\"data\":[{\"custom_attributes\":{\"a\":1,\"\":2}}]}");
	ok(reply_has_attribute(reply, 0, ""), "and here it is");
	reply_free(reply);
}

static void
test_integers(void)
{
	Reply	   *reply = parse("{\"data\":[{\"custom_attributes\":{\"a\":18446744073709551616,"
							  "\"b\":-9223372036854775809,\"c\":9223372036854775807,\"d\":\"99999999999999999999\","
							  "\"e\":[123456789012345678901234567890]}}]}");
	static const char last[] = "{\"a\":123456789012345678901234567890";

	ok(reply->is_json, "integers beyond 64 bits are JSON");
	is_str(reply->contacts[0].custom_attributes,
		   "{\"a\":18446744073709551616,\"b\":-9223372036854775809,"
		   "\"c\":9223372036854775807,\"d\":\"99999999999999999999\","
		   "\"e\":[123456789012345678901234567890]}", "and keep their digits");
	reply_free(reply);
	ok(is_refused(last, sizeof(last) - 1), "cut behind one");
	ok(is_refused("123456789012345678901", 21), "one alone");
}

/* Repeats unit between head and tail until the body has the size. */
static char *
repeat(const char *head, const char *unit, const char *tail, size_t size, size_t *len)
{
	char	   *body = malloc(size + strlen(head) + strlen(unit) + strlen(tail) + 1);
	size_t		unit_len = strlen(unit);

	if (body == NULL)
		exit(2);
	*len = sprintf(body, "%s", head);
	while (*len < size)
	{
		memcpy(body + *len, unit, unit_len);
		*len += unit_len;
	}
	*len += sprintf(body + *len, "%s", tail);
	return body;
}

static void
test_large(void)
{
	static const size_t size = 16 << 20;
	size_t		len;
	char	   *body;
	Reply	   *reply;

	body = repeat("{\"message\":\"", "\\u00e4abc", "\"}", size, &len);
	reply = parse_bytes(body, len);
	ok(reply->is_json && strlen(reply->message) == (len - 14) / 9 * 5, "a message of 16 MB");
	reply_free(reply);
	free(body);

	body = repeat("{\"data\":[{}", ",{\"id\":\"c\",\"external_id\":\"user number one\",\"name\":"
				  "\"0123456789012345678901234567890123456789012345678901234567890123456789"
				  "0123456789012345678901234567890123456789012345678901234567890123456789\"}",
				  "]}", size, &len);
	reply = parse_bytes(body, len);
	ok(reply->is_json && reply->ncontacts > 80000, "contacts of 16 MB");
	is_str(reply->contacts[reply->ncontacts - 1].external_id, "user number one", "to the last");
	reply_free(reply);
	free(body);

	body = repeat("{\"data\":[{}", ",{}", "]}", size, &len);
	ok(is_refused(body, len), "so many that they would take hundreds of megabytes are refused");
	free(body);
	body = repeat("{\"data\":[1", ",1", "]}", size, &len);
	reply = parse_bytes(body, len);
	ok(reply->is_json && reply->ncontacts == 0,
	   "what is no contact takes no memory");
	reply_free(reply);
	free(body);
}

int
main(void)
{
	test_whole();
	test_shapes();
	test_refused();
	test_utf8();
	test_cuts();
	test_types();
	test_times();
	test_times_as_text();
	test_duplicates();
	test_messages();
	test_culprits();
	test_depth();
	test_issues();
	test_other_calls();
	test_can_repeat();
	test_escapes();
	test_integers();
	test_large();
	return done_testing();
}
