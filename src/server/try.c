/*
 * try.c
 *		Running something in a subtransaction, so that its error can be outlived.
 */
#include "postgres.h"

#include "access/xact.h"
#include "server/try.h"
#include "utils/resowner.h"

/*
 * Errors that are about the session or the machine and not about a row: they stay
 * what they are.
 */
static bool
must_pass_on(int sqlerrcode)
{
	if (ERRCODE_TO_CATEGORY(sqlerrcode) == ERRCODE_TRANSACTION_ROLLBACK)
		return true;
	switch (sqlerrcode)
	{
		case ERRCODE_QUERY_CANCELED:
		case ERRCODE_ADMIN_SHUTDOWN:
		case ERRCODE_CRASH_SHUTDOWN:
		case ERRCODE_DATABASE_DROPPED:
		case ERRCODE_OUT_OF_MEMORY:
		case ERRCODE_DISK_FULL:
			return true;
		default:
			return false;
	}
}

bool
try_run(void (*run) (void *), void *arg, char **reason)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	volatile bool done = false;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		run(arg);
		ReleaseCurrentSubTransaction();
		done = true;
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		if (must_pass_on(error->sqlerrcode))
			ReThrowError(error);
		*reason = error->message ? error->message : "unknown error";
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	return done;
}
