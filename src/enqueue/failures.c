/*
 * failures.c
 *		Rows of a watched table that were not enqueued.
 *
 * The statement that wrote them goes on; all that there is of it is a warning and
 * a number.
 */
#include "postgres.h"

#include "access/xact.h"
#include "compat.h"
#include "enqueue/failures.h"
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
 * True for the first time in a statement of the client: row triggers fire for each row, and
 * those of partitions in turns.  Which is meant by table and chatbot.
 */
static bool
is_first_in_statement(Oid relation, const char *chatbot_id)
{
	typedef struct Warned
	{
		Oid			relation;
		char		chatbot_id[FLEXIBLE_ARRAY_MEMBER];
	} Warned;
	static TimestampTz statement = 0;
	static List *warned = NIL;
	MemoryContext old;
	Warned	   *one;
	ListCell   *cell;

	if (statement != GetCurrentStatementStartTimestamp())
	{
		list_free_deep(warned);
		warned = NIL;
		statement = GetCurrentStatementStartTimestamp();
	}
	foreach(cell, warned)
	{
		one = lfirst(cell);
		if (one->relation == relation && strcmp(one->chatbot_id, chatbot_id) == 0)
			return false;
	}
	old = MemoryContextSwitchTo(TopMemoryContext);
	one = palloc(offsetof(Warned, chatbot_id) + strlen(chatbot_id) + 1);
	one->relation = relation;
	strcpy(one->chatbot_id, chatbot_id);
	warned = lappend(warned, one);
	MemoryContextSwitchTo(old);
	return true;
}

/* The warning about rows that were not enqueued. */
static void
warn_of_rows(const Failures *failures, const char *name)
{
	const char *chatbot_id = failures->chatbot_id;

	ereport(WARNING,
			(errcode(ERRCODE_WARNING),
			 failures->by_row ?
			 errmsg("a row of \"%s\" was not enqueued for chatbot \"%s\"", name, chatbot_id) :
			 errmsg_plural("%lld row of \"%s\" was not enqueued for chatbot \"%s\"",
						   "%lld rows of \"%s\" were not enqueued for chatbot \"%s\"",
						   failures->rows, (long long) failures->rows, name, chatbot_id),
			 failures->tell_reason ? errdetail_internal("%s", failures->reason) : 0,
			 errhint("Fix the rows or the view, then call contacts_push.backfill().%s",
					 !failures->by_row ? "" :
					 " Further rows of this statement are counted in contacts_push.progress.")));
}

/* The same about deleted rows, which may be pending. */
static void
warn_of_deleted_rows(const Failures *failures, const char *name)
{
	const char *chatbot_id = failures->chatbot_id;

	ereport(WARNING,
			(errcode(ERRCODE_WARNING),
			 failures->by_row ?
			 errmsg("a deleted row of \"%s\" was not withdrawn from chatbot \"%s\"", name,
					chatbot_id) :
			 errmsg_plural("%lld deleted row of \"%s\" was not withdrawn from chatbot \"%s\"",
						   "%lld deleted rows of \"%s\" were not withdrawn from chatbot \"%s\"",
						   failures->rows, (long long) failures->rows, name, chatbot_id),
			 failures->tell_reason ? errdetail_internal("%s", failures->reason) : 0,
			 errhint("%sWhat of them is still pending is withdrawn by INSERT INTO contacts_push.outbox (chatbot_id, external_id) VALUES (%s, '...'), with the external_id of each.",
					 !failures->has_grown ? "" :
					 "Call contacts_push.unwatch() and contacts_push.watch() again. ",
					 quote_literal_cstr(chatbot_id))));
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
	char	   *name = get_rel_name(failures->relation);
	char	   *reason;

	/* where even that cannot be appended, the warning is all there is */
	(void) try_run(record, unconstify(Failures *, failures), &reason);
	if (failures->by_row && !is_first_in_statement(failures->relation, failures->chatbot_id))
		return;
	if (failures->deleted)
		warn_of_deleted_rows(failures, name);
	else
		warn_of_rows(failures, name);
}
