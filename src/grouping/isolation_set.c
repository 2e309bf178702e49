/*
 * isolation_set.c
 *		The contacts inside an Isolation, the groups they are in, and the queues
 *		these are in.
 *
 * All are doubly linked lists, so that any contact can be taken out of the middle
 * of its group and any group out of its queue.  What a group means must not enter
 * here.
 */
#include <stdlib.h>

#include "grouping/isolation_private.h"

/*
 * Contacts that come back look for their place among those that arrived before
 * them.  Those are few, unless they have been refused for long: four requests
 * full of them are passed by at most.
 */
#define MERGE_STEPS		4000

void
list_init(IsolationLink *list)
{
	list->prev = list->next = list;
}

void
list_insert(IsolationLink *at, IsolationLink *link)
{
	link->prev = at->prev;
	link->next = at;
	link->prev->next = link;
	at->prev = link;
}

void
list_remove(IsolationLink *link)
{
	link->prev->next = link->next;
	link->next->prev = link->prev;
	list_init(link);
}

void
group_init(Group *group, GroupKind kind)
{
	*group = (Group) {.kind = kind};
	list_init(&group->link);
	list_init(&group->nodes);
}

Group *
group_create(GroupKind kind)
{
	Group	   *group = malloc(sizeof(Group));

	if (group)
		group_init(group, kind);
	return group;
}

static void
group_insert(Group *group, IsolationNode *node, IsolationLink *at)
{
	list_insert(at, &node->link);
	node->group = group;
	group->count++;
}

void
group_append(Group *group, IsolationNode *node)
{
	group_insert(group, node, &group->nodes);
}

void
group_remove(IsolationNode *node)
{
	Group	   *group = node->group;

	list_remove(&node->link);
	node->group = NULL;
	group->count--;
	if (group->first == node)
		group->first = NULL;
}

void
group_merge(Group *to, Group *from)
{
	IsolationLink *at = to->nodes.next;
	int			steps = 0;

	while (from->count > 0)
	{
		IsolationNode *node = node_of(from->nodes.next);

		group_remove(node);
		for (; at != &to->nodes && node_of(at)->arrival < node->arrival &&
			 steps < MERGE_STEPS; steps++)
			at = at->next;
		group_insert(to, node, at);
	}
}

void
queue_free(IsolationLink *queue)
{
	while (queue->next != queue)
	{
		Group	   *group = group_of(queue->next);

		list_remove(&group->link);
		free(group);
	}
}
