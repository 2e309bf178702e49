/*
 * pause.c
 *		Chatbots that nothing is sent to for a while, and why.
 *
 * A pause stands in contacts_push.chatbot, where an operator makes and ends
 * pauses of his own.
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "compat.h"
#include "server/budget.h"
#include "server/settings.h"
#include "store/outbox.h"
#include "util/clock.h"
#include "utils/builtins.h"
#include "worker/pause.h"
#include "worker/trouble.h"

/* A pause of the worker's own: 1 minute, doubling to 1 hour (the contract's). */
#define FIRST_PAUSE_US (INT64CONST(60) * 1000 * 1000)
#define LONGEST_PAUSE_US (INT64CONST(3600) * 1000 * 1000)

bool
pause_is_on(const Chatbot *chatbot)
{
	return chatbot->pause != PAUSE_NONE && chatbot->paused_until > clock_us();
}

/* What a pause may be fixed by: the key and where it is sent to. */
static uint64
current_key_and_url(const Chatbot *chatbot)
{
	char	   *why;
	char	   *key = settings_find_key(chatbot->id, &why);

	return hash_combine64(key ? budget_key_hash(key) : 0, budget_key_hash(settings_base_url));
}

/* As contacts_push.chatbot has them; a pause of unknown make has none. */
static const char *const kind_names[] = {
	[PAUSE_NONE] = NULL, [PAUSE_KEY] = "key", [PAUSE_CHATBOT] = "chatbot",
	[PAUSE_QUOTA] = "quota", [PAUSE_REFUSALS] = "refusals", [PAUSE_FOREIGN] = NULL
};

static PauseKind
kind_of(const char *name)
{
	for (int kind = PAUSE_NONE; kind <= PAUSE_FOREIGN; kind++)
		if (name && kind_names[kind] && strcmp(name, kind_names[kind]) == 0)
			return kind;
	return PAUSE_FOREIGN;
}

const char *
pause_kind_name(PauseKind kind)
{
	return kind_names[kind];
}

static void
set_pause_reason(Chatbot *chatbot, const char *reason)
{
	if (chatbot->pause_reason)
		pfree(chatbot->pause_reason);
	chatbot->pause_reason = window_strdup(reason);
}

void
pause_begin(Chatbot *chatbot, PauseKind kind, int64 left_at, const char *reason)
{
	bool		is_news;

	if (chatbot->paused_until == PG_INT64_MAX ||
		(pause_is_on(chatbot) && left_at <= chatbot->paused_at))
		return;
	/* A try that has failed in the same way again is none. */
	is_news = chatbot->pause == PAUSE_NONE || strcmp(chatbot->pause_reason, reason) != 0;
	chatbot->pause = kind;
	chatbot->pauses++;
	chatbot->paused_at = clock_us();
	chatbot->paused_until = chatbot->paused_at +
		pacing_pause(chatbot->pauses, FIRST_PAUSE_US, LONGEST_PAUSE_US);
	chatbot->paused_with = current_key_and_url(chatbot);
	set_pause_reason(chatbot, reason);
	chatbot->pause_unwritten = true;
	trouble_note(chatbot, reason);
	if (is_news)
		trouble_pause_began(chatbot);
}

/* The next one will be a first one again. */
static void
end_pause(Chatbot *chatbot, const char *why)
{
	chatbot->pause = PAUSE_NONE;
	chatbot->paused_until = 0;
	chatbot->pauses = 0;
	trouble_pause_ended(chatbot, why);
}

void
pause_is_over(Chatbot *chatbot)
{
	chatbot->pauses = 0;
	if (chatbot->pause != PAUSE_NONE && !pause_is_on(chatbot))
	{
		end_pause(chatbot, "it has answered");
		chatbot->pause_unwritten = true;
	}
}

/* Whether a reload may have fixed what this chatbot is paused for. */
static bool
may_be_fixed(const Chatbot *chatbot)
{
	/* an operator's */
	if (chatbot->paused_until == PG_INT64_MAX)
		return false;
	if (chatbot->pause == PAUSE_QUOTA || chatbot->pause == PAUSE_REFUSALS)
		return chatbot->paused_with != current_key_and_url(chatbot);
	return chatbot->pause == PAUSE_KEY || chatbot->pause == PAUSE_CHATBOT;
}

void
pause_lift_all(void)
{
	ListCell   *cell;

	foreach(cell, window_chatbots())
	{
		Chatbot    *chatbot = lfirst(cell);

		if (!may_be_fixed(chatbot))
			continue;
		/* It is over when it has answered; until then it would end in the log at each reload. */
		chatbot->paused_until = clock_us();
		chatbot->pauses = 0;
		chatbot->pause_unwritten = true;
	}
}

/*
 * One that is known here lasts as long as the monotonic clock says: by the table's the wall
 * clock may end it early.  What could not be written yet counts until it is.
 */
void
pause_take(Chatbot *chatbot, int64 left_ms, const char *reason, const char *kind)
{
	bool		is_news = false;

	if (left_ms < 0)
	{
		/* It takes the place of one of ours. */
		is_news = chatbot->paused_until != PG_INT64_MAX;
		chatbot->paused_until = PG_INT64_MAX;
		chatbot->pause_unwritten = false;
	}
	else if (!pause_is_on(chatbot) && !chatbot->pause_unwritten)
		chatbot->paused_until = clock_us() + left_ms * 1000;
	else
		return;
	if (chatbot->pause == PAUSE_NONE || is_news)
		set_pause_reason(chatbot, reason ? reason : "paused");
	if (chatbot->pause == PAUSE_NONE)
	{
		chatbot->pause = kind_of(kind);
		chatbot->paused_with = current_key_and_url(chatbot);
		is_news = true;
	}
	if (is_news)
		trouble_pause_began(chatbot);
}

/*
 * An operator's resume(): if the pause was for refusals, those are meant.  Only a pause that
 * has been taken out of the table has been ended there; one whose row is gone goes on.
 */
void
pause_take_resume(Chatbot *chatbot)
{
	if (chatbot->pause_unwritten)
		return;
	chatbot->refuse_all |= chatbot->pause == PAUSE_REFUSALS;
	end_pause(chatbot, "somebody has called contacts_push.resume()");
}

Datum
pause_known(void)
{
	List	   *chatbots = window_chatbots();
	char	  **ids = palloc(Max(list_length(chatbots), 1) * sizeof(char *));
	int			n = 0;
	ListCell   *cell;

	foreach(cell, chatbots)
		if (((Chatbot *) lfirst(cell))->pause != PAUSE_NONE)
			ids[n++] = ((Chatbot *) lfirst(cell))->id;
	return outbox_text_array(ids, n);
}
