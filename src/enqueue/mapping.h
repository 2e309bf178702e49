/*
 * mapping.h
 *		The view of a watched table, compiled: makes contacts of rows.
 *
 * A mapping is the user's code.  It runs with the rights of the current user, and may
 * raise and do anything, even write the same table.
 */
#ifndef CONTACTS_PUSH_MAPPING_H
#define CONTACTS_PUSH_MAPPING_H

#include "executor/tuptable.h"
#include "utils/relcache.h"
#include "utils/reltrigger.h"

/* Private to mapping.c. */
typedef struct Mapping Mapping;

/* The contact of a row; its memory lasts until contacts_push_mapping_reset(). */
typedef struct MappedRow
{
	bool		is_contact;		/* the view's WHERE holds for the row */
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
 * Finds the mapping of a trigger that watch() has made, or of a clone of one, for rows of an
 * open relation and the current user.  NULL: it has to be made.
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

/* Returns the watched table: the relation, or the root of its partitions. */
extern Oid	contacts_push_mapping_table(const Mapping *mapping);

/* Returns whether the current user may read all columns that the mapping uses. */
extern bool contacts_push_mapping_is_readable(const Mapping *mapping);

/* Compares two versions of a row; runs nobody's code. */
extern MappingChange contacts_push_mapping_compare(const Mapping *mapping, TupleTableSlot *old,
												   TupleTableSlot *new);

/*
 * Evaluates a mapping that the caller holds, in a subtransaction of the caller's, because it
 * throws whatever the view raises.  whole: makes the contact, and throws for an external_id
 * that no contact can have; if not whole, such a row is no contact.
 */
extern void contacts_push_mapping_evaluate(Mapping *mapping, TupleTableSlot *slot, bool whole,
										   MappedRow *row);

/* Returns whether what it calls has been replaced since it was compiled. */
extern bool contacts_push_mapping_is_outdated(const Mapping *mapping);

/* Frees what has been evaluated. */
extern void contacts_push_mapping_reset(Mapping *mapping);

#endif							/* CONTACTS_PUSH_MAPPING_H */
