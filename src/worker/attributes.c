/*
 * attributes.c
 *		Custom attributes that a chatbot does not know.
 *
 * No SQL.
 */
#include "postgres.h"

#include "compat.h"
#include "contact/contact.h"
#include "utils/memutils.h"
#include "worker/attributes.h"

/* The number of a name, -1 if there is no room for another. */
static int
number_of(Attributes *attributes, const char *name, int length, MemoryContext context)
{
	MemoryContext old;
	char	   *utf8;

	for (int i = 0; i < attributes->n; i++)
		if (strncmp(attributes->names[i], name, length) == 0 &&
			attributes->names[i][length] == '\0')
			return i;
	if (attributes->n == ATTRIBUTES_MAX)
		return -1;
	old = MemoryContextSwitchTo(context);
	attributes->names[attributes->n] = pnstrdup(name, length);
	utf8 = contact_to_utf8(attributes->names[attributes->n]);
	attributes->utf8[attributes->n] = utf8 ? utf8 : attributes->names[attributes->n];
	MemoryContextSwitchTo(old);
	return attributes->n++;
}

uint64
attributes_of(Attributes *attributes, JsonbContainer *contact, MemoryContext context)
{
	JsonbValue	custom;
	JsonbValue	key;
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	uint64		set = 0;

	if (!getKeyJsonValueFromContainer(contact, "custom_attributes",
									  strlen("custom_attributes"), &custom) ||
		custom.type != jbvBinary)
		return 0;
	iterator = JsonbIteratorInit(custom.val.binary.data);
	while ((token = JsonbIteratorNext(&iterator, &key, true)) != WJB_DONE)
	{
		int			number;

		if (token != WJB_KEY)
			continue;
		number = number_of(attributes, key.val.string.val, key.val.string.len, context);
		if (number >= 0)
			set |= UINT64CONST(1) << number;
	}
	return set;
}

bool
attributes_compare(Attributes *attributes, uint64 sent, const Reply *reply, int i,
				   bool thoroughly)
{
	uint64		stripped = attributes->stripped;
	uint64		open = thoroughly ? sent : sent & ~attributes->known & ~stripped;

	for (int number = 0; open != 0 && number < attributes->n; number++)
	{
		uint64		bit = UINT64CONST(1) << number;

		if (!(open & bit))
			continue;
		if (reply_has_attribute(reply, i, attributes->utf8[number]))
		{
			attributes->known |= bit;
			attributes->stripped &= ~bit;
		}
		else
		{
			attributes->stripped |= bit;
			attributes->known &= ~bit;
		}
	}
	return attributes->stripped != stripped;
}
