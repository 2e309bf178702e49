/*
 * settings.c
 *		The settings contacts_push.*, and the API key of a chatbot.
 *
 * The hooks in here run in every process, outside of transactions too: they look at no catalog,
 * raise nothing above LOG, and palloc nothing that outlives the call.
 */
#include "postgres.h"

#include <arpa/inet.h>
#include <limits.h>

#include "compat.h"
#include "lib/stringinfo.h"
#include "port/pg_bswap.h"
#include "server/key_file.h"
#include "server/settings.h"
#include "utils/guc.h"
#include "utils/guc_tables.h"
#include "utils/memutils.h"

char	   *settings_base_url;
char	   *settings_ca_file;
int			settings_connect_timeout;
int			settings_request_timeout;
int			settings_batch_size;
int			settings_max_request_bytes;
int			settings_max_response_bytes;
int			settings_max_concurrent_requests;
double		settings_requests_per_second;
int			settings_max_attempts;
int			settings_max_backoff;
int			settings_request_retention;
bool		settings_enabled;
bool		settings_reading;
int			settings_max_pending_deletes;

/*
 * The variable behind contacts_push.api_key stays the empty string for ever; the
 * key itself travels in the setting's "extra" data.  A reload has the postmaster
 * log every parameter whose variable has changed together with its new value,
 * and this one must never stand in a log.
 */
static char *api_key_variable;
static const char *api_key = "";

static char *api_key_file;

/* Longest key; real ones have some 40 bytes, JWTs up to a few thousand. */
#define MAX_KEY_BYTES 8192

/* True if the bytes can stand in an HTTP header: visible ASCII (RFC 9110, 5.5). */
static bool
is_header_safe(const char *value)
{
	for (const char *p = value; *p; p++)
		if ((unsigned char) *p <= 0x20 || (unsigned char) *p >= 0x7f)
			return false;
	return true;
}

static bool
check_api_key(char **newval, void **extra, GucSource source)
{
	size_t		length = *newval ? strlen(*newval) : 0;
	char	   *key;

	if (length > MAX_KEY_BYTES || (*newval && !is_header_safe(*newval)))
	{
		/* The default message would print the value. */
		GUC_check_errmsg("invalid value for parameter \"%s\"", "contacts_push.api_key");
		GUC_check_errdetail("An API key consists of at most %d visible ASCII characters without spaces.",
							MAX_KEY_BYTES);
		return false;
	}
	key = compat_guc_malloc(length + 1);
	if (key == NULL)
		return false;
	memcpy(key, *newval ? *newval : "", length + 1);
	*extra = key;
	if (*newval)
		memset(*newval, 0, length);
	return true;
}

static void
assign_api_key(const char *newval, void *extra)
{
	api_key = extra ? (const char *) extra : "";
}

/* Nobody needs to see the key, and what a superuser sees ends up in all kinds of places. */
static const char *
show_api_key(void)
{
	return *api_key ? "(set)" : "";
}

void
settings_restore(void *state)
{
	char	   *key = MemoryContextStrdup(TopMemoryContext, api_key);

	RestoreGUCState(state);
	/* The state has what is in the variable, which is nothing. */
	api_key = key;
}

/* True for "localhost", an address in 127.0.0.0/8 and "[::1]". */
static bool
is_loopback(const char *host, size_t length)
{
	char		text[INET_ADDRSTRLEN];
	struct in_addr address;

	if (length == 9 && pg_strncasecmp(host, "localhost", 9) == 0)
		return true;
	if (length == 5 && strncmp(host, "[::1]", 5) == 0)
		return true;
	if (length >= sizeof(text))
		return false;
	memcpy(text, host, length);
	text[length] = '\0';
	/* Only the full dotted form: how others are read differs from resolver to resolver. */
	return inet_pton(AF_INET, text, &address) == 1 &&
		pg_ntoh32(address.s_addr) >> 24 == 127;
}

/* True for nothing and for a colon with a number: what may follow a host. */
static bool
is_port(const char *port, size_t length)
{
	if (length == 0)
		return true;
	/* 65535 has five digits */
	return port[0] == ':' && length >= 2 && length <= 6 &&
		strspn(port + 1, "0123456789") >= length - 1;
}

/* https to anywhere, http to this machine; a plain base without user or query. */
static bool
check_base_url(char **newval, void **extra, GucSource source)
{
	const char *url = *newval;
	const char *authority;
	size_t		length;
	size_t		host_length;
	bool		plain = false;

	if (pg_strncasecmp(url, "https://", 8) == 0)
		authority = url + 8;
	else if (pg_strncasecmp(url, "http://", 7) == 0)
	{
		authority = url + 7;
		plain = true;
	}
	else
	{
		GUC_check_errdetail("The URL must begin with https://.");
		return false;
	}
	length = strcspn(authority, "/");
	if (!is_header_safe(url) || strpbrk(url, "?#\\\"<>") || memchr(authority, '@', length))
	{
		GUC_check_errdetail("The URL must not contain spaces, a user, a query or a fragment.");
		return false;
	}
	if (authority[0] == '[')
		host_length = strcspn(authority, "]") + 1;
	else
		host_length = strcspn(authority, ":/");
	if (host_length == 0 || host_length > length)
	{
		GUC_check_errdetail("The URL names no host.");
		return false;
	}
	if (!is_port(authority + host_length, length - host_length))
	{
		GUC_check_errdetail("After the host the URL may only have a port, a number.");
		return false;
	}
	if (plain && !is_loopback(authority, host_length))
	{
		GUC_check_errdetail("Plain http is accepted to this machine only (localhost, 127.0.0.0/8 or [::1]); the key would travel in the clear.");
		return false;
	}
	return true;
}

static void
define_connection_settings(void)
{
	DefineCustomStringVariable("contacts_push.api_key",
							   "API key of Chatbase.",
							   "Used for the chatbots that contacts_push.api_key_file does not name.",
							   &api_key_variable, "", PGC_SIGHUP,
							   GUC_SUPERUSER_ONLY | GUC_NOT_IN_SAMPLE,
							   check_api_key, assign_api_key, show_api_key);
	DefineCustomStringVariable("contacts_push.api_key_file",
							   "File with the API key, or with lines of chatbot_id:key.",
							   "Must belong to the server's user (mode 0600 or less) or to root (0640 or less).",
							   &api_key_file, "", PGC_SIGHUP,
							   GUC_SUPERUSER_ONLY,
							   NULL, NULL, NULL);
	DefineCustomStringVariable("contacts_push.base_url",
							   "Where the API is; https, or http to this machine.",
							   NULL, &settings_base_url,
							   "https://www.chatbase.co/api/v1", PGC_SUSET, 0,
							   check_base_url, NULL, NULL);
	DefineCustomStringVariable("contacts_push.ca_file",
							   "File with the certificate authorities that are trusted.",
							   "Empty: those of the system.",
							   &settings_ca_file, "", PGC_SUSET, 0,
							   NULL, NULL, NULL);
	DefineCustomIntVariable("contacts_push.connect_timeout",
							"Longest time to wait for a connection.",
							NULL, &settings_connect_timeout,
							10 * 1000, 1, INT_MAX, PGC_SUSET, GUC_UNIT_MS,
							NULL, NULL, NULL);
	DefineCustomIntVariable("contacts_push.request_timeout",
							"Longest time to wait for an answer, connecting included.",
							NULL, &settings_request_timeout,
							60 * 1000, 1, INT_MAX, PGC_USERSET, GUC_UNIT_MS,
							NULL, NULL, NULL);
	DefineCustomIntVariable("contacts_push.max_response_bytes",
							"Largest answer that is accepted.",
							NULL, &settings_max_response_bytes,
							16 * 1024 * 1024, 1024, 1024 * 1024 * 1024,
							PGC_SIGHUP, GUC_UNIT_BYTE, NULL, NULL, NULL);
	DefineCustomRealVariable("contacts_push.requests_per_second",
							 "Requests a second that one API key may make.",
							 "One budget for all databases of the server; the API allows 10.",
							 &settings_requests_per_second,
							 10.0, 0.01, 100000.0, PGC_SIGHUP, 0, NULL, NULL, NULL);
}

static void
define_worker_settings(void)
{
	DefineCustomBoolVariable("contacts_push.enabled",
							 "Whether the background workers send.",
							 NULL, &settings_enabled, true, PGC_SIGHUP, 0,
							 NULL, NULL, NULL);
	/* 1000 is the API's maxItems. */
	DefineCustomIntVariable("contacts_push.batch_size",
							"Most contacts in one request.",
							NULL, &settings_batch_size, 1000, 1, 1000,
							PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("contacts_push.max_request_bytes",
							"Largest request that is put together; a contact that is larger is rejected.",
							NULL, &settings_max_request_bytes,
							4 * 1024 * 1024, 1024, SETTINGS_MAX_REQUEST_BYTES,
							PGC_SIGHUP, GUC_UNIT_BYTE, NULL, NULL, NULL);
	DefineCustomIntVariable("contacts_push.max_concurrent_requests",
							"Requests that one database's worker has under way at most.",
							NULL, &settings_max_concurrent_requests, 4, 1, 64,
							PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("contacts_push.max_attempts",
							"Failures charged to one contact alone before it is failed.",
							NULL, &settings_max_attempts, 8, 1, 1000,
							PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("contacts_push.max_backoff",
							"Longest back-off between two tries.",
							NULL, &settings_max_backoff, 5 * 60 * 1000, 1, INT_MAX,
							PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomIntVariable("contacts_push.max_pending_deletes",
							"Deletions that may wait for one chatbot; with more of them none is sent.",
							"-1: any number. contacts_push.resume() lets those through that are there.",
							&settings_max_pending_deletes, 1000, -1, INT_MAX,
							PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomBoolVariable("contacts_push.reading",
							 "Whether contacts are looked up at Chatbase when an answer was lost.",
							 NULL, &settings_reading, true, PGC_SIGHUP, 0,
							 NULL, NULL, NULL);
	DefineCustomIntVariable("contacts_push.request_retention",
							"How long finished requests, rows that were not sent, and those that newer ones have replaced are kept.",
							NULL, &settings_request_retention, 24 * 60 * 60, 0, INT_MAX,
							PGC_SIGHUP, GUC_UNIT_S, NULL, NULL, NULL);
}

/* Where the value comes from that a setting has at the start of the session. */
typedef struct Origin
{
	char		name[NAMEDATALEN];
	GucSource	source;
} Origin;

/* Settings of ours, and room for as many that are not known. */
#define MAX_ORIGINS 64

static char refused[NAMEDATALEN] = "";

/* Finds the origins of our settings; returns how many there are. */
static int
find_origins(Origin *origins)
{
	int			nvariables;
	struct config_generic **variables = compat_guc_variables(&nvariables);
	int			n = 0;

	for (int i = 0; i < nvariables && n < MAX_ORIGINS; i++)
		if (strncmp(variables[i]->name, "contacts_push.", 14) == 0)
		{
			strlcpy(origins[n].name, variables[i]->name, NAMEDATALEN);
			origins[n++].source = variables[i]->reset_source;
		}
	return n;
}

/*
 * Notes a setting whose value was refused.  Until the library is loaded anybody may give
 * its settings any value, in PGOPTIONS say.  A value that may not be set is dropped when the
 * setting is defined, but then the server's own value is lost, and the default is nobody's
 * choice.
 */
static void
note_refused(const Origin *before, int nbefore)
{
	Origin		origins[MAX_ORIGINS];
	int			n = find_origins(origins);

	for (int i = 0; i < n; i++)
		for (int j = 0; j < nbefore; j++)
			if (strcmp(origins[i].name, before[j].name) == 0 &&
				origins[i].source < before[j].source)
				strlcpy(refused, origins[i].name, NAMEDATALEN);
}

void
settings_define(void)
{
	Origin		before[MAX_ORIGINS];
	int			nbefore = find_origins(before);

	define_connection_settings();
	define_worker_settings();
	MarkGUCPrefixReserved("contacts_push");
	note_refused(before, nbefore);
}

void
settings_check_refused(void)
{
	if (refused[0])
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to set parameter \"%s\"", refused),
				 errdetail("The connection, its role or its database has a value for it in place of the server's."),
				 errhint("Connect again without it, in PGOPTIONS for example.")));
}

/* The file is read whenever it has changed, so that a new key is used at once. */
char *
settings_find_key(const char *chatbot_id, char **why)
{
	*why = NULL;
	if (*api_key_file)
	{
		bool		is_empty;
		char	   *key;

		/* A file that can't be used is to be fixed, not worked around. */
		if (!key_file_find(api_key_file, chatbot_id, &key, &is_empty, why))
			return NULL;
		if (key && *key != '\0' && strlen(key) <= MAX_KEY_BYTES && is_header_safe(key))
			return key;
		if (key)
		{
			*why = psprintf("key file \"%s\" holds an invalid key for chatbot \"%s\"",
							api_key_file, chatbot_id);
			return NULL;
		}
		*why = is_empty ? psprintf("key file \"%s\" is empty", api_key_file) :
			psprintf("key file \"%s\" has no line for chatbot \"%s\"",
					 api_key_file, chatbot_id);
	}
	if (*api_key)
		return pstrdup(api_key);
	if (*why == NULL)
		*why = pstrdup("neither contacts_push.api_key nor contacts_push.api_key_file is set");
	return NULL;
}
