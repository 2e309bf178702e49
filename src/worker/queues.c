/*
 * queues.c
 *		What a stage of the pass leaves to a later one.
 */
#include "postgres.h"

#include "compat.h"
#include "utils/memutils.h"
#include "worker/queues.h"

void
queue_look(Chatbot *chatbot, const char *external_id, bool sent)
{
	MemoryContext old = MemoryContextSwitchTo(worker.context);
	Look	   *look = palloc(sizeof(Look));

	look->chatbot = chatbot;
	look->external_id = pstrdup(external_id);
	look->sent = sent;
	worker.to_look = lappend(worker.to_look, look);
	MemoryContextSwitchTo(old);
}

bool
queue_has_looks(void)
{
	return worker.to_look != NIL;
}

static int
compare_looks(const ListCell *a, const ListCell *b)
{
	const Look *left = lfirst(a);
	const Look *right = lfirst(b);

	if (left->chatbot != right->chatbot)
		return left->chatbot < right->chatbot ? -1 : 1;
	return strcmp(left->external_id, right->external_id);
}

static void
free_look(Look *look)
{
	pfree(look->external_id);
	pfree(look);
}

/* A contact may have thousands of intents, each of which has it queued. */
List *
queue_take_looks(int max)
{
	MemoryContext old = MemoryContextSwitchTo(worker.context);
	List	   *looks = worker.to_look;
	int			n = 0;
	ListCell   *cell;

	list_sort(looks, compare_looks);
	foreach(cell, looks)
	{
		if (n > 0 && compare_looks(list_nth_cell(looks, n - 1), cell) == 0)
		{
			((Look *) list_nth(looks, n - 1))->sent |= ((Look *) lfirst(cell))->sent;
			free_look(lfirst(cell));
		}
		else
			lfirst(list_nth_cell(looks, n++)) = lfirst(cell);
	}
	looks = list_truncate(looks, n);
	worker.to_look = n > max ? list_copy_tail(looks, max) : NIL;
	MemoryContextSwitchTo(old);
	return list_truncate(looks, max);
}

void
queue_free_looks(List *looks)
{
	ListCell   *cell;

	foreach(cell, looks)
		free_look(lfirst(cell));
	list_free(looks);
}

void
queue_load(int64 seq)
{
	if (worker.nto_load == worker.max_to_load)
	{
		worker.max_to_load = Max(2 * worker.max_to_load, 64);
		worker.to_load = worker.to_load ? repalloc(worker.to_load, worker.max_to_load * sizeof(int64)) :
			MemoryContextAlloc(worker.context, worker.max_to_load * sizeof(int64));
	}
	worker.to_load[worker.nto_load++] = seq;
}

int
queue_take_loads(int64 **seqs)
{
	int			n = worker.nto_load;

	*seqs = palloc(Max(n, 1) * sizeof(int64));
	if (n > 0)
		memcpy(*seqs, worker.to_load, n * sizeof(int64));
	worker.nto_load = 0;
	return n;
}
