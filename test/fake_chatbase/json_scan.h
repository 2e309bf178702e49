/*
 * json_scan.h
 *		Walks over JSON text in place, strictly (RFC 8259, UTF-8).
 *
 * The API's requests are read with this and not with a document tree: a
 * contact is kept and sent back as the bytes it came in, so a tree would only
 * be built to be torn down, and that would make the stand-in the bottleneck
 * of what it measures.  Nothing of contacts enters here.
 *
 * A failure sticks to the scan: everything after it fails too, so callers need
 * to look only once they are through.
 */
#ifndef FAKE_CHATBASE_JSON_SCAN_H
#define FAKE_CHATBASE_JSON_SCAN_H

#include <stdbool.h>
#include <stddef.h>

typedef struct JsonScan
{
	const char *at;
	const char *end;
	int			depth;			/* brackets open */
	bool		failed;			/* not JSON */
	bool		opened;			/* right behind an opening bracket */
} JsonScan;

typedef enum JsonKind
{
	JSON_ABSENT,				/* for those who look for members */
	JSON_OBJECT,
	JSON_ARRAY,
	JSON_STRING,
	JSON_NUMBER,
	JSON_BOOLEAN,
	JSON_NULL
} JsonKind;

/* A whole value; points into the text that is scanned. */
typedef struct JsonValue
{
	JsonKind	kind;
	bool		escaped;		/* a string with a backslash in it */
	const char *text;			/* brackets or quotes included */
	size_t		len;
} JsonValue;

/* The text must outlive the scan and the values it gives. */
extern void json_scan_init(JsonScan *scan, const char *text, size_t len);

/* Kind of the value that comes next, JSON_ABSENT if none does. */
extern JsonKind json_peek(JsonScan *scan);

/* Takes the next value whole.  False: failed. */
extern bool json_take(JsonScan *scan, JsonValue *value);

/*
 * Goes into an array or object, which must come next; then json_next() is true
 * while another element or member follows, and false once, behind the closing
 * bracket (or when the scan has failed).
 */
extern bool json_enter(JsonScan *scan, JsonKind kind);
extern bool json_next(JsonScan *scan, JsonKind kind);

/* Takes a member's name and the colon behind it.  False: failed. */
extern bool json_take_name(JsonScan *scan, JsonValue *name);

/* True if nothing failed and nothing but white space is left. */
extern bool json_finish(JsonScan *scan);

/*
 * The string's characters as UTF-8, at most string->len - 2 bytes, not
 * terminated; returns how many.  For strings that json_take() has accepted.
 */
extern size_t json_decode(const JsonValue *string, char *out);

/* True if the string, decoded, is this text. */
extern bool json_equals(const JsonValue *string, const char *text);

#endif							/* FAKE_CHATBASE_JSON_SCAN_H */
