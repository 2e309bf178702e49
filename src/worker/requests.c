/*
 * requests.c
 *		The worker's rows in contacts_push.request.
 *
 * What stands there without an end when a worker begins may have been applied by Chatbase:
 * see recover.c.
 */
#include "postgres.h"

#include "compat.h"
#include "store/outbox.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "worker/requests.h"

/* contacts_push.request.call */
static const char *const call_names[] = {
	[CALL_CREATE] = "create",
	[CALL_UPDATE] = "update",
	[CALL_DELETE] = "delete",
	[CALL_READ] = "read",
};

static bool behind = false;

bool
requests_are_behind(void)
{
	return behind;
}

static void
add_answered(Request *request)
{
	MemoryContext old = MemoryContextSwitchTo(worker.context);

	worker.answered = lappend(worker.answered, request);
	MemoryContextSwitchTo(old);
}

Request *
requests_new(Chatbot *chatbot, RequestCall call, Contact *const *contacts, int n)
{
	MemoryContext old = MemoryContextSwitchTo(worker.context);
	Request    *request = palloc0(sizeof(Request));

	request->call = call;
	request->chatbot = chatbot;
	request->changes = chatbot->changes;
	request->n = n;
	request->contacts = palloc(Max(n, 1) * sizeof(Contact *));
	for (int i = 0; i < n; i++)
	{
		window_move(contacts[i], CONTACT_IN_FLIGHT);
		contacts[i]->request = request;
		request->contacts[i] = contacts[i];
	}
	initStringInfo(&request->body);
	MemoryContextSwitchTo(old);
	return request;
}

void
requests_answered(Request *request, int http_status, const char *outcome,
				  const char *message, int64 duration_ms, const char *request_id)
{
	for (int i = 0; i < worker.nrequests; i++)
		if (worker.requests[i] == request)
			worker.requests[i] = worker.requests[--worker.nrequests];
	request->chatbot->requests--;
	request->http_status = http_status;
	request->outcome = outcome;
	request->message = message ? MemoryContextStrdup(worker.context, message) : NULL;
	request->duration_ms = duration_ms;
	request->request_id = *request_id ? MemoryContextStrdup(worker.context, request_id) : NULL;
	http_end(request->http);
	pfree(request->key);
	pfree(request->body.data);
	if (request->path_id)
		pfree(request->path_id);
	pfree(request->contacts);
	add_answered(request);
}

Request *
requests_recover(int64 id, bool is_answered)
{
	Request    *request = MemoryContextAllocZero(worker.context, sizeof(Request));

	request->id = id;
	request->duration_ms = -1;
	request->answer_written = is_answered;
	if (!is_answered)
	{
		request->outcome = "interrupted";
		request->message = MemoryContextStrdup(worker.context,
											   "the worker ended before the answer was recorded");
	}
	add_answered(request);
	return request;
}

static void
free_request(Request *request)
{
	if (request->message)
		pfree(request->message);
	if (request->request_id)
		pfree(request->request_id);
	pfree(request);
}

/* The arguments of OUTBOX_REQUEST_FINISH for these. */
static void
finish_arguments(List *requests, Datum *values)
{
	int			n = list_length(requests);
	int64	   *ids = palloc(n * sizeof(int64));
	bool	   *over = palloc(n * sizeof(bool));
	int		   *statuses = palloc(n * sizeof(int));
	char	  **outcomes = palloc(n * sizeof(char *));
	char	  **messages = palloc(n * sizeof(char *));
	int64	   *durations = palloc(n * sizeof(int64));
	char	  **request_ids = palloc(n * sizeof(char *));

	for (int i = 0; i < n; i++)
	{
		const Request *request = list_nth(requests, i);

		ids[i] = request->id;
		over[i] = request->unwritten == 0;
		statuses[i] = request->http_status;
		outcomes[i] = unconstify(char *, request->outcome);
		messages[i] = request->message;
		durations[i] = request->duration_ms;
		request_ids[i] = request->request_id;
	}
	values[0] = outbox_int8_array(ids, n);
	values[1] = outbox_bool_array(over, n);
	values[2] = outbox_int4_array(statuses, n);
	values[3] = outbox_text_array(outcomes, n);
	values[4] = outbox_text_array(messages, n);
	values[5] = outbox_int8_array(durations, n);
	values[6] = outbox_text_array(request_ids, n);
}

/* Those that have something to be written, and those that stay whatever is. */
static List *
choose_answered(List **others)
{
	List	   *chosen = NIL;
	ListCell   *cell;

	*others = NIL;
	foreach(cell, worker.answered)
	{
		Request    *request = lfirst(cell);

		if (request->unwritten == 0 || !request->answer_written)
			chosen = lappend(chosen, request);
		else
			*others = lappend(*others, request);
	}
	return chosen;
}

static bool
is_locked(const Request *request, uint64 nlocked)
{
	for (uint64 i = 0; i < nlocked; i++)
		if (outbox_get_int64(i, 1) == request->id)
			return true;
	return false;
}

static void
write_answered(void)
{
	List	   *others;
	List	   *chosen = choose_answered(&others);
	Datum		values[7];
	uint64		nlocked;
	ListCell   *cell;

	behind = false;
	if (chosen == NIL)
		return;
	finish_arguments(chosen, values);
	/* Rows that were deleted by hand are nobody's any more. */
	nlocked = outbox_run(OUTBOX_REQUEST_FINISH, values, NULL);
	behind = nlocked > 0;
	list_free(worker.answered);
	worker.answered = NIL;
	foreach(cell, others)
		add_answered(lfirst(cell));
	foreach(cell, chosen)
	{
		Request    *request = lfirst(cell);

		if (is_locked(request, nlocked))
		{
			add_answered(request);
			continue;
		}
		request->answer_written = true;
		if (request->unwritten > 0)
			add_answered(request);
		else
			free_request(request);
	}
}

static int
compare_seqs(const void *a, const void *b)
{
	int64		left = (*(Contact *const *) a)->seq;
	int64		right = (*(Contact *const *) b)->seq;

	return left < right ? -1 : left > right;
}

/* The seqs of a request as the text of an int8multirange. */
static char *
format_seqs(const Request *request)
{
	Contact   **sorted = palloc(request->n * sizeof(Contact *));
	StringInfoData text;

	memcpy(sorted, request->contacts, request->n * sizeof(Contact *));
	qsort(sorted, request->n, sizeof(Contact *), compare_seqs);
	initStringInfo(&text);
	appendStringInfoChar(&text, '{');
	for (int i = 0; i < request->n;)
	{
		int			j = i + 1;

		while (j < request->n && sorted[j]->seq == sorted[j - 1]->seq + 1)
			j++;
		appendStringInfo(&text, "%s[" INT64_FORMAT "," INT64_FORMAT "]",
						 i > 0 ? "," : "", sorted[i]->seq, sorted[j - 1]->seq);
		i = j;
	}
	appendStringInfoChar(&text, '}');
	return text.data;
}

static void
write_planned(void)
{
	Request    *planned[MAX_REQUESTS];
	char	   *chatbots[MAX_REQUESTS];
	int			contacts[MAX_REQUESTS];
	char	   *seqs[MAX_REQUESTS];
	char	   *calls[MAX_REQUESTS];
	int			n = 0;
	Datum		values[4];

	for (int i = 0; i < worker.nrequests; i++)
	{
		Request    *request = worker.requests[i];

		if (request->id != 0)
			continue;
		chatbots[n] = request->chatbot->id;
		contacts[n] = request->n;
		seqs[n] = format_seqs(request);
		calls[n] = unconstify(char *, call_names[request->call]);
		planned[n++] = request;
	}
	if (n == 0)
		return;
	values[0] = outbox_text_array(chatbots, n);
	values[1] = outbox_int4_array(contacts, n);
	values[2] = outbox_text_array(seqs, n);
	values[3] = outbox_text_array(calls, n);
	outbox_run(OUTBOX_REQUEST_BEGIN, values, NULL);
	/* Rows are inserted, and returned, in the order of the arrays. */
	for (int i = 0; i < n; i++)
		planned[i]->id = outbox_get_int64(i, 1);
}

void
requests_write(void)
{
	write_answered();
	write_planned();
}
