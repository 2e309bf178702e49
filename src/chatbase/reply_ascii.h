/*
 * reply_ascii.h
 *		A JSON text with everything that is not ASCII escaped.
 *
 * A part of reply.c that needs no json-c.
 */
#ifndef CONTACTS_PUSH_REPLY_ASCII_H
#define CONTACTS_PUSH_REPLY_ASCII_H

#include <stdbool.h>
#include <stddef.h>

/*
 * The same JSON text in ASCII, *ascii_len bytes and malloc'd: characters of more than
 * one byte become \u escapes (RFC 8259, 7), which mean the same inside of strings, the
 * only place that JSON has for them.  At most three times as long.  NULL: the text is
 * not UTF-8 (RFC 3629), has a character behind a backslash that no escape begins with,
 * or, as *out_of_memory then tells, out of memory.
 */
extern char *reply_to_ascii(const char *text, size_t len, size_t *ascii_len,
							bool *out_of_memory);

#endif							/* CONTACTS_PUSH_REPLY_ASCII_H */
