/*
 * queues.h
 *		What a stage of the pass leaves to a later one.
 *
 * A stage calls no other; it appends to a queue here, and pass.c calls the stage that
 * empties it.  No SQL.  What is queued is in worker.context and outlives the pass.
 */
#ifndef CONTACTS_PUSH_QUEUES_H
#define CONTACTS_PUSH_QUEUES_H

#include "worker/worker.h"

/* A contact whose intents are to be decided between. */
typedef struct Look
{
	Chatbot    *chatbot;
	char	   *external_id;
	bool		sent;			/* maybe, under a row that is gone */
	bool		is_asked;		/* whoever takes its key waits for what is decided */
} Look;

/* For intents_decide(): the external_id is copied. */
extern void queue_look(Chatbot *chatbot, const char *external_id, bool sent);
extern void queue_look_asked(Chatbot *chatbot, const char *external_id);
extern bool queue_has_looks(void);

/*
 * Takes as many of them, each contact once, by chatbot and external_id; queue_free_looks()
 * when they have been decided on.
 */
extern List *queue_take_looks(int max); /* of Look * */
extern void queue_free_looks(List *looks);

/* A row that has been decided on, and what is to be asked for. */
typedef struct Load
{
	int64		seq;
	RequestCall call;
	char	   *previous;		/* external_id that the contact has at Chatbase; NULL: its own */
	int64		sent_hash;		/* contact_hash() of what Chatbase has; 0: not known */
	bytea	   *sent_members;	/* which members that has; NULL: not known */
	bool		has_others;		/* intents that wait for what becomes of this one */
} Load;

/* For claim_load(): it is copied. */
extern void queue_load(const Load *load);

/* Takes all of them, palloc'd in the current context, in the order of their seqs; returns how many. */
extern int	queue_take_loads(Load **loads);
extern void queue_free_loads(Load *loads, int n);

#endif							/* CONTACTS_PUSH_QUEUES_H */
