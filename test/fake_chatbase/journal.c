/*
 * journal.c
 *		The statistics and the log; see journal.h for what must not enter here.
 */
#include "journal.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

/* Requests that the log keeps, and the size of request up to which it keeps the
 * external_ids: the contract of the admin side. */
#define LOG_LINES 10000
#define LOG_CONTACTS 5

/* Status of a line whose request is not answered yet. */
#define STATUS_OPEN (-1)

/* HTTP statuses are below. */
#define STATUS_END 1000

typedef struct LogLine
{
	long		number;
	int64_t		at_us;			/* since the start */
	char	   *method;
	char	   *path;
	char	   *chatbot;		/* NULL: none */
	char	   *external_ids;	/* JSON array, NULL: not kept */
	size_t		contacts;
	int			status;
	int			key;			/* which one of those that are valid, from 1; 0: none of them */
	bool		authorization;
} LogLine;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int64_t started_us;		/* on the monotonic clock */
static int64_t started_at_us;	/* since 1970 */

/* All below is under the lock. */
static LogLine lines[LOG_LINES];	/* line n is at n % LOG_LINES */
static uint64_t last_line;
static uint64_t epoch_now = 1;
static long requests;
static uint64_t created;
static uint64_t connections;
static uint64_t keys_elsewhere;
static uint64_t by_status[STATUS_END];	/* 0: dropped */
static long in_flight;
static long max_in_flight;

static int64_t
clock_us(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (int64_t) now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

void
journal_start(void)
{
	started_us = clock_us(CLOCK_MONOTONIC);
	started_at_us = clock_us(CLOCK_REALTIME);
}

static void
line_clear(LogLine *line)
{
	free(line->method);
	free(line->path);
	free(line->chatbot);
	free(line->external_ids);
	memset(line, 0, sizeof(*line));
}

JournalEntry
journal_begin(const char *method, const char *path, const char *chatbot, bool authorization)
{
	JournalEntry entry;
	LogLine    *line;
	int64_t		at_us = clock_us(CLOCK_MONOTONIC) - started_us;

	memset(&entry, 0, sizeof(entry));
	pthread_mutex_lock(&lock);
	entry.epoch = epoch_now;
	entry.line = ++last_line;
	entry.open = true;
	if (chatbot != NULL)
	{
		entry.number = ++requests;
		if (++in_flight > max_in_flight)
			max_in_flight = in_flight;
	}
	else if (authorization)
		keys_elsewhere++;

	line = &lines[entry.line % LOG_LINES];
	line_clear(line);
	line->number = entry.number;
	line->at_us = at_us;
	line->method = must_strdup(method);
	line->path = must_strdup(path);
	line->chatbot = chatbot != NULL ? must_strdup(chatbot) : NULL;
	line->status = STATUS_OPEN;
	line->authorization = authorization;
	pthread_mutex_unlock(&lock);
	return entry;
}

/* The entry's line, or NULL if it isn't kept any more.  Under the lock. */
static LogLine *
line_of(const JournalEntry *entry)
{
	if (entry->line == 0 || entry->epoch != epoch_now || last_line - entry->line >= LOG_LINES)
		return NULL;
	return &lines[entry->line % LOG_LINES];
}

/* The external_ids as a JSON array that ends with a NUL. */
static char *
external_ids(const Batch *batch)
{
	Buffer		ids = {NULL, 0, 0};
	size_t		i;

	buffer_text(&ids, "[");
	for (i = 0; i < batch->ncontacts; i++)
	{
		buffer_json(&ids, contact_external_id(batch->contacts[i]), batch->contacts[i]->external_id_len);
		buffer_text(&ids, ",");
	}
	buffer_close(&ids, ']');
	buffer_add(&ids, "", 1);
	return ids.data;
}

void
journal_contents(const JournalEntry *entry, int key, const Batch *batch)
{
	char	   *ids = batch->ncontacts <= LOG_CONTACTS ? external_ids(batch) : NULL;
	LogLine    *line;

	pthread_mutex_lock(&lock);
	line = line_of(entry);
	if (line != NULL)
	{
		line->key = key + 1;
		line->contacts = batch->ncontacts;
		line->external_ids = ids;
		ids = NULL;
	}
	pthread_mutex_unlock(&lock);
	free(ids);
}

void
journal_finish(JournalEntry *entry, int status)
{
	LogLine    *line;

	if (!entry->open)
		return;
	entry->open = false;
	pthread_mutex_lock(&lock);
	if (entry->number > 0)
		in_flight--;
	if (entry->epoch == epoch_now && entry->number > 0)
		by_status[status]++;
	line = line_of(entry);
	if (line != NULL)
		line->status = status;
	pthread_mutex_unlock(&lock);
}

void
journal_created(const JournalEntry *entry, size_t contacts)
{
	pthread_mutex_lock(&lock);
	if (entry->epoch == epoch_now)
		created += contacts;
	pthread_mutex_unlock(&lock);
}

void
journal_connection(void)
{
	pthread_mutex_lock(&lock);
	connections++;
	pthread_mutex_unlock(&lock);
}

void
journal_write_stats(Buffer *out, uint64_t contacts)
{
	int			status;

	pthread_mutex_lock(&lock);
	buffer_printf(out, "{\"requests\":%ld,\"by_status\":{", requests);
	for (status = 1; status < STATUS_END; status++)
	{
		if (by_status[status] > 0)
			buffer_printf(out, "\"%d\":%" PRIu64 ",", status, by_status[status]);
	}
	buffer_printf(out, "\"dropped\":%" PRIu64 "},", by_status[0]);
	buffer_printf(out, "\"contacts\":%" PRIu64 ",\"created\":%" PRIu64 ",", contacts, created);
	buffer_printf(out, "\"in_flight\":%ld,\"max_in_flight\":%ld,", in_flight, max_in_flight);
	buffer_printf(out, "\"connections\":%" PRIu64 ",\"requests_with_key_elsewhere\":%" PRIu64 ",",
				  connections, keys_elsewhere);
	buffer_printf(out, "\"started_at_ms\":%.3f}", (double) started_at_us / 1000.0);
	pthread_mutex_unlock(&lock);
}

static void
write_line(Buffer *out, const LogLine *line)
{
	buffer_printf(out, "{\"number\":%ld,\"at_ms\":%.3f,\"method\":", line->number,
				  (double) line->at_us / 1000.0);
	buffer_json(out, line->method, strlen(line->method));
	buffer_text(out, ",\"path\":");
	buffer_json(out, line->path, strlen(line->path));
	buffer_text(out, ",\"chatbot\":");
	if (line->chatbot != NULL)
		buffer_json(out, line->chatbot, strlen(line->chatbot));
	else
		buffer_text(out, "null");
	buffer_printf(out, ",\"contacts\":%zu,\"status\":%d,\"authorization\":%s,\"key\":%d", line->contacts,
				  line->status, line->authorization ? "true" : "false", line->key);
	if (line->external_ids != NULL)
	{
		buffer_text(out, ",\"external_ids\":");
		buffer_text(out, line->external_ids);
	}
	buffer_text(out, "}");
}

void
journal_write_requests(Buffer *out)
{
	uint64_t	i;

	buffer_text(out, "[");
	pthread_mutex_lock(&lock);
	for (i = last_line > LOG_LINES ? last_line - LOG_LINES + 1 : 1; i <= last_line; i++)
	{
		write_line(out, &lines[i % LOG_LINES]);
		buffer_text(out, ",");
	}
	pthread_mutex_unlock(&lock);
	buffer_close(out, ']');
}

void
journal_reset(void)
{
	size_t		i;

	pthread_mutex_lock(&lock);
	for (i = 0; i < LOG_LINES; i++)
		line_clear(&lines[i]);
	last_line = 0;
	epoch_now++;
	requests = 0;
	created = 0;
	connections = 0;
	keys_elsewhere = 0;
	memset(by_status, 0, sizeof(by_status));
	max_in_flight = in_flight;
	pthread_mutex_unlock(&lock);
}
