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
} Look;

/* For intents_decide(): the external_id is copied. */
extern void queue_look(Chatbot *chatbot, const char *external_id, bool sent);
extern bool queue_has_looks(void);

/*
 * Takes as many of them, each contact once, by chatbot and external_id; queue_free_looks()
 * when they have been decided on.
 */
extern List *queue_take_looks(int max); /* of Look * */
extern void queue_free_looks(List *looks);

/* For claim_load(): a row that has been decided on is to be taken up. */
extern void queue_load(int64 seq);

/* Takes all of them, palloc'd in the current context; returns how many. */
extern int	queue_take_loads(int64 **seqs);

#endif							/* CONTACTS_PUSH_QUEUES_H */
