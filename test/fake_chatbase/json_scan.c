/*
 * json_scan.c
 *		Walks over JSON text in place; see json_scan.h for what must not enter.
 */
#include "json_scan.h"

#include <ctype.h>
#include <stdint.h>
#include <string.h>

/* Deeper than what contacts_push can read of an answer; bounds the recursion. */
#define JSON_MAX_DEPTH 2000

/* Names longer than this are none of those that are looked for. */
#define JSON_NAME_ROOM 64

static bool
fail(JsonScan *scan)
{
	scan->failed = true;
	scan->at = scan->end;
	return false;
}

static void
skip_space(JsonScan *scan)
{
	while (scan->at < scan->end &&
		   (*scan->at == ' ' || *scan->at == '\n' || *scan->at == '\t' || *scan->at == '\r'))
		scan->at++;
}

void
json_scan_init(JsonScan *scan, const char *text, size_t len)
{
	memset(scan, 0, sizeof(*scan));
	scan->at = text;
	scan->end = text + len;
}

static bool
is_continuation(unsigned char c)
{
	return (c & 0xC0) == 0x80;
}

/* Bytes of the well-formed UTF-8 sequence at s (RFC 3629, 4), 0 if it is none. */
static size_t
utf8_length(const unsigned char *s, size_t left)
{
	if (s[0] < 0x80)
		return 1;
	if (s[0] < 0xC2 || s[0] > 0xF4 || left < 2 || !is_continuation(s[1]))
		return 0;
	if (s[0] < 0xE0)
		return 2;
	if ((s[0] == 0xE0 && s[1] < 0xA0) || (s[0] == 0xED && s[1] > 0x9F) ||
		(s[0] == 0xF0 && s[1] < 0x90) || (s[0] == 0xF4 && s[1] > 0x8F) ||
		left < 3 || !is_continuation(s[2]))
		return 0;
	if (s[0] < 0xF0)
		return 3;
	return left >= 4 && is_continuation(s[3]) ? 4 : 0;
}

/* Value of four hexadecimal digits at s, -1 if they are not. */
static int
hex4(const char *s, const char *end)
{
	int			value = 0;
	int			i;

	if (end - s < 4)
		return -1;
	for (i = 0; i < 4; i++)
	{
		int			c = (unsigned char) s[i];

		if (!isxdigit(c))
			return -1;
		value = value * 16 + (isdigit(c) ? c - '0' : (c | 0x20) - 'a' + 10);
	}
	return value;
}

/*
 * Reads the escape whose backslash is at s: its code point, and in *len its bytes.
 * -1: not an escape, or half a surrogate pair (there is no UTF-8 for that).
 */
static long
escape_value(const char *s, const char *end, size_t *len)
{
	static const char names[] = "\"\\/bfnrt";
	static const char values[] = "\"\\/\b\f\n\r\t";
	const char *name;
	int			high;
	int			low;

	*len = 2;
	if (end - s < 2 || s[1] == '\0')
		return -1;
	name = strchr(names, s[1]);
	if (name != NULL)
		return values[name - names];
	if (s[1] != 'u' || (high = hex4(s + 2, end)) < 0)
		return -1;
	*len = 6;
	if (high < 0xD800 || high > 0xDFFF)
		return high;
	if (high > 0xDBFF || end - s < 12 || s[6] != '\\' || s[7] != 'u')
		return -1;
	low = hex4(s + 8, end);
	if (low < 0xDC00 || low > 0xDFFF)
		return -1;
	*len = 12;
	return 0x10000 + ((long) (high - 0xD800) << 10) + (low - 0xDC00);
}

static bool
take_string(JsonScan *scan, JsonValue *value)
{
	const char *s = scan->at + 1;
	size_t		len;

	value->kind = JSON_STRING;
	value->text = scan->at;
	value->escaped = false;
	for (;;)
	{
		while (s < scan->end && (unsigned char) *s >= 0x20 &&
			   (unsigned char) *s < 0x80 && *s != '"' && *s != '\\')
			s++;
		if (s >= scan->end || (unsigned char) *s < 0x20)
			return fail(scan);
		if (*s == '"')
			break;
		if (*s == '\\')
		{
			value->escaped = true;
			if (escape_value(s, scan->end, &len) < 0)
				return fail(scan);
		}
		else if ((len = utf8_length((const unsigned char *) s, (size_t) (scan->end - s))) == 0)
			return fail(scan);
		s += len;
	}
	scan->at = s + 1;
	value->len = (size_t) (scan->at - value->text);
	return true;
}

/* Takes one or more digits. */
static bool
take_digits(JsonScan *scan)
{
	const char *start = scan->at;

	while (scan->at < scan->end && isdigit((unsigned char) *scan->at))
		scan->at++;
	return scan->at > start || fail(scan);
}

static bool
take_number(JsonScan *scan)
{
	if (*scan->at == '-')
		scan->at++;
	if (scan->at < scan->end && *scan->at == '0')
		scan->at++;
	else if (!take_digits(scan))
		return false;
	if (scan->at < scan->end && *scan->at == '.')
	{
		scan->at++;
		if (!take_digits(scan))
			return false;
	}
	if (scan->at < scan->end && (*scan->at == 'e' || *scan->at == 'E'))
	{
		scan->at++;
		if (scan->at < scan->end && (*scan->at == '+' || *scan->at == '-'))
			scan->at++;
		return take_digits(scan);
	}
	return true;
}

static bool
take_word(JsonScan *scan, const char *word)
{
	size_t		len = strlen(word);

	if ((size_t) (scan->end - scan->at) < len || memcmp(scan->at, word, len) != 0)
		return fail(scan);
	scan->at += len;
	return true;
}

JsonKind
json_peek(JsonScan *scan)
{
	skip_space(scan);
	if (scan->at >= scan->end)
		return JSON_ABSENT;
	switch (*scan->at)
	{
		case '{':
			return JSON_OBJECT;
		case '[':
			return JSON_ARRAY;
		case '"':
			return JSON_STRING;
		case 't':
		case 'f':
			return JSON_BOOLEAN;
		case 'n':
			return JSON_NULL;
		default:
			return *scan->at == '-' || isdigit((unsigned char) *scan->at) ? JSON_NUMBER : JSON_ABSENT;
	}
}

/* Takes the array or object that comes next, whatever is in it. */
static bool
take_nested(JsonScan *scan, JsonKind kind)
{
	JsonValue	ignored;

	json_enter(scan, kind);
	while (json_next(scan, kind))
	{
		if (kind == JSON_OBJECT && !json_take_name(scan, &ignored))
			return false;
		if (!json_take(scan, &ignored))
			return false;
	}
	return !scan->failed;
}

bool
json_take(JsonScan *scan, JsonValue *value)
{
	bool		taken = false;

	memset(value, 0, sizeof(*value));
	value->kind = json_peek(scan);
	value->text = scan->at;
	switch (value->kind)
	{
		case JSON_ABSENT:
			return fail(scan);
		case JSON_STRING:
			return take_string(scan, value);
		case JSON_NUMBER:
			taken = take_number(scan);
			break;
		case JSON_BOOLEAN:
			taken = take_word(scan, *scan->at == 't' ? "true" : "false");
			break;
		case JSON_NULL:
			taken = take_word(scan, "null");
			break;
		case JSON_OBJECT:
		case JSON_ARRAY:
			taken = take_nested(scan, value->kind);
			break;
	}
	value->len = (size_t) (scan->at - value->text);
	return taken;
}

bool
json_enter(JsonScan *scan, JsonKind kind)
{
	if (json_peek(scan) != kind || scan->depth >= JSON_MAX_DEPTH)
		return fail(scan);
	scan->at++;
	scan->depth++;
	scan->opened = true;
	return true;
}

bool
json_next(JsonScan *scan, JsonKind kind)
{
	bool		first = scan->opened;

	scan->opened = false;
	skip_space(scan);
	if (scan->at >= scan->end)
		return fail(scan);
	if (*scan->at == (kind == JSON_OBJECT ? '}' : ']'))
	{
		scan->at++;
		scan->depth--;
		return false;
	}
	if (first)
		return true;
	if (*scan->at != ',')
		return fail(scan);
	scan->at++;
	return true;
}

bool
json_take_name(JsonScan *scan, JsonValue *name)
{
	if (json_peek(scan) != JSON_STRING)
		return fail(scan);
	if (!take_string(scan, name))
		return false;
	skip_space(scan);
	if (scan->at >= scan->end || *scan->at != ':')
		return fail(scan);
	scan->at++;
	return true;
}

bool
json_finish(JsonScan *scan)
{
	skip_space(scan);
	return !scan->failed && scan->at == scan->end;
}

static size_t
encode_utf8(long point, char *out)
{
	if (point < 0x80)
	{
		out[0] = (char) point;
		return 1;
	}
	if (point < 0x800)
	{
		out[0] = (char) (0xC0 | (point >> 6));
		out[1] = (char) (0x80 | (point & 0x3F));
		return 2;
	}
	if (point < 0x10000)
	{
		out[0] = (char) (0xE0 | (point >> 12));
		out[1] = (char) (0x80 | ((point >> 6) & 0x3F));
		out[2] = (char) (0x80 | (point & 0x3F));
		return 3;
	}
	out[0] = (char) (0xF0 | (point >> 18));
	out[1] = (char) (0x80 | ((point >> 12) & 0x3F));
	out[2] = (char) (0x80 | ((point >> 6) & 0x3F));
	out[3] = (char) (0x80 | (point & 0x3F));
	return 4;
}

size_t
json_decode(const JsonValue *string, char *out)
{
	const char *s = string->text + 1;
	const char *end = string->text + string->len - 1;
	char	   *start = out;

	if (!string->escaped)
	{
		memcpy(out, s, (size_t) (end - s));
		return (size_t) (end - s);
	}
	while (s < end)
	{
		size_t		len = 1;

		if (*s == '\\')
			out += encode_utf8(escape_value(s, end, &len), out);
		else
			*out++ = *s;
		s += len;
	}
	return (size_t) (out - start);
}

bool
json_equals(const JsonValue *string, const char *text)
{
	size_t		len = strlen(text);
	char		decoded[JSON_NAME_ROOM];

	if (!string->escaped)
		return string->len == len + 2 && memcmp(string->text + 1, text, len) == 0;
	if (string->len > sizeof(decoded))
		return false;
	return json_decode(string, decoded) == len && memcmp(decoded, text, len) == 0;
}
