/*
 * answer.c
 *		An answer as it takes shape, and how it is sent; see answer.h.
 */
#include "answer.h"

#include <stdlib.h>
#include <strings.h>

/* Bytes that the library asks for at once of a body that is made on the way. */
#define BLOCK_SIZE 65536

/* What is left of an answer while its body is on the way. */
typedef struct Stream
{
	Buffer		body;
	size_t		padding;
	const char *tail;
	size_t		cut;
} Stream;

void
answer_init(Answer *answer, int status)
{
	memset(answer, 0, sizeof(*answer));
	answer->status = status;
	answer->tail = "";
	answer->cut = -1;
	answer_header(answer, "Content-Type", "application/json");
}

void
answer_message(Answer *answer, int status, const char *message)
{
	answer_init(answer, status);
	buffer_text(&answer->body, "{\"message\":");
	buffer_json(&answer->body, message, strlen(message));
	buffer_text(&answer->body, "}");
}

void
answer_header(Answer *answer, const char *name, const char *value)
{
	int			i = 0;

	while (i < answer->nheaders && strcasecmp(answer->headers[i].name, name) != 0)
		i++;
	if (i == ANSWER_MAX_HEADERS)
		return;
	if (i < answer->nheaders)
	{
		free(answer->headers[i].name);
		free(answer->headers[i].value);
	}
	else
		answer->nheaders++;
	answer->headers[i].name = must_strdup(name);
	answer->headers[i].value = must_strdup(value);
}

void
answer_free(Answer *answer)
{
	int			i;

	for (i = 0; i < answer->nheaders; i++)
	{
		free(answer->headers[i].name);
		free(answer->headers[i].value);
	}
	answer->nheaders = 0;
	buffer_free(&answer->body);
}

/* Gives the library the next part of the body (MHD_ContentReaderCallback). */
static ssize_t
stream_read(void *arg, uint64_t pos, char *out, size_t max)
{
	const Stream *stream = arg;
	size_t		padding_end = stream->body.len + stream->padding;
	const char *from = NULL;
	size_t		len;

	if (pos >= stream->cut)
		return MHD_CONTENT_READER_END_WITH_ERROR;
	if (pos < stream->body.len)
	{
		from = stream->body.data + pos;
		len = stream->body.len - pos;
	}
	else if (pos < padding_end)
		len = padding_end - pos;
	else
	{
		from = stream->tail + (pos - padding_end);
		len = strlen(from);
	}
	if (len > max)
		len = max;
	if (len > stream->cut - pos)
		len = stream->cut - pos;
	if (from != NULL)
		memcpy(out, from, len);
	else
		memset(out, 'x', len);
	return (ssize_t) len;
}

static void
stream_free(void *arg)
{
	Stream	   *stream = arg;

	buffer_free(&stream->body);
	free(stream);
}

/* A response whose body is longer than what is there, or is cut short. */
static struct MHD_Response *
stream_response(Answer *answer)
{
	Stream	   *stream = must_alloc(sizeof(*stream));
	size_t		len = answer->body.len + answer->padding + strlen(answer->tail);

	stream->body = answer->body;
	memset(&answer->body, 0, sizeof(answer->body));
	stream->padding = answer->padding;
	stream->tail = answer->tail;
	stream->cut = answer->cut >= 0 && (size_t) answer->cut < len ? (size_t) answer->cut : len;
	return MHD_create_response_from_callback(len, BLOCK_SIZE, stream_read, stream, stream_free);
}

static struct MHD_Response *
whole_response(Answer *answer)
{
	struct MHD_Response *response;

	response = MHD_create_response_from_buffer(answer->body.len, answer->body.data, MHD_RESPMEM_MUST_FREE);
	if (response != NULL)
		memset(&answer->body, 0, sizeof(answer->body));
	return response;
}

enum MHD_Result
answer_send(Answer *answer, struct MHD_Connection *connection)
{
	struct MHD_Response *response;
	enum MHD_Result result = MHD_NO;
	int			i;

	if (answer->cut >= 0 || answer->padding > 0)
		response = stream_response(answer);
	else
		response = whole_response(answer);
	if (response != NULL)
	{
		for (i = 0; i < answer->nheaders; i++)
			MHD_add_response_header(response, answer->headers[i].name, answer->headers[i].value);
		result = MHD_queue_response(connection, (unsigned int) answer->status, response);
		MHD_destroy_response(response);
	}
	answer_free(answer);
	return result;
}
