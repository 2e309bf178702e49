/*
 * backoff.c
 *		The back-off of a chatbot that gives no usable answer.
 */
#include "postgres.h"

#include "common/pg_prng.h"
#include "compat.h"
#include "server/settings.h"
#include "util/clock.h"
#include "worker/backoff.h"
#include "worker/pause.h"
#include "worker/trouble.h"

/*
 * Requests that were under way together fail together: one that had left before
 * the last failure was counted is not another one.
 */
void
backoff_fail(const Request *request, int64 told_ms, const char *what)
{
	Chatbot    *chatbot = request->chatbot;
	int64		told_us = told_ms < 0 ? -1 : told_ms * 1000;
	int64		now = clock_us();

	if (chatbot->backoff.failures > 0 && request->left_at <= chatbot->failed_at)
	{
		if (told_us >= 0)
			chatbot->backoff.until = Max(chatbot->backoff.until, now + told_us);
		return;
	}
	chatbot->failed_at = now;
	if (chatbot->backoff_reason)
		pfree(chatbot->backoff_reason);
	chatbot->backoff_reason = window_strdup(what);
	chatbot->backoff_unwritten = true;
	if (chatbot->backoff.failures == 0)
		trouble_outage_began(chatbot, what);
	pacing_fail(&chatbot->backoff, BACKOFF_FIRST_US, settings_max_backoff * INT64CONST(1000),
				told_us, pg_prng_double(&pg_global_prng_state), now);
}

void
backoff_end(Chatbot *chatbot)
{
	chatbot->backoff_unwritten |= chatbot->backoff.failures > 0;
	pacing_succeed(&chatbot->backoff);
	trouble_outage_ended(chatbot);
}

void
backoff_answered(const Request *request)
{
	Chatbot    *chatbot = request->chatbot;

	backoff_end(chatbot);
	trouble_answered();
	if (request->call == CALL_CREATE)
		chatbot->batch_limit = pacing_batch_succeeded(chatbot->batch_limit, request->n,
													  settings_batch_size);
	chatbot->answers++;
	window_prove(chatbot);
	pause_is_over(chatbot);
}
