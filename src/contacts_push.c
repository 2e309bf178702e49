/*
 * contacts_push.c
 *		Module magic and initialisation.
 *
 * Layer 3.  The parts are described in their headers; DDL and the functions that
 * only run SQL are in sql/contacts_push--*.sql.
 */
#include "postgres.h"

#include "catalog/objectaccess.h"
#include "catalog/pg_extension.h"
#include "commands/extension.h"
#include "compat.h"
#include "fmgr.h"
#include "launcher.h"
#include "miscadmin.h"
#include "settings.h"
#include "shared.h"

static object_access_hook_type prev_object_access_hook = NULL;

COMPAT_MODULE_MAGIC("contacts_push", CONTACTS_PUSH_VERSION);

void		_PG_init(void);

/* A worker that is idle learns at once that its extension is gone. */
static void
on_object_access(ObjectAccessType access, Oid class, Oid object, int sub, void *arg)
{
	if (prev_object_access_hook)
		prev_object_access_hook(access, class, object, sub, arg);
	if (access == OAT_DROP && class == ExtensionRelationId)
	{
		char	   *name = get_extension_name(object);

		if (name && strcmp(name, "contacts_push") == 0)
			shared_wake_worker_at_commit();
	}
}

void
_PG_init(void)
{
	settings_define();

	/* Shared memory and workers can be had while the server starts only. */
	if (!process_shared_preload_libraries_in_progress)
		return;
	shared_request();
	prev_object_access_hook = object_access_hook;
	object_access_hook = on_object_access;
	launcher_register();
}
