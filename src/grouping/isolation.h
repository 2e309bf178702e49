/*
 * isolation.h
 *		Which contacts go into the next request, given the answers so far.
 *
 * Plain C, no PostgreSQL, no clock, no I/O.  One Isolation belongs to one
 * chatbot.  A request is a test of a group: its answer says that all of the group
 * are good, or that at least one is bad, and not which.
 */
#ifndef CONTACTS_PUSH_ISOLATION_H
#define CONTACTS_PUSH_ISOLATION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct Isolation Isolation;

/* A request under way, until its answer is given. */
typedef struct IsolationGroup IsolationRequest;

typedef struct IsolationLink
{
	struct IsolationLink *prev;
	struct IsolationLink *next;
} IsolationLink;

/*
 * A contact: embedded in whatever it is to the caller, zeroed before it is first
 * added, and not moved or freed while it is inside.  Its members are private, but
 * for whether group is NULL.
 */
typedef struct IsolationNode
{
	IsolationLink link;			/* in its group */
	struct IsolationGroup *group;	/* NULL: it is not inside */
	uint64_t	arrival;
} IsolationNode;

/* The struct that a node is embedded in. */
#define isolation_container(type, member, pointer) \
	((type *) ((char *) (pointer) - offsetof(type, member)))

/*
 * Asked of each candidate for a request that is being put together, in the order
 * in which they would go: false leaves it where it is for now (its e-mail is
 * under way, the request would become too large).  *stop = true ends the
 * request before this candidate.  A candidate admitted is in the request; one
 * refused may be asked about again in the same call.  It must not call back into
 * the Isolation.
 */
typedef bool (*IsolationAdmit) (void *arg, IsolationNode *node, bool *stop);

/* NULL when out of memory. */
extern Isolation *isolation_create(void);

/* Leaves the contacts that are inside alone; they stay the caller's.  NULL is fine. */
extern void isolation_free(Isolation *isolation);

/* A contact that is not inside, and of which nothing is known. */
extern void isolation_add(Isolation *isolation, IsolationNode *node);

/*
 * Contacts that are not inside, and went together in one request without a usable
 * answer.  False: out of memory, nothing changed.
 */
extern bool isolation_add_unconfirmed(Isolation *isolation,
									  IsolationNode *const *nodes, int n);

/*
 * Takes out a contact that is not under way.  False: it is, or is not inside.  If a
 * dirty set had it, nothing is known of the set's other contacts any more.
 */
extern bool isolation_remove(Isolation *isolation, IsolationNode *node);

/* Contacts inside, and those of them that are not under way. */
extern int	isolation_inside(const Isolation *isolation);
extern int	isolation_waiting(const Isolation *isolation);

/*
 * Puts the next request together: at most max contacts (1 to 1000) into
 * nodes[], and *request for its answer.  Returns how many; 0 when nothing can
 * go now (nothing waits, what waits depends on an answer, or admit refused all of
 * it); -1 out of memory, nothing changed.
 * A turn of unconfirmed contacts, every fourth at least, is every other if max is
 * 1.  admit NULL: all may go.
 */
extern int	isolation_next(Isolation *isolation, int max,
						   IsolationAdmit admit, void *arg,
						   IsolationNode **nodes, IsolationRequest **request);

/*
 * The answer to a request, which is under way no more and gone then.  Answers need no
 * memory, and so cannot fail.  Contacts that leave are not touched any more.
 *
 * clean: all are created; they leave.
 * dirty: at least one is bad.  A request of one: it is bad, and leaves.  culprit:
 *		an index into its nodes[] that the answer named, to be tried first and
 *		alone; -1, or none of its indexes: none.
 * partial: those with created[i] leave; the rest becomes unconfirmed, as one group.
 * unanswered: no usable answer; they become an unconfirmed group.
 * returned: nothing was sent, or nothing was learnt; as if never put together.
 * dropped: contacts with drop[i] leave (the caller has settled or deferred them),
 *		the others are returned.  If a part of a dirty set is left by any, nothing is
 *		known of the set's other contacts any more.
 */
extern void isolation_clean(Isolation *isolation, IsolationRequest *request);
extern void isolation_dirty(Isolation *isolation, IsolationRequest *request, int culprit);
extern void isolation_partial(Isolation *isolation, IsolationRequest *request,
							  const bool *created);
extern void isolation_unanswered(Isolation *isolation, IsolationRequest *request);
extern void isolation_returned(Isolation *isolation, IsolationRequest *request);
extern void isolation_dropped(Isolation *isolation, IsolationRequest *request,
							  const bool *drop);

/* The rate of bad contacts as learnt so far, between 0 and 1. */
extern double isolation_rate(const Isolation *isolation);

#endif							/* CONTACTS_PUSH_ISOLATION_H */
