/*
 * create_contacts.c
 *		chatbase_create_contacts(): one call, one request, the contacts as rows.
 */
#include "postgres.h"

#include "catalog/pg_collation.h"
#include "compat.h"
#include "contact/contact.h"
#include "miscadmin.h"
#include "session/call.h"
#include "utils/builtins.h"
#include "utils/formatting.h"
#include "utils/tuplestore.h"

COMPAT_FUNCTION_INFO_V1(contacts_push_create_contacts);

static const Call create_call = {
	.doing = "create contacts",
	.promised = "an answer that does not name every contact",
	.doubt = "The contacts may or may not have been created. If this repeats, look the external_ids up before sending them again.",
	.done = "The contacts were created.",
	.instead = ", or leave the contacts to contacts_push.enqueue()",
	.not_found = "Check the chatbot_id and contacts_push.base_url."
};

/* The contacts that are to be created. */
typedef struct Users
{
	int			n;
	const char **external_ids;	/* UTF-8 */
	const char **emails;		/* in lower case; NULL: none */
	StringInfoData body;
} Users;

static void
add_user(Users *users, JsonbContainer *user, const char *path)
{
	char	   *why = contact_check(user, path, NULL);
	char	   *email;
	char	   *json;
	int			length;

	if (why)
		call_bad_argument(why);
	json = call_contact_json(user, path, &length);
	contact_body_add(&users->body, json, length);
	email = contact_member(user, "email");
	users->emails[users->n] = email ? str_tolower(email, strlen(email), DEFAULT_COLLATION_OID) : NULL;
	users->external_ids[users->n++] = contact_to_utf8(contact_member(user, "external_id"));
}

/* A user's value of a member, to find other users that have the same. */
typedef struct Occurrence
{
	const char *text;
	int			user;
} Occurrence;

static int
compare_occurrences(const void *a, const void *b)
{
	const Occurrence *left = a;
	const Occurrence *right = b;
	int			order = strcmp(left->text, right->text);

	return order != 0 ? order : left->user - right->user;
}

/* Throws for a value that two users have: Chatbase would refuse them all, and not say for whom. */
static void
check_distinct(const char *member, const char *const *texts, int n)
{
	Occurrence *found = palloc(n * sizeof(Occurrence));
	Occurrence *again = NULL;	/* the first that somebody before it has, too */
	int			nfound = 0;

	for (int i = 0; i < n; i++)
		if (texts[i])
			found[nfound++] = (Occurrence) {texts[i], i};
	qsort(found, nfound, sizeof(Occurrence), compare_occurrences);
	for (int i = 1; i < nfound; i++)
		if (strcmp(found[i - 1].text, found[i].text) == 0 &&
			(again == NULL || found[i].user < again->user))
			again = &found[i];
	if (again)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("users[%d].%s is the same as users[%d].%s",
						again->user, member, again[-1].user, member),
				 errhint("An external_id, and an e-mail (compared without case), belongs to one contact of a chatbot only.")));
	pfree(found);
}

static void
add_users(Users *users, JsonbContainer *array)
{
	uint32		n = JsonContainerSize(array);

	if (n == 0)
		call_bad_argument("users must not be empty");
	if (n > CONTACT_MAX_USERS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("users has %u elements, but one request takes at most %d",
						n, CONTACT_MAX_USERS),
				 errhint("Send them in several calls, or enqueue them in contacts_push.outbox.")));
	users->external_ids = palloc(n * sizeof(char *));
	users->emails = palloc(n * sizeof(char *));
	for (uint32 i = 0; i < n; i++)
	{
		JsonbValue *user = getIthJsonbValueFromContainer(array, i);
		char	   *path = psprintf("users[%u]", i);

		if (user->type != jbvBinary)
			call_bad_argument(psprintf("%s must be an object", path));
		CHECK_FOR_INTERRUPTS();
		add_user(users, user->val.binary.data, path);
	}
	check_distinct("external_id", users->external_ids, users->n);
	check_distinct("email", users->emails, users->n);
}

static void
read_users(FunctionCallInfo fcinfo, Users *users)
{
	JsonbContainer *argument;

	if (PG_ARGISNULL(1))
		call_bad_argument("users must not be null");
	argument = &PG_GETARG_JSONB_P(1)->root;
	users->n = 0;
	initStringInfo(&users->body);
	contact_body_begin(&users->body);
	if (JsonContainerIsObject(argument))
	{
		users->external_ids = palloc(sizeof(char *));
		users->emails = palloc(sizeof(char *));
		add_user(users, argument, "users");
	}
	else if (JsonContainerIsArray(argument) && !JsonContainerIsScalar(argument))
		add_users(users, argument);
	else
		call_bad_argument("users must be an array of objects, or one object");
	contact_body_end(&users->body);
}

/*
 * chatbase_create_contacts(chatbot_id text, users jsonb)
 *		RETURNS SETOF contacts_push.contact
 */
Datum
contacts_push_create_contacts(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Call	   *call;
	Users		users;

	InitMaterializedSRF(fcinfo, 0);
	call_check_type(rsinfo->setDesc);
	call = call_begin(&create_call, fcinfo);
	read_users(fcinfo, &users);
	call->body = users.body.data;
	call->body_len = users.body.len;
	call->expected = users.external_ids;
	call->nexpected = users.n;
	call_exchange(call);
	if (call->answer.judgement.verdict != VERDICT_CREATED)
		call_fail(call);
	for (int i = 0; i < users.n; i++)
	{
		Datum		values[CALL_COLUMNS];
		bool		nulls[CALL_COLUMNS];

		call_contact(call, &call->answer.reply->contacts[call->answer.match[i]], values, nulls);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	call_end(call);
	return (Datum) 0;
}
