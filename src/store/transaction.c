/*
 * transaction.c
 *		The worker's transactions, in which nobody's code gains anything.
 *
 * The worker's process is a superuser's, and whoever owns a table of the extension, or
 * has been granted TRIGGER on it, can have functions of his own run with what the worker
 * writes there.  So, as autovacuum and the apply of logical replication do, it works as
 * the owner of the table, in a security-restricted operation.  No statement of its own
 * belongs in here.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/catalog.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_extension.h"
#include "commands/extension.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/lmgr.h"
#include "store/transaction.h"
#include "utils/lsyscache.h"
#include "utils/plancache.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

static Oid	session_user = InvalidOid;
static int	session_context;
static Oid	owner = InvalidOid;		/* in a transaction; else InvalidOid */

Oid
outbox_relation(void)
{
	Oid			schema = get_namespace_oid("contacts_push", true);

	return OidIsValid(schema) ? get_relname_relid("outbox", schema) : InvalidOid;
}

/* Keeps the extension from being dropped; false: it is not there. */
static bool
lock_extension(void)
{
	Oid			extension = get_extension_oid("contacts_push", true);

	if (!OidIsValid(extension))
		return false;
	LockDatabaseObject(ExtensionRelationId, extension, 0, AccessShareLock);
	/* It may have been dropped while that was waited for. */
	return get_extension_oid("contacts_push", true) == extension;
}

/* InvalidOid if there is no such relation any more. */
static Oid
owner_of(Oid relation)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relation));
	Oid			result;

	if (!HeapTupleIsValid(tuple))
		return InvalidOid;
	result = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	ReleaseSysCache(tuple);
	return result;
}

Oid
transaction_begin(void)
{
	Oid			outbox;
	Oid			chatbot;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	PushActiveSnapshot(GetTransactionSnapshot());
	GetUserIdAndSecContext(&session_user, &session_context);
	owner = InvalidOid;
	/* DROP locks the extension before its tables: the other way round could deadlock. */
	if (!lock_extension() || !OidIsValid(outbox = outbox_relation()))
		return InvalidOid;
	/*
	 * What is read first and written later is locked for that at once.  Whoever locks a
	 * table against writers and then its indexes, as REINDEX does, would be in a deadlock
	 * with a worker that has read along these and has come to write.
	 */
	LockRelationOid(outbox, RowExclusiveLock);
	chatbot = get_relname_relid("chatbot", get_rel_namespace(outbox));
	if (OidIsValid(chatbot))
		LockRelationOid(chatbot, RowExclusiveLock);
	owner = owner_of(outbox);
	if (!OidIsValid(owner))
		return InvalidOid;
	/* An error takes it back together with the transaction. */
	SetUserIdAndSecContext(owner, session_context | SECURITY_LOCAL_USERID_CHANGE |
						   SECURITY_RESTRICTED_OPERATION | SECURITY_NOFORCE_RLS);
	return outbox;
}

void
transaction_commit(void)
{
	SetUserIdAndSecContext(session_user, session_context);
	owner = InvalidOid;
	if (SPI_finish() != SPI_OK_FINISH)
		elog(ERROR, "SPI_finish failed");
	PopActiveSnapshot();
	CommitTransactionCommand();
	pgstat_report_stat(false);
}

/*
 * What somebody has put on a table of his own would run with the rights of the outbox's
 * owner, a superuser as a rule.
 */
void
transaction_check_owners(SPIPlanPtr plan)
{
	ListCell   *source;
	ListCell   *cell;

	if (!OidIsValid(owner))
		return;
	foreach(source, SPI_plan_get_plan_sources(plan))
	{
		foreach(cell, ((CachedPlanSource *) lfirst(source))->relationOids)
		{
			Oid			relation = lfirst_oid(cell);
			Oid			other = IsCatalogRelationOid(relation) ? owner : owner_of(relation);

			if (OidIsValid(other) && other != owner)
				ereport(ERROR,
						(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						 errmsg("contacts_push.outbox belongs to role \"%s\", but \"%s\" to role \"%s\"",
								GetUserNameFromId(owner, true), get_rel_name(relation),
								GetUserNameFromId(other, true)),
						 errhint("Give all tables of contacts_push to one role.")));
		}
	}
}
