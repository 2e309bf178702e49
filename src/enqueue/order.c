/*
 * order.c
 *		What statements of the transaction at hand have enqueued, for triggers that fire
 *		out of order.
 *
 * Nothing of this outlives the transaction, and nothing of a subtransaction
 * that was rolled back stays.
 */
#include "postgres.h"

#include "access/xact.h"
#include "common/hashfn.h"
#include "compat.h"
#include "enqueue/order.h"
#include "utils/fmgrprotos.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

/* A contact: the ids follow each other. */
typedef struct Contact
{
	const char *ids;
	Size		chatbot_length;
	Size		length;			/* of both */
} Contact;

typedef struct Noted
{
	Contact		contact;
	CommandId	statement;		/* the last one that has enqueued it */
	SubTransactionId subtransaction;	/* that noted it */
} Noted;

/* In TopTransactionContext; NULL: nothing is noted. */
static HTAB *noted = NULL;

/* No entry is of a later subtransaction. */
static SubTransactionId latest = InvalidSubTransactionId;

static uint32
hash_contact(const void *key, Size size)
{
	const Contact *contact = key;

	return hash_bytes((const unsigned char *) contact->ids, contact->length);
}

static int
compare_contacts(const void *a, const void *b, Size size)
{
	const Contact *one = a;
	const Contact *other = b;

	return one->chatbot_length != other->chatbot_length || one->length != other->length ||
		memcmp(one->ids, other->ids, one->length) != 0;
}

/* Subtransactions are numbered in order, so those inside of one have higher numbers. */
static void
forget_subtransaction(SubXactEvent event, SubTransactionId aborted,
					  SubTransactionId parent, void *arg)
{
	HASH_SEQ_STATUS scan;
	Noted	   *entry;

	if (event != SUBXACT_EVENT_ABORT_SUB || noted == NULL || latest < aborted)
		return;
	hash_seq_init(&scan, noted);
	while ((entry = hash_seq_search(&scan)) != NULL)
		if (entry->subtransaction >= aborted)
			(void) hash_search(noted, &entry->contact, HASH_REMOVE, NULL);
	latest = aborted - 1;
}

/* The memory goes with the transaction. */
static void
forget_transaction(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
		noted = NULL;
}

static void
create_table(void)
{
	static bool registered = false;
	HASHCTL		control = {0};

	if (!registered)
	{
		RegisterXactCallback(forget_transaction, NULL);
		RegisterSubXactCallback(forget_subtransaction, NULL);
		registered = true;
	}
	control.keysize = sizeof(Contact);
	control.entrysize = sizeof(Noted);
	control.hash = hash_contact;
	control.match = compare_contacts;
	control.hcxt = TopTransactionContext;
	noted = hash_create("contacts_push order", 64, &control,
						HASH_ELEM | HASH_FUNCTION | HASH_COMPARE | HASH_CONTEXT);
}

/*
 * After triggers fire under their statement's snapshot, which says what number its
 * changes have.
 */
CommandId
contacts_push_order_statement(void)
{
	return GetActiveSnapshot()->curcid;
}

bool
contacts_push_order_is_nested(void)
{
	return DatumGetInt32(DirectFunctionCall1(pg_trigger_depth, (Datum) 0)) > 1;
}

/* Finds or makes the entry of a contact; NULL: there is none. */
static Noted *
search(const char *chatbot_id, Datum external_id, HASHACTION action, bool *found)
{
	text	   *id = DatumGetTextPP(external_id);
	Contact		contact;
	char	   *ids;
	Noted	   *entry;

	contact.chatbot_length = strlen(chatbot_id);
	contact.length = contact.chatbot_length + VARSIZE_ANY_EXHDR(id);
	ids = palloc(contact.length);
	memcpy(ids, chatbot_id, contact.chatbot_length);
	memcpy(ids + contact.chatbot_length, VARDATA_ANY(id), VARSIZE_ANY_EXHDR(id));
	contact.ids = ids;
	entry = hash_search(noted, &contact, action, found);
	if (entry && !*found)
	{
		char	   *kept = MemoryContextAlloc(TopTransactionContext, contact.length);

		memcpy(kept, ids, contact.length);
		entry->contact.ids = kept;
	}
	pfree(ids);
	return entry;
}

void
contacts_push_order_note(const char *chatbot_id, Datum external_id, CommandId statement)
{
	Noted	   *entry;
	bool		found;

	if (noted == NULL)
		create_table();
	entry = search(chatbot_id, external_id, HASH_ENTER, &found);
	/* one that began later has had its say, and keeps it */
	if (found && entry->statement > statement)
		return;
	entry->statement = statement;
	entry->subtransaction = latest = GetCurrentSubTransactionId();
}

CommandId
contacts_push_order_last(const char *chatbot_id, Datum external_id)
{
	Noted	   *entry;
	bool		found;

	if (noted == NULL)
		return InvalidCommandId;
	entry = search(chatbot_id, external_id, HASH_FIND, &found);
	return entry ? entry->statement : InvalidCommandId;
}
