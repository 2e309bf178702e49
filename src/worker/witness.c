/*
 * witness.c
 *		Whether a chatbot answers, when the only contact to be sent keeps failing.
 *
 * A failure is charged to a contact only if its chatbot has given another
 * a definite answer since the last time; without that an outage would have it
 * fail.  Where no other is to be sent, one that has just been created is asked for
 * again, by its external_id alone: 409 is a definite answer, and changes nothing.
 *
 * Were it deleted at Chatbase meanwhile, it would be created anew; so only one is
 * asked for that was seen to exist a few minutes ago.
 */
#include "postgres.h"

#include "compat.h"
#include "contact/contact.h"
#include "util/clock.h"
#include "utils/json.h"
#include "worker/answers.h"
#include "worker/witness.h"

/* Longer than the longest default back-off (5 minutes): each answer renews it. */
#define FRESH_US (INT64CONST(600) * 1000 * 1000)

void
witness_note(Chatbot *chatbot, const char *external_id_utf8)
{
	char	   *copy = window_strdup(external_id_utf8);

	if (chatbot->witness)
		pfree(chatbot->witness);
	chatbot->witness = copy;
	chatbot->witness_seen_at = clock_us();
}

void
witness_ask(Chatbot *chatbot)
{
	chatbot->ask_witness = true;
}

bool
witness_is_wanted(const Chatbot *chatbot)
{
	return chatbot->ask_witness && chatbot->witness &&
		clock_us() - chatbot->witness_seen_at < FRESH_US;
}

void
witness_fill_body(const Chatbot *chatbot, StringInfo body)
{
	StringInfoData json;

	initStringInfo(&json);
	appendStringInfoString(&json, "{\"external_id\": ");
	escape_json(&json, chatbot->witness);
	appendStringInfoChar(&json, '}');
	contact_body_begin(body);
	contact_body_add(body, json.data, json.len);
	contact_body_end(body);
	pfree(json.data);
}

void
witness_answered(Request *request, const HttpResult *result, const ReadAnswer *answer)
{
	Chatbot    *chatbot = request->chatbot;

	switch (answer->judgement.verdict)
	{
		case VERDICT_CREATED:
		case VERDICT_PARTIAL:
		case VERDICT_CONTACT:
		case VERDICT_BATCH:
			chatbot->answers++;
			chatbot->witness_seen_at = clock_us();
			break;
		case VERDICT_QUOTA:
			answers_pause(request, PAUSE_QUOTA, result, answer);
			break;
		case VERDICT_KEY:
			answers_pause(request, PAUSE_KEY, result, answer);
			break;
		case VERDICT_CHATBOT:
			answers_pause(request, PAUSE_CHATBOT, result, answer);
			break;
		case VERDICT_RATE:
		case VERDICT_SERVER:
		case VERDICT_NETWORK:
			/* Nothing is known: the next failure asks again. */
			break;
	}
}
