/*
 * hanging_resolver.h
 *		A resolver that hangs for one name, hang.test, to break a request off in it.
 *
 * Takes the place of the C library's getaddrinfo(), which it calls for other names.
 */
#ifndef CONTACTS_PUSH_HANGING_RESOLVER_H
#define CONTACTS_PUSH_HANGING_RESOLVER_H

#include <dlfcn.h>
#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>

static pthread_mutex_t resolver_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t resolver_changed = PTHREAD_COND_INITIALIZER;
static int	resolver_entered;
static int	resolver_left;
static bool resolver_released;
static bool resolver_open_to_signals;

int
getaddrinfo(const char *restrict node, const char *restrict service,
			const struct addrinfo *restrict hints, struct addrinfo **restrict result)
{
	static int	(*real) (const char *, const char *, const struct addrinfo *,
						 struct addrinfo **);
	sigset_t	mask;

	if (node == NULL || strcmp(node, "hang.test") != 0)
	{
		*(void **) &real = dlsym(RTLD_NEXT, "getaddrinfo");
		return real(node, service, hints, result);
	}
	pthread_sigmask(SIG_BLOCK, NULL, &mask);
	pthread_mutex_lock(&resolver_lock);
	if (!sigismember(&mask, SIGTERM) || !sigismember(&mask, SIGUSR1))
		resolver_open_to_signals = true;
	resolver_entered++;
	pthread_cond_broadcast(&resolver_changed);
	while (!resolver_released)
		pthread_cond_wait(&resolver_changed, &resolver_lock);
	resolver_left++;
	pthread_cond_broadcast(&resolver_changed);
	pthread_mutex_unlock(&resolver_lock);
	return EAI_FAIL;
}

static void
resolver_wait(const int *counter, int n)
{
	pthread_mutex_lock(&resolver_lock);
	while (*counter < n)
		pthread_cond_wait(&resolver_changed, &resolver_lock);
	pthread_mutex_unlock(&resolver_lock);
}

#endif							/* CONTACTS_PUSH_HANGING_RESOLVER_H */
