/*
 * key_file.h
 *		The file of API keys.
 */
#ifndef CONTACTS_PUSH_KEY_FILE_H
#define CONTACTS_PUSH_KEY_FILE_H

/*
 * The key that the file has for a chatbot, palloc'd: that of the first line which is for it
 * or for all; NULL: there is none, is_empty says whether there is any line.  False and
 * *why, palloc'd: the file can't be used.
 */
extern bool key_file_find(const char *path, const char *chatbot_id, char **key,
						  bool *is_empty, char **why);

#endif							/* CONTACTS_PUSH_KEY_FILE_H */
