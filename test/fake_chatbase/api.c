/*
 * api.c
 *		The calls for a chatbot's contacts, as the API's reference has them, and their faults.
 *
 * The only file that decides what such a request is answered.
 */
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <time.h>

#include "attributes.h"
#include "request.h"
#include "store.h"

static ApiOptions options;

void
api_start(const ApiOptions *given)
{
	options = *given;
}

bool
api_knows_chatbot(const char *chatbot)
{
	int			i;

	for (i = 0; i < options.nchatbots; i++)
	{
		if (strcmp(options.chatbots[i], chatbot) == 0)
			return true;
	}
	return options.nchatbots == 0;
}

/* The bearer key of the request, NULL if it has none. */
static const char *
bearer_key(const Request *request)
{
	static const char scheme[] = "Bearer ";
	const char *value = MHD_lookup_connection_value(request->connection, MHD_HEADER_KIND,
													MHD_HTTP_HEADER_AUTHORIZATION);

	/* The name of the scheme is case-insensitive (RFC 9110, 11.1). */
	if (value == NULL || strncasecmp(value, scheme, sizeof(scheme) - 1) != 0)
		return NULL;
	value += sizeof(scheme) - 1;
	value += strspn(value, " ");
	return *value != '\0' ? value : NULL;
}

/* Number of the request's key, -1 if it has none or another. */
static int
key_number(const Request *request)
{
	const char *key = bearer_key(request);
	int			i;

	for (i = 0; key != NULL && i < options.nkeys; i++)
	{
		if (strcmp(options.keys[i], key) == 0)
			return i;
	}
	return -1;
}

static bool
is_json(const Request *request)
{
	static const char json[] = "application/json";
	const char *type = MHD_lookup_connection_value(request->connection, MHD_HEADER_KIND,
												   MHD_HTTP_HEADER_CONTENT_TYPE);

	return type != NULL && strncasecmp(type, json, sizeof(json) - 1) == 0 &&
		strchr("; \t", type[sizeof(json) - 1]) != NULL;
}

/* What the API says with a status; openapi.yaml's examples where it has one. */
static const char *
usual_message(long status)
{
	switch (status)
	{
		case 200:
			return "Success";
		case 400:
			return "Invalid request data";
		case 401:
			return "Invalid API key";
		case 404:
			return "Resource not found";
		case 405:
			return "Method not allowed";
		case 409:
			return "One or more external IDs or emails already exist.";
		case 429:
			return "Rate limit exceeded. Please try again later.";
		case 500:
			return "Internal server error";
		case 501:
			return "Not implemented";
		default:
			return "Injected by a fault rule";
	}
}

static void
add_retry_after(Request *request)
{
	const char *style = request->config->retry_after;
	int64_t		reset_s = (request->rate.reset_ms + 999) / 1000;
	char		value[64];		/* a date has 29 characters, a number 20 */

	if (strcmp(style, "none") == 0)
		return;
	if (strcmp(style, "seconds") == 0)
		snprintf(value, sizeof(value), "%" PRId64,
				 (request->rate.reset_ms - request->rate.now_ms + 999) / 1000);
	else if (strcmp(style, "date") == 0)
	{
		time_t		reset = (time_t) reset_s;
		struct tm	utc;

		gmtime_r(&reset, &utc);
		strftime(value, sizeof(value), "%a, %d %b %Y %H:%M:%S GMT", &utc);
	}
	answer_header(&request->answer, MHD_HTTP_HEADER_RETRY_AFTER,
				  strcmp(style, "seconds") == 0 || strcmp(style, "date") == 0 ? value : style);
}

static void
add_rate_headers(Request *request)
{
	const RateState *rate = &request->rate;
	char		value[32];		/* a number of up to 20 characters */

	if (rate->limit == 0)
		return;
	snprintf(value, sizeof(value), "%ld", rate->limit);
	answer_header(&request->answer, "X-RateLimit-Limit", value);
	snprintf(value, sizeof(value), "%ld", rate->remaining);
	answer_header(&request->answer, "X-RateLimit-Remaining", value);
	if (request->config->reset == RESET_NONE)
		return;
	snprintf(value, sizeof(value), "%" PRId64,
			 request->config->reset == RESET_MS ? rate->reset_ms : (rate->reset_ms + 999) / 1000);
	answer_header(&request->answer, "X-RateLimit-Reset", value);
}

/* 200 with the contacts, but for the last omit of them. */
static void
answer_success(Request *request, size_t omit)
{
	const Batch *batch = request->batch;
	const Config *config = request->config;
	Buffer	   *body = &request->answer.body;
	size_t		n = batch->ncontacts > omit ? batch->ncontacts - omit : 0;
	size_t		i;

	answer_init(&request->answer, 200);
	/* What was sent comes back, with an id and two times: about 100 bytes. */
	buffer_reserve(body, request->body.len + batch->ncontacts * 100);
	buffer_text(body, config->nested ? "{\"message\":\"Success\",\"data\":{\"created\":[" :
				"{\"message\":\"Success\",\"data\":[");
	for (i = 0; i < n; i++)
	{
		contact_write(body, batch->contacts[config->reversed ? batch->ncontacts - 1 - i : i]);
		buffer_text(body, ",");
	}
	buffer_close(body, ']');
	buffer_text(body, config->nested ? "}}" : "}");
}

/* Adds the contacts, and answers so.  False: there was a reset meanwhile. */
static bool
create(Request *request, size_t omit)
{
	switch (store_add(request->chatbot, request->batch, request->config->unique_phones, request->store_epoch))
	{
		case STORE_DONE:
			journal_created(&request->journal, request->batch->ncontacts);
			answer_success(request, omit);
			return true;
		case STORE_CONFLICT:
			answer_message(&request->answer, 409, usual_message(409));
			return true;
		default:
			break;
	}
	return false;
}

/* A number of the query; fallback where it has none, -1 if it is no number from min to max. */
static long
query_number(const Request *request, const char *name, long fallback, long min, long max)
{
	const char *text = MHD_lookup_connection_value(request->connection, MHD_GET_ARGUMENT_KIND, name);
	char	   *end;
	long		number;

	if (text == NULL)
		return fallback;
	number = strtol(text, &end, 10);
	return *text != '\0' && *end == '\0' && number >= min && number <= max ? number : -1;
}

static void
list(Request *request)
{
	Answer	   *answer = &request->answer;
	long		page = query_number(request, "page", 1, 1, LONG_MAX / 1000);
	long		per_page = query_number(request, "per_page", 100, 10, 1000);
	long		total;
	long		pages;

	if (page < 0 || per_page < 0)
	{
		answer_message(answer, 400, usual_message(400));
		return;
	}
	answer_init(answer, 200);
	buffer_text(&answer->body, "{\"message\":\"Success\",\"data\":[");
	total = (long) store_list(&answer->body, request->chatbot, request->config->list_order,
							  (size_t) ((page - 1) * per_page), (size_t) per_page);
	buffer_close(&answer->body, ']');
	pages = (total + per_page - 1) / per_page;
	if (page > 1 && page > pages)
	{
		answer_free(answer);
		answer_message(answer, 400, "Page out of range");
		return;
	}
	buffer_printf(&answer->body, ",\"total\":%ld,\"pages\":{\"page\":%ld,\"per_page\":%ld,\"total_pages\":%ld}}",
				  total, page, per_page, pages);
}

/* Gets, updates or deletes a contact.  False: there was a reset meanwhile. */
static bool
handle_contact(Request *request)
{
	const Config *config = request->config;
	const Contact *key = request->batch->contacts[0];
	Answer	   *answer = &request->answer;
	StoreOutcome outcome;

	answer_init(answer, 200);
	buffer_text(&answer->body, "{\"message\":\"Success\",\"data\":");
	if (request->call == CALL_GET)
		outcome = store_get(&answer->body, request->chatbot, key) ? STORE_DONE : STORE_ABSENT;
	else if (request->call == CALL_DELETE)
		outcome = store_delete(&answer->body, request->chatbot, key, request->store_epoch);
	else
		outcome = store_update(&answer->body, request->chatbot, key, request->body.data != NULL ? request->body.data : "",
							   request->body.len, config, request->store_epoch);
	buffer_text(&answer->body, "}");
	if (outcome == STORE_DONE && !(request->call == CALL_DELETE && config->delete_status == 204))
		return true;
	answer_free(answer);
	if (outcome == STORE_DONE)
		answer_init(answer, 204);
	else if (outcome == STORE_ABSENT)
		answer_message(answer, 404, config->contact_not_found);
	else if (outcome == STORE_CONFLICT)
		answer_message(answer, 409, "Email already exists");
	else
		answer_message(answer, 400, usual_message(400));
	return outcome != STORE_FORGOTTEN;
}

/* Answers a call about the chatbot's custom attributes.  False: there was a reset meanwhile. */
static bool
handle_schema(Request *request)
{
	Answer	   *answer = &request->answer;
	Buffer		made = {NULL, 0, 0};
	AttributeOutcome outcome;

	if (request->store_epoch != store_epoch())
		return false;
	if (request->call == CALL_LIST_ATTRIBUTES)
	{
		answer_init(answer, 200);
		buffer_text(&answer->body, "{\"message\":\"Success\",\"data\":");
		attributes_write(&answer->body, request->chatbot);
		buffer_text(&answer->body, "}");
		return true;
	}
	outcome = attributes_add(&made, request->chatbot, request->body.data != NULL ? request->body.data : "",
							 request->body.len, request->config->snake_names);
	buffer_add(&made, "", 1);
	if (outcome == ATTRIBUTE_DONE)
	{
		answer_init(answer, 200);
		buffer_printf(&answer->body, "{\"message\":\"Success\",\"data\":%s}", made.data);
	}
	else if (outcome == ATTRIBUTE_TAKEN)
		answer_message(answer, 409, "Custom attribute already exists");
	else
	{
		answer_message(answer, 400, "Invalid request body");
		answer->body.len--;		/* the closing brace */
		buffer_printf(&answer->body, ",\"issues\":[{\"field\":\"%s\",\"message\":\"Invalid or reserved\"}]}", made.data);
	}
	buffer_free(&made);
	return true;
}

/* What the API does without any fault.  False: there was a reset meanwhile. */
static bool
process(Request *request, size_t omit)
{
	Answer	   *answer = &request->answer;

	if (bearer_key(request) == NULL)
		answer_message(answer, 401, "No API key provided.");
	else if (key_number(request) < 0)
		answer_message(answer, 401, usual_message(401));
	else if (request->rate.exceeded)
	{
		answer_message(answer, 429, usual_message(429));
		add_retry_after(request);
	}
	else if (request->call != CALL_CREATE && request->config->other_calls > 0)
		answer_message(answer, (int) request->config->other_calls, usual_message(request->config->other_calls));
	else if (!api_knows_chatbot(request->chatbot))
		answer_message(answer, 404, request->config->chatbot_not_found);
	else if ((request->call == CALL_CREATE || request->call == CALL_UPDATE ||
			  request->call == CALL_CREATE_ATTRIBUTE) && !is_json(request))
		answer_message(answer, 400, "Content-Type must be application/json");
	else if (request->batch->problem != NULL)
		answer_message(answer, 400, request->batch->problem);
	else if (request->call == CALL_LIST)
		list(request);
	else if (request->call == CALL_CREATE)
		return create(request, omit);
	else if (request->call == CALL_LIST_ATTRIBUTES || request->call == CALL_CREATE_ATTRIBUTE)
		return handle_schema(request);
	else
		return handle_contact(request);
	return true;
}

/* True if the rule puts an answer of its own in place of the API's. */
static bool
replaces(const FaultRule *rule)
{
	const FaultAction *action = &rule->action;

	return action->status > 0 || action->message != NULL || action->body != NULL ||
		action->redirect != NULL || action->huge_body > 0 || action->refuse ||
		(action->cut_body >= 0 && !rule->after);
}

static int
replaced_status(const FaultRule *rule)
{
	const FaultAction *action = &rule->action;

	if (action->status > 0)
		return (int) action->status;
	if (action->redirect != NULL)
		return 302;
	if (action->refuse)
		return 400;
	return rule->after || action->huge_body > 0 ? 200 : 500;
}

/* A JSON document of this many bytes, or of the fewest that it can have. */
static void
make_huge(Answer *answer, size_t bytes)
{
	answer->body.len--;			/* the closing brace */
	buffer_text(&answer->body, ",\"padding\":\"");
	answer->tail = "\"}";
	if (bytes > answer->body.len + strlen(answer->tail))
		answer->padding = bytes - answer->body.len - strlen(answer->tail);
	else
		answer->padding = 1;
}

/* Answers as the rule says and not as the API would. */
static void
replace(Request *request)
{
	const FaultAction *action = &request->rule->action;
	Answer	   *answer = &request->answer;
	int			status = replaced_status(request->rule);

	answer_free(answer);
	answer_message(answer, status, action->message != NULL ? action->message : usual_message(status));
	if (action->body != NULL)
	{
		answer->body.len = 0;
		buffer_text(&answer->body, action->body);
	}
	else if (action->name_culprit)
	{
		answer->body.len--;		/* the closing brace */
		buffer_printf(&answer->body, ",\"issues\":[{\"field\":\"users[%ld].email\","
					  "\"message\":\"Invalid email\"}]}", request->culprit);
	}
	else if (action->huge_body > 0)
		make_huge(answer, (size_t) action->huge_body);
	if (action->redirect != NULL)
		answer_header(answer, MHD_HTTP_HEADER_LOCATION, action->redirect);
}

/* Damages whatever the answer is now. */
static void
damage(Request *request)
{
	const FaultAction *action = &request->rule->action;
	int			i;

	for (i = 0; i < action->nheaders; i++)
		answer_header(&request->answer, action->headers[i].name, action->headers[i].value);
	request->answer.cut = action->cut_body;
}

/* Makes the answer.  False: the request is to be dropped. */
static bool
decide(Request *request)
{
	const FaultRule *rule = request->rule;
	bool		instead = rule != NULL && (replaces(rule) || rule->action.drop || rule->action.hang);

	if (instead && !rule->after)
	{
		if (rule->action.drop)
			return false;
		replace(request);
	}
	else
	{
		if (!process(request, rule != NULL ? (size_t) rule->action.omit : 0))
			return false;
		if (instead && replaces(rule))
			replace(request);
	}
	add_rate_headers(request);
	if (rule != NULL)
		damage(request);
	return true;
}

/* Suspends the request if its rule delays it at this point. */
static bool
holds(Request *request, bool after)
{
	const FaultRule *rule = request->rule;
	long		delay;

	if (rule == NULL || rule->after != after)
		return false;
	delay = rule->action.hang ? HOLD_FOREVER : rule->action.delay_ms;
	if (delay == 0)
		return false;
	/* Where it isn't held any more, it is as if it had been let go. */
	if (!holding_hold(&request->hold, request->connection, delay))
	{
		request->hold.released = true;
		return false;
	}
	return true;
}

/* The contacts of the request: those to be created, or the one that the path names. */
static Batch *
read_contacts(const Request *request)
{
	Buffer		body = {NULL, 0, 0};
	StripList	schema = {false, 0, NULL};
	Batch	   *batch;

	if (request->call == CALL_CREATE)
	{
		if (request->config->by_schema)
			schema = attributes_strip(request->chatbot);
		batch = batch_read(request->body.data != NULL ? request->body.data : "", request->body.len,
						   BATCH_MAX_CONTACTS, request->config->by_schema ? &schema : &request->config->strip);
		strip_free(&schema);
		return batch;
	}
	buffer_text(&body, "{\"users\":[");
	if (request->external_id != NULL)
	{
		buffer_text(&body, "{\"external_id\":");
		buffer_json(&body, request->external_id, strlen(request->external_id));
		buffer_text(&body, "}");
	}
	buffer_text(&body, "]}");
	batch = batch_read(body.data, body.len, 0, &request->config->strip);
	buffer_free(&body);
	return batch;
}

/* Reads what came and finds out which rule applies. */
static void
examine(Request *request)
{
	request->config = config_get();
	request->batch = read_contacts(request);
	journal_contents(&request->journal, key_number(request), request->batch);
	request->rate = rate_count(key_number(request), request->config->limit, request->config->window_ms);
	request->rules = faults_get();
	request->rule = faults_choose(request->rules, request->journal.number, request->method,
								  request->chatbot, request->batch, &request->culprit);
}

/* True if the answer that has been decided on is not to be sent. */
static bool
is_dropped(const Request *request)
{
	return request->hold.released ||
		(request->rule != NULL && (request->rule->action.drop || request->rule->action.hang));
}

static enum MHD_Result
drop(Request *request)
{
	journal_finish(&request->journal, 0);
	return MHD_NO;
}

static enum MHD_Result
send_answer(Request *request)
{
	if (is_dropped(request))
		return drop(request);
	journal_finish(&request->journal, request->answer.status);
	return answer_send(&request->answer, request->connection);
}

enum MHD_Result
api_go_on(Request *request)
{
	switch (request->stage)
	{
		case STAGE_RECEIVED:
			examine(request);
			request->stage = STAGE_DECIDE;
			if (holds(request, false))
				return MHD_YES;
			/* FALLTHROUGH */
		case STAGE_DECIDE:
			if (request->hold.released || !decide(request))
				return drop(request);
			request->stage = STAGE_SEND;
			if (holds(request, true))
				return MHD_YES;
			/* FALLTHROUGH */
		case STAGE_SEND:
			break;
	}
	return send_answer(request);
}

void
api_end(Request *request)
{
	/* Of one that waited when its client went, only this is left to be done. */
	if (request->stage == STAGE_DECIDE && !request->hold.released && decide(request))
		request->stage = STAGE_SEND;
	if (request->stage == STAGE_SEND && !is_dropped(request))
		journal_finish(&request->journal, request->answer.status);
}
