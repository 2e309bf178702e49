/*
 * faults.h
 *		What is to go wrong, and with which request.
 *
 * Rules as the admin gives them, and the choice among them.  Doing what a rule
 * says is not here.
 */
#ifndef FAKE_CHATBASE_FAULTS_H
#define FAKE_CHATBASE_FAULTS_H

#include <stdatomic.h>
#include <regex.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "batch.h"

/* Most headers a rule may set. */
#define FAULT_MAX_HEADERS 16

typedef struct FaultHeader
{
	char	   *name;
	char	   *value;
} FaultHeader;

/* A condition that is not given holds; a request must meet all of them. */
typedef struct FaultMatch
{
	long		from;			/* numbers of requests, from 1, both inclusive */
	long		to;				/* 0: no end */
	long		every;			/* 0: not given */
	long		phase;			/* number % every is this */
	double		percent;		/* of the requests, chosen by their number;
								 * negative: not given */
	long		seed;			/* of that choice */
	bool		has_pattern;
	regex_t		pattern;		/* some contact's external_id matches */
	char	   *chatbot;		/* NULL: any */
	char	   *method;			/* the same */
} FaultMatch;

typedef struct FaultAction
{
	long		status;			/* 0: not given */
	char	   *message;		/* NULL: not given, so the other strings */
	char	   *body;
	char	   *redirect;
	FaultHeader headers[FAULT_MAX_HEADERS];
	int			nheaders;
	long		delay_ms;
	long		cut_body;		/* bytes of the body that are sent; -1: all */
	long		huge_body;		/* bytes; 0: not given */
	long		omit;			/* contacts at the end of data */
	bool		drop;
	bool		hang;
	bool		refuse;
	bool		name_culprit;
} FaultAction;

typedef struct FaultRule
{
	FaultMatch	match;
	FaultAction action;
	bool		after;			/* the request is processed first */
	atomic_long times;			/* how often yet; negative: no limit */
} FaultRule;

/* Immutable but for times, and counted: requests go on with the old ones. */
typedef struct FaultRules
{
	atomic_int	references;
	size_t		n;
	FaultRule  *rules;
} FaultRules;

/*
 * Replaces the rules by those of a JSON array.  NULL: done; else what is wrong,
 * and the old ones remain.
 */
extern const char *faults_replace(const char *text, size_t len);

/* The rules in force; to be given back with faults_release(). */
extern FaultRules *faults_get(void);
extern void faults_release(FaultRules *rules);	/* NULL is fine */

/*
 * The first rule that applies to request number, of this method and chatbot, having
 * counted it as applied; NULL: none.  *culprit: the first contact that the rule's pattern
 * matches, 0 if it has no pattern.
 */
extern const FaultRule *faults_choose(FaultRules *rules, long number, const char *method,
									  const char *chatbot, const Batch *batch, long *culprit);

/* No rules. */
extern void faults_clear(void);

#endif							/* FAKE_CHATBASE_FAULTS_H */
