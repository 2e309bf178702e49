/*
 * http_system.c
 *		The signal mask and descriptors, as http.c needs them.
 *
 * A part of http.c that needs no libcurl.
 */
#include "chatbase/http_system.h"

#include <fcntl.h>
#include <pthread.h>

void
http_system_block(sigset_t *saved)
{
	sigset_t	all;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, saved);
}

void
http_system_restore(const sigset_t *saved)
{
	pthread_sigmask(SIG_SETMASK, saved, NULL);
}

void
http_system_close_on_exec(int fd)
{
	/* best effort: a socket without it works as well */
	(void) fcntl(fd, F_SETFD, FD_CLOEXEC);
}
