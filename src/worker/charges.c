/*
 * charges.c
 *		Rows that failed alone and were put off for it.
 *
 * What of that need not outlive the worker; the failures that count are in
 * the outbox.
 */
#include "postgres.h"

#include "compat.h"
#include "utils/hsearch.h"
#include "worker/charges.h"

typedef struct Charge
{
	int64		seq;
	int64		answers;		/* chatbot->answers at the last failure */
	int			failures;		/* so far, charged or not */
} Charge;

static HTAB *charges = NULL;

static Charge *
find_charge(int64 seq, HASHACTION action, bool *found)
{
	if (charges == NULL)
	{
		HASHCTL		control = {0};

		control.keysize = sizeof(int64);
		control.entrysize = sizeof(Charge);
		control.hcxt = worker.context;
		charges = hash_create("contacts_push charges", 64, &control,
							  HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	return hash_search(charges, &seq, action, found);
}

int64
charges_failed_at(const Contact *contact)
{
	Charge	   *charge = find_charge(contact->seq, HASH_FIND, NULL);

	return charge ? charge->answers : -1;
}

void
charges_forget(const Contact *contact)
{
	if (contact->tried_at >= 0)
		(void) find_charge(contact->seq, HASH_REMOVE, NULL);
}

int
charges_add(const Contact *contact)
{
	bool		known;
	Charge	   *charge = find_charge(contact->seq, HASH_ENTER, &known);

	if (!known)
		charge->failures = contact->attempts;
	charge->answers = contact->chatbot->answers;
	return charge->failures++;
}
