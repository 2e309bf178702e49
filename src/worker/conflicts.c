/*
 * conflicts.c
 *		Contacts refused for what another one has, which may be about to give it away.
 *
 * A user may have the e-mail of one who is deleted, or has another one by now.  Each goes in a
 * request of its own, in the order of the intents that are left; where that is not the order in
 * which an e-mail went from one to the other, it is after some of them that it is free.  So who is
 * refused waits while others of the chatbot change, and is tried again after twice as many each
 * time, and at the end.
 */
#include "postgres.h"

#include "compat.h"
#include "worker/conflicts.h"
#include "worker/retries.h"
#include "worker/singles.h"
#include "worker/writes.h"

/* Doublings; there are never so many changes. */
#define MAX_TRIES 30

/* True if one that waits here has the contact's turn. */
static bool
is_behind(const Contact *contact, AddressKind kind)
{
	const Contact *before = contact->address[kind].before;

	while (before && !before->is_conflict)
		before = before->address[kind].before;
	return before != NULL;
}

/* How many change and cannot leave before one that waits here does. */
static int
count_behind(const Contact *conflict)
{
	int			n = 0;

	for (int kind = 0; kind < ADDRESSES; kind++)
	{
		const Contact *contact = conflict->address[kind].behind;

		for (; contact && !contact->is_conflict; contact = contact->address[kind].behind)
			n += contact->call != CALL_CREATE && contact->state == CONTACT_QUEUED &&
				!contact->has_turn && !(kind == ADDRESS_PHONE && is_behind(contact, ADDRESS_EMAIL));
	}
	return n;
}

/* How many contacts of the chatbot change or are deleted, and wait neither here nor for who does. */
static int
count_changing(const Chatbot *chatbot)
{
	int			n = chatbot->by_call[CALL_UPDATE] + chatbot->by_call[CALL_DELETE];
	dlist_iter	iter;

	dlist_foreach(iter, &unconstify(Chatbot *, chatbot)->conflicts)
	{
		const Contact *conflict = dlist_container(Contact, single, iter.cur);

		n -= (conflict->call != CALL_CREATE) + count_behind(conflict);
	}
	return n;
}

bool
conflicts_take(Request *request, const char *message)
{
	Contact    *contact = request->contacts[0];
	Chatbot    *chatbot = contact->chatbot;

	/* It does not wait for itself. */
	if (chatbot->changes == request->changes &&
		count_changing(chatbot) == (contact->call != CALL_CREATE))
		return false;
	retries_wait_again(contact);
	contact->is_conflict = true;
	contact->changes = request->changes;
	contact->conflicts = Min(contact->conflicts + 1, MAX_TRIES);
	if (contact->refusal)
		pfree(contact->refusal);
	contact->refusal = window_strdup(message);
	dlist_push_tail(&chatbot->conflicts, &contact->single);
	return true;
}

void
conflicts_leave(Contact *contact)
{
	dlist_delete(&contact->single);
	contact->is_conflict = false;
}

void
conflicts_settle(void)
{
	ListCell   *cell;

	foreach(cell, window_chatbots())
	{
		Chatbot    *chatbot = lfirst(cell);
		bool		is_over;
		dlist_mutable_iter iter;

		if (dlist_is_empty(&chatbot->conflicts))
			continue;
		is_over = count_changing(chatbot) == 0;
		dlist_foreach_modify(iter, &chatbot->conflicts)
		{
			Contact    *contact = dlist_container(Contact, single, iter.cur);
			int64		changes = chatbot->changes - contact->changes;

			if (!is_over && changes < INT64CONST(1) << contact->conflicts)
				continue;
			conflicts_leave(contact);
			if (changes > 0)
				retries_enqueue(contact);
			else
				writes_settle(contact, OUTBOX_CONFLICT, 409, contact->refusal);
		}
	}
}
