/*
 * trouble.c
 *		What keeps the worker from sending, told to those who look: the last error in
 *		contacts_push.worker, and one line a change of state in the server's log.
 *
 * A line is written when a state begins or ends, never for a request or a contact: who
 * alerts on the log must not drown in it.  Trouble is a WARNING, with the code that a call
 * would have failed with; its end, and what an operator does, is LOG.  The API's words come here
 * cleaned and without the key (answer.c).
 */
#include "postgres.h"

#include "commands/dbcommands.h"
#include "compat.h"
#include "miscadmin.h"
#include "server/budget.h"
#include "server/shared.h"
#include "util/clock.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "worker/trouble.h"

/*
 * While the pace is being found, a 429 that holds the key for a moment is no change of
 * state: it is worth a line when there has been none for a while, or when it lasts; and
 * one, until another answer comes.
 */
#define QUIET_US (INT64CONST(300) * 1000 * 1000)
#define LONG_HOLD_US (INT64CONST(10) * 1000 * 1000)

/* By what a call fails with that is answered so; a plan's limit is told from the others. */
static const int pause_codes[] = {
	[PAUSE_NONE] = ERRCODE_SUCCESSFUL_COMPLETION,
	[PAUSE_KEY] = ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION,
	[PAUSE_CHATBOT] = ERRCODE_UNDEFINED_OBJECT,
	[PAUSE_QUOTA] = ERRCODE_CONFIGURATION_LIMIT_EXCEEDED,
	[PAUSE_REFUSALS] = ERRCODE_INVALID_PARAMETER_VALUE,
	[PAUSE_FOREIGN] = ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE
};

static char *database_name = NULL;
static bool has_error = true;	/* contacts_push.worker may show one, of an earlier worker */
static bool answered_since = false; /* a usable answer has come after it */

void
trouble_worker_started(void)
{
	char	   *name = get_database_name(MyDatabaseId);

	database_name = MemoryContextStrdup(TopMemoryContext, name ? name : "?");
	ereport(LOG,
			(errcode(ERRCODE_SUCCESSFUL_COMPLETION),
			 errmsg("contacts_push: worker for database \"%s\" has started", database_name)));
}

void
trouble_note(const Chatbot *chatbot, const char *what)
{
	shared_report_error(chatbot->id, what);
	has_error = true;
	answered_since = false;
}

void
trouble_pause_began(const Chatbot *chatbot)
{
	if (chatbot->paused_until == PG_INT64_MAX)
		ereport(LOG,
				(errcode(ERRCODE_SUCCESSFUL_COMPLETION),
				 errmsg("contacts_push: chatbot \"%s\" in database \"%s\" is paused until contacts_push.resume(): %s",
						chatbot->id, database_name, chatbot->pause_reason)));
	else
		ereport(WARNING,
				(errcode(pause_codes[chatbot->pause]),
				 errmsg("contacts_push: chatbot \"%s\" in database \"%s\" is paused, next try in %lld s: %s",
						chatbot->id, database_name,
						(long long) ((chatbot->paused_until - clock_us() + 999999) / 1000000),
						chatbot->pause_reason)));
}

void
trouble_pause_ended(const Chatbot *chatbot, const char *why)
{
	ereport(LOG,
			(errcode(ERRCODE_SUCCESSFUL_COMPLETION),
			 errmsg("contacts_push: chatbot \"%s\" in database \"%s\" is no longer paused: %s",
					chatbot->id, database_name, why)));
}

void
trouble_deletes_held(const Chatbot *chatbot, int held)
{
	if (held > 0)
		ereport(WARNING,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("contacts_push: %d deletions of chatbot \"%s\" in database \"%s\" are held, as more than contacts_push.max_pending_deletes wait",
						held, chatbot->id, database_name),
				 errhint("If they are meant, call contacts_push.resume().")));
	else
		ereport(LOG,
				(errcode(ERRCODE_SUCCESSFUL_COMPLETION),
				 errmsg("contacts_push: deletions of chatbot \"%s\" in database \"%s\" are no longer held",
						chatbot->id, database_name)));
}

void
trouble_outage_began(Chatbot *chatbot, const char *what)
{
	chatbot->outage_since = clock_us();
	ereport(WARNING,
			(errcode(ERRCODE_IO_ERROR),
			 errmsg("contacts_push: chatbot \"%s\" in database \"%s\" gives no usable answer: %s",
					chatbot->id, database_name, what)));
}

void
trouble_outage_ended(Chatbot *chatbot)
{
	if (chatbot->outage_since == 0)
		return;
	ereport(LOG,
			(errcode(ERRCODE_SUCCESSFUL_COMPLETION),
			 errmsg("contacts_push: chatbot \"%s\" in database \"%s\" answers again after %.1f s",
					chatbot->id, database_name,
					(clock_us() - chatbot->outage_since) / 1000000.0)));
	chatbot->outage_since = 0;
}

void
trouble_no_reading(const Chatbot *chatbot, const char *why)
{
	ereport(LOG,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("contacts_push: contacts of chatbot \"%s\" in database \"%s\" cannot be looked up: %s",
					chatbot->id, database_name, why)));
}

void
trouble_key_held(const Chatbot *chatbot, int64 held_us, bool is_first, const char *what)
{
	static int64 quiet_until = 0;
	static bool is_told = false;	/* of the 429s in a row */
	int64		now = clock_us();

	if (is_first)
		is_told = false;
	if (is_told || (held_us < LONG_HOLD_US && now < quiet_until))
		return;
	is_told = true;
	quiet_until = now + QUIET_US;
	ereport(WARNING,
			(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
			 errmsg("contacts_push: no request with the API key of chatbot \"%s\" in database \"%s\" until %s: %s",
					chatbot->id, database_name,
					timestamptz_to_str(GetCurrentTimestamp() + held_us), what)));
}

void
trouble_answered(void)
{
	answered_since = true;
}

void
trouble_forget(void)
{
	ListCell   *cell;

	if (!has_error || !answered_since ||
		(worker.last_key_hash && budget_held_us(worker.last_key_hash) > 0))
		return;
	foreach(cell, window_chatbots())
	{
		const Chatbot *chatbot = lfirst(cell);

		if (chatbot->backoff.failures > 0 ||
			(chatbot->pause != PAUSE_NONE && chatbot->paused_until != PG_INT64_MAX &&
			 chatbot->paused_until > clock_us()))
			return;
	}
	shared_report_error(NULL, NULL);
	has_error = false;
}
