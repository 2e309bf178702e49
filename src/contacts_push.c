/*
 * contacts_push.c
 *		Module magic and initialisation.
 *
 * The parts are described in their headers; DDL and the functions that
 * only run SQL are in sql/contacts_push--*.sql.
 */
#include "postgres.h"

#include "compat.h"
#include "enqueue/batch.h"
#include "enqueue/order.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "server/hooks.h"
#include "server/settings.h"
#include "server/shared.h"
#include "worker/launcher.h"

COMPAT_MODULE_MAGIC("contacts_push", CONTACTS_PUSH_VERSION);

extern PGDLLEXPORT void _PG_init(void);

void
_PG_init(void)
{
	settings_define();
	contacts_push_batch_install();
	contacts_push_order_install();

	/* Shared memory and workers can be had while the server starts only. */
	if (!process_shared_preload_libraries_in_progress)
		return;
	shared_request();
	hooks_install();
	launcher_register();
}
