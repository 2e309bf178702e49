/*
 * attributes.c
 *		Custom attributes of a chatbot's schema: listed, and created.
 */
#include "postgres.h"

#include "compat.h"
#include "contact/contact.h"
#include "lib/stringinfo.h"
#include "session/call.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/jsonb.h"

COMPAT_FUNCTION_INFO_V1(contacts_push_list_attributes);
COMPAT_FUNCTION_INFO_V1(contacts_push_create_attribute);

static const Call list_call = {
	.method = "GET",
	.doing = "list custom attributes",
	.promised = "an answer that is no list of custom attributes",
	.doubt = "The request changes nothing at Chatbase: the call can be repeated.",
	.instead = "",
	.not_found = "Check the chatbot_id and contacts_push.base_url.",
	.of_schema = true
};

static const Call create_call = {
	.promised = "an answer that does not have the attribute",
	.doubt = "The attribute may or may not have been created. The call can be repeated: if there is one of that name, it is refused.",
	.instead = "",
	.not_found = "Check the chatbot_id and contacts_push.base_url.",
	.of_schema = true
};

/*
 * contacts_push_internal.list_attributes(chatbot_id text) RETURNS jsonb: an array.  Names are
 * ASCII, and of labels nothing is made: characters that the database does not have do not matter.
 */
Datum
contacts_push_list_attributes(PG_FUNCTION_ARGS)
{
	Call	   *call = call_begin(&list_call, fcinfo);
	JsonbValue *list;
	Datum		answer;
	bool		isnull;
	bool		exact;

	call_exchange(call);
	if (call->answer.judgement.verdict != VERDICT_CREATED)
		call_fail(call);
	answer = call_jsonb(call, answer_convert(call->result->body, &exact), &isnull);
	list = isnull ? NULL : getKeyJsonValueFromContainer(&DatumGetJsonbP(answer)->root, "data", strlen("data"), NULL);
	if (list == NULL || list->type != jbvBinary || !JsonContainerIsArray(list->val.binary.data))
		call_fail_broken(call);
	call_end(call);
	PG_RETURN_JSONB_P(JsonbValueToJsonb(list));
}

/* Throws unless it is what the API's reference allows as a name. */
static void
check_name(const char *name)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
	static const char others[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";

	if (*name == '\0' || strchr(letters, *name) == NULL || name[strspn(name, others)] != '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"%s\" cannot be the name of a custom attribute", name),
				 errhint("A name begins with a letter and goes on with letters, digits, underscores and hyphens; best in lower snake_case.")));
}

static void
check_type(const char *type)
{
	if (strcmp(type, "text") != 0 && strcmp(type, "number") != 0 && strcmp(type, "boolean") != 0 &&
		strcmp(type, "date") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"%s\" is no type of a custom attribute", type),
				 errhint("The types are text, number, boolean and date.")));
}

/* Returns a label for people: signed_up_at becomes "Signed up at". */
static char *
label_of(const char *name)
{
	char	   *label = pstrdup(name);

	for (char *p = label; *p; p++)
		if (*p == '_' || *p == '-')
			*p = ' ';
	*label = pg_toupper((unsigned char) *label);
	return label;
}

/*
 * contacts_push.create_attribute(chatbot_id text, name text, type text, label text)
 *		RETURNS void
 */
Datum
contacts_push_create_attribute(PG_FUNCTION_ARGS)
{
	Call	   *call = call_begin(&create_call, fcinfo);
	const HttpResult *result;
	StringInfoData body;
	char	   *name;
	char	   *type;

	if (PG_ARGISNULL(1) || PG_ARGISNULL(2))
		call_bad_argument("name and type must not be null");
	name = text_to_cstring(PG_GETARG_TEXT_PP(1));
	type = text_to_cstring(PG_GETARG_TEXT_PP(2));
	check_name(name);
	check_type(type);
	initStringInfo(&body);
	appendStringInfoString(&body, "{\"name\":");
	escape_json(&body, name);
	appendStringInfoString(&body, ",\"type\":");
	escape_json(&body, type);
	appendStringInfoString(&body, ",\"label\":");
	escape_json(&body, PG_ARGISNULL(3) ? label_of(name) : text_to_cstring(PG_GETARG_TEXT_PP(3)));
	appendStringInfoChar(&body, '}');
	call->doing = psprintf("create custom attribute \"%s\"", name);
	call->body = contact_to_utf8(body.data);
	if (call->body == NULL)
		call_bad_argument("label has text that cannot be converted to UTF-8");
	call->body_len = strlen(call->body);
	call_exchange(call);
	result = call->result;
	if (result->outcome != HTTP_ANSWERED || (result->status != 200 && result->status != 201))
		call_fail(call);
	if (!call->answer.reply->is_json)
		call_fail_broken(call);
	call_end(call);
	PG_RETURN_VOID();
}
