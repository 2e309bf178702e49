/*
 * retries.c
 *		Contacts that are to be sent again.
 */
#include "postgres.h"

#include "common/pg_prng.h"
#include "compat.h"
#include "server/settings.h"
#include "worker/backoff.h"
#include "worker/queues.h"
#include "worker/retries.h"
#include "worker/singles.h"
#include "worker/writes.h"

void
retries_wait_again(Contact *contact)
{
	window_move(contact, CONTACT_QUEUED);
	if (contact->look_again)
	{
		contact->look_again = false;
		queue_look(contact->chatbot, contact->external_id, false);
	}
}

void
retries_enqueue(Contact *contact)
{
	IsolationNode *node = &contact->node;

	if (contact->call != CALL_CREATE)
		singles_add(contact);
	else if (!contact->unconfirmed)
		isolation_add(contact->chatbot->isolation, node);
	else if (!isolation_add_unconfirmed(contact->chatbot->isolation, &node, 1))
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory")));
}

/*
 * Whether a failure of a contact that was alone is its own: the chatbot has given
 * others a definite answer since the last time.
 */
static bool
is_its_own(const Contact *contact)
{
	return contact->tried_at >= 0 && contact->chatbot->answers > contact->tried_at;
}

/* Tried again later; the chatbot's others need not wait for that. */
static void
defer(Contact *contact, int http_status, const char *why)
{
	PacingBackoff backoff = {.failures = contact->failures++};

	pacing_fail(&backoff, BACKOFF_FIRST_US, settings_max_backoff * INT64CONST(1000), -1,
				pg_prng_double(&pg_global_prng_state), 0);
	contact->tried_at = contact->chatbot->answers;
	writes_defer(contact, backoff.until / 1000, http_status, why);
}

static void
charge_contact(Contact *contact, int http_status, const char *why)
{
	contact->attempts++;
	if (contact->attempts < settings_max_attempts)
	{
		defer(contact, http_status, why);
		return;
	}
	writes_settle(contact, OUTBOX_FAILED, http_status, why);
}

bool
retries_lack_company(const Chatbot *chatbot)
{
	return chatbot->contacts <= 1 && chatbot->waiting[CALL_CREATE].n == 0;
}

/*
 * A contact that was alone has failed.  With others taken in between that is charged to it.
 * If there are no others, nobody can tell; where it has failed before, it alone waits, so
 * that one that comes now finds the chatbot free and out whether that is well.  True if that
 * is all that follows.
 */
bool
retries_take_alone(const Request *request, const HttpResult *result, const ReadAnswer *answer)
{
	Contact    *contact = request->contacts[0];
	Chatbot    *chatbot = request->chatbot;

	if (is_its_own(contact))
		charge_contact(contact, result->status, answer->message);
	else if (contact->tried_at >= 0 && answer->judgement.wait_ms < 0 &&
			 retries_lack_company(chatbot))
		defer(contact, result->status, answer->message);
	else
	{
		contact->tried_at = chatbot->answers;
		return false;
	}
	return true;
}
