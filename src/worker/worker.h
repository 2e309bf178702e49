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

/* Contacts of a page that is asked for to learn whether there are pages: the API's fewest. */
#define PROBE_CONTACTS 10

/*
 * A request from when it is planned until its row says that it is over; what it takes to
 * send it goes with its answer.
 */
typedef struct Request
{
	int64		id;				/* contacts_push.request; 0: not written yet */
	RequestCall call;
	Chatbot    *chatbot;
	HttpRequest *http;			/* NULL: has not left yet */
	IsolationRequest *group;	/* in the chatbot's isolation; NULL unless CALL_CREATE */
	int			n;
	Contact   **contacts;
	char	   *path_id;		/* external_id in the path, UTF-8; NULL: none */
	int			page;			/* of the list, from 1; 0: it asks for no page */
	int			per_page;		/* contacts of a page */
	StringInfoData body;		/* of a GET or DELETE empty */
	char	   *key;
	uint64		key_hash;
	int64		left_at;		/* clock_us() */
	int64		changes;		/* of the chatbot's, when it was planned */

	/* once it is answered */
	int			unwritten;		/* changes in the write list that follow from that */
	int			http_status;	/* 0: none */
	const char *outcome;		/* a constant; NULL: its row has it */
	char	   *message;		/* or NULL */
	char	   *request_id;		/* the API's; or NULL */
	int64		duration_ms;	/* -1: not known */
	bool		answer_written;
} Request;

struct RowChange;
struct Subject;

typedef struct Worker
{
	Oid			outbox;			/* the relation that is worked off */
	HttpPool   *pool;
	MemoryContext context;		/* for what outlives a pass */

	/* What a stage leaves to a later one, in this context; README.md says which. */
	struct RowChange *changes;	/* of writes.c, each with its subject */
	struct Subject *subjects;
	int			nchanges;
	int			max_changes;
	int			nlocked;		/* the first of them were found locked, and come again */
	List	   *to_look;		/* of Look *, of queues.c, like the next */
	struct Load *to_load;
	int			nto_load;
	int			max_to_load;
	Request    *requests[MAX_REQUESTS]; /* planned, under way, or answered and not taken */
	int			nrequests;
	List	   *answered;		/* of Request *: taken, and not over by what stands in their rows */

	bool		reloaded;		/* the configuration, since the last pass */
	int64		finished_requests;
	int64		settled_contacts;
	uint64		last_key_hash;	/* of the last request, for the report */
} Worker;

extern Worker worker;

/* The entry point of the process; its argument is the database's OID. */
extern PGDLLEXPORT void contacts_push_worker_main(Datum main_arg);

#endif							/* CONTACTS_PUSH_WORKER_H */
