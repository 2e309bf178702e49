/*
 * quarantine.c
 *		Makes the address sanitizer see memory that was given back with pfree().
 *
 * A memory context takes its chunks out of larger blocks, which stay allocated: what
 * reads a chunk after pfree() reads valid memory as far as the sanitizer knows.  So
 * calls of pfree() from the extension are wrapped (ld --wrap).  A chunk of one of the
 * contexts that live as long as the worker is made unreadable, and really given back
 * only when many others have followed it.  Chunks of other contexts pass through: the
 * server may reset a context at any time and give its blocks to the next one.
 */
#include "postgres.h"

#include <sanitizer/asan_interface.h>

#include "utils/memutils.h"

/* Chunks kept unreadable; what they hold is some megabytes. */
#define KEPT 65536

/* No version's chunk header is larger. */
#define CHUNK_HEADER 16

extern void __real_pfree(void *pointer);
extern void __wrap_pfree(void *pointer);

static void *kept[KEPT];
static int	next = 0;

static bool
lives_as_long_as_worker(MemoryContext context)
{
	return strcmp(context->name, "contacts_push window") == 0 ||
		strcmp(context->name, "contacts_push worker") == 0;
}

static size_t
usable(void *pointer)
{
	return GetMemoryChunkSpace(pointer) - CHUNK_HEADER;
}

void
__wrap_pfree(void *pointer)
{
	if (!lives_as_long_as_worker(GetMemoryChunkContext(pointer)))
	{
		__real_pfree(pointer);
		return;
	}
	if (kept[next])
	{
		ASAN_UNPOISON_MEMORY_REGION(kept[next], usable(kept[next]));
		__real_pfree(kept[next]);
	}
	ASAN_POISON_MEMORY_REGION(pointer, usable(pointer));
	kept[next] = pointer;
	next = (next + 1) % KEPT;
}
