/*
 * scripted_server.h
 *		An HTTP server on a loopback port that answers byte for byte as told.
 *
 * For test_http.c.  Requests take the steps of the script in the order in which
 * they arrive, whatever connection they come by; each connection has a thread.
 * What was seen is read with the accessors, which wait for what must come.
 */
#ifndef CONTACTS_PUSH_SCRIPTED_SERVER_H
#define CONTACTS_PUSH_SCRIPTED_SERVER_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define MAX_REQUESTS 256

typedef enum After
{
	KEEP,						/* the next request on the same connection */
	CLOSE,						/* end of file */
	HOLD						/* nothing until the client has hung up */
} After;

typedef struct Step
{
	const char *answer;			/* sent as it is */
	size_t		len;
	After		after;
	int			wait_for;		/* requests to have arrived before it is sent */
} Step;

typedef struct Server
{
	int			listener;
	int			port;
	pthread_t	thread;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	const Step *steps;
	int			nsteps;
	bool		stopping;
	int			accepts;
	int			connections;	/* whose threads still run */
	int			arrived;		/* requests */
	int			hangups;		/* of clients, while held */
	char	   *requests[MAX_REQUESTS]; /* head and body */
	size_t		lengths[MAX_REQUESTS];
} Server;

typedef struct Connection
{
	Server	   *server;
	int			fd;
} Connection;

static inline void
fail_setup(const char *what)
{
	perror(what);
	exit(2);
}

/* Reads one request, malloc'd and terminated; NULL at the end of the connection. */
static inline char *
read_request(int fd, size_t *len)
{
	size_t		allocated = 65536;
	size_t		wanted = 0;
	char	   *text = malloc(allocated);

	*len = 0;
	while (text != NULL && (wanted == 0 || *len < wanted))
	{
		ssize_t		n = recv(fd, text + *len, allocated - *len - 1, 0);
		char	   *end;
		char	   *length;

		if (n <= 0)
		{
			free(text);
			return NULL;
		}
		*len += n;
		text[*len] = '\0';
		if (wanted == 0 && (end = strstr(text, "\r\n\r\n")) != NULL)
		{
			length = strstr(text, "Content-Length: ");
			wanted = end + 4 - text;
			if (length != NULL && length < end)
				wanted += strtoul(length + strlen("Content-Length: "), NULL, 10);
		}
		if (allocated - *len < 32768)
			text = realloc(text, allocated *= 2);
	}
	if (text == NULL)
		fail_setup("out of memory");
	return text;
}

static inline void
send_all(int fd, const char *data, size_t len)
{
	while (len > 0)
	{
		ssize_t		n = send(fd, data, len, MSG_NOSIGNAL);

		if (n <= 0)
			return;				/* the client may well have hung up */
		data += n;
		len -= n;
	}
}

/* Notes a request and finds its step; requests beyond the script are only noted. */
static inline const Step *
take_step(Server *server, char *text, size_t len)
{
	int			n;

	pthread_mutex_lock(&server->lock);
	n = server->arrived++;
	if (n >= MAX_REQUESTS)
		fail_setup("too many requests");
	server->requests[n] = text;
	server->lengths[n] = len;
	pthread_cond_broadcast(&server->changed);
	if (n < server->nsteps)
	{
		while (server->arrived < server->steps[n].wait_for && !server->stopping)
			pthread_cond_wait(&server->changed, &server->lock);
	}
	pthread_mutex_unlock(&server->lock);
	return n < server->nsteps ? &server->steps[n] : NULL;
}

static inline void *
serve_connection(void *arg)
{
	Connection	connection = *(Connection *) arg;
	Server	   *server = connection.server;
	bool		hung_up = false;
	size_t		len;
	char	   *text;

	free(arg);
	while ((text = read_request(connection.fd, &len)) != NULL)
	{
		const Step *step = take_step(server, text, len);
		char		byte;

		if (step != NULL)
			send_all(connection.fd, step->answer, step->len);
		if (step != NULL && step->after == KEEP)
			continue;
		if (step != NULL && step->after == HOLD)
		{
			while (recv(connection.fd, &byte, 1, 0) > 0)
				;
			hung_up = true;
		}
		break;
	}
	close(connection.fd);
	pthread_mutex_lock(&server->lock);
	server->connections--;
	server->hangups += hung_up;
	pthread_cond_broadcast(&server->changed);
	pthread_mutex_unlock(&server->lock);
	return NULL;
}

static inline void *
accept_connections(void *arg)
{
	Server	   *server = arg;
	int			fd;

	while ((fd = accept(server->listener, NULL, NULL)) >= 0)
	{
		Connection *connection = malloc(sizeof(Connection));
		pthread_t	thread;

		if (connection == NULL)
			fail_setup("out of memory");
		connection->server = server;
		connection->fd = fd;
		pthread_mutex_lock(&server->lock);
		server->accepts++;
		server->connections++;
		pthread_mutex_unlock(&server->lock);
		if (pthread_create(&thread, NULL, serve_connection, connection) != 0)
			fail_setup("pthread_create");
		pthread_detach(thread);
	}
	return NULL;
}

/* A socket bound to a free loopback port; nobody listens yet. */
static inline int
bind_loopback(int *port)
{
	struct sockaddr_in address = {.sin_family = AF_INET};
	socklen_t	len = sizeof(address);
	int			fd = socket(AF_INET, SOCK_STREAM, 0);

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (fd < 0 || bind(fd, (struct sockaddr *) &address, len) != 0 ||
		getsockname(fd, (struct sockaddr *) &address, &len) != 0)
		fail_setup("bind");
	*port = ntohs(address.sin_port);
	return fd;
}

/* The script must outlive the server. */
static inline void
server_start(Server *server, const Step *steps, int nsteps)
{
	memset(server, 0, sizeof(*server));
	server->steps = steps;
	server->nsteps = nsteps;
	pthread_mutex_init(&server->lock, NULL);
	pthread_cond_init(&server->changed, NULL);
	server->listener = bind_loopback(&server->port);
	if (listen(server->listener, 64) != 0 ||
		pthread_create(&server->thread, NULL, accept_connections, server) != 0)
		fail_setup("listen");
}

/* Waits until *counter, a member of the server, has reached n. */
static inline void
server_wait(Server *server, const int *counter, int n)
{
	pthread_mutex_lock(&server->lock);
	while (*counter < n)
		pthread_cond_wait(&server->changed, &server->lock);
	pthread_mutex_unlock(&server->lock);
}

/* A counter as it is now. */
static inline int
server_count(Server *server, const int *counter)
{
	int			n;

	pthread_mutex_lock(&server->lock);
	n = *counter;
	pthread_mutex_unlock(&server->lock);
	return n;
}

/* To be called when the client has closed its connections: waits for that. */
static inline void
server_stop(Server *server)
{
	pthread_mutex_lock(&server->lock);
	server->stopping = true;
	pthread_cond_broadcast(&server->changed);
	pthread_mutex_unlock(&server->lock);
	shutdown(server->listener, SHUT_RDWR);
	pthread_join(server->thread, NULL);
	close(server->listener);
	pthread_mutex_lock(&server->lock);
	while (server->connections > 0)
		pthread_cond_wait(&server->changed, &server->lock);
	pthread_mutex_unlock(&server->lock);
	for (int i = 0; i < server->arrived; i++)
		free(server->requests[i]);
	pthread_cond_destroy(&server->changed);
	pthread_mutex_destroy(&server->lock);
}

#endif							/* CONTACTS_PUSH_SCRIPTED_SERVER_H */
