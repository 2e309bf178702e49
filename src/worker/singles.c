/*
 * singles.c
 *		Contacts that change at Chatbase or are deleted there: each goes in a request of its own.
 */
#include "postgres.h"

#include "compat.h"
#include "contact/contact.h"
#include "server/settings.h"
#include "store/outbox.h"
#include "utils/memutils.h"
#include "worker/due.h"
#include "worker/singles.h"
#include "worker/trouble.h"

static Contact *
contact_of(dlist_node *node)
{
	return dlist_container(Contact, single, node);
}

/* Most come in order; one that comes back was the first, as a rule. */
void
singles_add(Contact *contact)
{
	dlist_head *queue = &contact->chatbot->singles[contact->call];
	dlist_node *before;

	if (dlist_is_empty(queue) || contact_of(dlist_head_node(queue))->seq > contact->seq)
	{
		dlist_push_head(queue, &contact->single);
		return;
	}
	before = dlist_tail_node(queue);
	while (contact_of(before)->seq > contact->seq)
		before = dlist_prev_node(queue, before);
	dlist_insert_after(before, &contact->single);
}

void
singles_remove(Contact *contact)
{
	dlist_delete(&contact->single);
}

bool
singles_wait(const Chatbot *chatbot, RequestCall call)
{
	return !dlist_is_empty(&unconstify(Chatbot *, chatbot)->singles[call]) &&
		!(call == CALL_DELETE && chatbot->is_held);
}

void
singles_fill(Request *request)
{
	Contact    *contact = request->contacts[0];
	const char *path = contact->previous && !contact->has_key ? contact_to_utf8(contact->previous) :
		contact->external_id_utf8;

	if (request->call == CALL_READ)
	{
		request->page = 1;
		request->per_page = PROBE_CONTACTS;
		return;
	}
	request->path_id = MemoryContextStrdup(worker.context, path);
	if (request->call != CALL_UPDATE)
		return;
	contact->is_uncleared |= contact->cleared && contact->chatbot->refuses_nulls;
	appendStringInfoString(&request->body, "{\"data\":");
	if (contact->cleared && !contact->is_uncleared)
		appendStringInfoString(&request->body, contact->cleared);
	else
		appendBinaryStringInfo(&request->body, contact->json, contact->length);
	appendStringInfoChar(&request->body, '}');
}

void
singles_read_switches(List *chatbots)
{
	char	  **ids = palloc(Max(list_length(chatbots), 1) * sizeof(char *));
	int			n = 0;
	uint64		nrows;
	Datum		value;
	ListCell   *cell;

	foreach(cell, chatbots)
		ids[n++] = ((Chatbot *) lfirst(cell))->id;
	value = outbox_text_array(ids, n);
	nrows = outbox_run(OUTBOX_SWITCHES, &value, NULL);
	for (uint64 i = 0; i < nrows; i++)
	{
		Chatbot    *chatbot = window_chatbot(outbox_get_text(i, 1));

		chatbot->updates = outbox_get_bool(i, 2);
		chatbot->deletes = outbox_get_bool(i, 3);
		chatbot->let_through = outbox_get_int64(i, 4);
		/* by an earlier worker, or not at all */
		if (!chatbot->switches_known)
			chatbot->held_deletes = outbox_get_int64(i, 5);
	}
	foreach(cell, chatbots)
		((Chatbot *) lfirst(cell))->switches_known = true;
}

/* How many wait that nobody has let through. */
static int
count_pending_deletes(Chatbot *chatbot)
{
	dlist_iter	iter;
	int			n = 0;

	dlist_reverse_foreach(iter, &chatbot->singles[CALL_DELETE])
	{
		if (contact_of(iter.cur)->seq <= chatbot->let_through)
			break;
		n++;
	}
	return n;
}

/*
 * Nothing is left but contacts that wait for each other's keys: they are looked at again, as
 * somebody may have written into the outbox by hand; and if that does not help, not waited for.
 * Returns whether there are such.
 */
static bool
end_waiting(Chatbot *chatbot)
{
	if (chatbot->waiting[CALL_UPDATE].n == 0)
		chatbot->is_stuck = false;
	if (chatbot->contacts > 0 || chatbot->unwritten > 0 || chatbot->requests > 0 ||
		window_has_passed_over(chatbot) || due_exists(chatbot))
	{
		chatbot->keyed_again &= chatbot->contacts == 0;
		return false;
	}
	chatbot->is_stuck = chatbot->keyed_again && chatbot->keyed.n > 0;
	chatbot->keyed_again = chatbot->keyed.n > 0;
	ranges_add_all(&chatbot->waiting[CALL_UPDATE], &chatbot->keyed);
	chatbot->keyed.n = 0;
	return chatbot->waiting[CALL_UPDATE].n > 0;
}

bool
singles_hold(bool all_read)
{
	bool		again = false;
	ListCell   *cell;

	foreach(cell, window_chatbots())
	{
		Chatbot    *chatbot = lfirst(cell);
		int			held = 0;

		again |= all_read && end_waiting(chatbot);
		/* Those that are still to be read count, too. */
		chatbot->is_held = !all_read;
		if (!all_read || (chatbot->by_call[CALL_DELETE] == 0 && chatbot->held_deletes == 0))
			continue;
		if (settings_max_pending_deletes >= 0 &&
			chatbot->by_call[CALL_DELETE] > settings_max_pending_deletes)
			held = count_pending_deletes(chatbot);
		if (held <= settings_max_pending_deletes)
			held = 0;
		chatbot->is_held = held > 0;
		if (held == chatbot->held_deletes)
			continue;
		if ((held > 0) != (chatbot->held_deletes > 0))
			trouble_deletes_held(chatbot, held);
		chatbot->held_deletes = held;
		chatbot->held_unwritten = true;
	}
	return again;
}
