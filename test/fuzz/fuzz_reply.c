/*
 * fuzz_reply.c
 *		Whatever the bytes, reply.c neither crashes nor breaks what reply.h says.
 */
#include "fuzz.h"
#include "chatbase/reply.h"

#include <math.h>
#include <string.h>

/* A string is NULL, or ends and is UTF-8 as far as a lead byte can tell. */
static void
check_text(const char *text)
{
	if (text == NULL)
		return;
	for (; *text != '\0'; text++)
		require((unsigned char) *text != 0xC0 && (unsigned char) *text != 0xC1 &&
				(unsigned char) *text < 0xF5, "a string is valid UTF-8");
}

static void
check_contact(const Reply *reply, int i)
{
	const ReplyContact *contact = &reply->contacts[i];

	check_text(contact->id);
	check_text(contact->external_id);
	check_text(contact->name);
	check_text(contact->email);
	check_text(contact->phonenumber);
	require(!contact->has_created_at || isfinite(contact->created_at), "a time is finite");
	require(!contact->has_updated_at || isfinite(contact->updated_at), "a time is finite");
	check_text(contact->stripe_accounts);
	check_text(contact->custom_attributes);
	require(!contact->stripe_accounts || *contact->stripe_accounts == '[', "accounts are an array");
	require(!contact->custom_attributes || *contact->custom_attributes == '{', "attributes are an object");
	require(contact->custom_attributes || !reply_has_attribute(reply, i, "a"), "an attribute has an object");
}

/* What was read of a member is JSON for another reply. */
static void
check_again(const Reply *reply)
{
	static const char head[] = "{\"data\":[{\"custom_attributes\":";
	static const char tail[] = "}]}";
	const char *json = reply->contacts[0].custom_attributes;
	size_t		size;
	char	   *body;
	Reply	   *again;

	if (json == NULL)
		return;
	size = strlen(head) + strlen(json) + strlen(tail) + 1;
	body = malloc(size);
	if (body == NULL)
		return;
	snprintf(body, size, "%s%s%s", head, json, tail);
	again = reply_parse(body, size - 1);
	free(body);
	if (again == NULL)
		return;
	/* it lies no deeper here than where it came from, so it nests no deeper */
	require(again->is_json && again->ncontacts == 1, "attributes are JSON");
	require(strcmp(again->contacts[0].custom_attributes, json) == 0, "and stay what they are");
	reply_free(again);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	Reply	   *reply = reply_parse((const char *) data, size);

	if (reply == NULL)
		return 0;
	if (!reply->is_json)
		require(reply->message == NULL && reply->ncontacts == 0 &&
				!reply->has_list && reply->culprit == -1 && reply->total_pages == -1, "what is not JSON has nothing in it");
	check_text(reply->message);
	for (int i = 0; i < reply->ncontacts; i++)
		check_contact(reply, i);
	require(reply->culprit >= -1 && reply->culprit < 1000, "a culprit is an index of a request");
	require(reply->nissues >= 0 && reply->nissues <= REPLY_MAX_ISSUES, "so many issues are kept");
	for (int i = 0; i < reply->nissues; i++)
	{
		check_text(reply->issues[i].field);
		check_text(reply->issues[i].message);
	}
	require(reply->total_pages >= -1, "pages are counted, or not");
	require(reply->has_list || reply->ncontacts <= 1, "several contacts are a list");
	if (reply->ncontacts > 0)
		check_again(reply);
	reply_free(reply);
	return 0;
}
