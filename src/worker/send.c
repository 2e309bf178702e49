/*
 * send.c
 *		Which requests leave now.
 *
 * Which contacts go together is isolation.c's to decide, when a request
 * may leave pacing.c's; this puts the two together with pauses (pause.c) and keys.
 */
#include "postgres.h"

#include <limits.h>

#include "compat.h"
#include "contact/contact.h"
#include "server/budget.h"
#include "server/settings.h"
#include "storage/fd.h"
#include "store/outbox.h"
#include "util/clock.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "worker/lookups.h"
#include "worker/pause.h"
#include "worker/queues.h"
#include "worker/requests.h"
#include "worker/send.h"
#include "worker/singles.h"

/* Rows seen pending longer ago are looked at again before they are sent. */
#define CHECK_AGAIN_US (INT64CONST(2000) * 1000)

/*
 * While the budget of a key is used up for no longer, the chatbots that had it last are
 * not asked for their keys.
 */
#define SHORT_DELAY_US (INT64CONST(1000) * 1000)

/* Of a thousand contacts one is left. */
#define MAX_HALVINGS 10

/* What a request that is being put together has to keep within. */
typedef struct Filling
{
	int64		bytes;
	int64		max_bytes;
	bool		illegible;		/* its answer would be */
	int			n;
	int			max;			/* contacts */
} Filling;

/* What leaves first, and how often at least: every so manieth departure while it waits. */
static const RequestCall call_order[] = {CALL_DELETE, CALL_CREATE, CALL_UPDATE};
#define LEAST_SHARE 10

static int	next_chatbot = 0;	/* where the next round begins */

/* clock_us() at which the first request that time alone keeps may leave. */
static int64 next_departure = PG_INT64_MAX;

/* The same, of those that the budget of their key keeps. */
static int64 next_in_budget = PG_INT64_MAX;

/* The key whose budget is used up for a moment, for chatbots that are proven and not; 0: none is known. */
static uint64 key_used_up[2] = {0, 0};

/* isolation.c's question, of each contact that would go into a request. */
static bool
admit(void *arg, IsolationNode *node, bool *stop)
{
	Filling    *filling = arg;
	Contact    *contact = isolation_container(Contact, node, node);
	int			halvings = Min(Max(contact->losses - 1, 0), MAX_HALVINGS);
	int			max = Max(settings_batch_size >> halvings, 1);

	/*
	 * Of contacts whose answer was lost again and again one may be the reason: each time
	 * they are half as many.
	 */
	if (filling->n > 0 && filling->n >= Min(filling->max, max))
	{
		*stop = true;
		return false;
	}
	/* Alone goes what is too large, and what would make the answer illegible. */
	if (filling->n > 0 && (filling->bytes + contact->length > filling->max_bytes ||
						   filling->illegible || contact->illegible))
	{
		*stop = true;
		return false;
	}
	if (!window_take_turn(contact))
		return false;
	filling->bytes += contact->length + 1;	/* and a comma */
	filling->illegible = contact->illegible;
	filling->max = Min(filling->max, max);
	filling->n++;
	return true;
}

static void
fill_body(Request *request)
{
	contact_body_begin(&request->body);
	for (int i = 0; i < request->n; i++)
		contact_body_add(&request->body, request->contacts[i]->json,
						 request->contacts[i]->length);
	contact_body_end(&request->body);
}

void
send_end_backoffs(void)
{
	ListCell   *cell;

	foreach(cell, window_chatbots())
	{
		Chatbot    *chatbot = lfirst(cell);

		chatbot->backoff.until = 0;
		chatbot->backoff_unwritten |= chatbot->backoff.failures > 0;
	}
}

/* Those among the contacts that are not to be sent any more; false: none. */
static bool
find_gone(Contact *const *contacts, int n, bool *gone)
{
	int64		seqs[CONTACT_MAX_USERS];
	int64		began = clock_us();
	Datum		value;
	uint64		left;

	for (int i = 0; i < n; i++)
		seqs[i] = contacts[i]->seq;
	value = outbox_int8_array(seqs, n);
	left = outbox_run(OUTBOX_STILL_TO_SEND, &value, NULL);
	for (uint64 i = 0; i < left; i++)
		window_find(outbox_get_int64(i, 1))->checked_at = clock_us();
	for (int i = 0; i < n; i++)
		gone[i] = contacts[i]->checked_at < began;
	return left < (uint64) n;
}

/*
 * After a back-off or a pause, rows that were taken up before it may have been
 * deleted or settled by hand, or withdrawn by rows that are not read yet: they are not
 * sent.  True if the request is as it was.
 */
static bool
check_rows(Chatbot *chatbot, Contact *const *contacts, int n, IsolationRequest *group)
{
	bool		gone[CONTACT_MAX_USERS];
	bool		stale = false;

	for (int i = 0; i < n; i++)
	{
		stale |= clock_us() - contacts[i]->checked_at > CHECK_AGAIN_US;
	}
	if (!stale || !find_gone(contacts, n, gone))
		return true;
	for (int i = 0; i < n; i++)
		window_end_turn(contacts[i]);
	isolation_dropped(chatbot->isolation, group, gone);
	for (int i = 0; i < n; i++)
	{
		Contact    *contact = contacts[i];

		if (gone[i])
		{
			queue_look(chatbot, contact->external_id, contact->unconfirmed);
			window_remove(contact);
		}
	}
	return false;
}

/* Has isolation.c put contacts together to be created; NULL: there are none for now. */
static Request *
next_creation(Chatbot *chatbot)
{
	IsolationNode *nodes[CONTACT_MAX_USERS];
	Contact    *contacts[CONTACT_MAX_USERS];
	Filling		filling;
	/*
	 * Whether a quota has room again, or no more than reads fail, one contact tells, and then
	 * the others may go.
	 */
	int			max = chatbot->pause == PAUSE_QUOTA || lookups_keep_failing(chatbot) ? 1 :
		pacing_batch(chatbot->batch_limit, settings_batch_size);
	Request    *request;
	IsolationRequest *group;
	int			n;

	do
	{
		filling = (Filling){0};
		filling.max = max;
		filling.max_bytes = pacing_batch(chatbot->max_bytes, settings_max_request_bytes);
		n = isolation_next(chatbot->isolation, max, admit, &filling, nodes, &group);
		if (n < 0)
			ereport(ERROR,
					(errcode(ERRCODE_OUT_OF_MEMORY),
					 errmsg("out of memory")));
		if (n == 0)
			return NULL;
		for (int i = 0; i < n; i++)
			contacts[i] = isolation_container(Contact, node, nodes[i]);
	} while (!check_rows(chatbot, contacts, n, group));

	request = requests_new(chatbot, CALL_CREATE, contacts, n);
	request->group = group;
	enlargeStringInfo(&request->body, filling.bytes + CONTACT_BODY_BYTES);
	fill_body(request);
	return request;
}

/* A look-up or new contacts; NULL: none can go now. */
static Request *
next_new(Chatbot *chatbot)
{
	Request    *request = lookups_come_first(chatbot) ? lookups_next(chatbot) : NULL;

	if (request == NULL)
	{
		request = next_creation(chatbot);
		if (request)
			lookups_yield(chatbot);
		else
			request = lookups_next(chatbot);
	}
	return request;
}

/* The next contact that changes or is deleted, in a request of its own; NULL: none can go now. */
static Request *
next_single(Chatbot *chatbot, RequestCall call)
{
	dlist_mutable_iter iter;

	dlist_foreach_modify(iter, &chatbot->singles[call])
	{
		Contact    *contact = dlist_container(Contact, single, iter.cur);
		bool		gone;
		Request    *request;

		if (!window_take_turn(contact))
			continue;
		singles_remove(contact);
		if (clock_us() - contact->checked_at > CHECK_AGAIN_US && find_gone(&contact, 1, &gone))
		{
			queue_look(chatbot, contact->external_id, contact->unconfirmed);
			window_remove(contact);
			continue;
		}
		/* Where the chatbot was not there either, it is asked for again. */
		if (contact->missing_at <= Max(chatbot->failed_at, chatbot->paused_at))
			contact->missing_at = 0;
		request = requests_new(chatbot, contact->missing_at > 0 ? CALL_READ : call, &contact, 1);
		singles_fill(request);
		return request;
	}
	return NULL;
}

/* True if contacts wait for this call; those in doubt for being created, or found. */
static bool
call_waits(const Chatbot *chatbot, RequestCall call)
{
	return call == CALL_CREATE ?
		isolation_waiting(chatbot->isolation) > 0 || chatbot->lookup.n > 0 :
		singles_wait(chatbot, call);
}

static bool
has_waiting(const Chatbot *chatbot)
{
	for (int i = 0; i < lengthof(call_order); i++)
		if (call_waits(chatbot, call_order[i]))
			return true;
	return false;
}

/*
 * The next request of a chatbot; NULL: none can go now.  Deletions come first, then new
 * contacts, then changes; but whoever has waited while others left often enough has a turn,
 * so that each has a tenth of the departures at least.
 */
static Request *
next_request(Chatbot *chatbot)
{
	RequestCall calls[lengthof(call_order)];
	int			n = 0;
	RequestCall turn = CALL_CREATE;
	Request    *request = NULL;

	for (int i = 0; i < lengthof(call_order); i++)
		if (chatbot->passed_over[call_order[i]] >= LEAST_SHARE - lengthof(call_order) + 1)
			calls[n++] = call_order[i];
	for (int i = 0; i < lengthof(call_order); i++)
		if (chatbot->passed_over[call_order[i]] < LEAST_SHARE - lengthof(call_order) + 1)
			calls[n++] = call_order[i];
	for (int i = 0; i < n && request == NULL; i++)
		if (call_waits(chatbot, turn = calls[i]))
			request = turn == CALL_CREATE ? next_new(chatbot) : next_single(chatbot, turn);
	if (request == NULL)
		return NULL;
	for (int i = 0; i < n; i++)
		if (calls[i] != turn && call_waits(chatbot, calls[i]))
			chatbot->passed_over[calls[i]]++;
		else
			chatbot->passed_over[calls[i]] = 0;
	return request;
}

/* True if this time has come; else it is remembered as one to wake at. */
static bool
has_come(int64 time)
{
	if (time <= clock_us())
		return true;
	next_departure = Min(next_departure, time);
	return false;
}

/*
 * While a chatbot is in trouble one request at a time finds out whether it still
 * is.  Those that had left before are not waited for.
 */
static bool
is_being_probed(const Chatbot *chatbot)
{
	int64		since = Max(chatbot->failed_at, chatbot->paused_at);

	if (chatbot->backoff.failures == 0 && chatbot->pauses == 0)
		return false;
	for (int i = 0; i < worker.nrequests; i++)
	{
		const Request *request = worker.requests[i];

		if (request->chatbot == chatbot &&
			(request->http == NULL || request->left_at > since))
			return true;
	}
	return false;
}

/* Decides on one request of the chatbot, if one may leave now. */
static bool
plan_request(Chatbot *chatbot)
{
	Request    *request;
	uint64		key_hash;
	int64		delay;
	char	   *why;
	char	   *key;

	lookups_prepare(chatbot);
	if (!has_waiting(chatbot) ||
		(chatbot->key_hash != 0 && chatbot->key_hash == key_used_up[chatbot->proven]) ||
		is_being_probed(chatbot) ||
		(chatbot->pause != PAUSE_NONE && !has_come(chatbot->paused_until)) ||
		!has_come(chatbot->backoff.until))
		return false;
	key = settings_find_key(chatbot->id, &why);
	if (key == NULL)
	{
		pause_begin(chatbot, PAUSE_KEY, clock_us(), why);
		has_come(chatbot->paused_until);
		return false;
	}
	chatbot->key_hash = key_hash = budget_key_hash(key);
	delay = budget_try(key_hash, chatbot->proven);
	if (delay > 0)
	{
		/* Whoever has been given another key must not wait for long. */
		if (delay <= SHORT_DELAY_US)
			key_used_up[chatbot->proven] = key_hash;
		next_in_budget = Min(next_in_budget, clock_us() + delay);
		next_departure = Min(next_departure, next_in_budget);
		return false;
	}
	request = next_request(chatbot);
	if (request == NULL)
	{
		budget_return(key_hash);
		return false;
	}
	request->key = MemoryContextStrdup(worker.context, key);
	request->key_hash = key_hash;
	worker.requests[worker.nrequests++] = request;
	worker.last_key_hash = key_hash;
	chatbot->requests++;
	return true;
}

/*
 * One request a chatbot, so that none waits for another's backlog.  proven: of those that
 * have answered before, or of the others; slots: requests that may be under way then.
 */
static bool
plan_round(bool proven, int slots)
{
	int			n = list_length(window_chatbots());
	bool		planned = false;

	for (int i = 0; i < n && worker.nrequests < slots; i++)
	{
		Chatbot    *chatbot = list_nth(window_chatbots(), (next_chatbot + i) % n);

		if (chatbot->proven == proven)
			planned |= plan_request(chatbot);
	}
	return planned;
}

/*
 * Chatbots that have never answered may not exist, or hang: while there are others, they
 * leave these a slot.  They ask for the budget first, and are told whether it is the others'.
 */
bool
send_plan(void)
{
	int			slots = settings_max_concurrent_requests;
	int			unproven_slots = window_any_proven() ? Max(slots - 1, 1) : slots;
	bool		planned = false;
	bool		again;

	next_departure = next_in_budget = PG_INT64_MAX;
	key_used_up[false] = key_used_up[true] = 0;
	if (!settings_enabled)
		return false;
	do
	{
		again = plan_round(false, unproven_slots);
		again |= plan_round(true, slots);
		if (window_chatbots() != NIL)
			next_chatbot = (next_chatbot + 1) % list_length(window_chatbots());
		planned |= again;
	} while (again);
	return planned;
}

/*
 * Tells the server of the sockets, so that it opens fewer files.  Connections are kept
 * open, so there stay as many as there were requests under way at once.
 */
static void
announce_sockets(void)
{
	static int	announced = 0;

	for (; announced < worker.nrequests; announced++)
		ReserveExternalFD();
}

/* How each call is made. */
static const char *const methods[] = {
	[CALL_CREATE] = "POST",
	[CALL_UPDATE] = "PATCH",
	[CALL_DELETE] = "DELETE",
	[CALL_READ] = "GET",
};

/* Malloc'd; NULL: out of memory. */
static char *
url_of(const Request *request)
{
	const char *chatbot_id = request->chatbot->id_utf8;

	if (request->page > 0)
		return http_page_url(settings_base_url, chatbot_id, request->page, request->per_page);
	if (request->path_id)
		return http_contact_url(settings_base_url, chatbot_id, request->path_id);
	return http_contacts_url(settings_base_url, chatbot_id);
}

static void
leave(Request *request)
{
	HttpParams	params = {0};
	char	   *url = url_of(request);

	params.method = methods[request->call];
	params.url = url;
	params.bearer = request->key;
	params.ca_file = settings_ca_file;
	params.body = request->body.len > 0 ? request->body.data : NULL;
	params.body_len = request->body.len;
	params.connect_timeout_ms = settings_connect_timeout;
	params.request_timeout_ms = settings_request_timeout;
	params.max_response_bytes = settings_max_response_bytes;
	request->left_at = clock_us();
	request->http = url ? http_begin(worker.pool, &params) : NULL;
	free(url);
	if (request->http == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory"),
				 errdetail("Failed while starting a request.")));
}

void
send_planned(void)
{
	announce_sockets();
	for (int i = 0; i < worker.nrequests; i++)
		if (worker.requests[i]->http == NULL)
			leave(worker.requests[i]);
}

bool
send_is_throttled(void)
{
	return worker.nrequests >= settings_max_concurrent_requests ||
		(next_in_budget != PG_INT64_MAX && next_in_budget > clock_us());
}

int64
send_timeout_ms(void)
{
	int64		delay = next_departure - clock_us();

	/* With nothing to wait for but an answer there is no need to wake. */
	if (next_departure == PG_INT64_MAX ||
		worker.nrequests >= settings_max_concurrent_requests)
		return -1;
	return delay <= 0 ? 0 : (delay + 999) / 1000;
}
