/*
 * outbox_append.c
 *		Rows into contacts_push.outbox, and notes of those that could not go there.
 *
 * What these tables' columns are called, and nothing else: how a row gets into a table
 * is in append.c.
 */
#include "postgres.h"

#include "server/wake.h"
#include "store/append.h"
#include "store/outbox_append.h"
#include "utils/builtins.h"

static const AppendTarget outbox = {
	"contacts_push", "outbox", 5,
	{"chatbot_id", "external_id", "relation", "previous_external_id", "contact"}
};

/* Where the numbers were drawn before. */
static const AppendTarget outbox_numbered = {
	"contacts_push", "outbox", 6,
	{"seq", "chatbot_id", "external_id", "relation", "previous_external_id", "contact"}
};

static const AppendTarget failures = {
	"contacts_push_internal", "enqueue_failure", 4,
	{"chatbot_id", "relation", "rows", "reason"}
};

struct OutboxAppend
{
	TableAppend *rows;
};

static OutboxAppend *
begin(const AppendTarget *target)
{
	OutboxAppend *append = palloc(sizeof(OutboxAppend));

	append->rows = table_append_begin(target);
	return append;
}

OutboxAppend *
outbox_append_begin(void)
{
	return begin(&outbox);
}

OutboxAppend *
outbox_append_begin_numbered(void)
{
	return begin(&outbox_numbered);
}

void
outbox_append_row(OutboxAppend *append, Datum chatbot_id, Datum external_id, Oid relation,
				  const Datum *previous_external_id, const Datum *contact)
{
	Datum		values[] = {
		chatbot_id, external_id, ObjectIdGetDatum(relation),
		previous_external_id ? *previous_external_id : (Datum) 0,
		contact ? *contact : (Datum) 0
	};
	bool		nulls[] = {
		false, false, !OidIsValid(relation), previous_external_id == NULL, contact == NULL
	};

	table_append_row(append->rows, values, nulls);
}

void
outbox_append_numbered_row(OutboxAppend *append, int64 seq, Datum chatbot_id, Datum external_id,
						   Oid relation, const Datum *contact)
{
	Datum		values[] = {
		Int64GetDatum(seq), chatbot_id, external_id, ObjectIdGetDatum(relation), (Datum) 0,
		contact ? *contact : (Datum) 0
	};
	bool		nulls[] = {false, false, false, !OidIsValid(relation), true, contact == NULL};

	table_append_row(append->rows, values, nulls);
}

void
outbox_append_end(OutboxAppend *append)
{
	if (table_append_end(append->rows) > 0)
		wake_for_rows_at_commit();
	pfree(append);
}

void
outbox_append_failure(const char *chatbot_id, const char *relation, int64 rows,
					  const char *reason)
{
	TableAppend *append = table_append_begin(&failures);
	Datum		values[] = {
		CStringGetTextDatum(chatbot_id), CStringGetTextDatum(relation), Int64GetDatum(rows),
		CStringGetTextDatum(reason)
	};
	bool		nulls[] = {false, false, false, false};

	table_append_row(append, values, nulls);
	(void) table_append_end(append);
	wake_for_rows_at_commit();
}
