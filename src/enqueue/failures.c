/*
 * failures.c
 *		Rows of a watched table that were not enqueued.
 *
 * The statement that wrote them goes on; a warning and a number tell of them.
 */
#include "postgres.h"

#include "access/xact.h"
#include "compat.h"
#include "enqueue/failures.h"
#include "replication/logicalworker.h"
#include "server/try.h"
#include "store/outbox_append.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

void
contacts_push_failures_add(Failures *failures, int64 rows, const char *reason)
{
	if (rows > 0 && failures->reason == NULL)
		failures->reason = pstrdup(reason);
	failures->rows += rows;
}

/*
 * Returns whether the statement of the client has not been warned about this table and chatbot:
 * row triggers fire for each row, and those of partitions take turns.  Logical replication
 * applies each row by itself; there it is the transaction that is warned once.
 */
static bool
is_first_in_statement(Oid relation, const char *chatbot_id)
{
	static TimestampTz statement = 0;
	static List *warned = NIL;	/* strings */
	TimestampTz current = IsLogicalWorker() ? GetCurrentTransactionStartTimestamp() :
		GetCurrentStatementStartTimestamp();
	char	   *key = psprintf("%u %s", relation, chatbot_id);
	MemoryContext old;
	ListCell   *cell;

	if (statement != current)
	{
		list_free_deep(warned);
		warned = NIL;
		statement = current;
	}
	foreach(cell, warned)
		if (strcmp(lfirst(cell), key) == 0)
			return false;
	old = MemoryContextSwitchTo(TopMemoryContext);
	warned = lappend(warned, pstrdup(key));
	MemoryContextSwitchTo(old);
	return true;
}

/* Warns about rows that were not enqueued or, if they were deleted, not withdrawn. */
static void
warn(const Failures *failures, const char *name)
{
	const char *chatbot_id = failures->chatbot_id;
	bool		deleted = failures->deleted;

	ereport(WARNING,
			(errcode(ERRCODE_WARNING),
			 failures->by_row ?
			 errmsg(deleted ? "a deleted row of \"%s\" was not withdrawn from chatbot \"%s\"" :
					"a row of \"%s\" was not enqueued for chatbot \"%s\"", name, chatbot_id) :
			 errmsg_plural(deleted ? "%lld deleted row of \"%s\" was not withdrawn from chatbot \"%s\"" :
						   "%lld row of \"%s\" was not enqueued for chatbot \"%s\"",
						   deleted ? "%lld deleted rows of \"%s\" were not withdrawn from chatbot \"%s\"" :
						   "%lld rows of \"%s\" were not enqueued for chatbot \"%s\"",
						   failures->rows, (long long) failures->rows, name, chatbot_id),
			 failures->tell_reason ? errdetail_internal("%s", failures->reason) : 0,
			 deleted ?
			 errhint("%sWhat of them is still pending is withdrawn by INSERT INTO contacts_push.outbox (chatbot_id, external_id) VALUES (%s, '...'), with the external_id of each.",
					 !failures->has_grown ? "" :
					 "Call contacts_push.unwatch() and contacts_push.watch() again. ",
					 quote_literal_cstr(chatbot_id)) :
			 errhint("Fix the rows or the view, then call contacts_push.backfill().%s",
					 !failures->by_row ? "" :
					 " Further rows of this statement are counted in contacts_push.progress.")));
}

static void
record(void *arg)
{
	const Failures *failures = arg;
	char	   *schema = get_namespace_name(get_rel_namespace(failures->relation));

	outbox_append_failure(failures->chatbot_id,
						  quote_qualified_identifier(schema, get_rel_name(failures->relation)),
						  failures->rows, failures->reason);
}

void
contacts_push_failures_report(const Failures *failures)
{
	char	   *reason;

	/* if even that cannot be appended, there is only the warning */
	(void) try_run(record, unconstify(Failures *, failures), &reason);
	if (!failures->by_row || is_first_in_statement(failures->relation, failures->chatbot_id))
		warn(failures, get_rel_name(failures->relation));
}
