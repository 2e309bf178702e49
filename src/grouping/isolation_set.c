/*
 * isolation_set.c
 *		The contacts inside an Isolation and the groups they are in.
 *
 * Each contact is one allocation that moves between doubly linked lists, so that
 * any of them can be taken out of the middle, and memory follows what is inside.
 * Containers only: no rule about requests may enter here.
 */
#include <stdlib.h>

#include "grouping/isolation_set.h"

/* Small enough to be nothing, large enough not to grow at once. */
#define LEAST_SLOTS		64

/*
 * Contacts that come back look for their place among those that arrived before
 * them.  Those are few, unless they have been refused for long: four requests
 * full of them are passed by at most.
 */
#define MERGE_STEPS		4000

/* Where the search for a contact begins: Fibonacci hashing (Knuth, 6.4). */
static int
home_slot(const Directory *directory, IsolationContact contact)
{
	uint64_t	hash = (uint64_t) contact * UINT64_C(0x9E3779B97F4A7C15);

	return (int) ((hash >> 32) & (uint64_t) (directory->size - 1));
}

/* The slot of the contact, or the empty one where it belongs. */
static int
search_slot(const Directory *directory, IsolationContact contact)
{
	int			i = home_slot(directory, contact);

	while (directory->slot[i] && directory->slot[i]->contact != contact)
		i = (i + 1) & (directory->size - 1);
	return i;
}

Member *
directory_find(const Directory *directory, IsolationContact contact)
{
	if (directory->size == 0)
		return NULL;
	return directory->slot[search_slot(directory, contact)];
}

/* False: out of memory, nothing changed. */
static bool
resize(Directory *directory, int size)
{
	Directory	resized = {.size = size,.count = directory->count};

	resized.slot = calloc((size_t) size, sizeof(Member *));
	if (!resized.slot)
		return false;
	for (int i = 0; i < directory->size; i++)
	{
		Member	   *member = directory->slot[i];

		if (member)
			resized.slot[search_slot(&resized, member->contact)] = member;
	}
	free(directory->slot);
	*directory = resized;
	return true;
}

/* Half of the slots stay empty, so that searches are short. */
bool
directory_reserve(Directory *directory, int n)
{
	int			size = directory->size > 0 ? directory->size : LEAST_SLOTS;

	if (n > INT32_MAX / 4 - directory->count)
		return false;
	while (size / 2 < directory->count + n)
		size *= 2;
	return size == directory->size || resize(directory, size);
}

void
directory_put(Directory *directory, Member *member)
{
	directory->slot[search_slot(directory, member->contact)] = member;
	directory->count++;
}

/*
 * Closes the hole by moving back whatever would not be found any more (Knuth,
 * 6.4, algorithm R).  A table that has become far too large is made smaller if
 * there is memory for it.
 */
void
directory_drop(Directory *directory, const Member *member)
{
	int			mask = directory->size - 1;
	int			hole = search_slot(directory, member->contact);

	for (int i = (hole + 1) & mask; directory->slot[i]; i = (i + 1) & mask)
	{
		int			home = home_slot(directory, directory->slot[i]->contact);

		if (((i - home) & mask) >= ((i - hole) & mask))
		{
			directory->slot[hole] = directory->slot[i];
			hole = i;
		}
	}
	directory->slot[hole] = NULL;
	directory->count--;
	if (directory->size > LEAST_SLOTS && directory->count < directory->size / 16)
		(void) resize(directory, directory->size / 4);
}

/* Puts a member in front of at, which is in the group; at the end if NULL. */
static void
group_insert(Group *group, Member *member, Member *at)
{
	member->group = group;
	member->next = at;
	member->prev = at ? at->prev : group->tail;
	if (member->prev)
		member->prev->next = member;
	else
		group->head = member;
	if (at)
		at->prev = member;
	else
		group->tail = member;
	group->count++;
}

void
group_append(Group *group, Member *member)
{
	group_insert(group, member, NULL);
}

void
group_unlink(Member *member)
{
	Group	   *group = member->group;

	if (member->prev)
		member->prev->next = member->next;
	else
		group->head = member->next;
	if (member->next)
		member->next->prev = member->prev;
	else
		group->tail = member->prev;
	if (group->first == member)
		group->first = NULL;
	group->count--;
	member->group = NULL;
}

void
group_merge(Group *to, Group *from)
{
	Member	   *at = to->head;
	Member	   *member;
	int			steps = 0;

	while ((member = from->head) != NULL)
	{
		group_unlink(member);
		for (; at && at->arrival < member->arrival && steps < MERGE_STEPS; steps++)
			at = at->next;
		group_insert(to, member, at);
	}
}

void
queue_put(Queue *queue, Group *group, bool front)
{
	Group	   *next = front ? queue->head : NULL;

	group->queue = queue;
	group->next = next;
	group->prev = next ? NULL : queue->tail;
	if (group->prev)
		group->prev->next = group;
	else
		queue->head = group;
	if (next)
		next->prev = group;
	else
		queue->tail = group;
}

void
queue_unlink(Group *group)
{
	Queue	   *queue = group->queue;

	if (!queue)
		return;
	if (group->prev)
		group->prev->next = group->next;
	else
		queue->head = group->next;
	if (group->next)
		group->next->prev = group->prev;
	else
		queue->tail = group->prev;
	group->queue = NULL;
}

void
group_free_members(Group *group)
{
	Member	   *member;

	while ((member = group->head) != NULL)
	{
		group_unlink(member);
		free(member);
	}
}

void
queue_free(Queue *queue)
{
	Group	   *group;

	while ((group = queue->head) != NULL)
	{
		queue_unlink(group);
		group_free_members(group);
		free(group);
	}
}
