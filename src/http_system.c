/*
 * http_system.c
 *		The clock, the signal mask and descriptors, as http.c needs them.
 *
 * A part of http.c that needs no libcurl.
 */
#include "http_system.h"

#include <fcntl.h>
#include <pthread.h>
#include <time.h>

int64_t
http_system_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t) now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

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
