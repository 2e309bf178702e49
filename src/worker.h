/*
 * worker.h
 *		The parts of a database's worker, and what they share.
 *
 * Layer 3.  One pass of the worker is one transaction: settle.c takes in the answers
 * that have come, outcome.c writes what became of their contacts, claim.c takes up what
 * is pending, send.c decides on the next requests and writes their intents; after the
 * commit the requests leave.
 */
#ifndef CONTACTS_PUSH_WORKER_H
#define CONTACTS_PUSH_WORKER_H

#include "answer.h"
#include "http.h"
#include "lib/stringinfo.h"
#include "window.h"

/* Most requests under way; the upper limit of the setting. */
#define MAX_REQUESTS 64

/* A request decided on, under way or answered. */
typedef struct Request
{
	int64		id;				/* contacts_push.request */
	Chatbot    *chatbot;
	HttpRequest *http;			/* NULL: has not left yet */
	bool		asks_witness;	/* carries none of the contacts; n is 0 */
	int			token;			/* of the chatbot's isolation */
	int			n;
	Contact   **contacts;
	StringInfoData body;
	char	   *key;
	uint64		key_hash;
	int64		left_at;		/* shared_clock() */
} Request;

typedef struct Worker
{
	Oid			outbox;			/* the relation that is worked off */
	HttpPool   *pool;
	MemoryContext context;		/* for what outlives a pass */
	Request    *requests[MAX_REQUESTS];
	int			nrequests;
	bool		reloaded;		/* the configuration, since the last pass */
	int64		finished_requests;
	int64		settled_contacts;
	uint64		last_key_hash;	/* of the last request, for the report */
} Worker;

extern Worker worker;

/* The entry point of the process; its argument is the database's OID. */
extern PGDLLEXPORT void contacts_push_worker_main(Datum main_arg);

/*
 * The functions below run inside a pass's transaction unless said otherwise and
 * throw like SQL; an error ends the process, and the next one recovers.
 */

/* ---- recover.c ---- */

/* Makes up for an earlier worker: what it had under way is unconfirmed. */
extern void recover(void);

/*
 * Rows that may have been sent, and that the outbox does not say so of: noted, asked
 * for, and forgotten when it does.
 */
extern void recover_note(int64 seq);
extern bool recover_is_noted(int64 seq);
extern void recover_forget(int64 seq);

/* True if that has turned out since recover(): it is to be done again. */
extern bool recover_is_due(void);

/* Ends the doubt when its time is over. */
extern void recover_end_doubt(void);

/* ---- claim.c ---- */

/* Begins behind everything that exists; finds what is pending of it. */
extern void claim_begin(void);

/* Takes up pending rows; true if more could be taken up at once. */
extern bool claim_pending(void);

/* Milliseconds until claim_pending() has work that no commit announces; -1: none. */
extern int64 claim_timeout_ms(void);

/* True if all that was visible is settled, or its chatbot is paused. */
extern bool claim_all_settled(void);

/* Takes up the pending ones among these rows; their contacts were looked at. */
extern void claim_by_seq(const int64 *seqs, int n);

/* Rows that somebody else holds locked: looked at again in a while. */
extern void claim_locked(Chatbot *chatbot, int64 seq);

/* Everything up to here has been read or passed. */
extern int64 claim_position(void);

/* True if the numbers have begun anew since the last call: TRUNCATE ... RESTART IDENTITY. */
extern bool claim_numbers_restarted(void);

/* ---- intents.c ---- */

/* Has the intents of a contact looked at by the next intents_look(). */
extern void intents_note(Chatbot *chatbot, const char *external_id);

/* True if there are such. */
extern bool intents_are_noted(void);

/* Decides on all noted contacts. */
extern void intents_look(void);

/* True if refused rows that are to make way are held locked by somebody. */
extern bool intents_are_behind(void);

/* ---- witness.c ---- */

/* Has the chatbot asked for a contact that exists; nothing if none is known. */
extern void witness_ask(Chatbot *chatbot);

/* This contact is known to exist. */
extern void witness_note(Chatbot *chatbot, const char *external_id_utf8);

/* True if the chatbot is to be asked, and of whom. */
extern bool witness_is_wanted(const Chatbot *chatbot);

/* The body of the question. */
extern void witness_fill_body(const Chatbot *chatbot, StringInfo body);

/* The answer to the question: all that counts is whether it is a definite one. */
extern void witness_answered(Request *request, const HttpResult *result,
							 const ReadAnswer *answer);

/* ---- send.c ---- */

/* Decides on requests and writes their intents; true if one will leave. */
extern bool send_plan(void);

/* Has them leave. Outside of transactions. */
extern void send_planned(void);

/* True if what may leave next waits for a slot or for the budget of a key. */
extern bool send_is_throttled(void);

/* Milliseconds until a chatbot or a budget allows a request again; -1: no need. */
extern int64 send_timeout_ms(void);

/* Has every chatbot that is backing off tried at once. */
extern void send_end_backoffs(void);

/* Forgets an answered request. */
extern void send_forget(Request *request);

/* ---- position.c ---- */

/*
 * Writes down where pending rows can be, at the end of a pass; false if that is not
 * written yet.  What stands there until then comprises what there is.
 */
extern bool position_write(void);

/* ---- prune.c ---- */

/* Deletes a little of what is over its retention, and folds what was appended. */
extern void prune(void);

/* ---- pause.c ---- */

/* Pauses and resumes as contacts_push.chatbot says. */
extern void pause_read_all(void);

/*
 * Pauses a chatbot of our own accord, for what came of a request that left then
 * (shared_clock()).  One from before the pause that there is changes nothing.
 */
extern void pause_begin(Chatbot *chatbot, PauseKind kind, int64 left_at,
					   const char *reason);

/*
 * After a reload: ends the worker's pauses, those for a quota or for refusals only
 * if the key or the URL is another one.
 */
extern void pause_lift_all(void);

extern bool pause_is_on(const Chatbot *chatbot);

/* The chatbot has answered for a contact: what it was paused for is over. */
extern void pause_is_over(Chatbot *chatbot);

/* ---- outcome.c ---- */

/* Writes all outcomes that are known; those of locked rows stay for later. */
extern void outcome_write(void);

/* Has a contact leave the window with an outcome; text may be NULL. */
extern void outcome_add(Contact *contact, OutcomeKind outcome, int http_status,
						   const char *text);

/* True if outcomes wait for rows that somebody holds locked. */
extern bool outcome_is_behind(void);

/* Has those of these rows whose outcomes are not written yet be waiting again. */
extern void outcome_take_back(const int64 *seqs, int n);

/* ---- settle.c ---- */

/* Takes in the answers that have come; true if any. */
extern bool settle_answers(void);

/* Pauses the chatbot of a request with the answer's words as the reason. */
extern void settle_pause(Request *request, PauseKind kind, const HttpResult *result,
						 const ReadAnswer *answer);

/*
 * Marks pending rows unconfirmed, for a status (0: none) and a reason; returns
 * how many are now that were not.
 */
extern uint64 settle_mark_unconfirmed(const int64 *seqs, int n, int http_status,
									  const char *why);

/* True if something waits for rows that somebody holds locked. */
extern bool settle_is_behind(void);

/* ---- charges.c ---- */

/* Counts a failure; returns how many there were before. */
extern int	charges_add(const Contact *contact);

/* chatbot->answers when the row last was put off for failing alone; -1: not known. */
extern int64 charges_failed_at(const Contact *contact);

/* The contact leaves the window: its failures are of no more interest. */
extern void charges_forget(const Contact *contact);

/* ---- request_log.c ---- */

/*
 * Completes a request's row.  status 0 and duration_ms -1: none.  outcome: a constant.
 * over: false if its contacts could not all be marked, so that a later worker does.
 */
extern void request_log_finish(int64 id, int http_status, const char *outcome,
							   const char *message, int64 duration_ms, bool over);

/* Tries again what was found locked. */
extern void request_log_finish_again(void);

/* True if there is such. */
extern bool request_log_is_behind(void);

#endif							/* CONTACTS_PUSH_WORKER_H */
