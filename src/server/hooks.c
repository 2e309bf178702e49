/*
 * hooks.c
 *		Commands of the server that concern the workers.
 *
 * DROP DATABASE, ALTER DATABASE ... RENAME and SET TABLESPACE, and CREATE DATABASE in the
 * database that it copies, fail where anybody else is connected.  The hooks end the worker
 * before these commands look.  The launcher starts it again if the database is still there
 * and no template; it is told when a database becomes a template or ceases to be one.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_database.h"
#include "catalog/pg_extension.h"
#include "commands/dbcommands.h"
#include "commands/defrem.h"
#include "commands/extension.h"
#include "compat.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "server/hooks.h"
#include "server/shared.h"
#include "server/slots.h"
#include "server/wake.h"
#include "tcop/utility.h"
#include "utils/syscache.h"

static object_access_hook_type prev_object_access_hook = NULL;
static ProcessUtility_hook_type prev_process_utility_hook = NULL;

/*
 * DROP EXTENSION: the worker learns at once that its extension is gone.
 * DROP DATABASE: by now its rights are checked, and who is connected is not yet.
 */
static void
on_object_access(ObjectAccessType access, Oid class, Oid object, int sub, void *arg)
{
	if (prev_object_access_hook)
		prev_object_access_hook(access, class, object, sub, arg);
	if (access != OAT_DROP)
		return;
	if (class == ExtensionRelationId)
	{
		char	   *name = get_extension_name(object);

		if (name && strcmp(name, "contacts_push") == 0)
			wake_worker_at_commit(0);
	}
	else if (class == DatabaseRelationId)
		slots_stop_worker(object);
}

bool
hooks_is_template(Oid database)
{
	HeapTuple	tuple = SearchSysCache1(DATABASEOID, ObjectIdGetDatum(database));
	bool		result;

	if (!HeapTupleIsValid(tuple))
		return false;
	result = ((Form_pg_database) GETSTRUCT(tuple))->datistemplate;
	ReleaseSysCache(tuple);
	return result;
}

/* Returns the value of a statement's option, NULL: it has none. */
static char *
get_option(List *options, const char *name)
{
	ListCell   *cell;

	foreach(cell, options)
	{
		DefElem    *option = lfirst_node(DefElem, cell);

		if (strcmp(option->defname, name) == 0 && option->arg)
			return defGetString(option);
	}
	return NULL;
}

/* Returns the database that the statement wants to be alone in, or NULL. */
static const char *
wants_to_be_alone(Node *statement)
{
	if (IsA(statement, RenameStmt) &&
		((RenameStmt *) statement)->renameType == OBJECT_DATABASE)
		return ((RenameStmt *) statement)->subname;
	if (IsA(statement, AlterDatabaseStmt) &&
		get_option(((AlterDatabaseStmt *) statement)->options, "tablespace"))
		return ((AlterDatabaseStmt *) statement)->dbname;
	if (IsA(statement, CreatedbStmt))
	{
		const char *template = get_option(((CreatedbStmt *) statement)->options, "template");

		return template ? template : "template1";
	}
	return NULL;
}

/* Returns the database that the statement makes one with or without a worker; else InvalidOid. */
static Oid
changes_who_is_served(Node *statement)
{
	AlterDatabaseStmt *alter = (AlterDatabaseStmt *) statement;

	if (IsA(statement, AlterDatabaseStmt) &&
		(get_option(alter->options, "is_template") || get_option(alter->options, "allow_connections")))
		return get_database_oid(alter->dbname, true);
	return InvalidOid;
}

/* The server's own have_createdb_privilege() is not exported by every minor release of 15. */
static bool
may_create_databases(void)
{
	HeapTuple	role = SearchSysCache1(AUTHOID, ObjectIdGetDatum(GetUserId()));
	bool		may;

	if (!HeapTupleIsValid(role))
		return false;
	may = ((Form_pg_authid) GETSTRUCT(role))->rolcreatedb;
	ReleaseSysCache(role);
	return may;
}

/* Returns whether the role may run the command; if not, the worker is left alone. */
static bool
may_be_alone(Node *statement, Oid database)
{
	return compat_owns_database(database, GetUserId()) ||
		(IsA(statement, CreatedbStmt) && may_create_databases() &&
		 hooks_is_template(database));
}

static void
on_utility(PlannedStmt *statement, const char *source, bool read_only,
		   ProcessUtilityContext context, ParamListInfo params,
		   QueryEnvironment *environment, DestReceiver *dest, QueryCompletion *completion)
{
	ProcessUtility_hook_type run = prev_process_utility_hook ? prev_process_utility_hook :
		standard_ProcessUtility;
	const char *name = wants_to_be_alone(statement->utilityStmt);
	/* before it runs: a statement that ends the transaction may free itself */
	Oid			served = changes_who_is_served(statement->utilityStmt);

	if (name)
	{
		Oid			database = get_database_oid(name, true);

		if (OidIsValid(database) && may_be_alone(statement->utilityStmt, database))
			slots_stop_worker(database);
	}
	run(statement, source, read_only, context, params, environment, dest, completion);
	if (OidIsValid(served))
		wake_launcher_at_commit(served);
}

void
hooks_install(void)
{
	prev_object_access_hook = object_access_hook;
	object_access_hook = on_object_access;
	prev_process_utility_hook = ProcessUtility_hook;
	ProcessUtility_hook = on_utility;
}
