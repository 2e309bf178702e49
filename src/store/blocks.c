/*
 * blocks.c
 *		Rows of a user's table, block by block.
 */
#include "postgres.h"

#include "access/tableam.h"
#include "compat.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "storage/itemptr.h"
#include "store/blocks.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

Tuplestorestate *
blocks_read(Relation table, BlockNumber from, BlockNumber to)
{
	Tuplestorestate *rows = tuplestore_begin_heap(false, false, work_mem);
	TupleTableSlot *slot = table_slot_create(table, NULL);
	ItemPointerData first;
	ItemPointerData last;
	TableScanDesc scan;

	ItemPointerSet(&first, from, 0);
	ItemPointerSet(&last, to - 1, MaxOffsetNumber);
	scan = compat_beginscan_tidrange(table, GetActiveSnapshot(), &first, &last);
	while (table_scan_getnextslot_tidrange(scan, ForwardScanDirection, slot))
	{
		CHECK_FOR_INTERRUPTS();
		tuplestore_puttupleslot(rows, slot);
	}
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	return rows;
}
