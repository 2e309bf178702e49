/*
 * mapping.h
 *		The mapping of a watched table, compiled: contacts of rows.
 *
 * A mapping is the user's: it runs with the rights of whoever is the current user, and
 * may raise and do anything, write the same table included.
 */
#ifndef CONTACTS_PUSH_MAPPING_H
#define CONTACTS_PUSH_MAPPING_H

#include "executor/tuptable.h"
#include "utils/relcache.h"
#include "utils/reltrigger.h"

/* Private to mapping.c. */
typedef struct Mapping Mapping;

/* What a row is; in memory that lasts until contacts_push_mapping_reset(). */
typedef struct MappedRow
{
	bool		is_contact;		/* the WHERE holds for it */
	Datum		external_id;	/* text of 1 to CONTACT_MAX_EXTERNAL_ID bytes, if it is one */
	Datum		contact;		/* jsonb, if that was asked for */
} MappedRow;

/* In which columns two versions of a row differ. */
typedef enum MappingChange
{
	MAPPING_SAME,				/* in none that the mapping uses */
	MAPPING_CONTENT,			/* in none that the WHERE or external_id uses */
	MAPPING_KEY
} MappingChange;

/*
 * The mapping of a trigger of watch()'s, or a clone of one, for rows of a relation that is
 * open, as the current user.  NULL: it has to be made.
 */
extern Mapping *contacts_push_mapping_find(const Trigger *trigger, Relation relation);

/*
 * Makes one, and holds it.  Throws if there is no such view, or none that may be used; the
 * expressions are compiled when they are evaluated first.
 */
extern Mapping *contacts_push_mapping_make(const Trigger *trigger, Relation relation);

/*
 * Whoever evaluates a mapping holds it meanwhile.  False: somebody does, and as that is not
 * reentrant, a trigger that fires inside of the evaluation has to make another one.  It is
 * only valid while it is held, and has to be let go of also when an error passes.
 */
extern bool contacts_push_mapping_hold(Mapping *mapping);
extern void contacts_push_mapping_release(Mapping *mapping);

/* The table that is watched: the relation, or the one that it is a partition of. */
extern Oid	contacts_push_mapping_table(const Mapping *mapping);

/* True if the current user may read all columns that the mapping uses. */
extern bool contacts_push_mapping_is_readable(const Mapping *mapping);

/* Compares two versions of a row; runs nobody's code. */
extern MappingChange contacts_push_mapping_compare(const Mapping *mapping, TupleTableSlot *old,
												   TupleTableSlot *new);

/*
 * Evaluates a mapping that is held, in a subtransaction of the caller's: throws whatever
 * the view does.  whole: the contact, too; then also throws for an external_id that cannot be
 * one, else such a row is no contact.
 */
extern void contacts_push_mapping_evaluate(Mapping *mapping, TupleTableSlot *slot, bool whole,
										   MappedRow *row);

/* Frees what rows were evaluated to. */
extern void contacts_push_mapping_reset(Mapping *mapping);

#endif							/* CONTACTS_PUSH_MAPPING_H */
