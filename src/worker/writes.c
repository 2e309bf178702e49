/*
 * writes.c
 *		The list of changes of the outbox's rows, which alone has them written.
 *
 * What a change is, is decided elsewhere: in answers.c, refusals.c, intents.c, claim.c and
 * recover.c.
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "compat.h"
#include "contact/contact.h"
#include "postmaster/interrupt.h"
#include "util/clock.h"
#include "utils/memutils.h"
#include "worker/due.h"
#include "worker/owners.h"
#include "worker/queues.h"
#include "worker/writes.h"

/* Rows that another session holds locked are tried again after that. */
#define LOCKED_RETRY_US (INT64CONST(1000) * 1000)

/* Room for what an answer brings; the list grows. */
#define INITIAL_CHANGES 1024

/* Whose a change is. */
typedef struct Subject
{
	Chatbot    *chatbot;
	Contact    *contact;		/* it is WRITING until the change is written; NULL: none is */
	Request    *request;		/* is not over before it is written; NULL: it answers none */
	List	   *older;			/* of Request *, for whose changes of the row this one stands */
} Subject;

/* When those of the list are tried again that were found locked, clock_us(). */
static int64 retry_at = 0;

/* Where the changes are that have no contact, by seq. */
typedef struct PlaceEntry
{
	int64		seq;
	char		status;
	int			place;
} PlaceEntry;

#define SH_PREFIX places
#define SH_ELEMENT_TYPE PlaceEntry
#define SH_KEY_TYPE int64
#define SH_KEY seq
#define SH_HASH_KEY(tb, key) murmurhash32((uint32) (key) ^ (uint32) ((key) >> 32))
#define SH_EQUAL(tb, a, b) ((a) == (b))
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

static places_hash *places = NULL;

static PlaceEntry *
find_place(int64 seq)
{
	return places && places->members > 0 ? places_lookup(places, seq) : NULL;
}

static void
forget_place(Chatbot *chatbot, int64 seq)
{
	places_delete(places, seq);
	chatbot->unwritten--;
}

static const RowChange *
find_change(int64 seq)
{
	PlaceEntry *entry = find_place(seq);

	return entry ? &worker.changes[entry->place] : NULL;
}

bool
writes_have_doubt(int64 seq)
{
	const RowChange *change = find_change(seq);

	return change && change->unconfirmed;
}

bool
writes_have_outcome(int64 seq)
{
	const RowChange *change = find_change(seq);

	return change && change->status != OUTBOX_PENDING;
}

bool
writes_are_behind(void)
{
	return worker.nlocked > 0;
}

static void
make_room(void)
{
	if (worker.nchanges < worker.max_changes)
		return;
	if (worker.max_changes == 0)
	{
		worker.max_changes = INITIAL_CHANGES;
		worker.changes = MemoryContextAlloc(worker.context, worker.max_changes * sizeof(RowChange));
		worker.subjects = MemoryContextAlloc(worker.context, worker.max_changes * sizeof(Subject));
		places = places_create(worker.context, INITIAL_CHANGES, NULL);
		return;
	}
	worker.max_changes *= 2;
	worker.changes = repalloc_huge(worker.changes, worker.max_changes * sizeof(RowChange));
	worker.subjects = repalloc_huge(worker.subjects, worker.max_changes * sizeof(Subject));
}

static char *
copy(const char *text)
{
	return text ? MemoryContextStrdup(worker.context, text) : NULL;
}

static void
free_texts(RowChange *change)
{
	if (change->external_id)
		pfree(unconstify(char *, change->external_id));
	if (change->error)
		pfree(unconstify(char *, change->error));
	if (change->contact_id)
		pfree(unconstify(char *, change->contact_id));
	if (change->contact_members)
		pfree(change->contact_members);
}

/*
 * Adds a change, or puts it in the place of the one that there is of the row.  What went
 * unanswered before is over when this one is written.
 */
static RowChange *
add(int64 seq, Chatbot *chatbot, const char *external_id, Contact *contact, Request *request)
{
	PlaceEntry *entry = find_place(seq);
	int			place;
	bool		found;

	if (entry)
	{
		Subject	   *subject = &worker.subjects[place = entry->place];

		free_texts(&worker.changes[place]);
		if (subject->request)
		{
			MemoryContext old = MemoryContextSwitchTo(worker.context);

			subject->older = lappend(subject->older, subject->request);
			MemoryContextSwitchTo(old);
		}
	}
	else
	{
		make_room();
		place = worker.nchanges++;
		worker.subjects[place].older = NIL;
	}
	worker.subjects[place].chatbot = chatbot;
	worker.subjects[place].contact = contact;
	worker.subjects[place].request = request;
	if (request)
		request->unwritten++;
	if (contact == NULL)
	{
		places_insert(places, seq, &found)->place = place;
		chatbot->unwritten += !found;
	}
	else if (entry)
		forget_place(chatbot, seq);
	worker.changes[place] = (RowChange) {
		.seq = seq, .chatbot_id = chatbot->id, .external_id = copy(external_id),
		.attempts = -1, .delay_ms = -1
	};
	return &worker.changes[place];
}

/* Adds a change of a contact in the window, which is WRITING from now on. */
static RowChange *
add_contact(Contact *contact)
{
	Request    *request = contact->request;
	RowChange  *change;

	window_move(contact, CONTACT_WRITING);
	change = add(contact->seq, contact->chatbot, contact->external_id, contact, request);
	change->tid = contact->tid;
	return change;
}

/* What Chatbase has of the contact's members, and what it keeps though that has gone. */
static void
note_members(RowChange *change, const Contact *contact)
{
	bool		is_kept = change->status == OUTBOX_UPDATED && contact->is_uncleared;
	const bytea *members = is_kept ? contact->kept : contact->members;
	Size		size;

	if (members == NULL)
		return;
	size = VARSIZE_ANY(members);
	change->contact_members = memcpy(MemoryContextAlloc(worker.context, size), members, size);
	if (is_kept)
		change->error = copy(psprintf("Chatbase still has %s: it takes no null to clear it", contact->gone));
}

void
writes_settle(Contact *contact, OutboxStatus status, int http_status, const char *text)
{
	RowChange  *change;

	bool		is_there = status == OUTBOX_CREATED || status == OUTBOX_PRESENT ||
		status == OUTBOX_UPDATED;

	if (is_there)
		owners_note(contact);
	change = add_contact(contact);
	change->status = status;
	change->http_status = http_status;
	if (status == OUTBOX_CREATED || status == OUTBOX_UPDATED)
	{
		change->contact_id = copy(text);
		change->contact_hash = contact_hash(contact->json, contact->length);
		note_members(change, contact);
	}
	else
		change->error = copy(text);
	/* It was there before, perhaps: so it has no hash, and the next intent is sent. */
	if (status == OUTBOX_PRESENT && contact->is_only_version)
		note_members(change, contact);
	change->keeps_contact = !is_there && status != OUTBOX_DELETED;
	/* What has failed may exist all the same, and so may what was refused after doubt. */
	change->unconfirmed = status == OUTBOX_FAILED ||
		((status == OUTBOX_REJECTED || status == OUTBOX_CONFLICT) && contact->unconfirmed);
	if (status == OUTBOX_FAILED)
		change->attempts = contact->attempts;
}

void
writes_find(Contact *contact, const char *contact_id, bool is_same)
{
	RowChange  *change;

	owners_note(contact);
	change = add_contact(contact);
	change->status = OUTBOX_PRESENT;
	change->http_status = 200;
	change->contact_id = copy(contact_id);
	if (!is_same)
		return;
	change->contact_hash = contact_hash(contact->json, contact->length);
	note_members(change, contact);
}

void
writes_defer(Contact *contact, int64 delay_ms, int http_status, const char *why)
{
	RowChange  *change = add_contact(contact);

	change->status = OUTBOX_PENDING;
	change->keeps_contact = true;
	change->http_status = http_status;
	change->error = copy(why);
	change->attempts = contact->attempts;
	change->delay_ms = delay_ms;
	change->unconfirmed = true;
}

void
writes_unconfirmed(Chatbot *chatbot, int64 seq, Request *request, int http_status,
				   const char *why)
{
	Contact    *contact = window_find(seq);
	RowChange  *change = add(seq, chatbot, contact ? contact->external_id : NULL, NULL, request);

	if (contact)
		change->tid = contact->tid;
	change->status = OUTBOX_PENDING;
	change->keeps_contact = true;
	change->http_status = http_status;
	change->error = copy(why);
	change->unconfirmed = true;
}

void
writes_unsent(Chatbot *chatbot, const char *external_id, int64 seq, OutboxStatus status,
			  bool unconfirmed, const char *why)
{
	RowChange  *change = add(seq, chatbot, external_id, NULL, NULL);

	change->status = status;
	change->keeps_contact = status == OUTBOX_CONFLICT;
	change->unconfirmed = unconfirmed;
	change->error = copy(why);
}

void
writes_supersede(Chatbot *chatbot, const char *external_id, int64 seq)
{
	RowChange  *change = add(seq, chatbot, external_id, NULL, NULL);

	change->expects_refused = true;
	change->status = OUTBOX_SUPERSEDED;
}

/* True for one that was sent, and not refused without a doubt. */
static bool
may_exist(const RowChange *change, const Subject *subject)
{
	return subject->contact->unconfirmed ||
		(subject->request && change->status != OUTBOX_CONFLICT &&
		 change->status != OUTBOX_REJECTED);
}

/* A change of a contact is written, or its row was changed by hand. */
static void
let_contact_go(const RowChange *change, const Subject *subject)
{
	Contact    *contact = subject->contact;
	bool		sent = change->result == ROW_CHANGED && may_exist(change, subject);

	/* It may have been enqueued again, and the new row not be read yet. */
	if (contact->look_again || sent)
	{
		queue_look(contact->chatbot, contact->external_id, sent);
		queue_look_asked(contact->chatbot, contact->external_id);
	}
	if (contact->previous && change->status != OUTBOX_PENDING)
		queue_look(contact->chatbot, contact->previous, false);
	if (change->status == OUTBOX_PENDING && change->result == ROW_WRITTEN)
	{
		due_note(contact->chatbot, change->delay_ms);
		if (window_can_defer(contact))
		{
			window_move(contact, CONTACT_DEFERRED);
			contact->tid = change->new_tid;
			contact->look_again = false;
			return;
		}
	}
	window_remove(contact);
}

/* A change is written, or its row was changed by hand: it leaves the list. */
static void
let_go(int place)
{
	RowChange  *change = &worker.changes[place];
	Subject	   *subject = &worker.subjects[place];
	ListCell   *cell;

	if (change->result == ROW_WRITTEN)
	{
		subject->chatbot->tally[change->status]++;
		if (subject->contact && change->status != OUTBOX_PENDING)
			worker.settled_contacts++;
		if (change->expects_refused)
			subject->chatbot->tally[change->was]--;
	}
	if (subject->contact)
		let_contact_go(change, subject);
	else
	{
		Contact    *contact = window_find(change->seq);

		if (contact && change->result == ROW_WRITTEN)
			contact->tid = change->new_tid;
		forget_place(subject->chatbot, change->seq);
	}
	if (subject->request)
		subject->request->unwritten--;
	foreach(cell, subject->older)
		((Request *) lfirst(cell))->unwritten--;
	list_free(subject->older);
	free_texts(change);
}

void
writes_flush(void)
{
	/* Who is about to end has no later try. */
	int			kept = retry_at <= clock_us() || ShutdownRequestPending ? 0 : worker.nlocked;
	int			from = kept;

	if (from == worker.nchanges)
		return;
	outbox_write(&worker.changes[from], worker.nchanges - from);
	for (int i = from; i < worker.nchanges; i++)
	{
		if (worker.changes[i].result != ROW_LOCKED)
		{
			let_go(i);
			continue;
		}
		worker.changes[kept] = worker.changes[i];
		worker.subjects[kept] = worker.subjects[i];
		if (worker.subjects[kept].contact == NULL)
			places_lookup(places, worker.changes[kept].seq)->place = kept;
		kept++;
	}
	if (kept > worker.nlocked || from == 0)
		retry_at = clock_us() + LOCKED_RETRY_US;
	worker.nlocked = worker.nchanges = kept;
}
