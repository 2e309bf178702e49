/*
 * buffer.h
 *		A growing run of bytes, and memory that never comes back NULL.
 *
 * The stand-in is a test's tool: out of memory it says so and exits, so that no
 * other file needs a path for it.  Nothing of HTTP or of contacts enters here.
 */
#ifndef FAKE_CHATBASE_BUFFER_H
#define FAKE_CHATBASE_BUFFER_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

/* All zero is an empty buffer; data is NULL until something is added. */
typedef struct Buffer
{
	char	   *data;
	size_t		len;			/* bytes in use */
	size_t		size;			/* bytes allocated */
} Buffer;

/* malloc, realloc and strdup that end the program instead of returning NULL. */
extern void *must_alloc(size_t size);
extern void *must_realloc(void *old, size_t size);
extern char *must_strdup(const char *text);

/* Makes room for at least more further bytes. */
extern void buffer_reserve(Buffer *buffer, size_t more);

extern void buffer_printf(Buffer *buffer, const char *format,...)
			__attribute__((format(printf, 2, 3)));

/* A JSON string with its quotes; text is UTF-8 and may hold NULs. */
extern void buffer_json(Buffer *buffer, const char *text, size_t len);

/* Ends the list that was written as "item," each: no comma before the bracket. */
extern void buffer_close(Buffer *buffer, char bracket);

/* Frees what it holds and makes it empty. */
extern void buffer_free(Buffer *buffer);

static inline void
buffer_add(Buffer *buffer, const void *data, size_t len)
{
	if (buffer->size - buffer->len < len)
		buffer_reserve(buffer, len);
	if (len > 0)
		memcpy(buffer->data + buffer->len, data, len);
	buffer->len += len;
}

static inline void
buffer_text(Buffer *buffer, const char *text)
{
	buffer_add(buffer, text, strlen(text));
}

#endif							/* FAKE_CHATBASE_BUFFER_H */
