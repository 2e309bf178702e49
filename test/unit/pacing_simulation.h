/*
 * pacing_simulation.h
 *		Servers that use one key, and an API that limits it, in simulated time.
 *
 * Each server has a budget (pacing.h) and always something to send.  Time is simulated and
 * random numbers come from a generator of a given seed: nothing here depends on the machine.
 */
#ifndef CONTACTS_PUSH_PACING_SIMULATION_H
#define CONTACTS_PUSH_PACING_SIMULATION_H

#include "chatbase/pacing.h"

#include <string.h>

#define MS INT64_C(1000)
#define SECOND INT64_C(1000000)
#define NOW (1000 * SECOND)

/* ---- random numbers: splitmix64, public domain constants ---- */

static uint64_t random_state;

static inline double
next_random(void)
{
	uint64_t	z = random_state += UINT64_C(0x9E3779B97F4A7C15);

	z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
	return (double) ((z ^ (z >> 31)) >> 11) / (double) (UINT64_C(1) << 53);
}

/* ---- what is simulated ---- */

typedef enum Limiter
{
	FIXED_WINDOW,				/* so many in each window of the API's clock */
	OWN_WINDOW,					/* the same, but a window begins with a request */
	SLIDING_WINDOW,				/* so many in any stretch of that length */
	TOKEN_BUCKET				/* refilled evenly, holds a window's worth */
} Limiter;

typedef enum Telling
{
	TELLS_NOTHING,
	TELLS_SECONDS,				/* Retry-After, rounded up */
	TELLS_EXACTLY				/* X-RateLimit-Reset in milliseconds */
} Telling;

#define MAX_SERVERS 3
#define MAX_SLOTS 256
#define MAX_LIMIT 256

typedef struct Scenario
{
	int			servers;
	double		setting;		/* of each server */
	Limiter		limiter;
	int			limit;			/* requests in a window; 0: none */
	int64_t		window;
	double		strays;			/* part of the requests that is refused by chance */
	Telling		telling;
	int			slots;			/* requests under way at most, of each server */
	int64_t		latency;		/* there, and the same back */
	int64_t		jitter;			/* added to either, at most */
	int64_t		lateness;		/* of the timer that starts a request, at most */
	int64_t		phase;			/* of the API's windows */
	uint64_t	seed;
	int64_t		stagger;		/* each server begins that much after the one before */
	int64_t		settling;		/* not counted */
	int64_t		length;			/* counted */
} Scenario;

typedef struct Outcome
{
	int64_t		accepted;
	int64_t		refused;
	int64_t		accepted_of[MAX_SERVERS];
} Outcome;

/* ---- the API ---- */

typedef struct Api
{
	int64_t		window;			/* number or begin of the present one */
	int			used;			/* requests in it */
	int64_t		accepted_at[MAX_LIMIT]; /* sliding window: a ring */
	int			next;
	double		tokens;
	int64_t		filled_at;
} Api;

/* Returns 0 if a request is let pass, else the microseconds until one would be. */
static inline int64_t
api_request(Api *api, const Scenario *scenario, int64_t now)
{
	int64_t		end;

	if (scenario->limit == 0)
		return 0;
	switch (scenario->limiter)
	{
		case FIXED_WINDOW:
		case OWN_WINDOW:
			end = scenario->limiter == OWN_WINDOW ? api->window + scenario->window :
				(api->window + 1) * scenario->window - scenario->phase;
			if (now >= end)
			{
				api->window = scenario->limiter == OWN_WINDOW ? now :
					(now + scenario->phase) / scenario->window;
				end = scenario->limiter == OWN_WINDOW ? now + scenario->window :
					(api->window + 1) * scenario->window - scenario->phase;
				api->used = 0;
			}
			return ++api->used > scenario->limit ? end - now : 0;
		case SLIDING_WINDOW:
			end = api->accepted_at[api->next] + scenario->window;
			if (now < end)
				return end - now;
			api->accepted_at[api->next] = now;
			api->next = (api->next + 1) % scenario->limit;
			return 0;
		default:
			if (api->filled_at == 0)
				api->tokens = scenario->limit;
			else
				api->tokens += (double) (now - api->filled_at) * scenario->limit / scenario->window;
			if (api->tokens > scenario->limit)
				api->tokens = scenario->limit;
			api->filled_at = now;
			if (api->tokens < 1)
				return (int64_t) ((1 - api->tokens) * scenario->window / scenario->limit) + 1;
			api->tokens--;
			return 0;
	}
}

/* ---- the servers ---- */

typedef struct UnderWay
{
	int64_t		left_at;
	int64_t		arrives_at;
	int64_t		answered_at;	/* 0: has not arrived yet */
	bool		refused;
	int64_t		told;
} UnderWay;

typedef struct Server
{
	PacingBudget budget;
	UnderWay	requests[MAX_SLOTS];
	int			nrequests;
	int64_t		departs_at;		/* of the next one; -1: not known yet */
} Server;

static inline int64_t
delayed(const Scenario *scenario)
{
	return scenario->latency + (int64_t) (scenario->jitter * next_random());
}

static inline void
arrive(Api *api, const Scenario *scenario, UnderWay *request)
{
	int64_t		now = request->arrives_at;
	int64_t		wait = api_request(api, scenario, now);
	bool		stray = scenario->strays > 0 && next_random() < scenario->strays;

	request->refused = wait > 0 || stray;
	request->told = -1;
	if (wait > 0 && scenario->telling == TELLS_SECONDS)
		request->told = (wait + SECOND - 1) / SECOND * SECOND;
	else if (wait > 0 && scenario->telling == TELLS_EXACTLY)
		request->told = wait;
	request->answered_at = now + delayed(scenario);
}

static inline void
answer(Server *server, const Scenario *scenario, int i)
{
	UnderWay	request = server->requests[i];

	server->requests[i] = server->requests[--server->nrequests];
	if (request.refused)
		pacing_throttled(&server->budget, scenario->setting, request.left_at, request.told,
						 next_random(), request.answered_at);
	else
		pacing_answered(&server->budget, scenario->setting, request.answered_at);
	/* what was planned may have to wait */
	server->departs_at = -1;
}

static inline void
depart(Server *server, const Scenario *scenario, int64_t now)
{
	UnderWay   *request = &server->requests[server->nrequests++];

	pacing_take(&server->budget, scenario->setting, now);
	request->left_at = now;
	request->arrives_at = now + delayed(scenario);
	request->answered_at = 0;
	server->departs_at = -1;
}

/* When the next request leaves; INT64_MAX: no slot is free. */
static inline int64_t
plan_departure(Server *server, const Scenario *scenario, int64_t begin, int64_t now)
{
	int64_t		delay;

	if (server->nrequests >= scenario->slots)
		return INT64_MAX;
	if (now < begin)
		return begin;
	if (server->departs_at < now)
	{
		delay = pacing_delay(&server->budget, now);
		server->departs_at = now + delay;
		if (delay > 0)
			server->departs_at += (int64_t) (scenario->lateness * next_random());
	}
	return server->departs_at;
}

static inline Outcome
simulate(const Scenario *scenario)
{
	static Server servers[MAX_SERVERS];
	Api			api = {.window = -SECOND};
	Outcome		outcome = {0};
	int64_t		counted_from = NOW + scenario->settling;
	int64_t		now = NOW;

	random_state = scenario->seed;
	memset(servers, 0, sizeof(servers));
	for (int s = 0; s < scenario->servers; s++)
		servers[s].departs_at = -1;
	while (now < counted_from + scenario->length)
	{
		int64_t		first = INT64_MAX;
		Server	   *server = NULL;
		int			which = -1;

		for (int s = 0; s < scenario->servers; s++)
		{
			int64_t		departure = plan_departure(&servers[s], scenario, NOW + s * scenario->stagger, now);

			if (departure < first)
			{
				first = departure;
				server = &servers[s];
				which = -1;
			}
			for (int i = 0; i < servers[s].nrequests; i++)
			{
				UnderWay   *request = &servers[s].requests[i];
				int64_t		at = request->answered_at ? request->answered_at : request->arrives_at;

				if (at < first)
				{
					first = at;
					server = &servers[s];
					which = i;
				}
			}
		}
		now = first;
		if (which < 0)
			depart(server, scenario, now);
		else if (server->requests[which].answered_at == 0)
			arrive(&api, scenario, &server->requests[which]);
		else
		{
			bool		refused = server->requests[which].refused;

			answer(server, scenario, which);
			if (now < counted_from)
				continue;
			outcome.refused += refused;
			outcome.accepted += !refused;
			outcome.accepted_of[server - servers] += !refused;
		}
	}
	return outcome;
}

#endif							/* CONTACTS_PUSH_PACING_SIMULATION_H */
