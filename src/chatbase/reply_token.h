/*
 * reply_token.h
 *		The tokens of JSON text.
 *
 * A part of reply.c that needs no json-c.  The text has a NUL at its end, which is
 * part of no token.
 */
#ifndef CONTACTS_PUSH_REPLY_TOKEN_H
#define CONTACTS_PUSH_REPLY_TOKEN_H

#include <stdbool.h>

extern char *reply_skip_space(char *at);

/*
 * Each returns what is behind the token that is at hand, NULL if there is none as RFC
 * 8259 has it.  A string is UTF-8 (RFC 3629); *escaped tells whether it has a backslash.
 */
extern char *reply_skip_string(char *at, bool *escaped);
extern char *reply_skip_number(char *at);
extern char *reply_skip_word(char *at, const char *word);

/*
 * Replaces each \u escape in the text that is half of a surrogate pair without the other
 * half by that of the replacement character.
 */
extern void reply_mend_surrogates(char *json);

#endif							/* CONTACTS_PUSH_REPLY_TOKEN_H */
