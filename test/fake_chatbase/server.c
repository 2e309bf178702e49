/*
 * server.c
 *		Listens, receives requests whole, and hands each to its kind.
 *
 * What a request is answered is decided in api.c and admin.c, but for paths that
 * are neither's.
 */
#include "server.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "request.h"
#include "store.h"

/*
 * Threads that serve.  Connections are spread over them by chance, so twice as
 * many as the two cores that the stand-in is measured on keep one core from
 * getting all the work.
 */
#define THREADS 4

/* Thousands of requests may be held at once; the descriptors limit it further. */
#define MAX_CONNECTIONS 20000

/* A connection's buffer: bodies of some 200 kB arrive in few pieces. */
#define CONNECTION_MEMORY ((size_t) 128 * 1024)

/* Larger announced bodies grow as they come instead of being believed. */
#define BODY_BELIEVED ((size_t) 64 * 1024 * 1024)

/* The paths of the API (openapi.yaml, servers and paths) and of the admin side. */
#define CHATBOTS "/api/v1/chatbots/"
#define CONTACTS "/contacts"
#define ATTRIBUTES "/custom-attributes"
#define ADMIN "/_admin/"

static struct MHD_Daemon *httpd;

/* From here on the library's messages are about what faults were asked for. */
static atomic_bool serving;

static int
hex_digit(char c)
{
	if (!isxdigit((unsigned char) c))
		return -1;
	return isdigit((unsigned char) c) ? c - '0' : tolower((unsigned char) c) - 'a' + 10;
}

char *
percent_decode(const char *text, size_t len)
{
	char	   *decoded = must_alloc(len + 1);
	size_t		out = 0;
	size_t		i;

	for (i = 0; i < len; i++)
	{
		char		c = text[i];

		if (c == '%')
		{
			int			high = i + 2 < len ? hex_digit(text[i + 1]) : -1;
			int			low = high >= 0 ? hex_digit(text[i + 2]) : -1;

			if (low < 0 || (high == 0 && low == 0))
			{
				free(decoded);
				return NULL;
			}
			c = (char) (high * 16 + low);
			i += 2;
		}
		decoded[out++] = c;
	}
	decoded[out] = '\0';
	return decoded;
}

/* What a path of the API is about. */
typedef enum Subject
{
	OF_CONTACTS,
	OF_CONTACT,
	OF_SCHEMA
} Subject;

/*
 * The chatbot of a path to its contacts or its custom attributes, and the external_id of one to
 * a contact, for free().  False: another path.
 */
static bool
split_path(const char *path, char **chatbot, char **external_id, Subject *subject)
{
	const char *segment = path + strlen(CHATBOTS);
	const char *rest;
	size_t		len;

	*chatbot = *external_id = NULL;
	if (strncmp(path, CHATBOTS, strlen(CHATBOTS)) != 0)
		return false;
	len = strcspn(segment, "/");
	rest = segment + len + strlen(CONTACTS);
	if (len > 0 && strcmp(segment + len, ATTRIBUTES) == 0)
	{
		*subject = OF_SCHEMA;
		*chatbot = percent_decode(segment, len);
		return *chatbot != NULL;
	}
	if (len == 0 || strncmp(segment + len, CONTACTS, strlen(CONTACTS)) != 0)
		return false;
	if (*rest == '/' && rest[1] != '\0' && strchr(rest + 1, '/') == NULL)
		*external_id = percent_decode(rest + 1, strlen(rest + 1));
	*subject = *external_id != NULL ? OF_CONTACT : OF_CONTACTS;
	if (*rest == '\0' || *external_id != NULL)
		*chatbot = percent_decode(segment, len);
	return *chatbot != NULL;
}

/* Which call of the API the method is.  False: none. */
static bool
find_call(const char *method, Subject subject, ApiCall *call)
{
	static const struct
	{
		const char *method;
		Subject		subject;
		ApiCall		call;
	}			calls[] = {
		{MHD_HTTP_METHOD_POST, OF_CONTACTS, CALL_CREATE},
		{MHD_HTTP_METHOD_GET, OF_CONTACTS, CALL_LIST},
		{MHD_HTTP_METHOD_GET, OF_CONTACT, CALL_GET},
		{MHD_HTTP_METHOD_PATCH, OF_CONTACT, CALL_UPDATE},
		{MHD_HTTP_METHOD_DELETE, OF_CONTACT, CALL_DELETE},
		{MHD_HTTP_METHOD_GET, OF_SCHEMA, CALL_LIST_ATTRIBUTES},
		{MHD_HTTP_METHOD_POST, OF_SCHEMA, CALL_CREATE_ATTRIBUTE},
	};
	size_t		i;

	for (i = 0; i < sizeof(calls) / sizeof(calls[0]); i++)
	{
		if (strcmp(calls[i].method, method) == 0 && calls[i].subject == subject)
		{
			*call = calls[i].call;
			return true;
		}
	}
	return false;
}

/* The path as the log has it: with the page that is asked for. */
static char *
logged_path(struct MHD_Connection *connection, const char *path)
{
	const char *page = MHD_lookup_connection_value(connection, MHD_GET_ARGUMENT_KIND, "page");
	const char *per_page = MHD_lookup_connection_value(connection, MHD_GET_ARGUMENT_KIND, "per_page");
	Buffer		text = {NULL, 0, 0};

	buffer_text(&text, path);
	if (page != NULL || per_page != NULL)
		buffer_printf(&text, "?page=%s&per_page=%s", page != NULL ? page : "", per_page != NULL ? per_page : "");
	buffer_add(&text, "", 1);
	return text.data;
}

static void
reserve_body(Request *request)
{
	const char *value = MHD_lookup_connection_value(request->connection, MHD_HEADER_KIND,
													MHD_HTTP_HEADER_CONTENT_LENGTH);
	unsigned long long len = value != NULL ? strtoull(value, NULL, 10) : 0;

	if (len > 0 && len <= BODY_BELIEVED)
		buffer_reserve(&request->body, (size_t) len);
}

/* A request's headers have arrived. */
static Request *
request_begin(struct MHD_Connection *connection, const char *path, const char *method)
{
	Request    *request = must_alloc(sizeof(*request));
	Subject		subject = OF_CONTACTS;
	char	   *logged;
	bool		authorization = MHD_lookup_connection_value(connection, MHD_HEADER_KIND,
															MHD_HTTP_HEADER_AUTHORIZATION) != NULL;

	memset(request, 0, sizeof(*request));
	request->connection = connection;
	request->method = must_strdup(method);
	request->path = must_strdup(path);
	request->route = ROUTE_ELSEWHERE;
	if (strncmp(path, ADMIN, strlen(ADMIN)) == 0)
		request->route = ROUTE_ADMIN;
	else if (split_path(path, &request->chatbot, &request->external_id, &subject) &&
			 find_call(method, subject, &request->call))
		request->route = ROUTE_CONTACTS;
	if (request->route != ROUTE_ADMIN)
	{
		request->store_epoch = store_epoch();
		logged = logged_path(connection, path);
		request->journal = journal_begin(method, logged, request->route == ROUTE_CONTACTS ? request->chatbot : NULL,
										 authorization);
		free(logged);
	}
	reserve_body(request);
	return request;
}

static enum MHD_Result
elsewhere_go_on(Request *request)
{
	if (request->chatbot != NULL)
	{
		answer_message(&request->answer, 405, "Method not allowed");
		answer_header(&request->answer, MHD_HTTP_HEADER_ALLOW,
					  request->external_id != NULL ? "DELETE, GET, PATCH" : "GET, POST");
	}
	else
		answer_message(&request->answer, 404, "Resource not found");
	journal_finish(&request->journal, request->answer.status);
	return answer_send(&request->answer, request->connection);
}

static enum MHD_Result
handle(void *arg, struct MHD_Connection *connection, const char *path, const char *method,
	   const char *version, const char *data, size_t *len, void **place)
{
	Request    *request = *place;

	(void) arg;
	(void) version;
	if (request == NULL)
	{
		*place = request_begin(connection, path, method);
		return MHD_YES;
	}
	if (*len > 0)
	{
		buffer_add(&request->body, data, *len);
		*len = 0;
		return MHD_YES;
	}
	switch (request->route)
	{
		case ROUTE_CONTACTS:
			return api_go_on(request);
		case ROUTE_ADMIN:
			return admin_go_on(request);
		case ROUTE_ELSEWHERE:
			break;
	}
	return elsewhere_go_on(request);
}

/* A request has ended, however. */
static void
request_end(void *arg, struct MHD_Connection *connection, void **place,
			enum MHD_RequestTerminationCode code)
{
	Request    *request = *place;

	(void) arg;
	(void) connection;
	(void) code;
	if (request == NULL)
		return;
	if (request->route == ROUTE_CONTACTS)
		api_end(request);
	journal_finish(&request->journal, 0);
	answer_free(&request->answer);
	batch_release(request->batch);
	faults_release(request->rules);
	config_release(request->config);
	buffer_free(&request->body);
	free(request->chatbot);
	free(request->external_id);
	free(request->method);
	free(request->path);
	free(request);
	*place = NULL;
}

static void
connection_changed(void *arg, struct MHD_Connection *connection, void **place,
				   enum MHD_ConnectionNotificationCode code)
{
	(void) arg;
	(void) connection;
	(void) place;
	if (code == MHD_CONNECTION_NOTIFY_STARTED)
		journal_connection();
}

/* Leaves a path as it came: an encoded slash doesn't part segments. */
static size_t
leave_escaped(void *arg, struct MHD_Connection *connection, char *text)
{
	(void) arg;
	(void) connection;
	return strlen(text);
}

static void
say(void *arg, const char *format, va_list args)
{
	(void) arg;
	if (!atomic_load(&serving))
		vfprintf(stderr, format, args);
}

/*
 * A socket that listens; -1: errno says why not.  Made here and not by the
 * library, whose way of using an address again lets two servers share a port.
 */
static int
listen_on(uint16_t port, uint16_t *actual)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
	socklen_t	len = sizeof(address);
	int			on = 1;
	int			fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (fd >= 0 &&
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0 &&
		bind(fd, (struct sockaddr *) &address, sizeof(address)) == 0 &&
		listen(fd, SOMAXCONN) == 0 &&
		getsockname(fd, (struct sockaddr *) &address, &len) == 0)
	{
		*actual = ntohs(address.sin_port);
		return fd;
	}
	if (fd >= 0)
		close(fd);
	return -1;
}

uint16_t
server_start(const ServerOptions *options)
{
	unsigned int flags = MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG;
	struct MHD_OptionItem tls[] = {
		{MHD_OPTION_HTTPS_MEM_CERT, 0, (void *) options->certificate},
		{MHD_OPTION_HTTPS_MEM_KEY, 0, (void *) options->certificate_key},
		{MHD_OPTION_END, 0, NULL}
	};
	uint16_t	port = 0;
	int			fd = listen_on(options->port, &port);

	if (fd < 0)
	{
		perror("fake_chatbase: cannot listen on 127.0.0.1");
		return 0;
	}
	if (options->certificate != NULL)
		flags |= MHD_USE_TLS;
	else
		tls[0].option = MHD_OPTION_END;
	httpd = MHD_start_daemon(flags, 0, NULL, NULL, handle, NULL,
							   MHD_OPTION_EXTERNAL_LOGGER, say, NULL,
							   MHD_OPTION_LISTEN_SOCKET, fd,
							   MHD_OPTION_THREAD_POOL_SIZE, (unsigned int) THREADS,
							   MHD_OPTION_CONNECTION_LIMIT, (unsigned int) MAX_CONNECTIONS,
							   MHD_OPTION_CONNECTION_MEMORY_LIMIT, CONNECTION_MEMORY,
							   MHD_OPTION_CONNECTION_TIMEOUT, 0U,	/* none */
							   MHD_OPTION_UNESCAPE_CALLBACK, leave_escaped, NULL,
							   MHD_OPTION_NOTIFY_COMPLETED, request_end, NULL,
							   MHD_OPTION_NOTIFY_CONNECTION, connection_changed, NULL,
							   MHD_OPTION_ARRAY, tls,
							   MHD_OPTION_END);
	if (httpd == NULL)
	{
		fputs("fake_chatbase: cannot start (see above; a bad certificate or key?)\n", stderr);
		close(fd);
		return 0;
	}
	atomic_store(&serving, true);
	return port;
}

void
server_stop(void)
{
	MHD_stop_daemon(httpd);
}
