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
#include "utils/rel.h"
#include "utils/timestamp.h"

/* A failure on its way into the table of them. */
typedef struct Record
{
	const char *chatbot_id;
	char	   *relation;
	const Failures *failures;
} Record;

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
warn_of_rows(const Failures *failures, const char *chatbot_id, const char *name, bool row,
			 bool tell_reason)
{
	ereport(WARNING,
			(errcode(ERRCODE_WARNING),
			 row ? errmsg("a row of \"%s\" was not enqueued for chatbot \"%s\"", name, chatbot_id) :
			 errmsg_plural("%lld row of \"%s\" was not enqueued for chatbot \"%s\"",
						   "%lld rows of \"%s\" were not enqueued for chatbot \"%s\"",
						   failures->rows, (long long) failures->rows, name, chatbot_id),
			 tell_reason ? errdetail_internal("%s", failures->reason) : 0,
			 row ? errhint("Fix the rows or the view, then call contacts_push.backfill(). Further rows of this statement are counted in contacts_push.progress.") :
			 errhint("Fix the rows or the view, then call contacts_push.backfill().")));
}

/* The same about deleted rows, which may be pending; again: the table is to be watched anew. */
static void
warn_of_deleted_rows(const Failures *failures, const char *chatbot_id, const char *name, bool row,
					 bool again, bool tell_reason)
{
	ereport(WARNING,
			(errcode(ERRCODE_WARNING),
			 row ? errmsg("a deleted row of \"%s\" was not withdrawn from chatbot \"%s\"", name,
						  chatbot_id) :
			 errmsg_plural("%lld deleted row of \"%s\" was not withdrawn from chatbot \"%s\"",
						   "%lld deleted rows of \"%s\" were not withdrawn from chatbot \"%s\"",
						   failures->rows, (long long) failures->rows, name, chatbot_id),
			 tell_reason ? errdetail_internal("%s", failures->reason) : 0,
			 errhint("%sWhat of them is still pending is withdrawn by INSERT INTO contacts_push.outbox (chatbot_id, external_id) VALUES (%s, '...'), with the external_id of each.",
					 again ? "Call contacts_push.unwatch() and contacts_push.watch() again. " : "",
					 quote_literal_cstr(chatbot_id))));
}

static void
record(void *arg)
{
	Record	   *one = arg;

	outbox_append_failure(one->chatbot_id, one->relation, one->failures->rows,
						  one->failures->reason);
}

void
contacts_push_failures_report(const Failures *failures, const TriggerData *trigger, Oid relation,
							  bool tell_reason)
{
	const char *chatbot_id = trigger->tg_trigger->tgargs[0];
	char	   *name = get_rel_name(relation);
	bool		row = TRIGGER_FIRED_FOR_ROW(trigger->tg_event);
	Record		one = {chatbot_id, NULL, failures};
	char	   *reason;

	one.relation = quote_qualified_identifier(get_namespace_name(get_rel_namespace(relation)), name);
	/* where even that cannot be appended, the warning is all there is */
	(void) try_run(record, &one, &reason);
	if (row && !is_first_in_statement(relation, chatbot_id))
		return;
	if (TRIGGER_FIRED_BY_DELETE(trigger->tg_event))
		warn_of_deleted_rows(failures, chatbot_id, name, row,
							 !row && trigger->tg_relation->rd_rel->relhassubclass, tell_reason);
	else
		warn_of_rows(failures, chatbot_id, name, row, tell_reason);
}
