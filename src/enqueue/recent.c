/*
 * recent.c
 *		What statements of the transaction at hand have enqueued, for triggers that fire
 *		out of order.
 *
 * Nothing of this outlives the transaction, and nothing of a subtransaction
 * that was rolled back stays.
 */
#include "postgres.h"

#include "access/xact.h"
#include "common/hashfn.h"
#include "enqueue/recent.h"
#include "utils/fmgrprotos.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

typedef struct Recent
{
	uint64		key;			/* of chatbot and external_id */
	CommandId	statement;		/* the last one that has noted it */
	SubTransactionId subtransaction;	/* that did so */
} Recent;

/* In TopTransactionContext; NULL: nothing is noted. */
static HTAB *recent = NULL;

/* Subtransactions are numbered in order, so those inside of one have higher numbers. */
static void
forget_subtransaction(SubXactEvent event, SubTransactionId aborted,
					  SubTransactionId parent, void *arg)
{
	HASH_SEQ_STATUS scan;
	Recent	   *entry;

	if (event != SUBXACT_EVENT_ABORT_SUB || recent == NULL)
		return;
	hash_seq_init(&scan, recent);
	while ((entry = hash_seq_search(&scan)) != NULL)
		if (entry->subtransaction >= aborted)
			(void) hash_search(recent, &entry->key, HASH_REMOVE, NULL);
}

/* The memory goes with the transaction. */
static void
forget_transaction(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
		recent = NULL;
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
	control.keysize = sizeof(uint64);
	control.entrysize = sizeof(Recent);
	control.hcxt = TopTransactionContext;
	recent = hash_create("contacts_push recent", 64, &control,
						 HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

/* 64 bits: that two contacts of a transaction share a key is out of the question. */
static uint64
key_of(const char *chatbot_id, const char *external_id)
{
	uint64		seed = hash_bytes_extended((const unsigned char *) chatbot_id, strlen(chatbot_id), 0);

	return hash_bytes_extended((const unsigned char *) external_id, strlen(external_id), seed);
}

/*
 * After triggers fire under their statement's snapshot, which says what number its
 * changes have.
 */
CommandId
recent_statement(void)
{
	return GetActiveSnapshot()->curcid;
}

bool
recent_is_nested(void)
{
	return DatumGetInt32(DirectFunctionCall1(pg_trigger_depth, (Datum) 0)) > 1;
}

void
recent_note(const char *chatbot_id, const char *external_id, CommandId statement)
{
	uint64		key = key_of(chatbot_id, external_id);
	Recent	   *entry;
	bool		known;

	if (recent == NULL)
		create_table();
	entry = hash_search(recent, &key, HASH_ENTER, &known);
	/* one that began later has had its say, and keeps it */
	if (known && entry->statement > statement)
		return;
	entry->statement = statement;
	entry->subtransaction = GetCurrentSubTransactionId();
}

bool
recent_is_empty(void)
{
	return recent == NULL;
}

static Recent *
find(const char *chatbot_id, const char *external_id)
{
	uint64		key = key_of(chatbot_id, external_id);

	return recent ? hash_search(recent, &key, HASH_FIND, NULL) : NULL;
}

bool
recent_by_later(const char *chatbot_id, const char *external_id, CommandId statement)
{
	Recent	   *entry = find(chatbot_id, external_id);

	return entry && entry->statement > statement;
}

bool
recent_by_same(const char *chatbot_id, const char *external_id, CommandId statement)
{
	Recent	   *entry = find(chatbot_id, external_id);

	return entry && entry->statement == statement;
}
