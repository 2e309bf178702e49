/*
 * operate.c
 *		Functions for operators that SQL alone cannot do.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "compat.h"
#include "contact/contact.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "server/budget.h"
#include "server/hooks.h"
#include "server/settings.h"
#include "server/shared.h"
#include "server/wake.h"
#include "store/transaction.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"
#include "utils/varlena.h"

COMPAT_FUNCTION_INFO_V1(contacts_push_check_chatbot);
COMPAT_FUNCTION_INFO_V1(contacts_push_check_chatbot_id);
COMPAT_FUNCTION_INFO_V1(contacts_push_flush);
COMPAT_FUNCTION_INFO_V1(contacts_push_key_state);
COMPAT_FUNCTION_INFO_V1(contacts_push_validate);
COMPAT_FUNCTION_INFO_V1(contacts_push_wake);
COMPAT_FUNCTION_INFO_V1(contacts_push_worker_report);
COMPAT_FUNCTION_INFO_V1(contacts_push_worker_trouble);

/* Returns an interval in milliseconds; a month counts 30 days, as in EXTRACT. */
static int64
interval_to_ms(const Interval *interval)
{
	double		ms = interval->time / 1000.0 +
		((double) interval->month * DAYS_PER_MONTH + interval->day) * SECS_PER_DAY * 1000.0;

	return ms <= 0 ? 0 : ms >= INT_MAX ? INT_MAX : (int64) ms;
}

/*
 * contacts_push.flush(timeout interval) RETURNS boolean
 *
 * The worker answers a ticket when it has read everything that was visible when the ticket
 * was drawn, and nothing of it is left to do; it says whether all of it is settled or some
 * paused.  It counts nothing, so the cost does not depend on the size of the outbox.
 */
Datum
contacts_push_flush(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(shared_flush(interval_to_ms(PG_GETARG_INTERVAL_P(0))));
}

/*
 * Returns the hint for a name that nobody knows.  As for a misspelled column, the nearest name
 * is taken for the one that was meant if at most half of the name differs.
 */
static const char *
hint_for_chatbot(const char *chatbot_id, const Datum *known, int nknown)
{
	int			length = strlen(chatbot_id);
	int			best = -1;		/* the least distance so far; -1: no limit yet */
	char	   *nearest = NULL;

	for (int i = 0; i < nknown; i++)
	{
		char	   *candidate = TextDatumGetCString(known[i]);
		int			distance = varstr_levenshtein_less_equal(chatbot_id, length, candidate,
															 strlen(candidate), 1, 1, 1,
															 best, true);

		if (nearest && distance >= best)
			continue;
		best = distance;
		nearest = candidate;
	}
	if (nearest == NULL)
		return "No chatbot is known yet.";
	return psprintf(best <= Max(length / 2, 2) ? "Perhaps you meant \"%s\"." :
					"The nearest one that is known is \"%s\".", nearest);
}

/* contacts_push_internal.check_chatbot(chatbot_id text, known text[]) */
Datum
contacts_push_check_chatbot(PG_FUNCTION_ARGS)
{
	text	   *chatbot_id = PG_GETARG_TEXT_PP(0);
	Datum	   *known;
	int			nknown;
	char	   *name;

	deconstruct_array(PG_GETARG_ARRAYTYPE_P(1), TEXTOID, -1, false, TYPALIGN_INT,
					  &known, NULL, &nknown);
	for (int i = 0; i < nknown; i++)
	{
		text	   *candidate = DatumGetTextPP(known[i]);

		if (VARSIZE_ANY_EXHDR(candidate) == VARSIZE_ANY_EXHDR(chatbot_id) &&
			memcmp(VARDATA_ANY(candidate), VARDATA_ANY(chatbot_id),
				   VARSIZE_ANY_EXHDR(chatbot_id)) == 0)
			PG_RETURN_VOID();
	}
	name = text_to_cstring(chatbot_id);
	/* whoever has mistyped a name does not need the lines of the calling function */
	error_context_stack = NULL;
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("chatbot \"%s\" is not known", name),
			 errdetail("Nobody has enqueued a contact for it, and no table is watched for it."),
			 errhint("%s", hint_for_chatbot(name, known, nknown))));
}

/* contacts_push_internal.check_chatbot_id(chatbot_id text) */
Datum
contacts_push_check_chatbot_id(PG_FUNCTION_ARGS)
{
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("chatbot_id must not be null")));
	contact_check_chatbot_id(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	PG_RETURN_VOID();
}

/* contacts_push.validate(contact jsonb) RETURNS text */
Datum
contacts_push_validate(PG_FUNCTION_ARGS)
{
	char	   *why = contact_check(&PG_GETARG_JSONB_P(0)->root, "", NULL);

	if (why == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(why));
}

/*
 * contacts_push_internal.wake(resumed boolean, discarded boolean).  This ends the waits of the
 * keys itself: the worker may not run, or not know the chatbot yet.
 */
Datum
contacts_push_wake(PG_FUNCTION_ARGS)
{
	if (PG_GETARG_BOOL(0))
		budget_release_all();
	wake_worker_at_commit((PG_GETARG_BOOL(0) ? SHARED_TOLD_RESUMED : 0) |
						  (PG_GETARG_BOOL(1) ? SHARED_TOLD_DISCARDED : 0));
	PG_RETURN_VOID();
}

/* An error may quote a contact: its words are for those only who may read the contacts. */
static bool
may_read_errors(void)
{
	return pg_class_aclcheck(outbox_relation(), GetUserId(), ACL_SELECT) == ACLCHECK_OK;
}

/* contacts_push_internal.worker_report(): no row while no worker runs */
Datum
contacts_push_worker_report(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	SharedReport report;
	Datum		values[13];
	bool		nulls[13] = {0};
	const char *activity;
	int64		held_us;

	InitMaterializedSRF(fcinfo, 0);
	if (!shared_get_report(MyDatabaseId, &report) || report.pid == 0)
		return (Datum) 0;
	values[0] = Int32GetDatum(report.pid);
	values[1] = TimestampTzGetDatum(report.started_at);
	values[2] = TimestampTzGetDatum(report.last_activity_at);
	values[3] = Int32GetDatum(report.requests_in_flight);
	values[4] = Int64GetDatum(report.requests);
	values[5] = Int64GetDatum(report.contacts);
	nulls[7] = nulls[8] = report.last_error[0] == '\0';
	nulls[6] = nulls[7] || !may_read_errors();
	values[6] = CStringGetTextDatum(report.last_error);
	values[7] = CStringGetTextDatum(report.last_error_chatbot);
	values[8] = TimestampTzGetDatum(report.last_error_at);
	/* a key that was not used yet has all of its budget */
	held_us = report.key_hash ? budget_held_us(report.key_hash) : 0;
	values[9] = Float8GetDatum(report.key_hash ? budget_rate(report.key_hash) :
							   settings_requests_per_second);
	activity = shared_activity_name(report.activity);
	nulls[11] = nulls[12] = activity == NULL;
	values[11] = activity ? CStringGetTextDatum(activity) : (Datum) 0;
	values[12] = TimestampTzGetDatum(report.activity_since);
	nulls[10] = held_us == 0;
	values[10] = TimestampTzGetDatum(GetCurrentTimestamp() + held_us);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	return (Datum) 0;
}

/*
 * contacts_push_internal.key_state(chatbot_ids text[]): which of the chatbots share a
 * key, by the place of the first of them, and until when a 429 holds it
 */
Datum
contacts_push_key_state(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	TimestampTz now = GetCurrentTimestamp();
	Datum	   *chatbot_ids;
	uint64	   *hashes;
	int			n;

	InitMaterializedSRF(fcinfo, 0);
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(0), TEXTOID, -1, false, TYPALIGN_INT,
					  &chatbot_ids, NULL, &n);
	hashes = palloc(Max(n, 1) * sizeof(uint64));
	for (int i = 0; i < n; i++)
	{
		char	   *why;
		char	   *key = settings_find_key(TextDatumGetCString(chatbot_ids[i]), &why);
		int64		held_us;
		Datum		values[3];
		bool		nulls[3] = {0};
		int			first = 0;

		hashes[i] = key ? budget_key_hash(key) : 0;
		held_us = key ? budget_held_us(hashes[i]) : 0;
		while (hashes[first] != hashes[i])
			first++;
		values[0] = chatbot_ids[i];
		values[1] = Int32GetDatum(first);
		nulls[2] = held_us == 0;
		values[2] = TimestampTzGetDatum(now + held_us);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
		if (key)
			pfree(key);
	}
	return (Datum) 0;
}

/* contacts_push_internal.worker_trouble(): why no worker runs; NULL: one does */
Datum
contacts_push_worker_trouble(PG_FUNCTION_ARGS)
{
	SharedReport report;
	const char *why = NULL;

	if (!shared_available())
		why = "contacts_push is not in shared_preload_libraries";
	else if (RecoveryInProgress())
		why = "the server is a standby";
	else if (!shared_get_report(MyDatabaseId, &report))
		why = hooks_is_template(MyDatabaseId) ? "this database is a template" :
			"none could be started yet; see the server log and max_worker_processes";
	/* one that runs now will probably end, too */
	else if (report.ends > 1)
		why = psprintf("it ends again and again, %d times by now, with \"%s\"; see the server log",
					   report.ends, may_read_errors() ? report.end_error : "...");
	else if (report.pid == 0 && report.gave_up)
		why = "another database has its process for a while; see max_worker_processes";
	else if (report.pid == 0)
		why = report.ends == 0 ? "it has ended and is being started again; see the server log" :
			psprintf("it has ended with \"%s\" and is being started again; see the server log",
					 may_read_errors() ? report.end_error : "...");
	if (why == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(why));
}
