/*
 * http.h
 *		HTTP requests over kept-alive connections, driven from somebody else's loop.
 *
 * The only place that knows libcurl.  Nothing of PostgreSQL may enter
 * here: no function waits, throws, allocates with palloc or is interrupted.
 * The caller asks which sockets to watch and for how long, waits by its own
 * means, and reports what happened with http_step().
 *
 * Every function that enters libcurl blocks all signals meanwhile, because the
 * threads of its resolver inherit the mask of the thread that starts them and
 * a signal meant for the process must not be delivered to one of them.
 *
 * The process should ignore SIGPIPE, as every PostgreSQL process does.
 *
 * Not thread-safe; one pool belongs to one thread of one process and must not
 * be used across fork().
 */
#ifndef CONTACTS_PUSH_HTTP_H
#define CONTACTS_PUSH_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct HttpPool HttpPool;
typedef struct HttpRequest HttpRequest;

/* What is to be sent.  All strings are copied by http_begin() except body. */
typedef struct HttpParams
{
	const char *method;			/* a constant; NULL: POST */
	const char *url;			/* absolute, http or https, escaped */
	const char *bearer;			/* the key; never logged, never sent elsewhere */
	const char *ca_file;		/* PEM bundle; NULL or "": the system's */
	const char *body;			/* JSON; must outlive the request; NULL: none */
	size_t		body_len;		/* bytes */
	long		connect_timeout_ms; /* > 0 */
	long		request_timeout_ms; /* > 0, connecting included */
	size_t		max_response_bytes; /* of the body; headers have a fixed cap */
	bool		anew;			/* resolve the name and connect, whatever is open */
} HttpParams;

/*
 * How a request ended.  The difference that matters is whether the server can
 * have acted on it: only after HTTP_NOT_SENT it certainly has not.
 */
typedef enum HttpOutcome
{
	HTTP_ANSWERED,				/* status and whole body have arrived */
	HTTP_NOT_SENT,				/* no connection, DNS or TLS failure */
	HTTP_TIMED_OUT,				/* sent, at least in part; no answer in time */
	HTTP_LOST,					/* sent, at least in part; connection broke */
	HTTP_TOO_LARGE				/* answered with more than is accepted */
} HttpOutcome;

/* How far a request has come.  After HTTP_NOT_SENT the step behind it is what failed. */
typedef enum HttpReached
{
	HTTP_REACHED_NOTHING,
	HTTP_REACHED_ADDRESS,		/* the name of the server, or of a proxy, is resolved */
	HTTP_REACHED_HOST,			/* a connection is open */
	HTTP_REACHED_SERVER			/* with TLS if it is to have it: the request leaves */
} HttpReached;

/* Room for an IPv6 address with the name of an interface. */
#define HTTP_ADDRESS_SIZE 64

/* Owned by the request; valid until http_end(). */
typedef struct HttpResult
{
	HttpOutcome outcome;
	HttpReached reached;
	char		address[HTTP_ADDRESS_SIZE];	/* of the other end; "": not known */
	int			status;			/* HTTP status where one has arrived, else 0 */
	const char *body;			/* NUL-terminated, never NULL; may hold NULs; ""
								 * unless HTTP_ANSWERED */
	size_t		body_len;		/* bytes, without the terminator */
	const char *error;			/* for anything but HTTP_ANSWERED: what failed, in
								 * words of printable ASCII; else "" */
	int64_t		retry_after;	/* seconds that Retry-After says to wait; -1: none, or past */
	int64_t		ratelimit_reset;	/* the number in X-RateLimit-Reset; -1: none */
	const char *request_id;		/* x-request-id, cut, printable ASCII; "": none */
	long		duration_ms;	/* from http_begin() to the end */
} HttpResult;

/* One socket to watch. */
typedef struct HttpSocket
{
	int			fd;
	bool		readable;		/* wake when it can be read */
	bool		writable;		/* wake when it can be written */
} HttpSocket;

/* What http_step() is told of a socket; HTTP_STEP_ERROR goes with either. */
#define HTTP_STEP_READABLE	0x01
#define HTTP_STEP_WRITABLE	0x02
#define HTTP_STEP_ERROR		0x04

/* NULL when out of memory.  max_connections: kept open at most. */
extern HttpPool *http_pool_create(int max_connections);

/* Ends all requests of the pool, without waiting for anything. NULL is fine. */
extern void http_pool_free(HttpPool *pool);

/*
 * Starts a request, and sends what an open connection takes at once.  Never blocks.
 * A failure to start (an URL that cannot be parsed, a key with a line break) is
 * reported like any other: as a request that is done at once, as HTTP_NOT_SENT.
 * NULL only when out of memory.
 */
extern HttpRequest *http_begin(HttpPool *pool, const HttpParams *params);

/*
 * The sockets to watch, in an array that the pool owns and that is valid until
 * the next call that takes the pool.  *generation changes whenever the set has
 * (a descriptor number may have been closed and opened again meanwhile), so a
 * poll set built from it may be reused as long as it is the same.
 */
extern const HttpSocket *http_sockets(HttpPool *pool, int *count,
									  unsigned long *generation);

/* Returns the milliseconds until http_step(pool, -1, 0) is due; 0: now, -1: never. */
extern long http_timeout_ms(const HttpPool *pool);

/*
 * Lets requests go on.  fd: a socket on which events (HTTP_STEP_*) have happened, or -1 when
 * the time-out has passed.
 */
extern void http_step(HttpPool *pool, int fd, int events);

/* Hands out a request that is done, each once; NULL: there is no further one. */
extern HttpRequest *http_next_done(HttpPool *pool);

/* Returns whether the request is done. */
extern bool http_is_done(const HttpRequest *request);

/* Returns how a request ended that is done. */
extern const HttpResult *http_result(const HttpRequest *request);

/*
 * Forgets a request.  If it is under way, breaks it off without waiting, and closes its
 * connection.  NULL is fine.
 */
extern void http_end(HttpRequest *request);

/*
 * base + "/chatbots/" + chatbot_id escaped as one path segment + "/contacts",
 * malloc'd; NULL when out of memory.  One trailing slash of base is tolerated.
 * The ids "." and ".." cannot be written as a segment (servers resolve them, even
 * escaped): the caller must refuse them, and "".
 */
extern char *http_contacts_url(const char *base, const char *chatbot_id);

/* The same with "/" + external_id, escaped as chatbot_id is; and with a query for a page. */
extern char *http_contact_url(const char *base, const char *chatbot_id, const char *external_id);
extern char *http_page_url(const char *base, const char *chatbot_id, int page, int per_page);

/* The URL of a chatbot's schema of custom attributes, as that of its contacts. */
extern char *http_attributes_url(const char *base, const char *chatbot_id);

#endif							/* CONTACTS_PUSH_HTTP_H */
