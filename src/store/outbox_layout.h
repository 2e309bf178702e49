/*
 * outbox_layout.h
 *		The outbox as it is seen without SQL: where its columns are, what its statuses are.
 */
#ifndef CONTACTS_PUSH_OUTBOX_LAYOUT_H
#define CONTACTS_PUSH_OUTBOX_LAYOUT_H

#include "utils/relcache.h"

/* contacts_push.status, in its order. */
typedef enum OutboxStatus
{
	OUTBOX_PENDING,
	OUTBOX_CREATED,
	OUTBOX_PRESENT,
	OUTBOX_UPDATED,
	OUTBOX_DELETED,
	OUTBOX_CONFLICT,
	OUTBOX_REJECTED,
	OUTBOX_FAILED,
	OUTBOX_SUPERSEDED,
	OUTBOX_SKIPPED,
	OUTBOX_WITHDRAWN
} OutboxStatus;

#define OUTBOX_STATUSES (OUTBOX_WITHDRAWN + 1)

/* contacts_push.outbox, in the order in which it is created. */
typedef enum OutboxField
{
	FIELD_SEQ,
	FIELD_CHATBOT_ID,
	FIELD_EXTERNAL_ID,
	FIELD_RELATION,
	FIELD_PREVIOUS_EXTERNAL_ID,
	FIELD_CONTACT,
	FIELD_STATUS,
	FIELD_ATTEMPTS,
	FIELD_NEXT_ATTEMPT_AT,
	FIELD_UNCONFIRMED,
	FIELD_HTTP_STATUS,
	FIELD_ERROR,
	FIELD_CONTACT_ID,
	FIELD_CONTACT_HASH,
	FIELD_CONTACT_MEMBERS,
	FIELD_ENQUEUED_AT,
	FIELD_SETTLED_AT
} OutboxField;

#define OUTBOX_FIELDS (FIELD_SETTLED_AT + 1)

typedef struct OutboxLayout
{
	/*
	 * It is a plain table, in the heap, with all fields as the extension made them: its
	 * rows can be read by tid.  What is below is set only where this is true.
	 */
	bool		is_plain;
	int			place[OUTBOX_FIELDS];	/* in a slot's arrays, from 0 */
	Oid			status[OUTBOX_STATUSES];	/* in pg_enum */
	/*
	 * An UPDATE of the worker's does no more than write the row and its index entries:
	 * nothing fires, is computed or rewritten.
	 */
	bool		updates_are_plain;
	uint32		checked;		/* fields in CHECK constraints, as FIELD_BIT()s */
} OutboxLayout;

#define FIELD_BIT(field) (UINT32_C(1) << (field))

/* Looked up once, and again after what it is made from has changed; never NULL. */
extern const OutboxLayout *outbox_layout(Relation outbox);

/* A status by its OID in pg_enum, which must be one. */
extern OutboxStatus outbox_status_of(const OutboxLayout *layout, Oid value);

/* A status by its name, which must be one, and its name. */
extern OutboxStatus outbox_status_named(const char *name);
extern const char *outbox_status_name(OutboxStatus status);

#endif							/* CONTACTS_PUSH_OUTBOX_LAYOUT_H */
