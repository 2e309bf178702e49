/*
 * worker.h
 *		What the stages of a database's worker share; see README.md.
 */
#ifndef CONTACTS_PUSH_WORKER_H
#define CONTACTS_PUSH_WORKER_H

#include "chatbase/http.h"
#include "contact/answer.h"
#include "lib/stringinfo.h"
#include "worker/window.h"

/* Most requests under way; the upper limit of the setting. */
#define MAX_REQUESTS 64

/* A request decided on, under way or answered. */
typedef struct Request
{
	int64		id;				/* contacts_push.request */
	Chatbot    *chatbot;
	HttpRequest *http;			/* NULL: has not left yet */
	bool		asks_witness;	/* carries none of the contacts; n is 0 */
	IsolationRequest *group;	/* in the chatbot's isolation */
	int			n;
	Contact   **contacts;
	StringInfoData body;
	char	   *key;
	uint64		key_hash;
	int64		left_at;		/* clock_us() */
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

#endif							/* CONTACTS_PUSH_WORKER_H */
