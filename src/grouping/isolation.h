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
#include <stdint.h>

typedef struct Isolation Isolation;

/* What the caller calls a contact: any value, unique among those inside. */
typedef int64_t IsolationContact;

/*
 * Asked of each candidate for a request that is being put together, in the order
 * in which they would go: false leaves it where it is for now (its e-mail is
 * under way, the request would become too large).  *stop = true ends the
 * request before this candidate.  A candidate admitted is in the request; one
 * refused may be asked about again in the same call.  It must not call back into
 * the Isolation.
 */
typedef bool (*IsolationAdmit) (void *arg, IsolationContact contact, bool *stop);

/* NULL when out of memory. */
extern Isolation *isolation_create(void);

/* With all that is inside, under way or not.  NULL is fine. */
extern void isolation_free(Isolation *isolation);

/*
 * A contact of which nothing is known; one that is inside already stays as it is.
 * False: out of memory, nothing changed.
 */
extern bool isolation_add(Isolation *isolation, IsolationContact contact);

/*
 * Contacts that went together in one request without a usable answer; those that
 * are inside already are left out.  False: out of memory, nothing changed.
 */
extern bool isolation_add_unconfirmed(Isolation *isolation,
									  const IsolationContact *contacts, int n);

/*
 * Takes out a contact that is not under way.  False: it is, or is not inside.  If a
 * dirty set had it, nothing is known of the set's other contacts any more.
 */
extern bool isolation_remove(Isolation *isolation, IsolationContact contact);

/* Contacts inside, and those of them that are not under way. */
extern int	isolation_inside(const Isolation *isolation);
extern int	isolation_waiting(const Isolation *isolation);

/*
 * Puts the next request together: at most max contacts (1 to 1000) into
 * contacts[], and a token for its answer.  Returns how many; 0 when nothing can
 * go now (nothing waits, what waits depends on an answer, or admit refused all of
 * it or so much that the search was given up); -1 out of memory, nothing changed.
 * A turn of unconfirmed contacts, every fourth at least, is every other if max is
 * 1.  admit NULL: all may go.
 */
extern int	isolation_next(Isolation *isolation, int max,
						   IsolationAdmit admit, void *arg,
						   IsolationContact *contacts, int *token);

/*
 * The answer to the request with this token; each token is answered once.  False:
 * it is not under way, nothing changed.  Answers need no memory, and so cannot
 * fail.
 *
 * clean: all are created; they leave.
 * dirty: at least one is bad.  A request of one: it is bad, and leaves.  culprit:
 *		an index into its contacts[] that the answer named, to be tried first and
 *		alone; -1, or none of its indexes: none.
 * partial: those with created[i] leave; the rest becomes unconfirmed, as one group.
 * unanswered: no usable answer; they become an unconfirmed group.
 * returned: nothing was sent, or nothing was learnt; as if never put together.
 * dropped: contacts with drop[i] leave (the caller has settled or deferred them),
 *		the others are returned.  If a part of a dirty set is left by any, nothing is
 *		known of the set's other contacts any more.
 */
extern bool isolation_clean(Isolation *isolation, int token);
extern bool isolation_dirty(Isolation *isolation, int token, int culprit);
extern bool isolation_partial(Isolation *isolation, int token, const bool *created);
extern bool isolation_unanswered(Isolation *isolation, int token);
extern bool isolation_returned(Isolation *isolation, int token);
extern bool isolation_dropped(Isolation *isolation, int token, const bool *drop);

/* The rate of bad contacts as learnt so far, between 0 and 1. */
extern double isolation_rate(const Isolation *isolation);

#endif							/* CONTACTS_PUSH_ISOLATION_H */
