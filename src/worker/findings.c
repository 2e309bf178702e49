/*
 * findings.c
 *		From the answers to reads to what is known of contacts in doubt.
 *
 * A read changes nothing, so whatever becomes of it can be repeated, and a page that moved
 * while others were read costs requests and no outcome: who was not found is sent again, and
 * still in doubt.
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "compat.h"
#include "contact/contact.h"
#include "util/clock.h"
#include "worker/backoff.h"
#include "worker/findings.h"
#include "worker/lookups.h"
#include "worker/members.h"
#include "worker/pause.h"
#include "worker/retries.h"
#include "worker/trouble.h"
#include "worker/writes.h"

/* What the answer to a read comes to. */
typedef enum Finding
{
	READ_DONE,					/* it is a page; or it has the contact */
	READ_ABSENT,				/* there is no such contact, or no such page any more */
	READ_UNCLEAR,				/* no such contact, chatbot or call: a list tells which */
	READ_UNFIT,					/* the contact cannot be asked for */
	READ_NO_CALL,				/* the server does not have the call */
	READ_NO_CHATBOT,			/* it has, but not the chatbot */
	READ_NO_KEY,
	READ_THROTTLED,
	READ_FAILED
} Finding;

/* True if the message begins with these words, in any case. */
static bool
says(const ReadAnswer *answer, const char *words)
{
	const char *message = answer->reply->message;

	return message && pg_strncasecmp(message, words, strlen(words)) == 0;
}

/* A status other than 200 that has arrived with all of its answer. */
static Finding
judge_refusal(const Request *request, int status, const ReadAnswer *answer)
{
	bool		is_page = request->page > 0;

	if (status == 404 && says(answer, "chatbot not found"))
		return READ_NO_CHATBOT;
	if (status == 404 && !is_page)
		return says(answer, "contact not found") || request->chatbot->lookup.has_list ?
			READ_ABSENT : READ_UNCLEAR;
	if (status == 400 && request->page > 1)
		return READ_ABSENT;
	if (is_page || status == 405 || status == 501)
		return READ_NO_CALL;
	return READ_UNFIT;
}

static Finding
judge(const Request *request, const HttpResult *result, const ReadAnswer *answer)
{
	bool		is_whole = result->outcome == HTTP_ANSWERED;

	switch (answer->judgement.verdict)
	{
		case VERDICT_CREATED:
			return request->page > 0 && !answer->reply->has_list ? READ_NO_CALL : READ_DONE;
		case VERDICT_PARTIAL:
			/* what is not JSON may be a proxy's word, and not the server's */
			return is_whole && answer->reply->is_json ? READ_NO_CALL : READ_FAILED;
		case VERDICT_KEY:
			return READ_NO_KEY;
		case VERDICT_RATE:
			return READ_THROTTLED;
		case VERDICT_NETWORK:
			return READ_FAILED;
		case VERDICT_SERVER:
			return is_whole && result->status == 501 ? READ_NO_CALL : READ_FAILED;
		default:
			return is_whole ? judge_refusal(request, result->status, answer) : READ_FAILED;
	}
}

/*
 * A read that was answered shows that the chatbot does.  It is a request that creates which
 * ends a back-off, since only these may fail; but a contact without company that fails after
 * this has nobody but itself to blame.
 */
static void
note_read(Chatbot *chatbot)
{
	chatbot->lookup.failures = 0;
	chatbot->lookup.answered_at = clock_us();
	window_prove(chatbot);
	trouble_answered();
	if (retries_lack_company(chatbot))
	{
		chatbot->answers++;
		backoff_end(chatbot);
	}
}

/* True if contact i of the reply is as it is to be. */
static bool
is_as_sent(Contact *contact, const Reply *reply, int i)
{
	Attributes *attributes = &contact->chatbot->attributes;
	const char *unknown[ATTRIBUTES_MAX];
	int			n = 0;
	char	   *body;
	Reply	   *wanted;
	bool		same;

	/* What another version had would not be missing for this. */
	if (contact->is_only_version &&
		attributes_compare(attributes, contact->attributes, reply, i, false))
		contact->chatbot->attributes_changed = true;
	for (int number = 0; number < attributes->n; number++)
		if (attributes->stripped & UINT64CONST(1) << number)
			unknown[n++] = attributes->utf8[number];
	/* Which members are ours is known where updates are on. */
	if (contact->members == NULL ||
		members_exceed(members_at_chatbase(contact->chatbot, reply, i), contact->members))
		return false;
	body = psprintf("{\"data\":[%s]}", contact->json);
	wanted = reply_parse(body, strlen(body));
	same = wanted && wanted->ncontacts == 1 && reply_has_contact(reply, i, wanted, unknown, n);
	reply_free(wanted);
	pfree(body);
	return same;
}

/* Chatbase has it: if not as it is to be, it is changed, where that is pushed. */
static void
settle_one(Contact *contact, const Reply *reply, int i)
{
	bool		as_sent = is_as_sent(contact, reply, i);

	if (as_sent || !contact->chatbot->updates)
		writes_find(contact, answer_to_server(reply->contacts[i].id), as_sent);
	else
		lookups_change(contact, members_at_chatbase(contact->chatbot, reply, i));
}

/* Settles those that a page has; returns how many. */
static int
settle_found(Chatbot *chatbot, const Reply *reply)
{
	int			found = 0;

	for (int i = 0; i < reply->ncontacts; i++)
	{
		const char *id = reply->contacts[i].id;
		const char *external_id = reply->contacts[i].external_id;
		Contact    *contact;

		if (id == NULL || external_id == NULL || !answer_can_be_kept(id) ||
			(external_id = answer_to_server(external_id)) == NULL)
			continue;
		contact = window_find_contact(chatbot, external_id);
		if (contact == NULL || contact->state != CONTACT_DOUBTFUL)
			continue;
		settle_one(contact, reply, i);
		found++;
	}
	return found;
}

/* All pages have been read: who was not on any is not there. */
static void
end_round(Lookup *lookup)
{
	dlist_mutable_iter iter;

	lookup->is_reading = false;
	dlist_foreach_modify(iter, &lookup->contacts)
	{
		Contact    *contact = dlist_container(Contact, doubt, iter.cur);

		if (contact->lookup_round <= lookup->round)
			lookups_send_again(contact, true);
	}
}

/* A server that does not say how many pages there are, and has no other, may repeat one. */
static uint64
hash_page(const Reply *reply)
{
	const char *id = reply->ncontacts > 0 ? reply->contacts[0].id : NULL;

	return id ? hash_bytes_extended((const unsigned char *) id, strlen(id), 0) : 0;
}

/*
 * Decides on the next page.  What was sent last is at one of the ends of a list, whatever its
 * order: they are read from the one that it is found at.
 */
static void
advance(Lookup *lookup, int page, const Reply *reply, int found)
{
	int			total = reply->total_pages;
	uint64		hash = hash_page(reply);

	if (total >= 0)
	{
		lookup->high = Min(lookup->high, total);
		lookup->total_pages = total;
		lookup->from_end ^= found == 0;
	}
	else if (hash == lookup->first_hash || hash == 0)
		lookup->high = page;
	lookup->first_hash = hash;
}

static void
settle_page(Request *request, Finding finding, const Reply *reply)
{
	Lookup	   *lookup = &request->chatbot->lookup;
	int			page = request->page;

	if (finding == READ_DONE)
	{
		int			found = settle_found(request->chatbot, reply);

		lookup->has_list = true;
		lookup->ask_list = false;
		if (request->per_page != CONTACT_PAGE || !lookup->is_reading)
			return;
		if (page == lookup->low)
			lookup->low++;
		else
			lookup->high = page - 1;
		advance(lookup, page, reply, found);
	}
	else						/* it is behind the last one */
		lookup->high = page - 1;
	if (lookup->is_reading && lookup->low > lookup->high)
		end_round(lookup);
}

/*
 * True if the contact is what reads fail for: the chatbot has answered another one since this
 * one failed the last time.  If it has not been asked since, it is.
 */
static bool
is_to_blame(Contact *contact)
{
	Lookup	   *lookup = &contact->chatbot->lookup;

	if (contact->read_failed_at > 0 && lookup->answered_at > contact->read_failed_at)
		return true;
	contact->read_failed_at = clock_us();
	lookup->ask_list = true;
	return false;
}

static void
settle_contact(Contact *contact, Finding finding, const ReadAnswer *answer)
{
	switch (finding)
	{
		case READ_DONE:
			settle_one(contact, answer->reply, answer->match[0]);
			break;
		case READ_ABSENT:
			lookups_send_again(contact, true);
			break;
		case READ_UNFIT:
			lookups_send_again(contact, false);
			break;
		case READ_UNCLEAR:
			contact->chatbot->lookup.ask_list = true;
			lookups_ask_again(contact);
			break;
		default:
			lookups_ask_again(contact);
			break;
	}
}

/* What the answer means for the chatbot. */
static void
act_on(Request *request, Finding finding, const HttpResult *result, const ReadAnswer *answer)
{
	Chatbot    *chatbot = request->chatbot;

	switch (finding)
	{
		case READ_DONE:
		case READ_ABSENT:
			note_read(chatbot);
			break;
		case READ_NO_CALL:
			lookups_give_up(chatbot, answer_in_words(result, answer));
			break;
		case READ_NO_CHATBOT:
			pause_begin(chatbot, PAUSE_CHATBOT, request->left_at, answer_in_words(result, answer));
			break;
		case READ_NO_KEY:
			pause_begin(chatbot, PAUSE_KEY, request->left_at, answer_in_words(result, answer));
			break;
		case READ_FAILED:
			chatbot->lookup.failures++;
			chatbot->lookup.answers = chatbot->answers;
			backoff_fail(request, answer->judgement.wait_ms, answer_in_words(result, answer));
			break;
		case READ_UNCLEAR:
		case READ_UNFIT:
		case READ_THROTTLED:
			break;
	}
}

const char *
findings_settle(Request *request, const HttpResult *result, const ReadAnswer *answer)
{
	static const char *const outcomes[] = {
		[READ_DONE] = "read",
		[READ_ABSENT] = "absent",
		[READ_UNCLEAR] = "unclear",
		[READ_UNFIT] = "unfit",
		[READ_NO_CALL] = "no call",
		[READ_NO_CHATBOT] = NULL,
		[READ_NO_KEY] = NULL,
		[READ_THROTTLED] = NULL,
		[READ_FAILED] = NULL
	};
	Chatbot    *chatbot = request->chatbot;
	Finding		finding = judge(request, result, answer);

	if (finding == READ_FAILED && request->page == 0 && is_to_blame(request->contacts[0]))
		finding = READ_UNFIT;
	act_on(request, finding, result, answer);
	if (request->page == 0)
		settle_contact(request->contacts[0], finding, answer);
	else
	{
		chatbot->lookup.page_under_way = false;
		if (finding == READ_DONE || finding == READ_ABSENT)
			settle_page(request, finding, answer->reply);
	}
	/* if nothing is left to send, nothing else tells that it answers */
	if ((finding == READ_DONE || finding == READ_ABSENT) && chatbot->lookup.n == 0 &&
		isolation_inside(chatbot->isolation) == 0 && chatbot->waiting[CALL_CREATE].n == 0 &&
		chatbot->requests == 1)
		backoff_end(chatbot);
	return outcomes[finding];
}
