/*
 * request.h
 *		A request from its headers to its end, and what handles each kind.
 */
#ifndef FAKE_CHATBASE_REQUEST_H
#define FAKE_CHATBASE_REQUEST_H

#include <microhttpd.h>
#include <stdbool.h>

#include "answer.h"
#include "batch.h"
#include "buffer.h"
#include "config.h"
#include "faults.h"
#include "holding.h"
#include "journal.h"
#include "rate_limit.h"

typedef enum Route
{
	ROUTE_CONTACTS,				/* a call that the API has */
	ROUTE_ADMIN,
	ROUTE_ELSEWHERE
} Route;

/* The calls that the API has. */
typedef enum ApiCall
{
	CALL_CREATE,
	CALL_LIST,
	CALL_GET,
	CALL_UPDATE,
	CALL_DELETE,
	CALL_LIST_ATTRIBUTES,
	CALL_CREATE_ATTRIBUTE
} ApiCall;

/* How far the API has got with a request. */
typedef enum Stage
{
	STAGE_RECEIVED,				/* nothing is decided */
	STAGE_DECIDE,				/* the delay before it is over */
	STAGE_SEND					/* the answer is there, the delay after it is over */
} Stage;

typedef struct Request
{
	struct MHD_Connection *connection;
	Route		route;
	char	   *method;
	char	   *path;			/* as it came, without the query */
	Buffer		body;
	JournalEntry journal;

	/* Of ROUTE_CONTACTS only. */
	ApiCall		call;
	char	   *chatbot;		/* decoded */
	char	   *external_id;	/* of the path, decoded; NULL: none */
	uint64_t	store_epoch;
	Stage		stage;
	Hold		hold;
	Config	   *config;
	Batch	   *batch;
	FaultRules *rules;
	const FaultRule *rule;		/* one of them, or NULL */
	long		culprit;
	RateState	rate;
	Answer		answer;
} Request;

/* Who may call the API and for what; set once before the first request. */
typedef struct ApiOptions
{
	char	  **keys;
	int			nkeys;
	char	  **chatbots;
	int			nchatbots;		/* 0: any chatbot is known */
} ApiOptions;

extern void api_start(const ApiOptions *options);
extern bool api_knows_chatbot(const char *chatbot);

/*
 * Goes on with a request that has arrived whole: answers, drops or suspends it.
 * To be returned by the library's handler, which is called again after a
 * suspension.
 */
extern enum MHD_Result api_go_on(Request *request);

/*
 * The request has ended.  If its client has gone while it was delayed, it has its
 * effects now and counts as answered: the client can't have stopped it.
 */
extern void api_end(Request *request);

/* Answers a request to the admin side. */
extern enum MHD_Result admin_go_on(Request *request);

/*
 * The text with %XX decoded, for free(); NULL if it is malformed or would hold a
 * NUL.
 */
extern char *percent_decode(const char *text, size_t len);

#endif							/* FAKE_CHATBASE_REQUEST_H */
