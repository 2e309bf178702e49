/*
 * lookups.c
 *		Contacts that may exist at Chatbase, and are looked up there before they are sent again.
 *
 * Few contacts are asked for one by one, many by reading the pages of the chatbot's list.
 * What is answered is for findings.c.
 */
#include "postgres.h"

#include "compat.h"
#include "contact/contact.h"
#include "server/settings.h"
#include "utils/memutils.h"
#include "worker/lookups.h"
#include "worker/queues.h"
#include "worker/requests.h"
#include "worker/retries.h"
#include "worker/trouble.h"

/* So few contacts are asked for one by one, however few pages there are. */
#define FEW_CONTACTS 2

/* Reads that fail in a row before it is found out whether only reads do. */
#define MAX_FAILURES 8

/* How often a contact is looked up for one lost answer. */
#define MAX_LOOKUPS 2

/* Counts reloads, of which each may bring another server. */
static int	server = 1;

bool
lookups_are_possible(const Chatbot *chatbot)
{
	return settings_reading && chatbot->lookup.not_at != server;
}

void
lookups_reloaded(void)
{
	server++;
}

void
lookups_give_up(Chatbot *chatbot, const char *why)
{
	if (lookups_are_possible(chatbot))
		trouble_no_reading(chatbot, why);
	chatbot->lookup.not_at = server;
	chatbot->lookup.failures = 0;
}

bool
lookups_keep_failing(const Chatbot *chatbot)
{
	return chatbot->lookup.failures >= MAX_FAILURES;
}

/* ---- who is looked up ---- */

static void
leave_to_isolation(Chatbot *chatbot, IsolationNode *const *nodes, int n)
{
	if (!isolation_add_unconfirmed(chatbot->isolation, nodes, n))
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory")));
}

/* A page that is being read may have been written before the contact was sent. */
void
lookups_ask_again(Contact *contact)
{
	contact->lookup_round = contact->chatbot->lookup.round + 1;
	window_move(contact, CONTACT_DOUBTFUL);
}

void
lookups_add(Contact *const *contacts, int n)
{
	static int64 groups = 0;
	Chatbot    *chatbot;
	IsolationNode **nodes;

	if (n == 0)
		return;
	chatbot = contacts[0]->chatbot;
	groups++;
	if (lookups_are_possible(chatbot))
	{
		for (int i = 0; i < n; i++)
		{
			contacts[i]->doubt_group = groups;
			contacts[i]->read_failed_at = 0;
			lookups_ask_again(contacts[i]);
		}
		return;
	}
	nodes = palloc(n * sizeof(IsolationNode *));
	for (int i = 0; i < n; i++)
		nodes[i] = &contacts[i]->node;
	leave_to_isolation(chatbot, nodes, n);
	pfree(nodes);
}

/* Takes contacts out of the isolation. */
static void
take_out(Chatbot *chatbot, Contact *const *contacts, int n)
{
	for (int i = 0; i < n; i++)
		if (!isolation_remove(chatbot->isolation, &contacts[i]->node))
			elog(ERROR, "a contact that waits is not known");
	lookups_add(contacts, n);
}

void
lookups_take_over(const Request *request)
{
	Contact    *contacts[CONTACT_MAX_USERS];
	int			n = 0;

	if (!lookups_are_possible(request->chatbot))
		return;
	for (int i = 0; i < request->n; i++)
		if (request->contacts[i]->state == CONTACT_QUEUED)
		{
			contacts[n] = request->contacts[i];
			contacts[n]->losses++;
			contacts[n++]->lookups = 0;
		}
	take_out(request->chatbot, contacts, n);
}

bool
lookups_retake(Request *request)
{
	Contact    *contacts[CONTACT_MAX_USERS];
	int			n = 0;

	if (!lookups_are_possible(request->chatbot))
		return false;
	for (int i = 0; i < request->n; i++)
	{
		Contact    *contact = request->contacts[i];

		if (contact->unconfirmed && contact->lookups > 0 && contact->lookups < MAX_LOOKUPS)
			contacts[n++] = contact;
	}
	if (n == 0)
		return false;
	for (int i = 0; i < request->n; i++)
		retries_wait_again(request->contacts[i]);
	isolation_returned(request->chatbot->isolation, request->group);
	take_out(request->chatbot, contacts, n);
	return true;
}

static Contact *
first_doubtful(const Chatbot *chatbot)
{
	return dlist_head_element(Contact, doubt, unconstify(dlist_head *, &chatbot->lookup.contacts));
}

/* Leaves to the isolation the first contact, and those that were sent together with it. */
static void
hand_over_first(Chatbot *chatbot, int max)
{
	IsolationNode *nodes[CONTACT_MAX_USERS];
	int64		group = first_doubtful(chatbot)->doubt_group;
	int			n = 0;

	while (chatbot->lookup.n > 0 && n < max)
	{
		Contact    *contact = first_doubtful(chatbot);

		if (contact->doubt_group != group)
			break;
		nodes[n++] = &contact->node;
		retries_wait_again(contact);
	}
	leave_to_isolation(chatbot, nodes, n);
}

/*
 * If reads keep failing, one contact is sent: should that be answered, it is only the reads
 * that fail.
 */
void
lookups_prepare(Chatbot *chatbot)
{
	Lookup	   *lookup = &chatbot->lookup;

	if (lookups_keep_failing(chatbot) && chatbot->answers > lookup->answers)
		lookups_give_up(chatbot, "requests that read fail, and others do not");
	if (!lookups_are_possible(chatbot))
	{
		lookup->is_reading = lookup->ask_list = false;
		while (lookup->n > 0)
			hand_over_first(chatbot, CONTACT_MAX_USERS);
	}
	else if (lookup->n > 0 && lookups_keep_failing(chatbot) &&
			 isolation_inside(chatbot->isolation) == 0)
		hand_over_first(chatbot, 1);
}

void
lookups_send_again(Contact *contact, bool is_absent)
{
	IsolationNode *node = &contact->node;

	contact->lookups++;
	retries_wait_again(contact);
	if (!is_absent || contact->attempts > 0 || contact->tried_at >= 0)
		leave_to_isolation(contact->chatbot, &node, 1);
	else
		isolation_add(contact->chatbot->isolation, node);
}

void
lookups_change(Contact *contact, const bytea *members)
{
	Load		load = {
		.seq = contact->seq, .call = CALL_UPDATE, .has_others = contact->look_again,
		.sent_members = unconstify(bytea *, members)
	};

	queue_load(&load);
	retries_wait_again(contact);
	window_remove(contact);
}

/* ---- what is asked for ---- */

/*
 * In trouble a read finds out first whether the chatbot answers, for if its answer is lost,
 * too, that leaves nobody in doubt.  Else the two take turns.
 */
bool
lookups_come_first(const Chatbot *chatbot)
{
	const Lookup *lookup = &chatbot->lookup;

	if (chatbot->backoff.failures > 0 && !lookups_keep_failing(chatbot))
		return lookup->answered_at <= chatbot->failed_at;
	return !lookup->had_turn;
}

void
lookups_yield(Chatbot *chatbot)
{
	chatbot->lookup.had_turn = false;
}

static Request *
ask_for_page(Chatbot *chatbot, int page, int per_page)
{
	Request    *request = requests_new(chatbot, CALL_READ, NULL, 0);

	request->page = page;
	request->per_page = per_page;
	chatbot->lookup.page_under_way = true;
	return request;
}

/*
 * True unless no segment of a path can be its external_id (see contact_check_chatbot_id()), or
 * an answer with it cannot be read.
 */
static bool
can_be_asked_for(const Contact *contact)
{
	const char *id = contact->external_id;

	return *id != '\0' && strcmp(id, ".") != 0 && strcmp(id, "..") != 0 && !contact->illegible;
}

static Request *
ask_for_contact(Chatbot *chatbot)
{
	Contact    *contact;
	Request    *request;

	while (chatbot->lookup.n > 0 && !can_be_asked_for(first_doubtful(chatbot)))
		hand_over_first(chatbot, 1);
	if (chatbot->lookup.n == 0)
		return NULL;
	contact = first_doubtful(chatbot);
	request = requests_new(chatbot, CALL_READ, &contact, 1);
	request->path_id = MemoryContextStrdup(worker.context, contact->external_id_utf8);
	return request;
}

/* How many contacts the pages are read for. */
static int
count_round(const Lookup *lookup)
{
	int			n = 0;
	dlist_iter	iter;

	dlist_foreach(iter, unconstify(dlist_head *, &lookup->contacts))
		n += dlist_container(Contact, doubt, iter.cur)->lookup_round <= lookup->round;
	return n;
}

static void
begin_round(Lookup *lookup)
{
	lookup->round++;
	lookup->is_reading = true;
	lookup->low = 1;
	lookup->high = PG_INT32_MAX;	/* until the first page says */
	lookup->from_end = false;
	lookup->first_hash = 0;
}

/* Whether pages are read, or go on to be, rather than contacts asked for. */
static bool
choose_pages(Lookup *lookup)
{
	int			left = lookup->is_reading ? count_round(lookup) : 0;
	/* How many pages there are the first one tells; where it does not, there may be no end of them. */
	bool		is_open = lookup->high == PG_INT32_MAX;

	if (left > 0 && (lookup->low == 1 || left > (is_open ? lookup->low - 1 : lookup->high - lookup->low)))
		return true;
	if (left > 0 && is_open)
		lookup->total_pages = lookup->low;
	lookup->is_reading = false;
	if (lookup->n <= FEW_CONTACTS || lookup->n < lookup->total_pages)
		return false;
	begin_round(lookup);
	return true;
}

Request *
lookups_next(Chatbot *chatbot)
{
	Lookup	   *lookup = &chatbot->lookup;

	if (lookup->n == 0 || lookup->page_under_way)
		return NULL;
	lookup->had_turn = true;
	if (lookup->ask_list)
		return ask_for_page(chatbot, 1, PROBE_CONTACTS);
	if (choose_pages(lookup))
		return ask_for_page(chatbot, lookup->from_end ? lookup->high : lookup->low, CONTACT_PAGE);
	return ask_for_contact(chatbot);
}
