/*
 * session.c
 *		The worker's database session and its settings.
 *
 * They are those of the server: what ALTER DATABASE and ALTER ROLE set is meant for the
 * application, and may be set by somebody who has no say in how contacts are sent.
 */
#include "postgres.h"

#include "access/xact.h"
#include "mb/pg_wchar.h"
#include "postmaster/bgworker.h"
#include "server/settings.h"
#include "utils/guc.h"
#include "worker/session.h"

static void
set(const char *name, const char *value)
{
	SetConfigOption(name, value, PGC_SUSET, PGC_S_OVERRIDE);
}

/* An intent must be on disk before its request leaves, whatever is configured. */
static void
flush_commits(void)
{
	if (synchronous_commit < SYNCHRONOUS_COMMIT_REMOTE_FLUSH)
		set("synchronous_commit", "on");
}

/*
 * The worker's statements must mean the same whatever is configured.  A queue's
 * statistics are always stale, and every statement is one that an index serves in its
 * order, so the planner is left no choice (see outbox_sql.h).  Triggers of others do not
 * fire, as they do not for the apply of logical replication.
 */
static void
settle_session(void)
{
	set("role", "none");
	set("search_path", "pg_catalog, pg_temp");
	set("default_transaction_isolation", "read committed");
	set("default_transaction_read_only", "off");
	set("statement_timeout", "0");
	set("lock_timeout", "0");
	set("idle_in_transaction_session_timeout", "0");
	if (GetConfigOption("transaction_timeout", true, false))
		set("transaction_timeout", "0");	/* since PostgreSQL 17 */
	set("row_security", "off");
	set("jit", "off");
	set("plan_cache_mode", "force_generic_plan");
	set("max_parallel_workers_per_gather", "0");
	set("enable_indexscan", "on");
	set("enable_tidscan", "on");
	set("enable_nestloop", "on");
	set("enable_seqscan", "off");
	set("enable_bitmapscan", "off");
	set("enable_sort", "off");
	set("enable_incremental_sort", "off");
	set("enable_material", "off");
	set("enable_memoize", "off");
	set("enable_hashjoin", "off");
	set("enable_mergejoin", "off");
	set("session_replication_role", "replica");
	flush_commits();
}

/*
 * Before it connects, a process has the postmaster's settings.  They are put back the way
 * a parallel worker takes over those of its leader.
 */
void
session_begin(Oid database)
{
	Size		size = EstimateGUCStateSpace();
	char	   *server = palloc(size);

	SerializeGUCState(size, server);
	BackgroundWorkerInitializeConnectionByOid(database, InvalidOid, 0);
	StartTransactionCommand();
	settings_restore(server);
	/* This one is made of the database. */
	set("client_encoding", GetDatabaseEncodingName());
	CommitTransactionCommand();
	settle_session();
}

void
session_reloaded(void)
{
	flush_commits();
}
