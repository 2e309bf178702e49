/*
 * buffer.c
 *		A growing run of bytes; see buffer.h for what must not enter here.
 */
#include "buffer.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

/* First allocation of a buffer: most answers that are not lists fit into it. */
#define BUFFER_FIRST_SIZE 512

static void *
or_exit(void *memory)
{
	if (memory == NULL)
	{
		fputs("fake_chatbase: out of memory\n", stderr);
		exit(EXIT_FAILURE);
	}
	return memory;
}

void *
must_alloc(size_t size)
{
	return or_exit(malloc(size > 0 ? size : 1));
}

void *
must_realloc(void *old, size_t size)
{
	return or_exit(realloc(old, size > 0 ? size : 1));
}

char *
must_strdup(const char *text)
{
	return or_exit(strdup(text));
}

void
buffer_reserve(Buffer *buffer, size_t more)
{
	size_t		size = buffer->size > 0 ? buffer->size : BUFFER_FIRST_SIZE;

	if (buffer->size - buffer->len >= more)
		return;
	while (size - buffer->len < more)
		size *= 2;
	buffer->data = must_realloc(buffer->data, size);
	buffer->size = size;
}

void
buffer_printf(Buffer *buffer, const char *format,...)
{
	va_list		args;
	int			len;

	va_start(args, format);
	len = vsnprintf(NULL, 0, format, args);
	va_end(args);
	if (len < 0)
		return;

	buffer_reserve(buffer, (size_t) len + 1);
	va_start(args, format);
	vsnprintf(buffer->data + buffer->len, (size_t) len + 1, format, args);
	va_end(args);
	buffer->len += (size_t) len;
}

void
buffer_json(Buffer *buffer, const char *text, size_t len)
{
	size_t		i;

	buffer_add(buffer, "\"", 1);
	for (i = 0; i < len; i++)
	{
		unsigned char c = (unsigned char) text[i];

		if (c == '"' || c == '\\')
			buffer_add(buffer, "\\", 1);
		if (c < 0x20)
			buffer_printf(buffer, "\\u%04x", c);
		else
			buffer_add(buffer, text + i, 1);
	}
	buffer_add(buffer, "\"", 1);
}

void
buffer_close(Buffer *buffer, char bracket)
{
	if (buffer->len > 0 && buffer->data[buffer->len - 1] == ',')
		buffer->len--;
	buffer_add(buffer, &bracket, 1);
}

void
buffer_free(Buffer *buffer)
{
	free(buffer->data);
	memset(buffer, 0, sizeof(*buffer));
}
