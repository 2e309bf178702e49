/*
 * first.c
 *		Has the address sanitizer begin before anything else in a process does.
 *
 * Preloaded into a server it begins with the first malloc(), which some library's
 * constructor may call below bindtextdomain().  There its look-up of a symbol that is
 * missing takes the C library's lock for messages again, and the process stands still.
 * So this library is linked to be initialized first (ld -z initfirst).
 */
#include <stdlib.h>

__attribute__((constructor)) static void
begin(void)
{
	free(malloc(1));
}
