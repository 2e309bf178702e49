/*
 * due.c
 *		When rows that wait for another attempt are due.
 *
 * They are read in reading.c.
 */
#include "postgres.h"

#include "compat.h"
#include "util/clock.h"
#include "worker/due.h"

static int64 next_at = PG_INT64_MAX;

void
due_forget(void)
{
	ListCell   *cell;

	next_at = PG_INT64_MAX;
	foreach(cell, window_chatbots())
		((Chatbot *) lfirst(cell))->next_due_at = PG_INT64_MAX;
}

void
due_take(Chatbot *chatbot, bool is_due, int64 next_due_at)
{
	chatbot->due |= is_due;
	chatbot->next_due_at = Min(chatbot->next_due_at, next_due_at);
	next_at = Min(next_at, next_due_at);
}

void
due_note(Chatbot *chatbot, int64 delay_ms)
{
	due_take(chatbot, false, clock_us() + delay_ms * 1000);
}

int64
due_next_at(void)
{
	return next_at;
}

bool
due_exists(const Chatbot *chatbot)
{
	return chatbot->due || chatbot->next_due_at != PG_INT64_MAX;
}
