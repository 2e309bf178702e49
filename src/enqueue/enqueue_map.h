/*
 * enqueue_map.h
 *		Rows of a watched table to contacts, by its mapping.
 *
 * A mapping is the user's: it runs with the rights of whoever writes the
 * table, in a subtransaction, and may do anything, write the same table included.
 */
#ifndef CONTACTS_PUSH_ENQUEUE_MAP_H
#define CONTACTS_PUSH_ENQUEUE_MAP_H

#include "commands/trigger.h"
#include "store/outbox.h"

/* The plans of a trigger; private to enqueue_map.c. */
typedef struct MappingPlans MappingPlans;

/* One firing of a trigger. */
typedef struct Firing
{
	TriggerData *trigger;
	const char *chatbot_id;
	char	   *mapping;		/* qualified and quoted */
	MappingPlans *plans;
	CommandId	statement;		/* see recent.h */
	bool		nested;			/* the same */
	int64		failures;		/* rows left out */
	char	   *reason;			/* of the first */
} Firing;

/* Completes a firing whose trigger, chatbot and mapping are given. */
extern void enqueue_map_begin(Firing *firing);

/* The watched table whose trigger fires: of partitions the one that the trigger was made on. */
extern Oid	enqueue_watched_table(const TriggerData *trigger);

/* Counts rows that are left out for a reason, which is copied. */
extern void enqueue_count_failure(Firing *firing, int64 failures, const char *reason);

/*
 * The contacts of a transition table, or of one row; see outbox_rows_desc().  Rows that
 * the mapping raises for are counted.
 */
extern Tuplestorestate *enqueue_map_all(Firing *firing, Tuplestorestate *table);
extern Tuplestorestate *enqueue_map_one(Firing *firing, HeapTuple tuple);

/* The same for one row, uncounted: adds to rows; false if the mapping raises. */
extern bool enqueue_map_quietly(Firing *firing, HeapTuple tuple, Tuplestorestate *rows);

#endif							/* CONTACTS_PUSH_ENQUEUE_MAP_H */
