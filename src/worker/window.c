/*
 * window.c
 *		What a worker has in memory: chatbots, and the contacts taken up for them.
 *
 * Bookkeeping only: no SQL, no HTTP, no decision.
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "common/pg_prng.h"
#include "compat.h"
#include "contact/contact.h"
#include "utils/memutils.h"
#include "worker/window.h"
#include "worker/window_tables.h"

/* Room for what a worker usually has; the tables grow. */
#define INITIAL_CONTACTS 4096
#define INITIAL_CHATBOTS 16

/*
 * Memory for contacts that are deferred.  Beyond it they leave the window, and the worker
 * forgets what does not stand in their rows: that it saw them fail.
 */
#define MAX_DEFERRED_BYTES (4 * 1024 * 1024)

static MemoryContext context;
static by_seq_hash *contacts_by_seq;
static by_text_hash *contacts_by_id;
static by_text_hash *contacts_by_address;
static by_id_hash *chatbots_by_id;
static List *active_chatbots = NIL; /* in the order in which they became so */
static bool any_proven = false;
static int64 total_bytes = 0;	/* of the JSON of those that are not deferred */
static int64 deferred_bytes = 0;	/* of those that are, with all that belongs to them */

void
window_create(void)
{
	context = AllocSetContextCreate(CurrentMemoryContext, "contacts_push window",
									ALLOCSET_DEFAULT_SIZES);
	contacts_by_seq = by_seq_create(context, INITIAL_CONTACTS, NULL);
	contacts_by_id = by_text_create(context, INITIAL_CONTACTS, NULL);
	contacts_by_address = by_text_create(context, INITIAL_CONTACTS, NULL);
	chatbots_by_id = by_id_create(context, INITIAL_CHATBOTS, NULL);
}

char *
window_strdup(const char *string)
{
	return string ? MemoryContextStrdup(context, string) : NULL;
}

static void
activate(Chatbot *chatbot)
{
	MemoryContext old;

	if (chatbot->active)
		return;
	old = MemoryContextSwitchTo(context);
	active_chatbots = lappend(active_chatbots, chatbot);
	MemoryContextSwitchTo(old);
	chatbot->active = true;
}

Chatbot *
window_chatbot(const char *id)
{
	MemoryContext old;
	ChatbotEntry *entry = by_id_lookup(chatbots_by_id, id);
	Chatbot    *chatbot;
	bool		found;

	if (entry)
	{
		activate(entry->chatbot);
		return entry->chatbot;
	}
	old = MemoryContextSwitchTo(context);
	chatbot = palloc0(sizeof(Chatbot));
	chatbot->id = pstrdup(id);
	chatbot->seed = pg_prng_uint64(&pg_global_prng_state);
	chatbot->id_utf8 = contact_to_utf8(chatbot->id);
	if (chatbot->id_utf8 == NULL)
		chatbot->id_utf8 = pstrdup("?");	/* no chatbot has it: 404 */
	chatbot->isolation = isolation_create();
	if (chatbot->isolation == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory")));
	dlist_init(&chatbot->lookup.contacts);
	chatbot->due_after = DT_NOBEGIN;
	chatbot->next_due_at = PG_INT64_MAX;
	by_id_insert(chatbots_by_id, chatbot->id, &found)->chatbot = chatbot;
	MemoryContextSwitchTo(old);
	activate(chatbot);
	return chatbot;
}

List *
window_chatbots(void)
{
	return active_chatbots;
}

bool
window_has_passed_over(const Chatbot *chatbot)
{
	for (int call = 0; call < CALLS; call++)
		if (chatbot->waiting[call].n > 0)
			return true;
	return false;
}

static bool
is_at_rest(const Chatbot *chatbot)
{
	return chatbot->contacts == 0 && chatbot->nheld == 0 && !window_has_passed_over(chatbot) &&
		chatbot->keyed.n == 0 && !chatbot->held_unwritten &&
		chatbot->requests == 0 && chatbot->unwritten == 0 && chatbot->has_row &&
		!chatbot->due && chatbot->next_due_at == PG_INT64_MAX &&
		chatbot->pause == PAUSE_NONE && !chatbot->pause_unwritten &&
		chatbot->backoff.failures == 0 && !chatbot->backoff_unwritten &&
		!chatbot->attributes_changed;
}

void
window_rest(void)
{
	ListCell   *cell;

	foreach(cell, active_chatbots)
	{
		Chatbot    *chatbot = lfirst(cell);

		if (!is_at_rest(chatbot))
			continue;
		chatbot->active = false;
		active_chatbots = foreach_delete_current(active_chatbots, cell);
	}
}

void
window_wake_all(void)
{
	by_id_iterator iterator;
	ChatbotEntry *entry;

	by_id_start_iterate(chatbots_by_id, &iterator);
	while ((entry = by_id_iterate(chatbots_by_id, &iterator)) != NULL)
		activate(entry->chatbot);
}

void
window_prove(Chatbot *chatbot)
{
	chatbot->proven = any_proven = true;
}

bool
window_any_proven(void)
{
	return any_proven;
}

uint64
window_attributes(Chatbot *chatbot, JsonbContainer *contact)
{
	return attributes_of(&chatbot->attributes, contact, context);
}

static uint64
hash_text(const Chatbot *chatbot, const char *text)
{
	return hash_bytes_extended((const unsigned char *) text, strlen(text), chatbot->seed);
}

static TextKey
id_key(const Contact *contact)
{
	return (TextKey) {contact->chatbot, contact->external_id, contact->hash};
}

/* ---- queues of those that have an address ---- */

static TextKey
address_key(const Contact *contact, AddressKind kind)
{
	return (TextKey) {contact->chatbot, contact->address[kind].text, contact->address[kind].hash};
}

/* In the order of their seqs, but whoever has the turn keeps it. */
static void
join_queue(Contact *contact, AddressKind kind)
{
	Address    *address = &contact->address[kind];
	TextEntry  *entry;
	bool		found;

	if (address->text == NULL)
		return;
	entry = by_text_insert(contacts_by_address, address_key(contact, kind), &found);
	address->before = found ? entry->last : NULL;
	address->behind = NULL;
	while (address->before && address->before->seq > contact->seq && !address->before->has_turn)
	{
		address->behind = address->before;
		address->before = address->before->address[kind].before;
	}
	if (address->before)
		address->before->address[kind].behind = contact;
	else
	{
		entry->key = address_key(contact, kind);
		entry->contact = contact;
	}
	if (address->behind)
		address->behind->address[kind].before = contact;
	else
		entry->last = contact;
	address->is_queued = true;
}

static void
leave_queue(Contact *contact, AddressKind kind)
{
	Address    *address = &contact->address[kind];
	TextEntry  *entry;

	if (!address->is_queued)
		return;
	address->is_queued = false;
	if (address->before)
		address->before->address[kind].behind = address->behind;
	if (address->behind)
		address->behind->address[kind].before = address->before;
	if (address->before && address->behind)
		return;
	if (address->before == NULL && address->behind == NULL)
	{
		by_text_delete(contacts_by_address, address_key(contact, kind));
		return;
	}
	entry = by_text_lookup(contacts_by_address, address_key(contact, kind));
	if (address->behind == NULL)
		entry->last = address->before;
	else
	{
		entry->key = address_key(address->behind, kind);
		entry->contact = address->behind;
	}
}

static void
join_queues(Contact *contact)
{
	for (int kind = 0; kind < ADDRESSES; kind++)
		join_queue(contact, kind);
}

static void
leave_queues(Contact *contact)
{
	contact->has_turn = false;
	for (int kind = 0; kind < ADDRESSES; kind++)
		leave_queue(contact, kind);
}

bool
window_take_turn(Contact *contact)
{
	for (int kind = 0; kind < ADDRESSES; kind++)
		if (contact->address[kind].is_queued && contact->address[kind].before)
			return false;
	contact->has_turn = true;
	return true;
}

/*
 * Those that came meanwhile and were enqueued before it go before it from now on.  Were it
 * to keep its place, one that it waits for elsewhere could be waiting for it.
 */
void
window_end_turn(Contact *contact)
{
	contact->has_turn = false;
	for (int kind = 0; kind < ADDRESSES; kind++)
	{
		const Address *address = &contact->address[kind];

		if (address->is_queued && address->behind && address->behind->seq < contact->seq)
		{
			leave_queue(contact, kind);
			join_queue(contact, kind);
		}
	}
}

/* ---- contacts ---- */

static int64
size_of(const Contact *contact)
{
	return sizeof(Contact) + contact->length;
}

/* Adds the contact to what is counted by state, or with by -1 takes it out. */
static void
count(const Contact *contact, int by)
{
	Chatbot    *chatbot = contact->chatbot;

	if (contact->state == CONTACT_DEFERRED)
	{
		deferred_bytes += by * size_of(contact);
		return;
	}
	total_bytes += by * contact->length;
	if (contact->state != CONTACT_HELD)
	{
		chatbot->contacts += by;
		chatbot->by_call[contact->call] += by;
	}
}

/* With its texts behind it in one piece of memory, but for the JSON. */
static Contact *
make_contact(const NewContact *new)
{
	bool		is_utf8 = strcmp(new->external_id, new->external_id_utf8) == 0;
	const char *texts[] = {new->external_id, is_utf8 ? NULL : new->external_id_utf8,
		new->address[ADDRESS_EMAIL], new->address[ADDRESS_PHONE], new->previous};
	Size		lengths[lengthof(texts)] = {0};
	Size		size = sizeof(Contact);
	Contact    *contact;
	char	   *places[lengthof(texts)] = {NULL};
	char	   *end;

	for (int i = 0; i < lengthof(texts); i++)
		if (texts[i])
			size += lengths[i] = strlen(texts[i]) + 1;
	contact = palloc(size);
	memset(contact, 0, sizeof(Contact));
	end = (char *) (contact + 1);
	for (int i = 0; i < lengthof(texts); i++)
		if (texts[i])
		{
			places[i] = memcpy(end, texts[i], lengths[i]);
			end += lengths[i];
		}
	contact->chatbot = new->chatbot;
	contact->external_id = places[0];
	contact->external_id_utf8 = is_utf8 ? places[0] : places[1];
	contact->hash = hash_text(contact->chatbot, contact->external_id);
	contact->address[ADDRESS_EMAIL].text = places[2];
	contact->address[ADDRESS_PHONE].text = places[3];
	contact->previous = places[4];
	for (int kind = 0; kind < ADDRESSES; kind++)
		if (contact->address[kind].text)
			contact->address[kind].hash = hash_text(contact->chatbot, contact->address[kind].text);
	return contact;
}

Contact *
window_add(const NewContact *new)
{
	MemoryContext old = MemoryContextSwitchTo(context);
	Contact    *contact = make_contact(new);
	bool		found;

	contact->seq = new->seq;
	contact->tid = new->tid;
	contact->state = CONTACT_QUEUED;
	contact->call = new->call;
	contact->json = new->json ? pnstrdup(new->json, new->length) : NULL;
	contact->length = new->length;
	contact->illegible = new->illegible;
	contact->unconfirmed = new->unconfirmed;
	contact->attempts = new->attempts;
	contact->attributes = new->attributes;
	contact->failures = new->attempts;
	contact->tried_at = -1;
	by_seq_insert(contacts_by_seq, contact->seq, &found)->contact = contact;
	Assert(!found);
	by_text_insert(contacts_by_id, id_key(contact), &found)->contact = contact;
	Assert(!found);
	join_queues(contact);
	count(contact, 1);
	MemoryContextSwitchTo(old);
	return contact;
}

Contact *
window_find(int64 seq)
{
	SeqEntry   *entry = by_seq_lookup(contacts_by_seq, seq);

	return entry ? entry->contact : NULL;
}

Contact *
window_find_contact(const Chatbot *chatbot, const char *external_id)
{
	TextKey		key = {chatbot, external_id, hash_text(chatbot, external_id)};
	TextEntry  *entry = by_text_lookup(contacts_by_id, key);

	return entry ? entry->contact : NULL;
}

static bool
is_in_queues(ContactState state)
{
	return state == CONTACT_QUEUED || state == CONTACT_DOUBTFUL || state == CONTACT_IN_FLIGHT;
}

bool
window_can_defer(const Contact *contact)
{
	return deferred_bytes + size_of(contact) <= MAX_DEFERRED_BYTES;
}

/* Leaves the list of its state, where that has one. */
static void
leave_list(Contact *contact)
{
	Chatbot    *chatbot = contact->chatbot;
	int			i = 0;

	if (contact->state == CONTACT_DOUBTFUL)
	{
		dlist_delete(&contact->doubt);
		chatbot->lookup.n--;
	}
	if (contact->state != CONTACT_HELD)
		return;
	while (chatbot->held[i] != contact)
		i++;
	chatbot->nheld--;
	for (; i < chatbot->nheld; i++)
		chatbot->held[i] = chatbot->held[i + 1];
}

#define STATE(name) (1 << CONTACT_##name)

void
window_move(Contact *contact, ContactState state)
{
	PG_USED_FOR_ASSERTS_ONLY static const int may_follow[CONTACT_STATES] = {
		/* to WRITING: what is read cannot be sent */
		[CONTACT_QUEUED] = STATE(DOUBTFUL) | STATE(IN_FLIGHT) | STATE(WRITING),
		[CONTACT_DOUBTFUL] = STATE(QUEUED) | STATE(IN_FLIGHT) | STATE(WRITING),
		[CONTACT_IN_FLIGHT] = STATE(QUEUED) | STATE(DOUBTFUL) | STATE(HELD) | STATE(WRITING),
		[CONTACT_HELD] = STATE(QUEUED) | STATE(WRITING),
		[CONTACT_DEFERRED] = STATE(QUEUED),
		[CONTACT_WRITING] = STATE(DEFERRED),
	};
	Chatbot    *chatbot = contact->chatbot;
	ContactState before = contact->state;

	Assert(may_follow[before] & (1 << state));
	if (is_in_queues(before) && !is_in_queues(state))
		leave_queues(contact);
	else if (!is_in_queues(before) && is_in_queues(state))
		join_queues(contact);
	if (before == CONTACT_IN_FLIGHT)
	{
		window_end_turn(contact);
		contact->request = NULL;
	}
	leave_list(contact);
	if (state == CONTACT_HELD)
		chatbot->held[chatbot->nheld++] = contact;
	if (state == CONTACT_DOUBTFUL)
	{
		dlist_push_tail(&chatbot->lookup.contacts, &contact->doubt);
		chatbot->lookup.n++;
	}
	count(contact, -1);
	contact->state = state;
	count(contact, 1);
}

void
window_set_call(Contact *contact, RequestCall call)
{
	count(contact, -1);
	contact->call = call;
	count(contact, 1);
}

void
window_remove(Contact *contact)
{
	void	   *owned[] = {contact->json, contact->cleared, contact->gone, contact->members,
		contact->kept, contact->refusal};

	Assert(contact->node.group == NULL);
	leave_list(contact);
	leave_queues(contact);
	count(contact, -1);
	by_seq_delete(contacts_by_seq, contact->seq);
	by_text_delete(contacts_by_id, id_key(contact));
	for (int i = 0; i < lengthof(owned); i++)
		if (owned[i])
			pfree(owned[i]);
	pfree(contact);
}

int
window_waiting(int64 **seqs)
{
	by_seq_iterator iterator;
	SeqEntry   *entry;
	int			n = 0;

	*seqs = palloc(Max(contacts_by_seq->members, 1) * sizeof(int64));
	by_seq_start_iterate(contacts_by_seq, &iterator);
	while ((entry = by_seq_iterate(contacts_by_seq, &iterator)) != NULL)
		if (window_is_waiting(entry->contact))
			(*seqs)[n++] = entry->seq;
	return n;
}

bool
window_bounds(int64 *low, int64 *high)
{
	by_seq_iterator iterator;
	SeqEntry   *entry;

	*low = PG_INT64_MAX;
	*high = 0;
	by_seq_start_iterate(contacts_by_seq, &iterator);
	while ((entry = by_seq_iterate(contacts_by_seq, &iterator)) != NULL)
	{
		if (entry->contact->state == CONTACT_DEFERRED)
			continue;
		*low = Min(*low, entry->seq);
		*high = Max(*high, entry->seq);
	}
	return *high > 0;
}

int64
window_bytes(void)
{
	return total_bytes;
}
