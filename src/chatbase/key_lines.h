/*
 * key_lines.h
 *		The lines of a file of API keys.
 *
 * Plain C.  A line is "chatbot_id:key", or "*:key" or "key" for all chatbots; in a chatbot_id \:
 * and \\ stand for : and \ as in .pgpass.  Blanks around a line, empty lines and those that begin
 * with # say nothing.
 */
#ifndef CONTACTS_PUSH_KEY_LINES_H
#define CONTACTS_PUSH_KEY_LINES_H

#include <stdbool.h>

typedef struct KeyLine
{
	const char *chatbot_id;		/* NULL: for all */
	const char *key;
} KeyLine;

/*
 * Takes the next line off *rest, a text that is taken apart in place and must live as long as
 * what is got from it; NULL at its end.  False: no line is left.
 */
extern bool key_lines_next(char **rest, KeyLine *line);

#endif							/* CONTACTS_PUSH_KEY_LINES_H */
