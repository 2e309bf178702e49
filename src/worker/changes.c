/*
 * changes.c
 *		What an answer to an update or a deletion means, where that differs from other calls.
 *
 * Both calls can be repeated whatever became of them, so a lost answer costs a request and no
 * doubt: a PATCH has all of the contact, so a second one changes nothing; a second DELETE is
 * answered 404, which says the same.  A PATCH that gives the contact another external_id is
 * answered 404, too, when it has been applied before; then the contact is under the new one, which
 * the next PATCH goes to.
 */
#include "postgres.h"

#include "compat.h"
#include "util/clock.h"
#include "worker/backoff.h"
#include "worker/changes.h"
#include "worker/pause.h"
#include "worker/refusals.h"
#include "worker/retries.h"
#include "worker/writes.h"

/* So long a chatbot is known to be there after its contacts have been asked about. */
#define KNOWN_US (INT64CONST(10) * 1000 * 1000)

/* True if the server says that. */
static bool
says(const ReadAnswer *answer, const char *words)
{
	return answer->from_api && pg_strncasecmp(answer->message, words, strlen(words)) == 0;
}

/* True if the answer has a contact that is not the one that was asked for. */
static bool
has_another(const ReadAnswer *answer)
{
	return answer->reply->ncontacts > 0 && answer->named == 0;
}

static bool
is_done(const Request *request, const HttpResult *result, const ReadAnswer *answer)
{
	if (result->outcome != HTTP_ANSWERED)
		return false;
	if (request->call == CALL_UPDATE)
		return answer->judgement.verdict == VERDICT_CREATED;
	return !has_another(answer) &&
		(result->status == 204 || (result->status == 200 && answer->reply->is_json));
}

/* The chatbot is there, and has answered for a contact. */
static void
note_answer(const Request *request)
{
	request->chatbot->singles_seen_at = clock_us();
	backoff_answered(request);
	refusals_forget(request->chatbot);
}

static const char *
settle_done(Request *request, const HttpResult *result, const ReadAnswer *answer)
{
	Contact    *contact = request->contacts[0];
	Chatbot    *chatbot = request->chatbot;

	note_answer(request);
	chatbot->changes++;
	if (request->call == CALL_DELETE)
	{
		writes_settle(contact, OUTBOX_DELETED, result->status, NULL);
		return "deleted";
	}
	if (attributes_compare(&chatbot->attributes, contact->attributes, answer->reply,
						   answer->match[0], false))
		chatbot->attributes_changed = true;
	chatbot->refuses_nulls |= contact->is_uncleared;
	writes_settle(contact, OUTBOX_UPDATED, result->status,
				  answer_to_server(answer->reply->contacts[answer->match[0]].id));
	return "updated";
}

/* There is no such contact at Chatbase: it is gone, or if it is not to be, is created anew. */
static const char *
settle_absent(Request *request)
{
	Contact    *contact = request->contacts[0];

	note_answer(request);
	contact->missing_at = 0;
	if (contact->call == CALL_DELETE)
	{
		writes_settle(contact, OUTBOX_DELETED, 404, NULL);
		return "absent";
	}
	retries_wait_again(contact);
	/*
	 * It may have the new external_id already, if an answer was lost that gave it that; else who is
	 * there under that one is not ours.
	 */
	if (contact->previous && !contact->has_key && contact->unconfirmed)
		contact->has_key = true;
	else
	{
		/* That it is there was in doubt only, and is no more. */
		contact->unconfirmed = false;
		window_set_call(contact, CALL_CREATE);
	}
	retries_enqueue(contact);
	return "absent";
}

/* The server has no such call, which is no reason not to create contacts. */
static const char *
settle_impossible(Request *request, const HttpResult *result, const ReadAnswer *answer)
{
	writes_settle(request->contacts[0], OUTBOX_REJECTED, result->status, answer->message);
	backoff_answered(request);
	return "rejected";
}

/* What the list of the chatbot's contacts says of a 404 that left open what there is not. */
static const char *
take_list(Request *request, const HttpResult *result, const ReadAnswer *answer)
{
	request->contacts[0]->missing_at = 0;
	if (result->outcome != HTTP_ANSWERED)
		return NULL;
	if (result->status == 200 && answer->reply->has_list)
	{
		request->chatbot->lookup.has_list = true;
		return settle_absent(request);
	}
	/* A chatbot that takes contacts is there; one that has had a list, and has none, has gone. */
	if (result->status == 405 || result->status == 501 ||
		(result->status == 404 && request->chatbot->proven && !request->chatbot->lookup.has_list))
		return settle_impossible(request, result, answer);
	return NULL;
}

const char *
changes_take(Request *request, const HttpResult *result, const ReadAnswer *answer)
{
	Contact    *contact = request->contacts[0];

	if (request->call == CALL_READ)
		return take_list(request, result, answer);
	if (is_done(request, result, answer))
		return settle_done(request, result, answer);
	if (result->outcome != HTTP_ANSWERED)
		return NULL;
	if (result->status == 405 || result->status == 501)
		return settle_impossible(request, result, answer);
	/* Whether it is for the nulls is told by the same without them. */
	if (result->status == 400 && contact->cleared && !contact->is_uncleared)
	{
		contact->is_uncleared = true;
		retries_wait_again(contact);
		retries_enqueue(contact);
		return "contact";
	}
	if (result->status != 404 || says(answer, "chatbot not found"))
		return NULL;
	if (says(answer, "contact not found") ||
		clock_us() - request->chatbot->singles_seen_at < KNOWN_US)
		return settle_absent(request);
	/* The chatbot has been found not to be there meanwhile. */
	if (pause_is_on(request->chatbot))
		return NULL;
	/* "Resource not found" is said of either: whether the chatbot has a list tells which. */
	contact->missing_at = clock_us();
	retries_wait_again(contact);
	retries_enqueue(contact);
	return "absent";
}
