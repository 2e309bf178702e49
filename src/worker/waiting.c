/*
 * waiting.c
 *		What the worker waits for between two passes, for pg_stat_activity.
 *
 * Of several things the one is shown that an administrator would look for first.  Which
 * chatbot it is, since when and why, is in contacts_push.progress.
 */
#include "postgres.h"

#include "compat.h"
#include "server/settings.h"
#include "util/clock.h"
#include "utils/backend_status.h"
#include "worker/pause.h"
#include "worker/send.h"
#include "worker/waiting.h"

/* Longer than any text here. */
#define TEXT_BYTES 80

static bool
has_contacts(const Chatbot *chatbot)
{
	return chatbot->contacts > 0 || window_has_passed_over(chatbot);
}

WaitReason
waiting_report(void)
{
	WaitReason	reason = WAIT_WORKER_MAIN;
	int64		now = clock_us();
	int			npaused = 0;
	int			nbacking_off = 0;
	int			nholding = 0;
	char		text[TEXT_BYTES] = "contacts_push: idle";
	ListCell   *cell;

	foreach(cell, window_chatbots())
	{
		const Chatbot *chatbot = lfirst(cell);

		if (!has_contacts(chatbot))
			continue;
		if (pause_is_on(chatbot))
			npaused++;
		else if (chatbot->backoff.until > now)
			nbacking_off++;
		else if (chatbot->held_deletes > 0)
			nholding++;
	}
	if (worker.nrequests > 0)
	{
		reason = WAIT_ANSWER;
		snprintf(text, sizeof(text), "contacts_push: waiting for %d answer%s",
				 worker.nrequests, worker.nrequests == 1 ? "" : "s");
	}
	else if (!settings_enabled)
		strlcpy(text, "contacts_push: stopped, contacts_push.enabled is off", sizeof(text));
	else if (send_is_throttled())
	{
		reason = WAIT_BUDGET;
		strlcpy(text, "contacts_push: waiting for the key's limit", sizeof(text));
	}
	else if (nbacking_off > 0)
	{
		reason = WAIT_BACKOFF;
		snprintf(text, sizeof(text), "contacts_push: backing off, chatbots: %d", nbacking_off);
	}
	else if (npaused > 0)
		snprintf(text, sizeof(text), "contacts_push: paused, chatbots: %d", npaused);
	else if (nholding > 0)
		snprintf(text, sizeof(text), "contacts_push: holding deletions, chatbots: %d", nholding);
	pgstat_report_activity(STATE_IDLE, text);
	return reason;
}
