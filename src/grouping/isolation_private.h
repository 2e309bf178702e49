/*
 * isolation_private.h
 *		What the parts of isolation.c share.
 *
 * isolation.c says what the answers mean, isolation_next.c what goes next,
 * isolation_set.c keeps the lists.  Nobody else includes this.
 */
#ifndef CONTACTS_PUSH_ISOLATION_PRIVATE_H
#define CONTACTS_PUSH_ISOLATION_PRIVATE_H

#include "grouping/isolation.h"
#include "grouping/isolation_rate.h"

typedef struct IsolationGroup Group;

typedef enum GroupKind
{
	GROUP_FRESH,				/* nothing is known: the one pool */
	GROUP_DIRTY,				/* together with part, if any: at least one is bad */
	GROUP_SCOUTING,				/* unconfirmed; no scout has been answered yet */
	GROUP_TOGETHER,				/* unconfirmed; its scout was clean */
	GROUP_SINGLY,				/* unconfirmed; its scout was dirty */
	GROUP_REQUEST				/* under way */
} GroupKind;

/* A list of contacts; all but the pool are always in exactly one queue. */
struct IsolationGroup
{
	IsolationLink link;			/* in its queue */
	GroupKind	kind;
	int			count;
	IsolationLink nodes;		/* in order of arrival, as far as is cheap */
	IsolationNode *first;		/* of this group: to be tried first; or NULL */
	int			under_way;		/* requests that have this group as origin */
	Group	   *part;			/* GROUP_DIRTY: the one of these, or NULL */
	Group	   *origin;			/* GROUP_REQUEST: where its contacts come from */
	int			since;			/* GROUP_REQUEST: the turns it has used up */
};

struct Isolation
{
	int			inside;			/* contacts */
	uint64_t	arrivals;
	Group		fresh;
	IsolationLink dirty;		/* queues of groups */
	IsolationLink unconfirmed;
	IsolationLink requests;		/* under way */
	int			under_way;		/* contacts in them */
	int			tests_under_way;	/* of them, those with two contacts or more */
	int			since;			/* requests since unconfirmed contacts had one */
	int64_t		settled;		/* contacts that left by an answer */
	int64_t		answered;		/* requests that were clean or dirty */
	IsolationRate rate;
};

/* A list is a ring of links through its head, empty when that is alone. */
extern void list_init(IsolationLink *list);

/* In front of another link; at the end of a list whose head that is. */
extern void list_insert(IsolationLink *at, IsolationLink *link);

/* A link that is in no list stays so. */
extern void list_remove(IsolationLink *link);

#define node_of(at) isolation_container(IsolationNode, link, at)
#define group_of(at) isolation_container(Group, link, at)

extern void group_init(Group *group, GroupKind kind);

/* NULL: out of memory. */
extern Group *group_create(GroupKind kind);

extern void group_append(Group *group, IsolationNode *node);
extern void group_remove(IsolationNode *node);

/*
 * Moves all of from into to, in order of arrival, looking at no more than a few
 * thousand of to's contacts.
 */
extern void group_merge(Group *to, Group *from);

/* Frees the groups in it, and leaves their contacts alone. */
extern void queue_free(IsolationLink *queue);

/*
 * Puts a group into the queue where it belongs, after its kind, its contacts or
 * its requests have changed.  One that is empty and has no request is freed.
 */
extern void isolation_place(Isolation *isolation, Group *group, bool front);

#endif							/* CONTACTS_PUSH_ISOLATION_PRIVATE_H */
