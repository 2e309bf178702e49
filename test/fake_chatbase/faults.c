/*
 * faults.c
 *		What is to go wrong, and with which request; see faults.h.
 */
#include "faults.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "admin_json.h"
#include "buffer.h"

/* What is said of a rule that can't be read. */
#define BAD_RULE "a rule has an unknown member, or a value that it cannot have"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static FaultRules *current;		/* under the lock; NULL: none */

/* Reads one member of an object into what it stands in.  False: refused. */
typedef bool (*ReadMember) (void *into, const char *name, struct json_object *value);

static bool
read_members(struct json_object *object, ReadMember read, void *into)
{
	if (!json_object_is_type(object, json_type_object))
		return false;
	json_object_object_foreach(object, name, value)
	{
		if (!read(into, name, value))
			return false;
	}
	return true;
}

static bool
read_bool(struct json_object *value, bool *result)
{
	*result = json_object_get_boolean(value);
	return json_object_is_type(value, json_type_boolean);
}

static bool
read_percent(struct json_object *value, double *result)
{
	*result = json_object_get_double(value);
	return (json_object_is_type(value, json_type_int) || json_object_is_type(value, json_type_double)) &&
		*result >= 0 && *result <= 100;
}

static bool
read_pattern(FaultMatch *match, struct json_object *value)
{
	match->has_pattern = json_object_is_type(value, json_type_string) &&
		regcomp(&match->pattern, json_object_get_string(value), REG_EXTENDED) == 0;
	return match->has_pattern;
}

static bool
read_match(void *into, const char *name, struct json_object *value)
{
	FaultMatch *match = into;

	if (strcmp(name, "from") == 0)
		return admin_json_long(value, 1, &match->from);
	if (strcmp(name, "to") == 0)
		return admin_json_long(value, 1, &match->to);
	if (strcmp(name, "every") == 0)
		return admin_json_long(value, 1, &match->every);
	if (strcmp(name, "phase") == 0)
		return admin_json_long(value, 0, &match->phase);
	if (strcmp(name, "percent") == 0)
		return read_percent(value, &match->percent);
	if (strcmp(name, "seed") == 0)
		return admin_json_long(value, 0, &match->seed);
	if (strcmp(name, "external_id") == 0 && !match->has_pattern)
		return read_pattern(match, value);
	if (strcmp(name, "chatbot") == 0 && match->chatbot == NULL)
		return admin_json_text(value, &match->chatbot);
	if (strcmp(name, "method") == 0 && match->method == NULL)
		return admin_json_text(value, &match->method);
	return false;
}

static bool
read_header(void *into, const char *name, struct json_object *value)
{
	FaultAction *action = into;
	FaultHeader *header = &action->headers[action->nheaders];

	if (action->nheaders == FAULT_MAX_HEADERS || !admin_json_text(value, &header->value))
		return false;
	header->name = must_strdup(name);
	action->nheaders++;
	return true;
}

static bool
read_action(void *into, const char *name, struct json_object *value)
{
	FaultAction *action = into;

	if (strcmp(name, "status") == 0)
		return admin_json_long(value, 200, &action->status) && action->status <= 999;
	if (strcmp(name, "message") == 0 && action->message == NULL)
		return admin_json_text(value, &action->message);
	if (strcmp(name, "body") == 0 && action->body == NULL)
		return admin_json_text(value, &action->body);
	if (strcmp(name, "redirect") == 0 && action->redirect == NULL)
		return admin_json_text(value, &action->redirect);
	if (strcmp(name, "headers") == 0)
		return read_members(value, read_header, action);
	if (strcmp(name, "delay_ms") == 0)
		return admin_json_long(value, 0, &action->delay_ms);
	if (strcmp(name, "cut_body") == 0)
		return admin_json_long(value, 0, &action->cut_body);
	if (strcmp(name, "huge_body") == 0)
		return admin_json_long(value, 1, &action->huge_body);
	if (strcmp(name, "omit") == 0)
		return admin_json_long(value, 1, &action->omit);
	if (strcmp(name, "drop") == 0)
		return read_bool(value, &action->drop);
	if (strcmp(name, "hang") == 0)
		return read_bool(value, &action->hang);
	if (strcmp(name, "refuse") == 0)
		return read_bool(value, &action->refuse);
	if (strcmp(name, "name_culprit") == 0)
		return read_bool(value, &action->name_culprit);
	return false;
}

static bool
read_when(FaultRule *rule, struct json_object *value)
{
	const char *when = json_object_get_string(value);

	if (!json_object_is_type(value, json_type_string))
		return false;
	rule->after = strcmp(when, "after") == 0;
	return rule->after || strcmp(when, "before") == 0;
}

static bool
read_rule(void *into, const char *name, struct json_object *value)
{
	FaultRule  *rule = into;
	long		times;

	if (strcmp(name, "match") == 0)
		return read_members(value, read_match, &rule->match);
	if (strcmp(name, "action") == 0)
		return read_members(value, read_action, &rule->action);
	if (strcmp(name, "when") == 0)
		return read_when(rule, value);
	if (strcmp(name, "times") == 0 && admin_json_long(value, 0, &times))
	{
		atomic_store(&rule->times, times);
		return true;
	}
	return false;
}

static void
rule_init(FaultRule *rule)
{
	memset(rule, 0, sizeof(*rule));
	rule->match.from = 1;
	rule->match.percent = -1;
	rule->action.cut_body = -1;
	atomic_init(&rule->times, -1);
}

static void
rule_free(FaultRule *rule)
{
	int			i;

	for (i = 0; i < rule->action.nheaders; i++)
	{
		free(rule->action.headers[i].name);
		free(rule->action.headers[i].value);
	}
	free(rule->action.message);
	free(rule->action.body);
	free(rule->action.redirect);
	free(rule->match.chatbot);
	free(rule->match.method);
	if (rule->match.has_pattern)
		regfree(&rule->match.pattern);
}

/* What a rule asks for must be possible, or a test would test nothing. */
static bool
makes_sense(const FaultRule *rule)
{
	return (rule->action.omit == 0 || rule->after) &&
		(!rule->action.name_culprit || rule->action.refuse) &&
		(rule->match.every == 0 ? rule->match.phase == 0 : rule->match.phase < rule->match.every) &&
		(rule->match.to == 0 || rule->match.to >= rule->match.from);
}

static FaultRules *
read_rules(struct json_object *document, const char **problem)
{
	FaultRules *rules = must_alloc(sizeof(*rules));
	size_t		n = json_object_array_length(document);

	*problem = NULL;
	atomic_init(&rules->references, 1);
	rules->rules = must_alloc(n * sizeof(FaultRule));
	for (rules->n = 0; rules->n < n && *problem == NULL; rules->n++)
	{
		FaultRule  *rule = &rules->rules[rules->n];

		rule_init(rule);
		if (!read_members(json_object_array_get_idx(document, rules->n), read_rule, rule))
			*problem = BAD_RULE;
		else if (!makes_sense(rule))
			*problem = "a rule asks for what cannot be (omit before, name_culprit without refuse, "
				"phase not below every, to below from)";
	}
	return rules;
}

static void
put_in_force(FaultRules *rules)
{
	FaultRules *old;

	pthread_mutex_lock(&lock);
	old = current;
	current = rules;
	pthread_mutex_unlock(&lock);
	faults_release(old);
}

const char *
faults_replace(const char *text, size_t len)
{
	struct json_object *document;
	FaultRules *rules;
	const char *problem;

	if (!admin_json_read(text, len, &document))
		return "not JSON";
	if (!json_object_is_type(document, json_type_array))
	{
		json_object_put(document);
		return "not an array of rules";
	}
	rules = read_rules(document, &problem);
	json_object_put(document);
	if (problem == NULL)
		put_in_force(rules);
	else
		faults_release(rules);
	return problem;
}

void
faults_clear(void)
{
	put_in_force(NULL);
}

FaultRules *
faults_get(void)
{
	FaultRules *rules;

	pthread_mutex_lock(&lock);
	rules = current;
	if (rules != NULL)
		atomic_fetch_add(&rules->references, 1);
	pthread_mutex_unlock(&lock);
	return rules;
}

void
faults_release(FaultRules *rules)
{
	size_t		i;

	if (rules == NULL || atomic_fetch_sub(&rules->references, 1) > 1)
		return;
	for (i = 0; i < rules->n; i++)
		rule_free(&rules->rules[i]);
	free(rules->rules);
	free(rules);
}

/* A number from 0 to 100 that depends on the two and looks random (splitmix64). */
static double
lot(long number, long seed)
{
	uint64_t	x = (uint64_t) number + (uint64_t) seed * UINT64_C(0x9e3779b97f4a7c15);

	x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
	x ^= x >> 31;
	return (double) (x >> 11) * 100.0 / 9007199254740992.0; /* 2^53 */
}

static bool
matches(const FaultMatch *match, long number, const char *method, const char *chatbot, const Batch *batch,
		long *culprit)
{
	*culprit = 0;
	if (number < match->from || (match->to > 0 && number > match->to))
		return false;
	if (match->every > 0 && number % match->every != match->phase)
		return false;
	if (match->percent >= 0 && lot(number, match->seed) >= match->percent)
		return false;
	if (match->method != NULL && strcmp(match->method, method) != 0)
		return false;
	if (match->chatbot != NULL && strcmp(match->chatbot, chatbot) != 0)
		return false;
	if (match->has_pattern)
		*culprit = batch_find(batch, &match->pattern);
	return *culprit >= 0;
}

/* Counts one more application; false if there were all that are wanted. */
static bool
count_down(atomic_long *times)
{
	long		left = atomic_load(times);

	while (left > 0 && !atomic_compare_exchange_weak(times, &left, left - 1))
		;
	return left != 0;
}

const FaultRule *
faults_choose(FaultRules *rules, long number, const char *method, const char *chatbot, const Batch *batch,
			  long *culprit)
{
	size_t		i;

	for (i = 0; rules != NULL && i < rules->n; i++)
	{
		FaultRule  *rule = &rules->rules[i];

		if (matches(&rule->match, number, method, chatbot, batch, culprit) && count_down(&rule->times))
			return rule;
	}
	return NULL;
}
