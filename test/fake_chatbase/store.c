/*
 * store.c
 *		The contacts that each chatbot has; see store.h for what must not enter.
 *
 * Two hash tables a chatbot, one for external_ids and one for e-mails, open
 * addressing with linear probing; nothing is ever deleted but what the call
 * that is being undone has just put in, last in first out, so that clearing the
 * slots is enough.
 */
#include "store.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>

/* First size of a table, a power of two: one full request fits in. */
#define TABLE_FIRST_SIZE 2048

typedef struct Slot
{
	uint64_t	hash;
	const Contact *contact;		/* NULL: free */
} Slot;

/* True if a contact's key is the same as another's, their hashes being so. */
typedef bool (*SameKey) (const Contact *a, const Contact *b);

typedef struct Table
{
	Slot	   *slots;
	size_t		size;			/* a power of two, or 0 */
	size_t		used;
	SameKey		same;
} Table;

typedef struct Chatbot
{
	struct Chatbot *next;
	char	   *id;
	Table		external_ids;
	Table		emails;
	Batch	  **batches;		/* in order of arrival */
	size_t		nbatches;
	size_t		batches_size;
} Chatbot;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* All below is under the lock. */
static Chatbot *chatbots;
static uint64_t contacts_held;
static uint64_t last_serial;
static uint64_t epoch_now = 1;

static bool
same_external_id(const Contact *a, const Contact *b)
{
	return a->external_id_len == b->external_id_len &&
		memcmp(contact_external_id(a), contact_external_id(b), a->external_id_len) == 0;
}

static bool
same_email(const Contact *a, const Contact *b)
{
	return a->email_len == b->email_len && email_equal(contact_email(a), contact_email(b), a->email_len);
}

/* The slot of an equal contact, else the free one where it would go. */
static Slot *
table_slot(const Table *table, uint64_t hash, const Contact *contact)
{
	size_t		i = hash & (table->size - 1);

	while (table->slots[i].contact != NULL &&
		   (table->slots[i].hash != hash || !table->same(table->slots[i].contact, contact)))
		i = (i + 1) & (table->size - 1);
	return &table->slots[i];
}

/* Makes room for more entries; no slot moves while they are put in. */
static void
table_reserve(Table *table, size_t more)
{
	Table		old = *table;
	size_t		i;

	if (table->size >= 2 * (table->used + more))
		return;
	table->size = table->size > 0 ? table->size : TABLE_FIRST_SIZE;
	while (table->size < 2 * (table->used + more))
		table->size *= 2;
	table->slots = must_alloc(table->size * sizeof(Slot));
	memset(table->slots, 0, table->size * sizeof(Slot));
	for (i = 0; i < old.size; i++)
	{
		size_t		to = old.slots[i].hash & (table->size - 1);

		if (old.slots[i].contact == NULL)
			continue;
		while (table->slots[to].contact != NULL)
			to = (to + 1) & (table->size - 1);
		table->slots[to] = old.slots[i];
	}
	free(old.slots);
}

static bool
table_add(Table *table, uint64_t hash, const Contact *contact)
{
	Slot	   *slot = table_slot(table, hash, contact);

	if (slot->contact != NULL)
		return false;
	slot->hash = hash;
	slot->contact = contact;
	table->used++;
	return true;
}

/* Takes out the contact that was put in last. */
static void
table_undo(Table *table, uint64_t hash, const Contact *contact)
{
	table_slot(table, hash, contact)->contact = NULL;
	table->used--;
}

static Chatbot *
find_chatbot(const char *id)
{
	Chatbot    *chatbot = chatbots;

	while (chatbot != NULL && strcmp(chatbot->id, id) != 0)
		chatbot = chatbot->next;
	return chatbot;
}

static Chatbot *
find_or_make_chatbot(const char *id)
{
	Chatbot    *chatbot = find_chatbot(id);

	if (chatbot != NULL)
		return chatbot;
	chatbot = must_alloc(sizeof(*chatbot));
	memset(chatbot, 0, sizeof(*chatbot));
	chatbot->id = must_strdup(id);
	chatbot->external_ids.same = same_external_id;
	chatbot->emails.same = same_email;
	chatbot->next = chatbots;
	chatbots = chatbot;
	return chatbot;
}

/* False: the contact is a double, and is not in. */
static bool
add_contact(Chatbot *chatbot, const Contact *contact)
{
	if (!table_add(&chatbot->external_ids, contact->external_id_hash, contact))
		return false;
	if (contact->email_len > 0 && !table_add(&chatbot->emails, contact->email_hash, contact))
	{
		table_undo(&chatbot->external_ids, contact->external_id_hash, contact);
		return false;
	}
	return true;
}

/* All contacts of the batch, or none. */
static bool
add_contacts(Chatbot *chatbot, const Batch *batch)
{
	size_t		n = 0;

	table_reserve(&chatbot->external_ids, batch->ncontacts);
	table_reserve(&chatbot->emails, batch->ncontacts);
	while (n < batch->ncontacts && add_contact(chatbot, batch->contacts[n]))
		n++;
	if (n == batch->ncontacts)
		return true;
	while (n-- > 0)
	{
		const Contact *contact = batch->contacts[n];

		if (contact->email_len > 0)
			table_undo(&chatbot->emails, contact->email_hash, contact);
		table_undo(&chatbot->external_ids, contact->external_id_hash, contact);
	}
	return false;
}

static void
keep_batch(Chatbot *chatbot, Batch *batch)
{
	int64_t		now = (int64_t) time(NULL);
	size_t		i;

	/* A server that was started again must not give the same ids again. */
	if (last_serial == 0)
		last_serial = (uint64_t) now << 32;
	for (i = 0; i < batch->ncontacts; i++)
	{
		batch->contacts[i]->serial = ++last_serial;
		batch->contacts[i]->created_at = now;
	}
	if (chatbot->nbatches == chatbot->batches_size)
	{
		chatbot->batches_size = chatbot->batches_size > 0 ? chatbot->batches_size * 2 : 16;
		chatbot->batches = must_realloc(chatbot->batches, chatbot->batches_size * sizeof(Batch *));
	}
	chatbot->batches[chatbot->nbatches++] = batch_retain(batch);
	contacts_held += batch->ncontacts;
}

uint64_t
store_epoch(void)
{
	uint64_t	epoch;

	pthread_mutex_lock(&lock);
	epoch = epoch_now;
	pthread_mutex_unlock(&lock);
	return epoch;
}

StoreOutcome
store_add(const char *chatbot_id, Batch *batch, uint64_t epoch)
{
	StoreOutcome outcome = STORE_FORGOTTEN;

	pthread_mutex_lock(&lock);
	if (epoch == epoch_now)
	{
		Chatbot    *chatbot = find_or_make_chatbot(chatbot_id);

		outcome = add_contacts(chatbot, batch) ? STORE_ADDED : STORE_CONFLICT;
		if (outcome == STORE_ADDED)
			keep_batch(chatbot, batch);
	}
	pthread_mutex_unlock(&lock);
	return outcome;
}

uint64_t
store_contacts(void)
{
	uint64_t	held;

	pthread_mutex_lock(&lock);
	held = contacts_held;
	pthread_mutex_unlock(&lock);
	return held;
}

static void
write_brief(Buffer *out, const Contact *contact)
{
	buffer_text(out, "[");
	buffer_json(out, contact_external_id(contact), contact->external_id_len);
	buffer_text(out, ",");
	contact_write_id(out, contact);
	buffer_text(out, "]");
}

static void
write_batch(Buffer *out, const Batch *batch, bool brief)
{
	size_t		i;

	for (i = 0; i < batch->ncontacts; i++)
	{
		if (brief)
			write_brief(out, batch->contacts[i]);
		else
			contact_write(out, batch->contacts[i]);
		buffer_text(out, ",");
	}
}

void
store_write(Buffer *out, const char *chatbot_id, bool brief)
{
	const Chatbot *chatbot;
	size_t		i;

	buffer_text(out, "[");
	pthread_mutex_lock(&lock);
	chatbot = find_chatbot(chatbot_id);
	for (i = 0; chatbot != NULL && i < chatbot->nbatches; i++)
		write_batch(out, chatbot->batches[i], brief);
	pthread_mutex_unlock(&lock);
	buffer_close(out, ']');
}

static void
free_chatbot(Chatbot *chatbot)
{
	size_t		i;

	for (i = 0; i < chatbot->nbatches; i++)
		batch_release(chatbot->batches[i]);
	free(chatbot->batches);
	free(chatbot->external_ids.slots);
	free(chatbot->emails.slots);
	free(chatbot->id);
	free(chatbot);
}

void
store_reset(void)
{
	pthread_mutex_lock(&lock);
	while (chatbots != NULL)
	{
		Chatbot    *next = chatbots->next;

		free_chatbot(chatbots);
		chatbots = next;
	}
	contacts_held = 0;
	epoch_now++;
	pthread_mutex_unlock(&lock);
}
