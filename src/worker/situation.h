/*
 * situation.h
 *		What the intents of a contact say.
 *
 * Called inside a pass's transaction; throws like SQL: an error ends the process, and the
 * next one recovers.
 */
#ifndef CONTACTS_PUSH_SITUATION_H
#define CONTACTS_PUSH_SITUATION_H

#include "worker/queues.h"

/* One intent of a contact, or of one that takes its key; as OUTBOX_INTENTS returns it. */
typedef struct Intent
{
	int64		place;			/* of its contact among those that are looked at */
	int64		seq;
	bool		is_pending;
	bool		is_refused;
	bool		is_foreign;		/* refused because it came from another source */
	bool		is_withdrawn;
	bool		is_there;		/* Chatbase had the contact when it was settled */
	bool		is_deleted;
	bool		takes_key;		/* it is another contact's, which is to get the key's contact */
	bool		has_key;		/* the same, which got it */
	bool		withdrawal;
	bool		unconfirmed;
	Oid			source;			/* the watched table; InvalidOid: none */
	char	   *previous;		/* key that its contact had before; NULL: the same */
	char	   *other;			/* takes_key: whose it is */
	char	   *contact_id;
	int64		sent_hash;
	bytea	   *sent_members;
} Intent;

/* What the intents of a contact say. */
typedef struct Situation
{
	Look	   *look;
	Chatbot    *chatbot;
	Intent	   *intents;
	int			n;
	const Intent *there;		/* the last that Chatbase has the contact by; NULL: it has not */
	int64		settled;		/* the last that says whether it has; 0: none */
	const Intent *newest;		/* of those pending; NULL: none is, as in the next two */
	const Intent *open;			/* the first that may have been sent */
	const Intent *moved;		/* the last that changes the key, and that no withdrawal follows */
	const Intent *taker;		/* the first that takes the key away */
	int64		newest_refused;
	bool		doubtful;		/* an earlier version may have been sent */
} Situation;

/*
 * Reads the intents of n contacts, ordered by contact and seq, palloc'd; returns how many there
 * are.
 */
extern uint64 situation_read(char **chatbots, char **external_ids, int n, Intent **intents);

/*
 * Completes who may have been sent, and takes those out that are settled unsent, or will be
 * when their row is not locked any more; of them no more counts than that they may have
 * created the contact.  contact: of the window, or NULL.  Returns how many are left.
 */
extern int	situation_leave_out_unsent(Look *look, const Contact *contact, Intent *intents, int n);

/* Finds out what the intents say that are there, which is zeroed so far. */
extern void situation_survey(Situation *s);

/* The intent is not sent; unconfirmed: but may have been before. */
extern void situation_leave_unsent(const Look *look, const Intent *intent, OutboxStatus status,
								   bool unconfirmed, const char *why);

/* Takes a contact that waits out of the window. */
extern void situation_drop(Contact *contact);

#endif							/* CONTACTS_PUSH_SITUATION_H */
