/*
 * blocks.h
 *		Rows of a user's table, block by block.
 */
#ifndef CONTACTS_PUSH_BLOCKS_H
#define CONTACTS_PUSH_BLOCKS_H

#include "storage/block.h"
#include "utils/relcache.h"
#include "utils/tuplestore.h"

/*
 * The rows of a table from one block up to another that the active snapshot sees; the
 * caller ends the tuplestore.  Neither rights nor policies are looked at.
 */
extern Tuplestorestate *blocks_read(Relation table, BlockNumber from, BlockNumber to);

#endif							/* CONTACTS_PUSH_BLOCKS_H */
