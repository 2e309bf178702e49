/*
 * store.c
 *		The contacts that each chatbot has; see store.h for what must not enter.
 *
 * Two hash tables a chatbot, one for external_ids and one for e-mails, open
 * addressing with linear probing.  A contact that was replaced or deleted stays in
 * the memory of its batch until all is forgotten.
 */
#include "store.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "patch.h"

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
	Contact   **contacts;		/* in order of arrival */
	size_t		ncontacts;
	size_t		contacts_size;
	Batch	  **batches;		/* whose memory they are in */
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

/* Takes a contact out, and moves those up that were put behind it for want of a slot. */
static void
table_remove(Table *table, uint64_t hash, const Contact *contact)
{
	size_t		mask = table->size - 1;
	size_t		gap = (size_t) (table_slot(table, hash, contact) - table->slots);
	size_t		i;

	for (i = (gap + 1) & mask; table->slots[i].contact != NULL; i = (i + 1) & mask)
	{
		if (((i - table->slots[i].hash) & mask) >= ((i - gap) & mask))
		{
			table->slots[gap] = table->slots[i];
			gap = i;
		}
	}
	table->slots[gap].contact = NULL;
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

/* True if another contact has the phone number.  Rarely asked, so there is no table for it. */
static bool
is_phone_taken(const Chatbot *chatbot, const Contact *contact)
{
	size_t		i;

	for (i = 0; contact->phone_len > 0 && i < chatbot->ncontacts; i++)
	{
		const Contact *other = chatbot->contacts[i];

		if (other->phone_len == contact->phone_len && other->serial != contact->serial &&
			memcmp(contact_phone(other), contact_phone(contact), contact->phone_len) == 0)
			return true;
	}
	return false;
}

/* Takes a contact out of the tables. */
static void
remove_keys(Chatbot *chatbot, const Contact *contact)
{
	table_remove(&chatbot->external_ids, contact->external_id_hash, contact);
	if (contact->email_len > 0)
		table_remove(&chatbot->emails, contact->email_hash, contact);
}

/* Puts a contact into the tables.  False: it is a double, and is not in. */
static bool
add_keys(Chatbot *chatbot, const Contact *contact, bool unique_phones)
{
	if (unique_phones && is_phone_taken(chatbot, contact))
		return false;
	if (!table_add(&chatbot->external_ids, contact->external_id_hash, contact))
		return false;
	if (contact->email_len > 0 && !table_add(&chatbot->emails, contact->email_hash, contact))
	{
		table_remove(&chatbot->external_ids, contact->external_id_hash, contact);
		return false;
	}
	return true;
}

/* All contacts of the batch, or none. */
static bool
add_contacts(Chatbot *chatbot, const Batch *batch, bool unique_phones)
{
	size_t		before = chatbot->ncontacts;
	size_t		n = 0;

	table_reserve(&chatbot->external_ids, batch->ncontacts);
	table_reserve(&chatbot->emails, batch->ncontacts);
	if (chatbot->contacts_size < before + batch->ncontacts)
	{
		chatbot->contacts_size = 2 * (before + batch->ncontacts);
		chatbot->contacts = must_realloc(chatbot->contacts, chatbot->contacts_size * sizeof(Contact *));
	}
	for (; n < batch->ncontacts; n++)
	{
		batch->contacts[n]->serial = last_serial + n + 1;
		if (!add_keys(chatbot, batch->contacts[n], unique_phones))
			break;
		chatbot->contacts[chatbot->ncontacts++] = batch->contacts[n];
	}
	if (n == batch->ncontacts)
		return true;
	while (n-- > 0)
		remove_keys(chatbot, batch->contacts[n]);
	chatbot->ncontacts = before;
	return false;
}

static void
keep_batch(Chatbot *chatbot, Batch *batch)
{
	if (chatbot->nbatches == chatbot->batches_size)
	{
		chatbot->batches_size = chatbot->batches_size > 0 ? chatbot->batches_size * 2 : 16;
		chatbot->batches = must_realloc(chatbot->batches, chatbot->batches_size * sizeof(Batch *));
	}
	chatbot->batches[chatbot->nbatches++] = batch_retain(batch);
}

/* The place of the contact with the key's external_id; NULL: there is none. */
static Contact **
find_contact(const Chatbot *chatbot, const Contact *key)
{
	const Contact *found = chatbot != NULL && chatbot->external_ids.size > 0 ?
		table_slot(&chatbot->external_ids, key->external_id_hash, key)->contact : NULL;
	size_t		i = 0;

	if (found == NULL)
		return NULL;
	while (chatbot->contacts[i] != found)
		i++;
	return &chatbot->contacts[i];
}

/* Puts the one contact of the batch in the place of another.  False: it is another's double. */
static bool
replace_contact(Chatbot *chatbot, Contact **place, Batch *batch, bool unique_phones)
{
	Contact    *old = *place;
	Contact    *new = batch->contacts[0];

	new->serial = old->serial;
	new->created_at = old->created_at;
	new->updated_at = (int64_t) time(NULL);
	table_reserve(&chatbot->emails, 1);	/* it may have had none */
	remove_keys(chatbot, old);
	if (!add_keys(chatbot, new, unique_phones))
	{
		add_keys(chatbot, old, false);
		return false;
	}
	*place = new;
	keep_batch(chatbot, batch);
	return true;
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
store_add(const char *chatbot_id, Batch *batch, bool unique_phones, uint64_t epoch)
{
	StoreOutcome outcome = STORE_FORGOTTEN;
	int64_t		now = (int64_t) time(NULL);
	size_t		i;

	pthread_mutex_lock(&lock);
	/* A server that was started again must not give the same ids again. */
	if (last_serial == 0)
		last_serial = (uint64_t) now << 32;
	if (epoch == epoch_now)
	{
		Chatbot    *chatbot = find_or_make_chatbot(chatbot_id);

		outcome = add_contacts(chatbot, batch, unique_phones) ? STORE_DONE : STORE_CONFLICT;
		if (outcome == STORE_DONE)
		{
			for (i = 0; i < batch->ncontacts; i++)
				batch->contacts[i]->created_at = batch->contacts[i]->updated_at = now;
			last_serial += batch->ncontacts;
			contacts_held += batch->ncontacts;
			keep_batch(chatbot, batch);
		}
	}
	pthread_mutex_unlock(&lock);
	return outcome;
}

/* Under the lock. */
static StoreOutcome
update_contact(Chatbot *chatbot, Contact **place, const char *body, size_t len, const Config *config)
{
	Buffer		patched = {NULL, 0, 0};
	StoreOutcome outcome = STORE_INVALID;

	if (patch_contact(&patched, *place, body, len, config))
	{
		Batch	   *batch = batch_read(patched.data, patched.len, 1, &config->strip);

		if (batch->problem == NULL)
			outcome = replace_contact(chatbot, place, batch, config->unique_phones) ?
				STORE_DONE : STORE_CONFLICT;
		batch_release(batch);
	}
	buffer_free(&patched);
	return outcome;
}

StoreOutcome
store_update(Buffer *out, const char *chatbot_id, const Contact *key, const char *body, size_t len,
			 const Config *config, uint64_t epoch)
{
	StoreOutcome outcome = STORE_FORGOTTEN;

	pthread_mutex_lock(&lock);
	if (epoch == epoch_now)
	{
		Chatbot    *chatbot = find_chatbot(chatbot_id);
		Contact   **place = find_contact(chatbot, key);

		outcome = place != NULL ? update_contact(chatbot, place, body, len, config) : STORE_ABSENT;
		if (outcome == STORE_DONE)
			contact_write(out, *place);
	}
	pthread_mutex_unlock(&lock);
	return outcome;
}

StoreOutcome
store_delete(Buffer *out, const char *chatbot_id, const Contact *key, uint64_t epoch)
{
	StoreOutcome outcome = STORE_FORGOTTEN;

	pthread_mutex_lock(&lock);
	if (epoch == epoch_now)
	{
		Chatbot    *chatbot = find_chatbot(chatbot_id);
		Contact   **place = find_contact(chatbot, key);

		outcome = place != NULL ? STORE_DONE : STORE_ABSENT;
		if (outcome == STORE_DONE)
		{
			contact_write(out, *place);
			remove_keys(chatbot, *place);
			chatbot->ncontacts--;
			memmove(place, place + 1,
					(size_t) (chatbot->contacts + chatbot->ncontacts - place) * sizeof(Contact *));
			contacts_held--;
		}
	}
	pthread_mutex_unlock(&lock);
	return outcome;
}

bool
store_get(Buffer *out, const char *chatbot_id, const Contact *key)
{
	Contact   **place;

	pthread_mutex_lock(&lock);
	place = find_contact(find_chatbot(chatbot_id), key);
	if (place != NULL)
		contact_write(out, *place);
	pthread_mutex_unlock(&lock);
	return place != NULL;
}

static int
compare_hashes(const void *a, const void *b)
{
	const Contact *left = *(Contact *const *) a;
	const Contact *right = *(Contact *const *) b;

	return (left->external_id_hash > right->external_id_hash) -
		(left->external_id_hash < right->external_id_hash);
}

size_t
store_list(Buffer *out, const char *chatbot_id, ListOrder order, size_t first, size_t n)
{
	const Chatbot *chatbot;
	size_t		total;
	Contact   **contacts;
	size_t		i;

	pthread_mutex_lock(&lock);
	chatbot = find_chatbot(chatbot_id);
	total = chatbot != NULL ? chatbot->ncontacts : 0;
	contacts = must_alloc((total + 1) * sizeof(Contact *));
	if (total > 0)
		memcpy(contacts, chatbot->contacts, total * sizeof(Contact *));
	if (order == LIST_SCATTERED)
		qsort(contacts, total, sizeof(Contact *), compare_hashes);
	for (i = first; i < total && i - first < n; i++)
	{
		contact_write(out, contacts[order == LIST_NEWEST ? total - 1 - i : i]);
		buffer_text(out, ",");
	}
	pthread_mutex_unlock(&lock);
	free(contacts);
	return total;
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

void
store_write(Buffer *out, const char *chatbot_id, bool brief)
{
	const Chatbot *chatbot;
	size_t		i;

	buffer_text(out, "[");
	pthread_mutex_lock(&lock);
	chatbot = find_chatbot(chatbot_id);
	for (i = 0; chatbot != NULL && i < chatbot->ncontacts; i++)
	{
		if (brief)
			write_brief(out, chatbot->contacts[i]);
		else
			contact_write(out, chatbot->contacts[i]);
		buffer_text(out, ",");
	}
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
	free(chatbot->contacts);
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
