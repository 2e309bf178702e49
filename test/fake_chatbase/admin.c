/*
 * admin.c
 *		The other side of the stand-in: what a test asks of it and tells it.
 *
 * Nothing of the API enters here.
 */
#include <stdlib.h>

#include "attributes.h"
#include "request.h"
#include "store.h"

/* Makes the answer to a request of one path. */
typedef void (*AdminHandler) (Request *request);

static void
refuse(Request *request, int status, const char *problem)
{
	answer_message(&request->answer, status, problem);
}

/* The answer to a change: {"message":"Success"}, or what is wrong with it. */
static void
answer_change(Request *request, const char *problem)
{
	answer_message(&request->answer, problem == NULL ? 200 : 400, problem == NULL ? "Success" : problem);
}

/* The query's chatbot, decoded, for free(); NULL: answered that it is missing. */
static char *
take_chatbot(Request *request)
{
	const char *value = MHD_lookup_connection_value(request->connection, MHD_GET_ARGUMENT_KIND, "chatbot");
	char	   *chatbot = value != NULL ? percent_decode(value, strlen(value)) : NULL;

	if (chatbot == NULL)
		refuse(request, 400, "chatbot=ID is missing or malformed");
	else if (!api_knows_chatbot(chatbot))
	{
		refuse(request, 404, "no such chatbot");
		free(chatbot);
		chatbot = NULL;
	}
	return chatbot;
}

static void
get_stats(Request *request)
{
	answer_init(&request->answer, 200);
	journal_write_stats(&request->answer.body, store_contacts());
}

static void
get_requests(Request *request)
{
	answer_init(&request->answer, 200);
	journal_write_requests(&request->answer.body);
}

static void
get_contacts(Request *request)
{
	const char *brief = MHD_lookup_connection_value(request->connection, MHD_GET_ARGUMENT_KIND, "brief");
	char	   *chatbot = take_chatbot(request);

	if (chatbot == NULL)
		return;
	answer_init(&request->answer, 200);
	store_write(&request->answer.body, chatbot, brief != NULL && strcmp(brief, "1") == 0);
	free(chatbot);
}

static void
post_contacts(Request *request)
{
	static const StripList nothing = {false, 0, NULL};
	char	   *chatbot = take_chatbot(request);
	Batch	   *batch;

	if (chatbot == NULL)
		return;
	batch = batch_read(request->body.data != NULL ? request->body.data : "", request->body.len,
					   0, &nothing);
	if (batch->problem != NULL)
		refuse(request, 400, batch->problem);
	else if (store_add(chatbot, batch, false, store_epoch()) != STORE_DONE)
		refuse(request, 409, "an external_id or e-mail is there already, or twice in the request");
	else
		answer_change(request, NULL);
	batch_release(batch);
	free(chatbot);
}

static void
get_attributes(Request *request)
{
	char	   *chatbot = take_chatbot(request);

	if (chatbot == NULL)
		return;
	answer_init(&request->answer, 200);
	attributes_write(&request->answer.body, chatbot);
	free(chatbot);
}

static void
post_attributes(Request *request)
{
	char	   *chatbot = take_chatbot(request);
	Buffer		made = {NULL, 0, 0};

	if (chatbot == NULL)
		return;
	if (attributes_add(&made, chatbot, request->body.data != NULL ? request->body.data : "",
					   request->body.len, false) == ATTRIBUTE_DONE)
		answer_change(request, NULL);
	else
		refuse(request, 400, "the chatbot has the attribute, or it is none");
	buffer_free(&made);
	free(chatbot);
}

static void
post_faults(Request *request)
{
	answer_change(request, faults_replace(request->body.data, request->body.len));
}

static void
post_config(Request *request)
{
	answer_change(request, config_change(request->body.data, request->body.len));
}

static void
post_release(Request *request)
{
	holding_end_delays();
	answer_change(request, NULL);
}

static void
post_reset(Request *request)
{
	/*
	 * The store comes last: a request that still finds the old store is refused
	 * by the new one, so that none is added that isn't counted.
	 */
	faults_clear();
	rate_reset();
	journal_reset();
	holding_release_all();
	attributes_reset();
	store_reset();
	answer_change(request, NULL);
}

static const struct
{
	const char *method;
	const char *path;
	AdminHandler handler;
}			handlers[] = {
	{"GET", "/_admin/stats", get_stats},
	{"GET", "/_admin/requests", get_requests},
	{"GET", "/_admin/contacts", get_contacts},
	{"POST", "/_admin/contacts", post_contacts},
	{"GET", "/_admin/attributes", get_attributes},
	{"POST", "/_admin/attributes", post_attributes},
	{"POST", "/_admin/faults", post_faults},
	{"POST", "/_admin/config", post_config},
	{"POST", "/_admin/release", post_release},
	{"POST", "/_admin/reset", post_reset},
};

enum MHD_Result
admin_go_on(Request *request)
{
	size_t		i = 0;

	while (i < sizeof(handlers) / sizeof(handlers[0]) &&
		   (strcmp(request->method, handlers[i].method) != 0 ||
			strcmp(request->path, handlers[i].path) != 0))
		i++;
	if (i < sizeof(handlers) / sizeof(handlers[0]))
		handlers[i].handler(request);
	else
		refuse(request, 404, "no such thing on the admin side");
	return answer_send(&request->answer, request->connection);
}
