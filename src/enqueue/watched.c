/*
 * watched.c
 *		Which chatbots watch a table: its triggers are the registry.
 */
#include "postgres.h"

#include "access/relation.h"
#include "catalog/pg_class.h"
#include "commands/trigger.h"
#include "compat.h"
#include "enqueue/view.h"
#include "enqueue/watched.h"
#include "miscadmin.h"
#include "nodes/value.h"
#include "parser/parse_func.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

Oid
contacts_push_watched_function(void)
{
	return LookupFuncName(list_make2(makeString("contacts_push_internal"), makeString("enqueue_rows")),
						  0, NULL, false);
}

List *
contacts_push_watched_triggers(Relation table, const char *chatbot_id, Oid view)
{
	Oid			function = contacts_push_watched_function();
	List	   *triggers = NIL;
	/* a copy: any look at a catalog may replace the relation's own */
	TriggerDesc *all = CopyTriggerDesc(table->trigdesc);

	for (int i = 0; all && i < all->numtriggers; i++)
	{
		Trigger    *trigger = &all->triggers[i];

		if (trigger->tgfoid != function || trigger->tgisclone || trigger->tgnargs != 2 ||
			(chatbot_id && strcmp(trigger->tgargs[WATCHED_CHATBOT], chatbot_id) != 0))
			continue;
		if (!OidIsValid(view) ||
			contacts_push_view_of_trigger(trigger->tgoid, trigger->tgargs[WATCHED_VIEW], true) == view)
			triggers = lappend(triggers, trigger);
	}
	return triggers;
}

/* Throws, saying why a relation that is neither table nor view cannot be watched. */
static void
complain_of_kind(Relation relation)
{
	const char *hint;

	switch (relation->rd_rel->relkind)
	{
		case RELKIND_FOREIGN_TABLE:
			hint = "Rows of a foreign table change without this server knowing.";
			break;
		case RELKIND_MATVIEW:
			hint = "Watch the tables behind it.";
			break;
		default:
			hint = "Name a table, or a view over one.";
	}
	ereport(ERROR,
			(errcode(ERRCODE_WRONG_OBJECT_TYPE),
			 errmsg("cannot watch \"%s\": it is neither a table nor a view",
					RelationGetRelationName(relation)),
			 errhint("%s", hint)));
}

Oid
contacts_push_watched_table(Oid relation, Oid *view)
{
	Relation	rel = try_relation_open(relation, AccessShareLock);
	Oid			table = relation;

	*view = InvalidOid;
	if (rel == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation with OID %u does not exist", relation)));
	if (rel->rd_rel->relkind == RELKIND_VIEW)
	{
		table = contacts_push_view_read(rel)->table;
		*view = relation;
	}
	else if (rel->rd_rel->relkind != RELKIND_RELATION &&
			 rel->rd_rel->relkind != RELKIND_PARTITIONED_TABLE)
		complain_of_kind(rel);
	relation_close(rel, AccessShareLock);
	if (!compat_owns_relation(table, GetUserId()))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be owner of table \"%s\"", get_rel_name(table))));
	return table;
}
