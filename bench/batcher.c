/*
 * batcher.c
 *		What people write by hand to push an outbox: the yardstick of bench/run.
 *
 * A loop that locks 1000 pending rows of plain_outbox, POSTs them, reads the ids
 * out of the answer, writes them back and commits.  It is written as well as one
 * does without thinking of faults: prepared statements, one kept connection, one
 * UPDATE a batch.  Anything but 200 ends it.
 *
 * Usage: batcher URL KEY; the database comes from the environment (PGHOST etc.).
 * It prints how many rows it has settled, and how many nanoseconds of CPU it and its
 * backend have had for that.
 */
#include <curl/curl.h>
#include <json-c/json.h>
#include <libpq-fe.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* maxItems of the API's users. */
#define BATCH "1000"

typedef struct Text
{
	char	   *data;
	size_t		len;
	size_t		size;
} Text;

static void
fail(const char *what, const char *why)
{
	fprintf(stderr, "batcher: %s: %s\n", what, why);
	exit(EXIT_FAILURE);
}

static void
add(Text *text, const char *data, size_t len)
{
	if (text->len + len + 1 > text->size)
	{
		text->size = (text->len + len + 1) * 2;
		text->data = realloc(text->data, text->size);
		if (text->data == NULL)
			fail("realloc", "out of memory");
	}
	memcpy(text->data + text->len, data, len);
	text->len += len;
	text->data[text->len] = '\0';
}

static void
add_string(Text *text, const char *string)
{
	add(text, string, strlen(string));
}

static size_t
receive(char *data, size_t size, size_t n, void *text)
{
	add(text, data, size * n);
	return size * n;
}

static PGresult *
check(PGconn *connection, PGresult *result)
{
	ExecStatusType status = PQresultStatus(result);

	if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK)
		fail("statement", PQerrorMessage(connection));
	return result;
}

static void
run(PGconn *connection, const char *sql)
{
	PQclear(check(connection, PQexec(connection, sql)));
}

static PGconn *
connect_and_prepare(void)
{
	PGconn	   *connection = PQconnectdb("");

	if (PQstatus(connection) != CONNECTION_OK)
		fail("connection", PQerrorMessage(connection));
	PQclear(check(connection, PQprepare(connection, "pending",
										"SELECT id, payload::text, payload ->> 'external_id'"
										" FROM plain_outbox WHERE status = 'pending'"
										" ORDER BY id LIMIT " BATCH " FOR UPDATE SKIP LOCKED", 0, NULL)));
	PQclear(check(connection, PQprepare(connection, "settle",
										"UPDATE plain_outbox o SET status = 'created',"
										" contact_id = v.contact_id, sent_at = now()"
										" FROM unnest($1::bigint[], $2::text[]) AS v(id, contact_id)"
										" WHERE o.id = v.id", 0, NULL)));
	return connection;
}

static CURL *
prepare_request(const char *url, const char *key, Text *answer)
{
	CURL	   *curl = curl_easy_init();
	struct curl_slist *headers = NULL;
	Text		authorization = {0};

	add_string(&authorization, "Authorization: Bearer ");
	add_string(&authorization, key);
	headers = curl_slist_append(headers, authorization.data);
	headers = curl_slist_append(headers, "Content-Type: application/json");
	headers = curl_slist_append(headers, "Expect:");
	if (curl == NULL || headers == NULL)
		fail("curl", "out of memory");
	curl_easy_setopt(curl, CURLOPT_URL, url);
	curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, receive);
	curl_easy_setopt(curl, CURLOPT_WRITEDATA, answer);
	return curl;
}

/* POSTs the rows; the answer is in *answer. */
static void
post(CURL *curl, PGresult *rows, Text *body, Text *answer)
{
	CURLcode	code;
	long		status;

	body->len = answer->len = 0;
	add_string(body, "{\"users\":[");
	for (int i = 0; i < PQntuples(rows); i++)
	{
		if (i > 0)
			add_string(body, ",");
		add(body, PQgetvalue(rows, i, 1), PQgetlength(rows, i, 1));
	}
	add_string(body, "]}");
	curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body->data);
	curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t) body->len);
	code = curl_easy_perform(curl);
	if (code != CURLE_OK)
		fail("request", curl_easy_strerror(code));
	curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
	if (status != 200)
		fail("answer", answer->data);
}

static const char *
member(struct json_object *object, const char *name)
{
	struct json_object *value;

	if (!json_object_object_get_ex(object, name, &value))
		fail("a contact of the answer lacks", name);
	return json_object_get_string(value);
}

/* The ids in the answer, as an array's text in the order of the rows. */
static void
read_ids(PGresult *rows, const Text *answer, Text *ids)
{
	struct json_object *reply = json_tokener_parse(answer->data);
	struct json_object *data;
	int			n = PQntuples(rows);

	if (!json_object_object_get_ex(reply, "data", &data) ||
		!json_object_is_type(data, json_type_array) ||
		(int) json_object_array_length(data) != n)
		fail("answer", "not as many contacts as were sent");
	ids->len = 0;
	for (int i = 0; i < n; i++)
	{
		struct json_object *contact = json_object_array_get_idx(data, i);

		if (strcmp(member(contact, "external_id"), PQgetvalue(rows, i, 2)) != 0)
			fail("answer", "in another order");
		add_string(ids, i == 0 ? "{" : ",");
		add_string(ids, member(contact, "id"));
	}
	add_string(ids, "}");
	json_object_put(reply);
}

static void
settle(PGconn *connection, PGresult *rows, const Text *contact_ids)
{
	static Text ids;
	const char *values[2];

	ids.len = 0;
	for (int i = 0; i < PQntuples(rows); i++)
	{
		add_string(&ids, i == 0 ? "{" : ",");
		add_string(&ids, PQgetvalue(rows, i, 0));
	}
	add_string(&ids, "}");
	values[0] = ids.data;
	values[1] = contact_ids->data;
	PQclear(check(connection, PQexecPrepared(connection, "settle", 2, values, NULL, NULL, 0)));
}

/* Of Linux, so far; the backend reads it itself, as a superuser may. */
static long long
cpu_ns(PGconn *connection)
{
	PGresult   *backend = check(connection, PQexec(connection,
												   "SELECT split_part(pg_read_file('/proc/self/schedstat'), ' ', 1)"));
	struct timespec mine;
	long long	ns;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &mine);
	ns = atoll(PQgetvalue(backend, 0, 0)) + mine.tv_sec * 1000000000LL + mine.tv_nsec;
	PQclear(backend);
	return ns;
}

int
main(int argc, char **argv)
{
	Text		body = {0};
	Text		answer = {0};
	Text		ids = {0};
	PGconn	   *connection;
	CURL	   *curl;
	long		settled = 0;
	bool		more = true;

	if (argc != 3)
		fail("usage", "batcher URL KEY");
	connection = connect_and_prepare();
	curl = prepare_request(argv[1], argv[2], &answer);
	while (more)
	{
		PGresult   *rows;

		run(connection, "BEGIN");
		rows = check(connection, PQexecPrepared(connection, "pending", 0, NULL, NULL, NULL, 0));
		more = PQntuples(rows) > 0;
		if (more)
		{
			post(curl, rows, &body, &answer);
			read_ids(rows, &answer, &ids);
			settle(connection, rows, &ids);
			settled += PQntuples(rows);
		}
		PQclear(rows);
		run(connection, "COMMIT");
	}
	printf("%ld %lld\n", settled, cpu_ns(connection));
	return EXIT_SUCCESS;
}
