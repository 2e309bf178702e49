/*
 * outbox_append.c
 *		Rows into contacts_push.outbox, and notes of those that could not go there.
 *
 * It knows what the columns of these tables are called; append.c knows how a row gets into a
 * table.
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

/* The same with seq, for rows whose numbers were drawn before. */
static const AppendTarget outbox_numbered = {
	"contacts_push", "outbox", 6,
	{"seq", "chatbot_id", "external_id", "relation", "previous_external_id", "contact"}
};

static const AppendTarget failures = {
	"contacts_push_internal", "enqueue_failure", 4,
	{"chatbot_id", "relation", "rows", "reason"}
};

OutboxAppend *
outbox_append_begin(bool numbered)
{
	return table_append_begin(numbered ? &outbox_numbered : &outbox);
}

void
outbox_append_row(OutboxAppend *append, const OutboxIntent *intent)
{
	Datum		values[] = {
		Int64GetDatum(intent->seq), intent->chatbot_id, intent->external_id,
		ObjectIdGetDatum(intent->relation), intent->previous_external_id, intent->contact
	};
	bool		nulls[] = {
		false, false, false, !OidIsValid(intent->relation), intent->previous_external_id == 0,
		intent->contact == 0
	};
	int			skip = intent->seq ? 0 : 1;

	table_append_row(append, values + skip, nulls + skip);
}

int64
outbox_append_end(OutboxAppend *append)
{
	int64		appended = table_append_end(append);

	if (appended > 0)
		wake_for_rows_at_commit();
	return appended;
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
