/*
 * outbox_layout.c
 *		The outbox as it is seen without SQL: where its columns are, what its statuses are.
 *
 * An operator may alter the table as he likes.  Whether rows can be read and written past
 * the executor all the same is decided in here; that nothing is read or written in here
 * keeps the answer the same for both.
 */
#include "postgres.h"

#include "access/relation.h"
#include "catalog/pg_am.h"
#include "catalog/pg_enum.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "nodes/nodes.h"
#include "optimizer/optimizer.h"
#include "store/outbox_layout.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

static const struct
{
	const char *name;
	Oid			type;			/* InvalidOid: contacts_push.status */
}			fields[OUTBOX_FIELDS] =
{
	[FIELD_SEQ] = {"seq", INT8OID},
	[FIELD_CHATBOT_ID] = {"chatbot_id", TEXTOID},
	[FIELD_EXTERNAL_ID] = {"external_id", TEXTOID},
	[FIELD_RELATION] = {"relation", OIDOID},
	[FIELD_PREVIOUS_EXTERNAL_ID] = {"previous_external_id", TEXTOID},
	[FIELD_CONTACT] = {"contact", JSONBOID},
	[FIELD_STATUS] = {"status", InvalidOid},
	[FIELD_ATTEMPTS] = {"attempts", INT4OID},
	[FIELD_NEXT_ATTEMPT_AT] = {"next_attempt_at", TIMESTAMPTZOID},
	[FIELD_UNCONFIRMED] = {"unconfirmed", BOOLOID},
	[FIELD_HTTP_STATUS] = {"http_status", INT4OID},
	[FIELD_ERROR] = {"error", TEXTOID},
	[FIELD_CONTACT_ID] = {"contact_id", TEXTOID},
	[FIELD_CONTACT_HASH] = {"contact_hash", INT8OID},
	[FIELD_CONTACT_MEMBERS] = {"contact_members", BYTEAOID},
	[FIELD_ENQUEUED_AT] = {"enqueued_at", TIMESTAMPTZOID},
	[FIELD_SETTLED_AT] = {"settled_at", TIMESTAMPTZOID},
};

/* Those that an UPDATE of the worker's may set to NULL. */
#define EMPTIED \
	(FIELD_BIT(FIELD_CONTACT) | FIELD_BIT(FIELD_NEXT_ATTEMPT_AT) | \
	 FIELD_BIT(FIELD_HTTP_STATUS) | FIELD_BIT(FIELD_ERROR) | FIELD_BIT(FIELD_CONTACT_ID) | \
	 FIELD_BIT(FIELD_CONTACT_HASH) | FIELD_BIT(FIELD_CONTACT_MEMBERS))

static const char *const status_names[OUTBOX_STATUSES] = {
	[OUTBOX_PENDING] = "pending",
	[OUTBOX_CREATED] = "created",
	[OUTBOX_PRESENT] = "present",
	[OUTBOX_UPDATED] = "updated",
	[OUTBOX_DELETED] = "deleted",
	[OUTBOX_CONFLICT] = "conflict",
	[OUTBOX_REJECTED] = "rejected",
	[OUTBOX_FAILED] = "failed",
	[OUTBOX_SUPERSEDED] = "superseded",
	[OUTBOX_SKIPPED] = "skipped",
	[OUTBOX_WITHDRAWN] = "withdrawn",
};

/* The layout of one relation, the only one there is of that name as a rule. */
static OutboxLayout layout;
static Oid	layout_of = InvalidOid; /* InvalidOid: to be looked up */

static void
forget_relation(Datum arg, Oid relation)
{
	if (!OidIsValid(relation) || relation == layout_of)
		layout_of = InvalidOid;
}

static void
forget_enum(Datum arg, int cache, uint32 hash)
{
	layout_of = InvalidOid;
}

static bool
find_fields(TupleDesc desc, Oid *status_type)
{
	for (int i = 0; i < OUTBOX_FIELDS; i++)
	{
		int			place = 0;

		while (place < desc->natts &&
			   (TupleDescAttr(desc, place)->attisdropped ||
				strcmp(NameStr(TupleDescAttr(desc, place)->attname), fields[i].name) != 0))
			place++;
		if (place == desc->natts)
			return false;
		if (i == FIELD_STATUS)
			*status_type = TupleDescAttr(desc, place)->atttypid;
		else if (TupleDescAttr(desc, place)->atttypid != fields[i].type)
			return false;
		layout.place[i] = place;
	}
	return true;
}

static bool
find_statuses(Oid type)
{
	for (int i = 0; i < OUTBOX_STATUSES; i++)
	{
		HeapTuple	tuple = SearchSysCache2(ENUMTYPOIDNAME, ObjectIdGetDatum(type),
											CStringGetDatum(status_names[i]));

		if (!HeapTupleIsValid(tuple))
			return false;
		layout.status[i] = ((Form_pg_enum) GETSTRUCT(tuple))->oid;
		ReleaseSysCache(tuple);
	}
	return true;
}

/* True if triggers would fire in the worker's session (see session.c). */
static bool
has_triggers(const TriggerDesc *triggers)
{
	for (int i = 0; triggers && i < triggers->numtriggers; i++)
	{
		const Trigger *trigger = &triggers->triggers[i];

		if (TRIGGER_FOR_UPDATE(trigger->tgtype) &&
			(trigger->tgenabled == TRIGGER_FIRES_ALWAYS ||
			 trigger->tgenabled == TRIGGER_FIRES_ON_REPLICA))
			return true;
	}
	return false;
}

static bool
has_plain_columns(TupleDesc desc)
{
	for (int i = 0; i < desc->natts; i++)
		if (TupleDescAttr(desc, i)->attgenerated)
			return false;
	for (int i = 0; i < OUTBOX_FIELDS; i++)
		if ((EMPTIED & FIELD_BIT(i)) && TupleDescAttr(desc, layout.place[i])->attnotnull)
			return false;
	return true;
}

/* The fields that CHECK constraints speak of. */
static uint32
find_checked(TupleDesc desc)
{
	uint32		checked = 0;
	Bitmapset  *columns = NULL;

	for (int i = 0; desc->constr && i < desc->constr->num_check; i++)
		pull_varattnos(stringToNode(desc->constr->check[i].ccbin), 1, &columns);
	for (int i = 0; i < OUTBOX_FIELDS; i++)
		if (bms_is_member(layout.place[i] + 1 - FirstLowInvalidHeapAttributeNumber, columns) ||
			/* the whole row */
			bms_is_member(InvalidAttrNumber - FirstLowInvalidHeapAttributeNumber, columns))
			checked |= FIELD_BIT(i);
	bms_free(columns);
	return checked;
}

const OutboxLayout *
outbox_layout(Relation outbox)
{
	static bool registered = false;
	TupleDesc	desc = RelationGetDescr(outbox);
	Oid			status_type = InvalidOid;

	if (layout_of == RelationGetRelid(outbox))
		return &layout;
	if (!registered)
	{
		CacheRegisterRelcacheCallback(forget_relation, (Datum) 0);
		CacheRegisterSyscacheCallback(ENUMOID, forget_enum, (Datum) 0);
		registered = true;
	}
	memset(&layout, 0, sizeof(layout));
	/* What changes while this is looked up has it looked up again. */
	layout_of = RelationGetRelid(outbox);
	layout.is_plain = outbox->rd_rel->relkind == RELKIND_RELATION &&
		outbox->rd_rel->relam == HEAP_TABLE_AM_OID && !outbox->rd_rel->relhassubclass &&
		find_fields(desc, &status_type) && find_statuses(status_type);
	layout.updates_are_plain = layout.is_plain && !outbox->rd_rel->relispartition &&
		outbox->rd_rules == NULL && !has_triggers(outbox->trigdesc) && has_plain_columns(desc);
	layout.checked = find_checked(desc);
	return &layout;
}

OutboxStatus
outbox_status_of(const OutboxLayout *of, Oid value)
{
	for (int i = 0; i < OUTBOX_STATUSES; i++)
		if (of->status[i] == value)
			return i;
	elog(ERROR, "unexpected status %u of a row of contacts_push.outbox", value);
}

OutboxStatus
outbox_status_named(const char *name)
{
	for (int i = 0; i < OUTBOX_STATUSES; i++)
		if (strcmp(status_names[i], name) == 0)
			return i;
	elog(ERROR, "unexpected status \"%s\" of a row of contacts_push.outbox", name);
}

const char *
outbox_status_name(OutboxStatus status)
{
	return status_names[status];
}
