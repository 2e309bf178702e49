/*
 * queues.c
 *		What a stage of the pass leaves to a later one.
 */
#include "postgres.h"

#include "compat.h"
#include "utils/memutils.h"
#include "worker/queues.h"

static Look *
add_look(Chatbot *chatbot, const char *external_id)
{
	MemoryContext old = MemoryContextSwitchTo(worker.context);
	Look	   *look = palloc0(sizeof(Look));

	look->chatbot = chatbot;
	look->external_id = pstrdup(external_id);
	worker.to_look = lappend(worker.to_look, look);
	MemoryContextSwitchTo(old);
	return look;
}

void
queue_look(Chatbot *chatbot, const char *external_id, bool sent)
{
	add_look(chatbot, external_id)->sent = sent;
}

void
queue_look_asked(Chatbot *chatbot, const char *external_id)
{
	add_look(chatbot, external_id)->is_asked = true;
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
			Look	   *first = list_nth(looks, n - 1);

			first->sent |= ((Look *) lfirst(cell))->sent;
			first->is_asked |= ((Look *) lfirst(cell))->is_asked;
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
queue_load(const Load *load)
{
	MemoryContext old = MemoryContextSwitchTo(worker.context);
	Load	   *copy;

	if (worker.nto_load == worker.max_to_load)
	{
		worker.max_to_load = Max(2 * worker.max_to_load, 64);
		worker.to_load = worker.to_load ? repalloc_huge(worker.to_load, worker.max_to_load * sizeof(Load)) :
			palloc(worker.max_to_load * sizeof(Load));
	}
	copy = &worker.to_load[worker.nto_load++];
	*copy = *load;
	if (load->previous)
		copy->previous = pstrdup(load->previous);
	if (load->sent_members)
		copy->sent_members = DatumGetByteaPCopy(PointerGetDatum(load->sent_members));
	MemoryContextSwitchTo(old);
}

static int
compare_loads(const void *a, const void *b)
{
	int64		left = ((const Load *) a)->seq;
	int64		right = ((const Load *) b)->seq;

	return left < right ? -1 : left > right;
}

int
queue_take_loads(Load **loads)
{
	int			n = worker.nto_load;

	*loads = palloc(Max(n, 1) * sizeof(Load));
	if (n > 0)
		memcpy(*loads, worker.to_load, n * sizeof(Load));
	qsort(*loads, n, sizeof(Load), compare_loads);
	worker.nto_load = 0;
	return n;
}

void
queue_free_loads(Load *loads, int n)
{
	for (int i = 0; i < n; i++)
	{
		if (loads[i].previous)
			pfree(loads[i].previous);
		if (loads[i].sent_members)
			pfree(loads[i].sent_members);
	}
	pfree(loads);
}
