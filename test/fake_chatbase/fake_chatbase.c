/*
 * fake_chatbase.c
 *		A stand-in for Chatbase's contacts API, for tests and measurements.
 *
 * The command line, and when to end.  What the API answers is in api.c, what
 * tests can ask and set in admin.c; README.md describes both.
 */
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "request.h"
#include "server.h"
#include "store.h"

/* The key that is valid when none is given. */
#define DEFAULT_KEY "test-key"

/* Chatbase documents its limit in requests a second. */
#define DEFAULT_WINDOW_MS 1000

typedef struct Options
{
	ServerOptions server;
	ApiOptions	api;
	long		limit;
	long		window_ms;
	const char *certificate_file;
	const char *certificate_key_file;
	bool		exit_with_stdin;
} Options;

static const char usage[] =
"Usage: fake_chatbase [OPTION]...\n"
"Stands in for the contacts API of Chatbase, on 127.0.0.1, under /api/v1.\n\n"
"  --port N           listen on this port (default 0: a free one)\n"
"  --key KEY          a valid key (repeatable; default " DEFAULT_KEY ")\n"
"  --chatbot ID       a known chatbot (repeatable; default: any id is known)\n"
"  --tls-cert FILE    serve https with this certificate chain (PEM)\n"
"  --tls-key FILE     and this key (PEM)\n"
"  --limit N          requests a window and key (default 0: no limit)\n"
"  --window MS        length of the window (default 1000)\n"
"  --exit-with-stdin  end when stdin does\n"
"  --help             show this\n\n"
"When it is ready it prints a line \"listening on URL\".  It ends on SIGTERM and\n"
"SIGINT.  README.md describes what tests can ask and set under /_admin.\n";

static bool
whole_number(const char *text, long min, long max, long *number)
{
	char	   *end;

	errno = 0;
	*number = strtol(text, &end, 10);
	return errno == 0 && *text != '\0' && *end == '\0' && *number >= min && *number <= max;
}

static void
append(char ***list, int *n, char *item)
{
	*list = must_realloc(*list, (size_t) (*n + 1) * sizeof(char *));
	(*list)[(*n)++] = item;
}

/* Takes one option; false: its value cannot be. */
static bool
take_option(Options *options, int option, char *value)
{
	long		number;

	switch (option)
	{
		case 'p':
			if (!whole_number(value, 0, UINT16_MAX, &number))
				return false;
			options->server.port = (uint16_t) number;
			return true;
		case 'k':
			append(&options->api.keys, &options->api.nkeys, value);
			return *value != '\0';
		case 'b':
			append(&options->api.chatbots, &options->api.nchatbots, value);
			return *value != '\0';
		case 'c':
			options->certificate_file = value;
			return true;
		case 'K':
			options->certificate_key_file = value;
			return true;
		case 'l':
			return whole_number(value, 0, LONG_MAX, &options->limit);
		case 'w':
			return whole_number(value, 1, LONG_MAX, &options->window_ms);
		case 'e':
			options->exit_with_stdin = true;
			return true;
		default:
			return false;
	}
}

/* Ends the program on --help and on anything that is wrong. */
static void
take_options(Options *options, int argc, char **argv)
{
	static const struct option names[] = {
		{"port", required_argument, NULL, 'p'},
		{"key", required_argument, NULL, 'k'},
		{"chatbot", required_argument, NULL, 'b'},
		{"tls-cert", required_argument, NULL, 'c'},
		{"tls-key", required_argument, NULL, 'K'},
		{"limit", required_argument, NULL, 'l'},
		{"window", required_argument, NULL, 'w'},
		{"exit-with-stdin", no_argument, NULL, 'e'},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0}
	};
	bool		good = true;
	int			option;

	while (good && (option = getopt_long(argc, argv, "", names, NULL)) != -1)
	{
		if (option == 'h')
		{
			fputs(usage, stdout);
			exit(EXIT_SUCCESS);
		}
		good = take_option(options, option, optarg);
	}
	if (!good || optind < argc || (options->certificate_file == NULL) != (options->certificate_key_file == NULL))
	{
		fputs(usage, stderr);
		exit(2);				/* as getopt's users do for bad usage */
	}
	if (options->api.nkeys == 0)
		append(&options->api.keys, &options->api.nkeys, DEFAULT_KEY);
}

/* The file's text, for free(); ends the program if it can't be read. */
static char *
read_file(const char *name)
{
	Buffer		text = {NULL, 0, 0};
	FILE	   *file = fopen(name, "r");
	char		block[4096];	/* any size will do */
	size_t		n;

	if (file != NULL)
	{
		while ((n = fread(block, 1, sizeof(block), file)) > 0)
			buffer_add(&text, block, n);
	}
	if (file == NULL || ferror(file))
	{
		fprintf(stderr, "fake_chatbase: cannot read %s: %s\n", name, strerror(errno));
		exit(EXIT_FAILURE);
	}
	fclose(file);
	buffer_add(&text, "", 1);
	return text.data;
}

/* As many descriptors as there may be: every connection needs one. */
static void
raise_descriptors(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0)
	{
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

/*
 * A descriptor that tells of SIGTERM and SIGINT, which no thread gets any more;
 * -1: errno says why not.
 */
static int
watch_signals(void)
{
	sigset_t	signals;

	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	signal(SIGPIPE, SIG_IGN);
	pthread_sigmask(SIG_BLOCK, &signals, NULL);
	return signalfd(-1, &signals, SFD_CLOEXEC);
}

/* Returns when it is time to end. */
static void
wait_for_end(int signal_fd, bool with_stdin)
{
	struct pollfd fds[2] = {
		{.fd = signal_fd, .events = POLLIN},
		{.fd = with_stdin ? STDIN_FILENO : -1, .events = POLLIN}
	};
	char		ignored[4096];	/* any size will do */

	for (;;)
	{
		if (poll(fds, 2, -1) < 0 && errno != EINTR)
			return;
		if (fds[0].revents != 0)
			return;
		if (fds[1].revents != 0 && read(STDIN_FILENO, ignored, sizeof(ignored)) <= 0)
			return;
	}
}

/* False: it has said on stderr why it can't. */
static bool
start(Options *options, int *signal_fd)
{
	bool		tls = options->certificate_file != NULL;
	char	   *certificate = tls ? read_file(options->certificate_file) : NULL;
	char	   *key = tls ? read_file(options->certificate_key_file) : NULL;
	uint16_t	port = 0;

	options->server.certificate = certificate;
	options->server.certificate_key = key;
	raise_descriptors();
	journal_start();
	config_start(options->limit, options->window_ms);
	api_start(&options->api);
	*signal_fd = watch_signals();
	if (*signal_fd < 0 || !holding_start())
		perror("fake_chatbase: cannot start");
	else if ((port = server_start(&options->server)) == 0)
		holding_stop();
	free(certificate);
	free(key);
	if (port == 0)
		return false;
	printf("listening on %s://127.0.0.1:%u\n", tls ? "https" : "http", port);
	fflush(stdout);
	return true;
}

int
main(int argc, char **argv)
{
	Options		options;
	int			signal_fd;

	memset(&options, 0, sizeof(options));
	options.window_ms = DEFAULT_WINDOW_MS;
	take_options(&options, argc, argv);
	if (!start(&options, &signal_fd))
		return EXIT_FAILURE;

	wait_for_end(signal_fd, options.exit_with_stdin);
	holding_stop();
	server_stop();
	faults_clear();
	config_stop();
	rate_reset();
	journal_reset();
	store_reset();
	free(options.api.keys);
	free(options.api.chatbots);
	close(signal_fd);
	return EXIT_SUCCESS;
}
