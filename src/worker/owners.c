/*
 * owners.c
 *		Which contact of this outbox has an e-mail, as far as this worker has seen.
 *
 * A row that is settled keeps no e-mail, so who has one is remembered here, for those who
 * are refused it: in a table of fixed size, by a hash that nobody outside can foresee.
 * What is forgotten costs an explanation and nothing else: no outcome depends on it.
 */
#include "postgres.h"

#include "compat.h"
#include "store/outbox.h"
#include "worker/owners.h"

/* Owners kept, 1 MB in all, in buckets in which a newer one takes the place of the oldest. */
#define OWNERS 65536
#define BUCKET 8

typedef struct Owner
{
	uint64		hash;			/* of chatbot and e-mail */
	int64		seq;			/* 0: none */
} Owner;

static Owner *owners = NULL;	/* in worker.context */

/* Where the owner of this hash is, or is to be put. */
static Owner *
find_place(uint64 hash)
{
	Owner	   *bucket = &owners[hash % (OWNERS / BUCKET) * BUCKET];
	Owner	   *oldest = bucket;

	for (int i = 0; i < BUCKET; i++)
	{
		if (bucket[i].hash == hash && bucket[i].seq != 0)
			return &bucket[i];
		if (bucket[i].seq < oldest->seq)
			oldest = &bucket[i];
	}
	return oldest;
}

void
owners_note(const Contact *contact)
{
	uint64		hash;

	if (contact->address[ADDRESS_EMAIL].text == NULL)
		return;
	if (owners == NULL)
		owners = MemoryContextAllocZero(worker.context, OWNERS * sizeof(Owner));
	hash = contact->address[ADDRESS_EMAIL].hash;
	*find_place(hash) = (Owner) {hash, contact->seq};
}

char *
owners_find(const Contact *contact)
{
	const Owner *owner;
	uint64		hash;
	Datum		value;

	if (contact->address[ADDRESS_EMAIL].text == NULL || owners == NULL)
		return NULL;
	hash = contact->address[ADDRESS_EMAIL].hash;
	owner = find_place(hash);
	if (owner->seq == 0 || owner->hash != hash || owner->seq == contact->seq)
		return NULL;
	value = Int64GetDatum(owner->seq);
	return outbox_run(OUTBOX_EMAIL_OWNER, &value, NULL) > 0 ? outbox_get_text(0, 1) : NULL;
}
