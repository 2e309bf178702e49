/*
 * fuzz_isolation.c
 *		Whatever comes in whatever order, isolation.c keeps what isolation.h promises.
 *
 * The input chooses operations, against a model of the promise: it knows which contacts are
 * inside, which of them are under way, and the unconfirmed groups; and it plays a server on
 * which a contact may exist because of a request that got no answer.  It does not know the
 * procedure: in which order contacts go, and how many, must not enter here.
 */
#include "fuzz.h"
#include "grouping/isolation.h"

#include <string.h>

#define KEYS			40		/* contacts */
#define STEPS			1000	/* most operations */
#define MAX_REQUEST		1000	/* the API's limit */
#define MAX_UNDER_WAY	6
#define UNCONFIRMED_TURN	4	/* one of so many serves unconfirmed contacts */

typedef enum Phase
{
	SCOUTING, TOGETHER, SINGLY
} Phase;

/* An unconfirmed group; number 0 is no group. */
typedef struct ModelGroup
{
	Phase		phase;
	int			waiting;
	int			under_way;
} ModelGroup;

typedef struct ModelContact
{
	IsolationNode node;
	bool		inside;
	bool		under_way;
	bool		settled;
	bool		admitted;		/* in the call that is going on */
	bool		bad;			/* the server will never take it */
	bool		created;		/* the server has it */
	int			group;
} ModelContact;

typedef struct ModelRequest
{
	IsolationRequest *sent;
	int			n;
	int			group;
	IsolationNode *nodes[MAX_REQUEST];
} ModelRequest;

typedef struct Model
{
	Isolation  *isolation;
	ModelContact contacts[KEYS];
	ModelGroup	groups[KEYS + STEPS * 2];
	int			ngroups;
	ModelRequest requests[MAX_UNDER_WAY];
	int			under_way;		/* requests */
	int			since;			/* requests since unconfirmed contacts had one */
	double		refuse;			/* the chance that a contact is not admitted */
	double		stop;			/* that a request is ended */
	bool		refused;		/* one of the two in the call that is going on */
	bool		lies;			/* answers have nothing to do with the contacts */
} Model;

/* What is left of the input; it is what a dice would be elsewhere. */
static const uint8_t *input;
static size_t input_left;

/* In 0..n-1; 0 when the input is used up. */
static int
choose(int n)
{
	int			value = 0;

	for (int range = 1; range < n && input_left > 0; range *= 256)
	{
		value = value * 256 + *input++;
		input_left--;
	}
	return value % n;
}

static bool
chance(double p)
{
	return p > 0 && input_left > 0 && choose(256) < p * 256;
}

/* The chance that an allocation of isolation.c fails.  The linker has put these in between. */
static double alloc_failure;

extern void *__real_malloc(size_t size);
extern void *__real_calloc(size_t n, size_t size);
extern void *__wrap_malloc(size_t size);
extern void *__wrap_calloc(size_t n, size_t size);

void *
__wrap_malloc(size_t size)
{
	return chance(alloc_failure) ? NULL : __real_malloc(size);
}

void *
__wrap_calloc(size_t n, size_t size)
{
	return chance(alloc_failure) ? NULL : __real_calloc(n, size);
}

static void
broken(const char *what)
{
	require(false, what);
}

/* Counts must agree after each operation. */
static void
check_counts(const Model *model)
{
	int			inside = 0;
	int			under_way = 0;

	for (int i = 0; i < KEYS; i++)
	{
		inside += model->contacts[i].inside;
		under_way += model->contacts[i].under_way;
	}
	if (isolation_inside(model->isolation) != inside)
		broken("isolation_inside() is wrong");
	if (isolation_waiting(model->isolation) != inside - under_way)
		broken("isolation_waiting() is wrong");
	if (!(isolation_rate(model->isolation) > 0 && isolation_rate(model->isolation) < 1))
		broken("isolation_rate() is out of range");
}

static int
new_group(Model *model)
{
	if (++model->ngroups == (int) (sizeof(model->groups) / sizeof(ModelGroup)))
		broken("the model has too few groups");
	model->groups[model->ngroups] = (ModelGroup) {SCOUTING, 0, 0};
	return model->ngroups;
}

/* A contact that is not inside and has no outcome yet, or -1. */
static int
pick_outside(Model *model)
{
	int			key = choose(KEYS);

	if (model->contacts[key].inside || model->contacts[key].settled)
		return -1;
	return key;
}

static ModelContact *
contact_of(IsolationNode *node)
{
	return isolation_container(ModelContact, node, node);
}

static void
add(Model *model)
{
	int			key = pick_outside(model);

	if (key < 0)
		return;
	isolation_add(model->isolation, &model->contacts[key].node);
	model->contacts[key].inside = true;
	model->contacts[key].group = 0;
}

/* The server takes all or none. */
static bool
server_takes(IsolationNode *const *nodes, int n)
{
	for (int i = 0; i < n; i++)
	{
		if (contact_of(nodes[i])->bad || contact_of(nodes[i])->created)
			return false;
	}
	for (int i = 0; i < n; i++)
		contact_of(nodes[i])->created = true;
	return true;
}

static void
add_unconfirmed(Model *model)
{
	IsolationNode *nodes[40];
	int			most = 1 + choose(40);
	int			n = 0;
	int			group;

	for (int i = 0; i < most; i++)
	{
		int			key = pick_outside(model);

		if (key >= 0)
		{
			nodes[n++] = &model->contacts[key].node;
			model->contacts[key].inside = true;
		}
	}
	if (!isolation_add_unconfirmed(model->isolation, nodes, n))
	{
		for (int i = 0; i < n; i++)
			contact_of(nodes[i])->inside = false;
		return;
	}
	group = new_group(model);
	for (int i = 0; i < n; i++)
		contact_of(nodes[i])->group = group;
	model->groups[group].waiting = n;
	if (chance(0.5))
		(void) server_takes(nodes, n);
}

static void
remove_one(Model *model)
{
	int			key = choose(KEYS);
	ModelContact *contact = &model->contacts[key];
	bool		waits = contact->inside && !contact->under_way;

	if (isolation_remove(model->isolation, &contact->node) != waits)
		broken("isolation_remove() is wrong");
	if (!waits)
		return;
	contact->inside = false;
	model->groups[contact->group].waiting--;
}

static bool
admit(void *arg, IsolationNode *node, bool *stop)
{
	Model	   *model = arg;
	ModelContact *contact = contact_of(node);

	if (!contact->inside || contact->under_way || contact->admitted)
		broken("a contact is offered that cannot go");
	*stop = chance(model->stop);
	contact->admitted = !*stop && !chance(model->refuse);
	model->refused |= !contact->admitted;
	return contact->admitted;
}

/* Is there an unconfirmed contact that could go? */
static bool
unconfirmed_wait(const Model *model)
{
	for (int i = 1; i <= model->ngroups; i++)
	{
		const ModelGroup *group = &model->groups[i];

		if (group->waiting > 0 && (group->phase != SCOUTING || group->under_way == 0))
			return true;
	}
	return false;
}

/* The rules for the contacts of one request. */
static void
check_request(Model *model, ModelRequest *request, int max)
{
	ModelGroup *group = &model->groups[request->group];

	if (request->n > max)
		broken("a request is too large");
	for (int i = 0; i < request->n; i++)
	{
		ModelContact *contact = contact_of(request->nodes[i]);

		if (!contact->admitted)
			broken("a contact goes that was not admitted");
		if (contact->group != request->group)
			broken("contacts of different groups go together");
		contact->admitted = false;
		contact->under_way = true;
	}
	if (request->group && group->phase != TOGETHER && request->n != 1)
		broken("unconfirmed contacts go together too early");
	if (request->group && group->phase == SCOUTING && group->under_way > 0)
		broken("there are two scouts");
	for (int i = 0; i < KEYS; i++)
	{
		if (model->contacts[i].admitted)
			broken("an admitted contact does not go");
	}
	group->waiting -= request->n;
	group->under_way += request->n;
}

static void
next(Model *model)
{
	ModelRequest *request = &model->requests[model->under_way];
	int			max = chance(0.3) ? 1 + choose(4) :
		1 + choose(MAX_REQUEST);
	bool		unconfirmed = unconfirmed_wait(model);

	if (model->under_way == MAX_UNDER_WAY)
		return;
	model->refused = false;
	request->n = isolation_next(model->isolation, max, admit, model,
								request->nodes, &request->sent);
	if (request->n == 0 && model->under_way == 0 && !model->refused &&
		isolation_waiting(model->isolation) > 0)
		broken("contacts wait and none goes");
	if (request->n <= 0)
		return;
	request->group = contact_of(request->nodes[0])->group;
	check_request(model, request, max);
	model->under_way++;
	if (request->group || !unconfirmed || model->refused)
		model->since = 0;
	else if (++model->since >= UNCONFIRMED_TURN)
		broken("unconfirmed contacts wait for too long");
}

static void
settle(ModelContact *contact)
{
	if (contact->settled)
		broken("a contact has two outcomes");
	contact->inside = false;
	contact->settled = true;
}

/* Those of the request that are still inside become an unconfirmed group. */
static void
become_unconfirmed(Model *model, const ModelRequest *request)
{
	int			group = new_group(model);

	for (int i = 0; i < request->n; i++)
	{
		ModelContact *contact = contact_of(request->nodes[i]);

		if (contact->inside)
		{
			contact->group = group;
			model->groups[group].waiting++;
		}
	}
}

static void
answer_clean(Model *model, const ModelRequest *request)
{
	ModelGroup *group = &model->groups[request->group];

	isolation_clean(model->isolation, request->sent);
	for (int i = 0; i < request->n; i++)
		settle(contact_of(request->nodes[i]));
	if (group->phase == SCOUTING)
		group->phase = TOGETHER;
}

static void
answer_dirty(Model *model, const ModelRequest *request)
{
	ModelGroup *group = &model->groups[request->group];
	int			culprit = choose(request->n + 2) - 1;

	isolation_dirty(model->isolation, request->sent, culprit);
	if (request->n == 1)
	{
		settle(contact_of(request->nodes[0]));
		if (group->phase == SCOUTING)
			group->phase = SINGLY;
	}
	/* a dirty set is like any other, whatever it came from */
	for (int i = 0; i < request->n; i++)
		contact_of(request->nodes[i])->group = 0;
}

/* 200 with some of the contacts, perhaps all, perhaps none. */
static void
answer_partial(Model *model, const ModelRequest *request)
{
	bool		created[MAX_REQUEST];
	int			n = 0;

	for (int i = 0; i < request->n; i++)
		n += created[i] = chance(request->n == 1 ? 0.5 : 0.8);
	isolation_partial(model->isolation, request->sent, created);
	for (int i = 0; i < request->n; i++)
	{
		if (created[i])
			settle(contact_of(request->nodes[i]));
	}
	if (n < request->n)
		become_unconfirmed(model, request);
	else if (model->groups[request->group].phase == SCOUTING)
		model->groups[request->group].phase = TOGETHER;
}

static void
answer_returned(Model *model, const ModelRequest *request, bool dropped)
{
	bool		drop[MAX_REQUEST];

	for (int i = 0; i < request->n; i++)
	{
		drop[i] = dropped && chance(0.3);
		if (drop[i])
			contact_of(request->nodes[i])->inside = false;
		else
			model->groups[request->group].waiting++;
	}
	if (dropped)
		isolation_dropped(model->isolation, request->sent, drop);
	else
		isolation_returned(model->isolation, request->sent);
}

/* What the server says, if it says something. */
static void
answer_truly(Model *model, const ModelRequest *request)
{
	bool		clean = model->lies ? chance(0.5) :
		server_takes(request->nodes, request->n);

	if (clean)
		answer_clean(model, request);
	else
		answer_dirty(model, request);
}

/* One of the requests under way gets an answer.  trouble: the chance of another
 * than clean and dirty. */
static void
answer(Model *model, double trouble)
{
	int			i = choose(model->under_way);
	ModelRequest request = model->requests[i];

	model->requests[i] = model->requests[--model->under_way];
	for (int j = 0; j < request.n; j++)
		contact_of(request.nodes[j])->under_way = false;
	model->groups[request.group].under_way -= request.n;
	if (!chance(trouble))
		answer_truly(model, &request);
	else if (chance(0.4))
	{
		if (chance(0.5))
			(void) server_takes(request.nodes, request.n);
		isolation_unanswered(model->isolation, request.sent);
		become_unconfirmed(model, &request);
	}
	else if (chance(0.4) && server_takes(request.nodes, request.n))
		answer_partial(model, &request);
	else
		answer_returned(model, &request, chance(0.5));
}

static void
step(Model *model, double trouble)
{
	switch (choose(12))
	{
		case 0:
			add_unconfirmed(model);
			break;
		case 1:
			remove_one(model);
			break;
		case 2:
		case 3:
			for (int i = 0; i < 20; i++)
				add(model);
			break;
		case 4:
		case 5:
		case 6:
		case 7:
			next(model);
			break;
		default:
			if (model->under_way > 0)
				answer(model, trouble);
	}
	check_counts(model);
}

/* From now on all is well: everything inside must get an outcome. */
static void
drain(Model *model)
{
	/* unconfirmed ones one by one, dirty sets cut into halves: no more */
	int			left = 4 * isolation_inside(model->isolation) + 100;

	model->refuse = 0;
	model->stop = 0;
	alloc_failure = 0;
	while (isolation_inside(model->isolation) > 0)
	{
		if (left-- == 0)
			broken("it takes too many requests");
		next(model);
		if (model->under_way == 0)
			broken("contacts are left inside");
		answer(model, 0);
		check_counts(model);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static Model model;
	double		bad;
	double		trouble;

	input = data;
	input_left = size;
	memset(&model, 0, sizeof(model));
	model.isolation = isolation_create();
	if (!model.isolation)
		return 0;
	bad = choose(4) * 0.1;
	trouble = choose(4) * 0.25;
	model.refuse = choose(3) * 0.2;
	model.stop = choose(3) * 0.02;
	model.lies = chance(0.2);
	alloc_failure = choose(2) * 0.05;
	if (bad > 0)
		for (int i = 0; i < KEYS; i++)
			model.contacts[i].bad = chance(bad);
	for (int i = 0; i < STEPS && input_left > 1; i++)
		step(&model, trouble);
	/* some end with contacts inside and under way */
	if (input_left == 0)
		drain(&model);
	alloc_failure = 0;
	isolation_free(model.isolation);
	return 0;
}
