/*
 * window_tables.h
 *		The hash tables of window.c, which alone includes this.
 */
#ifndef CONTACTS_PUSH_WINDOW_TABLES_H
#define CONTACTS_PUSH_WINDOW_TABLES_H

#include "common/hashfn.h"
#include "worker/window.h"

/* Contacts by seq. */
typedef struct SeqEntry
{
	int64		seq;
	char		status;
	Contact    *contact;
} SeqEntry;

#define SH_PREFIX by_seq
#define SH_ELEMENT_TYPE SeqEntry
#define SH_KEY_TYPE int64
#define SH_KEY seq
#define SH_HASH_KEY(tb, key) murmurhash32((uint32) (key) ^ (uint32) ((key) >> 32))
#define SH_EQUAL(tb, a, b) ((a) == (b))
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

/*
 * Contacts by a text that is theirs within a chatbot: their external_id; or an address,
 * where the first of those that have it stands for all.  An e-mail has an "@" and a phone
 * number here does not, so one table does for both.  The hash is kept with the contact.
 */
typedef struct TextKey
{
	const Chatbot *chatbot;
	const char *text;
	uint64		hash;
} TextKey;

typedef struct TextEntry
{
	TextKey		key;			/* the text is the contact's */
	char		status;
	Contact    *contact;
	Contact    *last;			/* of those that have the address */
} TextEntry;

static inline bool
equal_text_keys(TextKey a, TextKey b)
{
	return a.hash == b.hash && a.chatbot == b.chatbot && strcmp(a.text, b.text) == 0;
}

#define SH_PREFIX by_text
#define SH_ELEMENT_TYPE TextEntry
#define SH_KEY_TYPE TextKey
#define SH_KEY key
#define SH_HASH_KEY(tb, key) ((uint32) (key).hash)
#define SH_EQUAL(tb, a, b) equal_text_keys(a, b)
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

/* Chatbots by id. */
typedef struct ChatbotEntry
{
	const char *id;
	char		status;
	Chatbot    *chatbot;
} ChatbotEntry;

#define SH_PREFIX by_id
#define SH_ELEMENT_TYPE ChatbotEntry
#define SH_KEY_TYPE const char *
#define SH_KEY id
#define SH_HASH_KEY(tb, key) hash_bytes((const unsigned char *) (key), strlen(key))
#define SH_EQUAL(tb, a, b) (strcmp(a, b) == 0)
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

#endif							/* CONTACTS_PUSH_WINDOW_TABLES_H */
