/*
 * answers.c
 *		From answers to outcomes.
 *
 * verdict.c says whose fault an answer is; what follows from it for the
 * contacts, their chatbot and their key is done here, at that level only.
 */
#include "postgres.h"

#include "compat.h"
#include "contact/answer.h"
#include "server/budget.h"
#include "server/settings.h"
#include "store/outbox.h"
#include "util/clock.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "worker/answers.h"
#include "worker/backoff.h"
#include "worker/changes.h"
#include "worker/conflicts.h"
#include "worker/findings.h"
#include "worker/lookups.h"
#include "worker/members.h"
#include "worker/owners.h"
#include "worker/pause.h"
#include "worker/queues.h"
#include "worker/refusals.h"
#include "worker/requests.h"
#include "worker/retries.h"
#include "worker/singles.h"
#include "worker/trouble.h"
#include "worker/writes.h"

/* ---- what an answer means for its contacts ---- */

/* Back to where they came from, as if never sent. */
static void
return_contacts(Request *request)
{
	for (int i = 0; i < request->n; i++)
		retries_wait_again(request->contacts[i]);
}

static void
give_back(Request *request)
{
	return_contacts(request);
	if (request->group)
		isolation_returned(request->chatbot->isolation, request->group);
	else
		singles_add(request->contacts[0]);
}

/* Those the answer names are created. */
static void
settle_named(Request *request, const ReadAnswer *answer)
{
	Chatbot    *chatbot = request->chatbot;

	for (int i = 0; i < request->n; i++)
		if (answer->match[i] >= 0)
		{
			/* The first of each answer shows whether the schema has changed. */
			if (attributes_compare(&chatbot->attributes, request->contacts[i]->attributes,
								   answer->reply, answer->match[i], i == 0))
				chatbot->attributes_changed = true;
			writes_settle(request->contacts[i], OUTBOX_CREATED, 200,
						  answer_to_server(answer->reply->contacts[answer->match[i]].id));
		}
}

static void
on_created(Request *request, const ReadAnswer *answer)
{
	settle_named(request, answer);
	isolation_clean(request->chatbot->isolation, request->group);
	request->chatbot->max_bytes = pacing_bytes_succeeded(request->chatbot->max_bytes,
														 request->body.len, settings_max_request_bytes);
	backoff_answered(request);
	refusals_forget(request->chatbot);
}

/* Those that are not settled may have been created. */
static void
doubt_rest(Request *request, int http_status, const char *why)
{
	for (int i = 0; i < request->n; i++)
	{
		Contact    *contact = request->contacts[i];

		if (contact->state == CONTACT_WRITING)
			continue;
		retries_wait_again(contact);
		if (!contact->says_so)
			writes_unconfirmed(contact->chatbot, contact->seq, request, http_status, why);
		contact->unconfirmed = contact->says_so = true;
	}
}

/* 200 for some: the others may or may not be there.  (For none: see on_unanswered().) */
static void
on_partial(Request *request, const ReadAnswer *answer)
{
	bool	   *created = palloc(request->n * sizeof(bool));

	for (int i = 0; i < request->n; i++)
		created[i] = answer->match[i] >= 0;
	settle_named(request, answer);
	doubt_rest(request, 200, answer->message);
	isolation_partial(request->chatbot->isolation, request->group, created);
	lookups_take_over(request);
	backoff_answered(request);
	refusals_forget(request->chatbot);
}

/* Whose the e-mail is, where that is known: the API does not say. */
static const char *
words_for_conflict(const Contact *contact, const ReadAnswer *answer)
{
	char	   *owner = owners_find(contact);

	if (owner == NULL || strcmp(owner, contact->external_id) == 0)
		return answer->message;
	return psprintf("its e-mail belongs to another contact of this outbox, \"%s\": %s",
					owner, answer->message);
}

/* One contact, refused alone: that is its outcome. */
static void
on_refused_alone(Request *request, const HttpResult *result, const ReadAnswer *answer)
{
	Contact    *contact = request->contacts[0];
	Chatbot    *chatbot = request->chatbot;
	bool		is_other_version = false;

	if (result->status == 400 && refusals_have_paused(chatbot, answer->message))
	{
		give_back(request);
		return;
	}
	if (result->status != 409 && !refusals_take(contact, result->status, answer->message))
	{
		give_back(request);
		pause_begin(chatbot, PAUSE_REFUSALS, request->left_at,
					psprintf("%d contacts in a row were refused with: %s",
							 REFUSALS_IN_A_ROW, answer->message));
		return;
	}
	if (result->status == 409)
	{
		/* Who is to change is there, and so is whoever has what it wants. */
		bool		is_there = contact->unconfirmed && contact->call == CALL_CREATE;

		refusals_end(chatbot);
		is_other_version = is_there && chatbot->updates && !contact->is_only_version &&
			!contact->illegible;
		if (is_there && !is_other_version)
			writes_settle(contact, OUTBOX_PRESENT, 409,
						  psprintf("an earlier request with it had no usable answer and created it in all likelihood: %s",
								   answer->message));
		else if (!is_there && !conflicts_take(request, words_for_conflict(contact, answer)))
			writes_settle(contact, OUTBOX_CONFLICT, 409, words_for_conflict(contact, answer));
	}
	if (request->group)
		isolation_dirty(chatbot->isolation, request->group, -1);
	/* Another version of it may be there. */
	if (is_other_version)
		lookups_change(contact, members_at_chatbase(chatbot, NULL, 0));
	backoff_answered(request);
}

static void
on_refused(Request *request, const HttpResult *result, const ReadAnswer *answer)
{
	if (request->n == 1)
	{
		on_refused_alone(request, result, answer);
		return;
	}
	if (result->status != 409 || answer->reply->culprit >= 0 || !lookups_retake(request))
	{
		return_contacts(request);
		isolation_dirty(request->chatbot->isolation, request->group, answer->reply->culprit);
	}
	backoff_answered(request);
}

/* Too large: smaller requests, until a single contact is too large by itself. */
static void
on_too_large(Request *request, const HttpResult *result, const ReadAnswer *answer)
{
	if (request->n == 1)
	{
		on_refused_alone(request, result, answer);
		return;
	}
	/* one contact goes in any case */
	request->chatbot->max_bytes = pacing_batch_failed(request->chatbot->max_bytes,
													  request->body.len, settings_max_request_bytes);
	give_back(request);
}

/* No usable answer: they may have been created. */
static void
on_unanswered(Request *request, const HttpResult *result, const ReadAnswer *answer)
{
	Chatbot    *chatbot = request->chatbot;

	if (request->n == 1 && retries_take_alone(request, result, answer))
	{
		bool		drop = true;

		if (request->group)
			isolation_dropped(chatbot->isolation, request->group, &drop);
		return;
	}
	doubt_rest(request, result->status, answer->message);
	backoff_fail(request, answer->judgement.wait_ms, answer_in_words(result, answer));
	if (request->group == NULL)
	{
		singles_add(request->contacts[0]);
		return;
	}
	isolation_unanswered(chatbot->isolation, request->group);
	lookups_take_over(request);
	chatbot->batch_limit = pacing_batch_failed(chatbot->batch_limit, request->n,
											   settings_batch_size);
}

static void
on_paused(Request *request, PauseKind kind, const HttpResult *result,
		  const ReadAnswer *answer)
{
	give_back(request);
	pause_begin(request->chatbot, kind, request->left_at, answer_in_words(result, answer));
}

/*
 * Words may deceive: before all contacts wait, one of them is tried alone.  That is
 * answered so, too, if it is the plan's limit, whoever else was in the request.
 */
static void
on_quota(Request *request, const HttpResult *result, const ReadAnswer *answer)
{
	if (request->n == 1)
	{
		on_paused(request, PAUSE_QUOTA, result, answer);
		return;
	}
	return_contacts(request);
	isolation_dirty(request->chatbot->isolation, request->group, 0);
}

/* What the answer tells about the budget of the key. */
static void
keep_pace(const Request *request, const HttpResult *result, const ReadAnswer *answer)
{
	int64		wait_ms = answer->judgement.wait_ms;

	if (answer->judgement.verdict == VERDICT_RATE)
	{
		bool		is_held = budget_held_us(request->key_hash) > 0;
		bool		is_first = budget_throttled(request->key_hash, request->left_at,
												wait_ms < 0 ? -1 : wait_ms * 1000);

		worker.last_key_hash = request->key_hash;
		if (!is_held)
			trouble_key_held(request->chatbot, budget_held_us(request->key_hash), is_first,
							 answer_in_words(result, answer));
	}
	else if (answer->judgement.verdict != VERDICT_NETWORK)
		budget_answered(request->key_hash);
}

static void
act_on(Request *request, const HttpResult *result, const ReadAnswer *answer)
{
	switch (answer->judgement.verdict)
	{
		case VERDICT_CREATED:
			on_created(request, answer);
			break;
		case VERDICT_PARTIAL:
			if (answer->named > 0)
				on_partial(request, answer);
			else
				on_unanswered(request, result, answer);
			break;
		case VERDICT_CONTACT:
			on_refused(request, result, answer);
			break;
		case VERDICT_QUOTA:
			on_quota(request, result, answer);
			break;
		case VERDICT_KEY:
			on_paused(request, PAUSE_KEY, result, answer);
			break;
		case VERDICT_CHATBOT:
			on_paused(request, PAUSE_CHATBOT, result, answer);
			break;
		case VERDICT_BATCH:
			on_too_large(request, result, answer);
			break;
		case VERDICT_RATE:
			give_back(request);
			break;
		case VERDICT_NETWORK:
			give_back(request);
			backoff_fail(request, -1, answer_in_words(result, answer));
			break;
		case VERDICT_SERVER:
			on_unanswered(request, result, answer);
			break;
	}
}

/* True of a read that is not made for a contact that changes or is deleted. */
static bool
is_lookup(const Request *request)
{
	return request->call == CALL_READ &&
		(request->n == 0 || request->contacts[0]->call == CALL_CREATE);
}

static void
settle_request(Request *request)
{
	const HttpResult *result = http_result(request->http);
	const char **external_ids = palloc(request->n * sizeof(char *));
	ReadAnswer	answer;
	Verdict		verdict;
	const char *outcome = NULL;
	bool		is_fine;

	for (int i = 0; i < request->n; i++)
		external_ids[i] = request->contacts[i]->external_id_utf8;
	answer_read(&answer, result, request->key, request->body.data, external_ids, request->n);
	verdict = answer.judgement.verdict;
	is_fine = verdict == VERDICT_CREATED || verdict == VERDICT_CONTACT;
	keep_pace(request, result, &answer);
	if (is_lookup(request))
	{
		outcome = findings_settle(request, result, &answer);
		is_fine = outcome != NULL;
	}
	else
	{
		if (request->call != CALL_CREATE)
			outcome = changes_take(request, result, &answer);
		is_fine |= outcome != NULL;
		if (outcome == NULL)
			act_on(request, result, &answer);
	}
	if (!is_fine)
		trouble_note(request->chatbot, answer_in_words(result, &answer));
	worker.finished_requests++;
	requests_answered(request, result->status, outcome ? outcome : verdict_name(verdict),
					  verdict == VERDICT_CREATED ? NULL : answer.message,
					  result->duration_ms, result->request_id);
	answer_free(&answer);
	pfree(external_ids);
}

static Request *
find_request(const HttpRequest *http)
{
	for (int i = 0; i < worker.nrequests; i++)
		if (worker.requests[i]->http == http)
			return worker.requests[i];
	return NULL;
}

bool
answers_take(void)
{
	HttpRequest *http;
	bool		any = false;

	while ((http = http_next_done(worker.pool)) != NULL)
	{
		settle_request(find_request(http));
		any = true;
	}
	return any;
}
