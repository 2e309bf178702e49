/*
 * refusals.c
 *		Runs of contacts that were refused alone, in the same words.
 *
 * REFUSALS_IN_A_ROW of them speak of a fault of the chatbot and not of so many contacts.
 * Until it is known which of the two it is, the refusals of a run are held and not written:
 * their rows stay pending, so that a crash forgets the run and not the contacts.  What
 * follows for the chatbot is decided in answers.c.
 */
#include "postgres.h"

#include "compat.h"
#include "worker/pause.h"
#include "worker/refusals.h"
#include "worker/retries.h"
#include "worker/writes.h"

/* Of contacts that are held: a refusal with another status ends a run. */
#define HELD_STATUS 400

bool
refusals_have_paused(const Chatbot *chatbot, const char *message)
{
	return chatbot->pause == PAUSE_REFUSALS && pause_is_on(chatbot) &&
		chatbot->refusal && strcmp(chatbot->refusal, message) == 0;
}

static void
reject_held(Chatbot *chatbot)
{
	while (chatbot->nheld > 0)
		writes_settle(chatbot->held[0], OUTBOX_REJECTED, HELD_STATUS, chatbot->refusal);
}

void
refusals_end(Chatbot *chatbot)
{
	reject_held(chatbot);
	chatbot->refusals = 0;
}

void
refusals_forget(Chatbot *chatbot)
{
	refusals_end(chatbot);
	chatbot->refuse_all = false;
}

/* As if they had not been sent, but for what was open before. */
static void
return_held(Chatbot *chatbot)
{
	while (chatbot->nheld > 0)
	{
		Contact    *contact = chatbot->held[0];
		retries_wait_again(contact);
		retries_enqueue(contact);
	}
}

bool
refusals_take(Contact *contact, int http_status, const char *message)
{
	Chatbot    *chatbot = contact->chatbot;

	if (chatbot->refuse_all || http_status != HELD_STATUS)
	{
		refusals_end(chatbot);
		writes_settle(contact, OUTBOX_REJECTED, http_status, message);
		return true;
	}
	if (chatbot->refusal == NULL || strcmp(chatbot->refusal, message) != 0)
	{
		refusals_end(chatbot);
		if (chatbot->refusal)
			pfree(chatbot->refusal);
		chatbot->refusal = window_strdup(message);
	}
	if (++chatbot->refusals < REFUSALS_IN_A_ROW)
	{
		window_move(contact, CONTACT_HELD);
		return true;
	}
	chatbot->refusals = 0;
	return_held(chatbot);
	return false;
}

/* The run goes on with the next contact, though these are no longer part of it. */
void
refusals_settle_idle(void)
{
	ListCell   *cell;

	foreach(cell, window_chatbots())
	{
		Chatbot    *chatbot = lfirst(cell);

		if (isolation_inside(chatbot->isolation) == 0 &&
			chatbot->by_call[CALL_UPDATE] + chatbot->by_call[CALL_DELETE] == 0)
			reject_held(chatbot);
	}
}
