/*
 * http_sockets.c
 *		The sockets of a pool that are to be watched.
 *
 * A part of http.c that needs no libcurl.
 */
#include "chatbase/http_sockets.h"

#include <stdlib.h>

/* Its place, or that behind the last one. */
static int
find(const HttpSockets *set, int fd)
{
	int			i = 0;

	while (i < set->n && set->sockets[i].fd != fd)
		i++;
	return i;
}

bool
http_sockets_watch(HttpSockets *set, int fd, bool readable, bool writable)
{
	int			i = find(set, fd);

	set->generation++;
	if (i == set->allocated)
	{
		int			n = set->allocated ? set->allocated * 2 : 8;
		HttpSocket *larger = realloc(set->sockets, n * sizeof(HttpSocket));

		if (larger == NULL)
			return false;
		set->sockets = larger;
		set->allocated = n;
	}
	if (i == set->n)
		set->n++;
	set->sockets[i].fd = fd;
	set->sockets[i].readable = readable;
	set->sockets[i].writable = writable;
	return true;
}

void
http_sockets_forget(HttpSockets *set, int fd)
{
	int			i = find(set, fd);

	set->generation++;
	if (i < set->n)
		set->sockets[i] = set->sockets[--set->n];
}
