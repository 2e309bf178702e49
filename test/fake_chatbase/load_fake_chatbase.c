/*
 * load_fake_chatbase.c
 *		How many contacts a second the stand-in takes, every answer checked.
 *
 * A measurement with the stand-in is only worth something while the stand-in is
 * not what limits it.  Starts a server of its own, sends distinct contacts over
 * a few connections, compares each answer byte by byte with what was sent, and in
 * the end what the server says it holds with what it answered.
 */
#define _GNU_SOURCE				/* pipe2 */
#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "buffer.h"

/* The server's default key. */
#define KEY_HEADER "Authorization: Bearer test-key"

/* What ids look like: this and 16 hexadecimal digits. */
#define ID_PREFIX "contact_"
#define ID_DIGITS 16

typedef struct Load
{
	long		contacts;
	long		batch;
	long		connections;
	long		at_least;		/* contacts a second; 0: whatever it is */
	char	   *url;			/* of the server, without a path */
	uint64_t   *ids;			/* of each contact, as answered */
	atomic_long next;			/* contact that is not sent yet */
	atomic_long failures;		/* requests that weren't answered as they should */
} Load;

typedef struct Server
{
	pid_t		pid;
	int			stdin_fd;		/* closing it ends the server */
} Server;

static double
seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double) now.tv_sec + (double) now.tv_nsec / 1e9;
}

/* The members of contact number n, as they are sent and come back. */
static void
write_members(Buffer *out, long n)
{
	char		text[256];		/* the text is less than 200 bytes */
	int			len;

	len = snprintf(text, sizeof(text),
				   "\"external_id\":\"load_%ld\",\"name\":\"Contact number %ld\","
				   "\"email\":\"contact.%ld@example.com\",\"phonenumber\":\"+1555%07ld\","
				   "\"custom_attributes\":{\"plan\":\"basic\",\"seats\":%ld}", n, n, n, n, n % 50);
	buffer_add(out, text, (size_t) len);
}

static void
write_body(Buffer *out, long first, long n)
{
	long		i;

	out->len = 0;
	buffer_text(out, "{\"users\":[");
	for (i = first; i < first + n; i++)
	{
		buffer_text(out, "{");
		write_members(out, i);
		buffer_text(out, "},");
	}
	buffer_close(out, ']');
	buffer_text(out, "}");
}

/* Moves *at behind the text if that is what comes next. */
static bool
skip_text(const char **at, const char *text, size_t len)
{
	if (strncmp(*at, text, len) != 0)
		return false;
	*at += len;
	return true;
}

static bool
skip_word(const char **at, const char *word)
{
	return skip_text(at, word, strlen(word));
}

static bool
skip_number(const char **at)
{
	size_t		digits = strspn(*at, "0123456789");

	*at += digits;
	return digits > 0;
}

static bool
take_id(const char **at, uint64_t *id)
{
	char		digits[ID_DIGITS + 1];

	if (!skip_word(at, "\"" ID_PREFIX) || strspn(*at, "0123456789abcdef") != ID_DIGITS)
		return false;
	memcpy(digits, *at, ID_DIGITS);
	digits[ID_DIGITS] = '\0';
	*id = strtoull(digits, NULL, 16);
	*at += ID_DIGITS;
	return skip_word(at, "\"");
}

static bool
take_contact(const char **at, Buffer *members, long n, uint64_t *id)
{
	members->len = 0;
	write_members(members, n);
	return skip_word(at, "{\"id\":") && take_id(at, id) &&
		skip_word(at, ",") && skip_text(at, members->data, members->len) &&
		skip_word(at, ",\"created_at\":") && skip_number(at) &&
		skip_word(at, ",\"updated_at\":") && skip_number(at) && skip_word(at, "}");
}

/* True if the answer has the contacts as they were sent; takes their ids. */
static bool
check_answer(Load *load, const char *answer, Buffer *members, long first, long n)
{
	const char *at = answer;
	long		i;

	if (!skip_word(&at, "{\"message\":\"Success\",\"data\":["))
		return false;
	for (i = first; i < first + n; i++)
	{
		if ((i > first && !skip_word(&at, ",")) || !take_contact(&at, members, i, &load->ids[i]))
			return false;
	}
	return strcmp(at, "]}") == 0;
}

static size_t
receive(char *data, size_t size, size_t n, void *arg)
{
	buffer_add(arg, data, size * n);
	return size * n;
}

/* Performs what the handle is set up for; the HTTP status, 0 if there is none. */
static long
perform(CURL *curl, Buffer *answer)
{
	long		status = 0;

	answer->len = 0;
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, receive);
	curl_easy_setopt(curl, CURLOPT_WRITEDATA, answer);
	if (curl_easy_perform(curl) != CURLE_OK)
		return 0;
	buffer_add(answer, "", 1);
	curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
	return status;
}

/* One connection: sends requests until there are no contacts left. */
static void *
send_contacts(void *arg)
{
	Load	   *load = arg;
	Buffer		body = {NULL, 0, 0};
	Buffer		answer = {NULL, 0, 0};
	Buffer		members = {NULL, 0, 0};
	struct curl_slist *headers = curl_slist_append(NULL, KEY_HEADER);
	CURL	   *curl = curl_easy_init();
	char		url[256];
	long		first;

	snprintf(url, sizeof(url), "%s/api/v1/chatbots/load/contacts", load->url);
	headers = curl_slist_append(headers, "Content-Type: application/json");
	headers = curl_slist_append(headers, "Expect:");	/* no round trip for it */
	curl_easy_setopt(curl, CURLOPT_URL, url);
	curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
	curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
	while ((first = atomic_fetch_add(&load->next, load->batch)) < load->contacts)
	{
		long		n = load->contacts - first < load->batch ? load->contacts - first : load->batch;

		write_body(&body, first, n);
		curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body.data);
		curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t) body.len);
		if (perform(curl, &answer) != 200 || !check_answer(load, answer.data, &members, first, n))
			atomic_fetch_add(&load->failures, 1);
	}
	curl_easy_cleanup(curl);
	curl_slist_free_all(headers);
	buffer_free(&body);
	buffer_free(&answer);
	buffer_free(&members);
	return NULL;
}

/* The answer to a GET, ending with a NUL, for buffer_free(); false: none. */
static bool
get(const Load *load, const char *path, Buffer *answer)
{
	CURL	   *curl = curl_easy_init();
	char		url[256];
	long		status;

	memset(answer, 0, sizeof(*answer));
	snprintf(url, sizeof(url), "%s%s", load->url, path);
	curl_easy_setopt(curl, CURLOPT_URL, url);
	status = perform(curl, answer);
	curl_easy_cleanup(curl);
	return status == 200;
}

/* True if the statistics are those of this load and nothing else. */
static bool
check_stats(const Load *load)
{
	long		requests = (load->contacts + load->batch - 1) / load->batch;
	char		expected[256];
	Buffer		answer;
	bool		good;

	snprintf(expected, sizeof(expected),
			 "{\"requests\":%ld,\"by_status\":{\"200\":%ld,\"dropped\":0},"
			 "\"contacts\":%ld,\"created\":%ld,\"in_flight\":0,",
			 requests, requests, load->contacts, load->contacts);
	good = get(load, "/_admin/stats", &answer) && strncmp(answer.data, expected, strlen(expected)) == 0;
	if (!good)
		fprintf(stderr, "statistics: expected %s...\nfound %s\n", expected,
				answer.len > 0 ? answer.data : "nothing");
	buffer_free(&answer);
	return good;
}

/* True if the server holds each contact once, with the id that it answered. */
static bool
check_held(const Load *load, double *took)
{
	double		start = seconds();
	bool	   *seen = must_alloc((size_t) load->contacts * sizeof(bool));
	long		pairs = 0;
	Buffer		answer;
	const char *at;
	bool		good;

	memset(seen, 0, (size_t) load->contacts * sizeof(bool));
	good = get(load, "/_admin/contacts?chatbot=load&brief=1", &answer);
	*took = seconds() - start;
	at = good ? answer.data : "";
	good = good && skip_word(&at, "[");
	while (good && *at != ']')
	{
		char	   *end;
		uint64_t	id;
		long		n;

		good = (pairs == 0 || skip_word(&at, ",")) && skip_word(&at, "[\"load_");
		n = strtol(at, &end, 10);
		at = end;
		good = good && n >= 0 && n < load->contacts && !seen[n] && skip_word(&at, "\",") &&
			take_id(&at, &id) && id == load->ids[n] && skip_word(&at, "]");
		if (good)
			seen[n] = true;
		pairs++;
	}
	buffer_free(&answer);
	free(seen);
	return good && pairs == load->contacts;
}

static int
compare_ids(const void *a, const void *b)
{
	uint64_t	x = *(const uint64_t *) a;
	uint64_t	y = *(const uint64_t *) b;

	return (x > y) - (x < y);
}

/* True if no two contacts have one id.  Sorts them. */
static bool
check_unique(Load *load)
{
	long		i;

	qsort(load->ids, (size_t) load->contacts, sizeof(uint64_t), compare_ids);
	for (i = 1; i < load->contacts; i++)
	{
		if (load->ids[i] == load->ids[i - 1])
			return false;
	}
	return true;
}

/* The child's part of starting the server; does not return. */
static void
become_server(const char *program, int in, int out)
{
	dup2(in, STDIN_FILENO);
	dup2(out, STDOUT_FILENO);
	execl(program, program, "--exit-with-stdin", (char *) NULL);
	fprintf(stderr, "cannot start %s: %s\n", program, strerror(errno));
	_exit(EXIT_FAILURE);
}

/* Starts the server beside this program; false: it doesn't come up. */
static bool
start_server(Server *server, const char *self, Load *load)
{
	const char *slash = strrchr(self, '/');
	int			in[2];
	int			out[2];
	char		program[4096];	/* PATH_MAX of Linux */
	char		line[256] = "";
	FILE	   *stream;

	snprintf(program, sizeof(program), "%.*sfake_chatbase",
			 slash != NULL ? (int) (slash - self + 1) : 0, self);
	if (pipe2(in, O_CLOEXEC) != 0 || pipe2(out, O_CLOEXEC) != 0)
		return false;
	server->pid = fork();
	if (server->pid == 0)
		become_server(slash != NULL ? program : "./fake_chatbase", in[0], out[1]);
	close(in[0]);
	close(out[1]);
	server->stdin_fd = in[1];
	stream = fdopen(out[0], "r");
	if (server->pid < 0 || stream == NULL || fgets(line, sizeof(line), stream) == NULL)
		return false;
	fclose(stream);
	line[strcspn(line, "\n")] = '\0';
	if (strncmp(line, "listening on ", 13) != 0)
		return false;
	load->url = must_strdup(line + 13);
	return true;
}

/* Ends the server; false: it didn't end well.  *cpu: what it has used, seconds. */
static bool
stop_server(const Server *server, double *cpu)
{
	struct rusage usage;
	int			status;

	close(server->stdin_fd);
	if (wait4(server->pid, &status, 0, &usage) != server->pid)
		return false;
	*cpu = (double) (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
		(double) (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* Sends everything; seconds it took. */
static double
run_load(Load *load)
{
	pthread_t  *threads = must_alloc((size_t) load->connections * sizeof(pthread_t));
	double		start = seconds();
	long		started = 0;
	long		i;

	while (started < load->connections &&
		   pthread_create(&threads[started], NULL, send_contacts, load) == 0)
		started++;
	if (started < load->connections)
		atomic_fetch_add(&load->failures, 1);
	for (i = 0; i < started; i++)
		pthread_join(threads[i], NULL);
	free(threads);
	return seconds() - start;
}

/* Ends the program unless the value is a whole number, at least min. */
static long
number_or_exit(const char *text, long min)
{
	char	   *end;
	long		number = strtol(text, &end, 10);

	if (*text == '\0' || *end != '\0' || number < min)
	{
		fprintf(stderr, "load_fake_chatbase: not a number of at least %ld: %s\n", min, text);
		exit(2);				/* as getopt's users do for bad usage */
	}
	return number;
}

static void
take_options(Load *load, int argc, char **argv)
{
	static const struct option names[] = {
		{"contacts", required_argument, NULL, 'n'},
		{"batch", required_argument, NULL, 'b'},
		{"connections", required_argument, NULL, 'c'},
		{"at-least", required_argument, NULL, 'l'},
		{NULL, 0, NULL, 0}
	};
	int			option;

	while ((option = getopt_long(argc, argv, "", names, NULL)) != -1)
	{
		if (option == 'n')
			load->contacts = number_or_exit(optarg, 1);
		else if (option == 'b')
			load->batch = number_or_exit(optarg, 1);
		else if (option == 'c')
			load->connections = number_or_exit(optarg, 1);
		else if (option == 'l')
			load->at_least = number_or_exit(optarg, 0);
		else
		{
			fputs("Usage: load_fake_chatbase [--contacts N] [--batch N] [--connections N] "
				  "[--at-least CONTACTS_A_SECOND]\n", stderr);
			exit(2);			/* as above */
		}
	}
}

/* Says what a check has found, and hands it on. */
static bool
report(bool good, const char *what)
{
	printf("%-6s %s\n", good ? "ok" : "NOT OK", what);
	return good;
}

int
main(int argc, char **argv)
{
	Load		load = {.contacts = 1000000, .batch = 1000, .connections = 4};
	Server		server;
	double		took;
	double		listed = 0;
	double		cpu = 0;
	bool		good = true;

	take_options(&load, argc, argv);
	load.ids = must_alloc((size_t) load.contacts * sizeof(uint64_t));
	memset(load.ids, 0, (size_t) load.contacts * sizeof(uint64_t));
	curl_global_init(CURL_GLOBAL_DEFAULT);
	if (!start_server(&server, argv[0], &load))
	{
		fputs("load_fake_chatbase: the server did not start\n", stderr);
		return EXIT_FAILURE;
	}
	took = run_load(&load);
	good &= report(atomic_load(&load.failures) == 0, "every answer has what was sent");
	good &= report(check_stats(&load), "the statistics agree");
	good &= report(check_held(&load, &listed), "the server holds what it answered");
	good &= report(check_unique(&load), "no id twice");
	good &= report(stop_server(&server, &cpu), "the server ended well");
	printf("%ld contacts in %.2f s over %ld connections, %ld a request: %.0f contacts/s\n",
		   load.contacts, took, load.connections, load.batch, (double) load.contacts / took);
	printf("the server used %.2f s of CPU, %.2f us a contact, the list included; listed in %.2f s\n",
		   cpu, cpu * 1e6 / (double) load.contacts, listed);
	if (load.at_least > 0)
		good &= report((double) load.contacts / took >= (double) load.at_least, "as fast as asked for");
	free(load.ids);
	free(load.url);
	curl_global_cleanup();
	return good ? EXIT_SUCCESS : EXIT_FAILURE;
}
