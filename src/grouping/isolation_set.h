/*
 * isolation_set.h
 *		The contacts inside an Isolation and the groups they are in.
 *
 * Private to isolation.c and isolation_set.c.  Containers only: what a group
 * means, and where a contact goes, is decided in isolation.c and must not enter
 * here.
 */
#ifndef CONTACTS_PUSH_ISOLATION_SET_H
#define CONTACTS_PUSH_ISOLATION_SET_H

#include <stdbool.h>
#include <stdint.h>

#include "grouping/isolation.h"

typedef struct Member Member;
typedef struct Group Group;
typedef struct Queue Queue;

typedef enum GroupKind
{
	GROUP_FRESH,				/* nothing is known: the one pool */
	GROUP_DIRTY,				/* together with part, if any: at least one is bad */
	GROUP_SCOUTING,				/* unconfirmed; no scout has been answered yet */
	GROUP_TOGETHER,				/* unconfirmed; its scout was clean */
	GROUP_SINGLY,				/* unconfirmed; its scout was dirty */
	GROUP_REQUEST				/* under way */
} GroupKind;

/* A contact; always in exactly one group. */
struct Member
{
	IsolationContact contact;
	uint64_t	arrival;		/* groups are in this order, as far as is cheap */
	Group	   *group;
	Member	   *prev;
	Member	   *next;
};

/* A list of contacts; all but the pool are always in exactly one queue. */
struct Group
{
	GroupKind	kind;
	int			count;
	Member	   *head;
	Member	   *tail;
	Member	   *first;			/* of this group: to be tried first; or NULL */
	int			under_way;		/* requests that have this group as origin */
	Group	   *part;			/* GROUP_DIRTY: the one of these, or NULL */
	Group	   *origin;			/* GROUP_REQUEST: where its contacts come from */
	int			token;			/* GROUP_REQUEST */
	int			since;			/* GROUP_REQUEST: the turns it has used up */
	Queue	   *queue;
	Group	   *prev;
	Group	   *next;
};

struct Queue
{
	Group	   *head;
	Group	   *tail;
};

/* Finds a member by its contact: a hash table with open addressing. */
typedef struct Directory
{
	Member	  **slot;
	int			size;			/* slots, a power of two, or 0 */
	int			count;			/* members */
} Directory;

/* NULL if there is none. */
extern Member *directory_find(const Directory *directory, IsolationContact contact);

/* Makes sure that n more members can be put in.  False: out of memory. */
extern bool directory_reserve(Directory *directory, int n);

/* Needs a reserved slot; the contact must not be in there. */
extern void directory_put(Directory *directory, Member *member);

/* Forgets a member that is in there. */
extern void directory_drop(Directory *directory, const Member *member);

extern void group_append(Group *group, Member *member);
extern void group_unlink(Member *member);

/*
 * Moves all of from into to, in order of arrival, looking at no more than a few
 * thousand of to's contacts.
 */
extern void group_merge(Group *to, Group *from);

extern void queue_put(Queue *queue, Group *group, bool front);
extern void queue_unlink(Group *group);

/* Frees the queue's groups and the contacts in them. */
extern void queue_free(Queue *queue);
extern void group_free_members(Group *group);

#endif							/* CONTACTS_PUSH_ISOLATION_SET_H */
