/*
 * watch.c
 *		contacts_push.watch() and unwatch(): a view, and triggers that depend on it.
 *
 * The server's own commands make both, with the rights of the caller; only the right to
 * execute the triggers' function is nobody's.  The caller's search_path is that of the
 * expressions; names that are not the caller's are qualified.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/sysattr.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/namespace.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_class.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "commands/comment.h"
#include "commands/defrem.h"
#include "commands/tablecmds.h"
#include "commands/trigger.h"
#include "commands/view.h"
#include "compat.h"
#include "contact/contact.h"
#include "enqueue/expression.h"
#include "enqueue/view.h"
#include "enqueue/watched.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/parsenodes.h"
#include "parser/parse_func.h"
#include "server/try.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

COMPAT_FUNCTION_INFO_V1(contacts_push_watch);
COMPAT_FUNCTION_INFO_V1(contacts_push_unwatch);

/* The comment that tells a view made by watch() from one of the user's; a dump carries it. */
#define MADE_BY_WATCH "the contacts that contacts_push.watch() makes of the table's rows"

/* Names that are tried for a view, or for triggers. */
#define MAX_NUMBER 1000

/* What the names of the triggers have after "contacts_push_" and before their suffix. */
static const char *const trigger_labels[] = {
	"insert", "update", "delete", "replica_insert", "replica_delete"
};

/* Arguments of watch() after the columns of the view. */
enum
{
	WATCH_UPDATES = 2 + VIEW_COLUMNS,
	WATCH_DELETES,
	WATCH_REPLICATED
};

/* Names of columns that are taken for a member of a contact, the preferred first. */
static const char *const known_columns[VIEW_COLUMNS][3] = {
	[VIEW_NAME] = {"name", "full_name"},
	[VIEW_EMAIL] = {"email"},
	[VIEW_PHONENUMBER] = {"phonenumber", "phone_number", "phone"},
};

/* Throws for a table that cannot be watched. */
static void
check_table(Relation table)
{
	const char *name = RelationGetRelationName(table);
	const char *schema = get_namespace_name(RelationGetNamespace(table));

	if (RelationUsesLocalBuffers(table))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("cannot watch \"%s\": it is a temporary table", name)));
	if (table->rd_rel->relispartition)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("cannot watch \"%s\": it is a partition", name),
				 errhint("Watch the partitioned table; rows written straight into a partition are covered.")));
	if (strcmp(schema, "contacts_push") == 0 || strcmp(schema, "contacts_push_internal") == 0)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("cannot watch \"%s\": it belongs to contacts_push", name)));
}

/* Throws if the table, or a partition that was attached, is watched already. */
static void
check_not_watched(Relation table, const char *chatbot_id)
{
	List	   *parts;
	ListCell   *cell;

	if (contacts_push_watched_triggers(table, chatbot_id, InvalidOid) != NIL)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("table \"%s\" is watched for chatbot \"%s\" already",
						RelationGetRelationName(table), chatbot_id),
				 errhint("Call contacts_push.unwatch() first to change the mapping.")));
	if (table->rd_rel->relkind != RELKIND_PARTITIONED_TABLE)
		return;
	parts = find_all_inheritors(RelationGetRelid(table), AccessShareLock, NULL);
	foreach(cell, parts)
	{
		Relation	part = relation_open(lfirst_oid(cell), NoLock);

		/* the triggers of both would bear one name */
		if (RelationGetRelid(part) != RelationGetRelid(table) &&
			contacts_push_watched_triggers(part, NULL, InvalidOid) != NIL)
			ereport(ERROR,
					(errcode(ERRCODE_DUPLICATE_OBJECT),
					 errmsg("cannot watch \"%s\": its partition \"%s\" is watched by itself",
							RelationGetRelationName(table), RelationGetRelationName(part)),
					 errhint("Call contacts_push.unwatch(%s) first.",
							 quote_literal_cstr(RelationGetRelationName(part)))));
		relation_close(part, NoLock);
	}
}

/* Throws if another role's table feeds the chatbot: their contacts must not be mixed. */
static void
check_chatbot_is_free(Relation table, const char *chatbot_id)
{
	Oid			function = contacts_push_watched_function();
	Relation	triggers = table_open(TriggerRelationId, AccessShareLock);
	SysScanDesc scan = systable_beginscan(triggers, InvalidOid, false, NULL, 0, NULL);
	HeapTuple	tuple;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_trigger trigger = (Form_pg_trigger) GETSTRUCT(tuple);
		Relation	watched;
		char	   *owner;
		bool		isnull;
		bytea	   *arguments;

		if (trigger->tgfoid != function || OidIsValid(trigger->tgparentid) ||
			compat_owns_relation(trigger->tgrelid, GetUserId()))
			continue;
		/* each argument ends with a zero */
		arguments = DatumGetByteaPP(heap_getattr(tuple, Anum_pg_trigger_tgargs,
												 RelationGetDescr(triggers), &isnull));
		if (VARSIZE_ANY_EXHDR(arguments) == 0 || strcmp(VARDATA_ANY(arguments), chatbot_id) != 0)
			continue;
		watched = relation_open(trigger->tgrelid, AccessShareLock);
		owner = GetUserNameFromId(watched->rd_rel->relowner, true);
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("cannot watch \"%s\" for chatbot \"%s\": a table of role \"%s\" is watched for it",
						RelationGetRelationName(table), chatbot_id, owner),
				 errhint("Members of role %s and superusers can watch further tables for it.",
						 quote_identifier(owner))));
	}
	systable_endscan(scan);
	table_close(triggers, AccessShareLock);
}

/* Returns the table's column for a member that the caller gives no expression for, or NULL. */
static const char *
default_column(Relation table, ViewColumn column)
{
	if (column == VIEW_EXTERNAL_ID)
	{
		Oid			constraint;
		int			key;

		return bms_get_singleton_member(get_primary_key_attnos(RelationGetRelid(table), true, &constraint),
										&key) ?
			get_attname(RelationGetRelid(table), key + FirstLowInvalidHeapAttributeNumber, false) : NULL;
	}
	for (int i = 0; i < lengthof(known_columns[column]) && known_columns[column][i]; i++)
		if (get_attnum(RelationGetRelid(table), known_columns[column][i]) > 0)
			return known_columns[column][i];
	return NULL;
}

/* Adds a column of the view to a SELECT; text: NULL for the default. */
static void
add_column(SelectStmt *select, Relation table, ViewColumn column, const char *text)
{
	ResTarget  *target = makeNode(ResTarget);

	if (text)
		target->val = contacts_push_expression_parse(table, text);
	else
	{
		const char *name = default_column(table, column);
		ColumnRef  *reference = makeNode(ColumnRef);

		if (name == NULL && column == VIEW_EXTERNAL_ID)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("table \"%s\" has no primary key of a single column",
							RelationGetRelationName(table)),
					 errhint("Pass external_id, an expression that identifies a row, such as a unique column.")));
		if (name == NULL)
			return;
		reference->fields = list_make1(makeString(pstrdup(name)));
		reference->location = -1;
		target->val = (Node *) reference;
	}
	target->name = pstrdup(contacts_push_view_columns[column]);
	target->location = -1;
	select->targetList = lappend(select->targetList, target);
}

/* Returns the first name that is free of <table>_contacts, <table>_contacts_2, ... */
static char *
free_view_name(Relation table)
{
	Oid			schema = RelationGetNamespace(table);

	for (int i = 1; i <= MAX_NUMBER; i++)
	{
		const char *label = i == 1 ? "contacts" : psprintf("contacts_%d", i);
		char	   *name = makeObjectName(RelationGetRelationName(table), NULL, label);

		if (!OidIsValid(get_relname_relid(name, schema)) &&
			!SearchSysCacheExists2(TYPENAMENSP, CStringGetDatum(name), ObjectIdGetDatum(schema)))
			return name;
	}
	ereport(ERROR,
			(errcode(ERRCODE_DUPLICATE_TABLE),
			 errmsg("table \"%s\" has too many views", RelationGetRelationName(table))));
	return NULL;				/* keeps the compiler quiet */
}

/* Makes the view of a table.  expressions: NULL for the defaults. */
static Oid
create_view(Relation table, char *const *expressions)
{
	char	   *schema = get_namespace_name(RelationGetNamespace(table));
	RangeVar   *from = makeRangeVar(schema, pstrdup(RelationGetRelationName(table)), -1);
	SelectStmt *select = makeNode(SelectStmt);
	ViewStmt   *statement = makeNode(ViewStmt);
	Oid			view;

	for (int i = 0; i < VIEW_COLUMNS; i++)
		add_column(select, table, i, expressions[i]);
	/* rows of children by inheritance are not the table's own */
	from->inh = table->rd_rel->relkind == RELKIND_PARTITIONED_TABLE ||
		find_inheritance_children(RelationGetRelid(table), NoLock) == NIL;
	select->fromClause = list_make1(from);
	statement->view = makeRangeVar(schema, free_view_name(table), -1);
	statement->query = (Node *) select;
	statement->options = list_make1(makeDefElem("security_invoker", (Node *) makeString("true"), -1));
	view = DefineView(statement, "", -1, 0).objectId;
	CommandCounterIncrement();
	if (table->rd_rel->relowner != GetUserId())
		ATExecChangeOwner(view, table->rd_rel->relowner, false, AccessExclusiveLock);
	CreateComments(view, RelationRelationId, 0, MADE_BY_WATCH);
	CommandCounterIncrement();
	return view;
}

/* Returns whether the table has a trigger of that name. */
static bool
has_trigger(Relation table, const char *name)
{
	for (int i = 0; table->trigdesc && i < table->trigdesc->numtriggers; i++)
		if (strcmp(table->trigdesc->triggers[i].tgname, name) == 0)
			return true;
	return false;
}

/* Returns the first suffix that is free for the names of the triggers: "", _2, ... */
static const char *
free_suffix(Relation table)
{
	for (int i = 1; i <= MAX_NUMBER; i++)
	{
		const char *suffix = i == 1 ? "" : psprintf("_%d", i);
		bool		is_free = true;

		for (int j = 0; j < lengthof(trigger_labels); j++)
			if (has_trigger(table, psprintf("contacts_push_%s%s", trigger_labels[j], suffix)))
				is_free = false;
		if (is_free)
			return suffix;
	}
	ereport(ERROR,
			(errcode(ERRCODE_DUPLICATE_OBJECT),
			 errmsg("table \"%s\" has too many triggers", RelationGetRelationName(table))));
	return NULL;				/* keeps the compiler quiet */
}

/* What the triggers of one call of watch() have in common. */
typedef struct TriggerSet
{
	Oid			table;
	Oid			view;
	const char *chatbot_id;
	const char *suffix;			/* of their names */
} TriggerSet;

/*
 * Makes a trigger that depends on the view.  transition_table: NULL for a row trigger;
 * fires_when: a TRIGGER_FIRES_ of commands/trigger.h.
 */
static void
create_trigger(const TriggerSet *set, const char *label, int16 event, const char *transition_table,
			   char fires_when)
{
	CreateTrigStmt *statement = makeNode(CreateTrigStmt);
	char	   *view_name = quote_qualified_identifier(get_namespace_name(get_rel_namespace(set->view)),
													   get_rel_name(set->view));
	ObjectAddress trigger;
	ObjectAddress depends_on;
	Oid			user;
	int			context;

	statement->trigname = psprintf("contacts_push_%s%s", label, set->suffix);
	statement->funcname = list_make2(makeString("contacts_push_internal"), makeString("enqueue_rows"));
	statement->args = list_make2(makeString(pstrdup(set->chatbot_id)), makeString(view_name));
	statement->timing = TRIGGER_TYPE_AFTER;
	statement->events = event;
	statement->row = transition_table == NULL;
	if (transition_table)
	{
		TriggerTransition *transition = makeNode(TriggerTransition);

		transition->name = pstrdup(transition_table);
		transition->isNew = event == TRIGGER_TYPE_INSERT;
		transition->isTable = true;
		statement->transitionRels = list_make1(transition);
	}
	/*
	 * Whoever could execute the function could make a trigger of it by hand, for a chatbot that
	 * watch() refuses.  So nobody has the right to, and none is asked for here.
	 */
	GetUserIdAndSecContext(&user, &context);
	SetUserIdAndSecContext(BOOTSTRAP_SUPERUSERID, context | SECURITY_LOCAL_USERID_CHANGE);
	trigger = CreateTriggerFiringOn(statement, "", set->table, InvalidOid, InvalidOid, InvalidOid,
									InvalidOid, InvalidOid, NULL, false, false, fires_when);
	SetUserIdAndSecContext(user, context);
	ObjectAddressSet(depends_on, RelationRelationId, set->view);
	recordDependencyOn(&trigger, &depends_on, DEPENDENCY_NORMAL);
	CommandCounterIncrement();
}

/*
 * Makes contacts_push_insert, _update and _delete; those of a further chatbot end in _2, ...
 * replicated: they fire for what logical replication applies, too.  That fires row triggers
 * only, so statement triggers get a row trigger beside them, which fires for nothing else.
 */
static void
create_triggers(Relation table, Oid view, const char *chatbot_id, bool replicated)
{
	Oid			oid = RelationGetRelid(table);
	TriggerSet	set = {oid, view, chatbot_id, free_suffix(table)};

	/*
	 * A statement trigger fires for the table that the statement names: not for a parent when
	 * rows go to its child, but with the rows of children.
	 */
	bool		by_row = table->rd_rel->relkind == RELKIND_PARTITIONED_TABLE ||
		find_inheritance_children(oid, NoLock) != NIL || has_superclass(oid);
	char		everywhere = replicated ? TRIGGER_FIRES_ALWAYS : TRIGGER_FIRES_ON_ORIGIN;
	char		fires_when = by_row ? everywhere : TRIGGER_FIRES_ON_ORIGIN;

	create_trigger(&set, "insert", TRIGGER_TYPE_INSERT, by_row ? NULL : "new_rows", fires_when);
	create_trigger(&set, "update", TRIGGER_TYPE_UPDATE, NULL, everywhere);
	create_trigger(&set, "delete", TRIGGER_TYPE_DELETE, by_row ? NULL : "old_rows", fires_when);
	if (replicated && !by_row)
	{
		create_trigger(&set, "replica_insert", TRIGGER_TYPE_INSERT, NULL, TRIGGER_FIRES_ON_REPLICA);
		create_trigger(&set, "replica_delete", TRIGGER_TYPE_DELETE, NULL, TRIGGER_FIRES_ON_REPLICA);
	}
}

/* Throws for a view that cannot be the mapping of the table. */
static void
check_view(Oid view, Oid table)
{
	Relation	relation = relation_open(view, AccessShareLock);

	(void) contacts_push_view_read(relation);
	contacts_push_view_check_owner(relation, table);
	relation_close(relation, NoLock);
}

/* Calls contacts_push.push_changes() with what watch() was given of it. */
static void
push_changes(FunctionCallInfo watch)
{
	LOCAL_FCINFO(fcinfo, 3);
	Oid			types[] = {TEXTOID, BOOLOID, BOOLOID};
	Oid			oid = LookupFuncName(list_make2(makeString("contacts_push"), makeString("push_changes")),
									 lengthof(types), types, false);
	FmgrInfo	function;

	/* its own statements ask for the rest of the caller's rights */
	if (compat_check_execute(oid, GetUserId()) != ACLCHECK_OK)
		aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_FUNCTION, "push_changes");
	fmgr_info(oid, &function);
	InitFunctionCallInfoData(*fcinfo, &function, lengthof(types), InvalidOid, NULL, NULL);
	fcinfo->args[0] = watch->args[1];
	fcinfo->args[1] = watch->args[WATCH_UPDATES];
	fcinfo->args[2] = watch->args[WATCH_DELETES];
	(void) FunctionCallInvoke(fcinfo);
}

/*
 * contacts_push.watch(relation regclass, chatbot_id text, external_id text, name text,
 *		email text, phonenumber text, stripe_accounts text, custom_attributes text,
 *		updates boolean, deletes boolean, replicated boolean) RETURNS regclass
 */
Datum
contacts_push_watch(PG_FUNCTION_ARGS)
{
	char	   *expressions[VIEW_COLUMNS] = {NULL};
	bool		has_expressions = false;
	char	   *chatbot_id;
	Relation	table;
	Oid			view;
	Oid			oid;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("relation and chatbot_id must be given")));
	chatbot_id = text_to_cstring(PG_GETARG_TEXT_PP(1));
	for (int i = 0; i < VIEW_COLUMNS; i++)
		if (!PG_ARGISNULL(2 + i))
		{
			expressions[i] = text_to_cstring(PG_GETARG_TEXT_PP(2 + i));
			has_expressions = true;
		}
	contact_check_chatbot_id(chatbot_id);
	oid = contacts_push_watched_table(PG_GETARG_OID(0), &view);
	if (OidIsValid(view) && has_expressions)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("expressions cannot be given for a view"),
				 errhint("Put them into the view, or name the table.")));
	/* CREATE TRIGGER's lock, before the names that others may be choosing as well. */
	table = table_open(oid, ShareRowExclusiveLock);
	check_table(table);
	check_not_watched(table, chatbot_id);
	check_chatbot_is_free(table, chatbot_id);
	if (!OidIsValid(view))
		view = create_view(table, expressions);
	check_view(view, oid);
	create_triggers(table, view, chatbot_id,
					!PG_ARGISNULL(WATCH_REPLICATED) && PG_GETARG_BOOL(WATCH_REPLICATED));
	if (!PG_ARGISNULL(WATCH_UPDATES) || !PG_ARGISNULL(WATCH_DELETES))
		push_changes(fcinfo);
	(void) OidFunctionCall0(LookupFuncName(list_make2(makeString("contacts_push_internal"),
													  makeString("warn_of_publications")),
										   0, NULL, false));
	table_close(table, NoLock);
	PG_RETURN_OID(view);
}

static void
drop(void *arg)
{
	performDeletion(arg, DROP_RESTRICT, 0);
}

/* Drops a view if watch() has made it: it would keep its columns from being dropped. */
static void
drop_view(Oid view)
{
	char	   *comment = GetComment(view, RelationRelationId, 0);
	char	   *name = get_rel_name(view);
	ObjectAddress address;
	char	   *reason = "it belongs to another role";

	if (comment == NULL || strcmp(comment, MADE_BY_WATCH) != 0)
		return;
	ObjectAddressSet(address, RelationRelationId, view);
	/* ALTER TABLE ... OWNER leaves views where they are. */
	if (compat_owns_relation(view, GetUserId()) && try_run(drop, &address, &reason))
		return;
	ereport(NOTICE,
			(errmsg("view \"%s\" stays", name),
			 errdetail_internal("%s", reason),
			 errhint("While it is there, the columns that it uses cannot be dropped.")));
}

/*
 * contacts_push.unwatch(relation regclass, chatbot_id text) RETURNS void
 */
Datum
contacts_push_unwatch(PG_FUNCTION_ARGS)
{
	char	   *chatbot_id = PG_ARGISNULL(1) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(1));
	List	   *views = NIL;
	List	   *triggers;
	Relation	table;
	Oid			oid;
	Oid			view;
	ListCell   *cell;

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("relation must be given")));
	oid = contacts_push_watched_table(PG_GETARG_OID(0), &view);
	/* the lock of DROP TRIGGER */
	table = table_open(oid, AccessExclusiveLock);
	triggers = contacts_push_watched_triggers(table, chatbot_id, view);
	if (triggers == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 chatbot_id ? errmsg("\"%s\" is not watched for chatbot \"%s\"",
									 get_rel_name(PG_GETARG_OID(0)), chatbot_id) :
				 errmsg("\"%s\" is not watched", get_rel_name(PG_GETARG_OID(0)))));
	table_close(table, NoLock);
	foreach(cell, triggers)
	{
		const Trigger *trigger = lfirst(cell);
		ObjectAddress address;

		views = list_append_unique_oid(views, contacts_push_view_of_trigger(trigger->tgoid,
																			trigger->tgargs[WATCHED_VIEW],
																			true));
		ObjectAddressSet(address, TriggerRelationId, trigger->tgoid);
		performDeletion(&address, DROP_RESTRICT, 0);
		CommandCounterIncrement();
	}
	table = table_open(oid, NoLock);
	foreach(cell, views)
		if (OidIsValid(lfirst_oid(cell)) &&
			contacts_push_watched_triggers(table, NULL, lfirst_oid(cell)) == NIL)
			drop_view(lfirst_oid(cell));
	table_close(table, NoLock);
	PG_RETURN_VOID();
}
