/*
 * settings.h
 *		The settings contacts_push.*, and the file of API keys.
 *
 * Values are read-only outside of settings.c.
 */
#ifndef CONTACTS_PUSH_SETTINGS_H
#define CONTACTS_PUSH_SETTINGS_H

extern char *settings_base_url;
extern char *settings_ca_file;	/* "": the system's */
extern int	settings_connect_timeout;	/* ms */
extern int	settings_request_timeout;	/* ms */
extern int	settings_batch_size;	/* contacts */
extern int	settings_max_request_bytes; /* bytes */

/* Its upper limit: converted to UTF-8, text of that size must fit into one allocation. */
#define SETTINGS_MAX_REQUEST_BYTES (128 * 1024 * 1024)

extern int	settings_max_response_bytes;	/* bytes */
extern int	settings_max_concurrent_requests;
extern double settings_requests_per_second;
extern int	settings_max_attempts;
extern int	settings_max_backoff;	/* ms */
extern int	settings_request_retention; /* s */
extern bool settings_enabled;
extern bool settings_reading;
extern int	settings_max_pending_deletes;	/* -1: no brake */

/* Defines the settings; called once, from _PG_init(). */
extern void settings_define(void);

/*
 * Raises if the session has been given a value that may not be set in it, so that the
 * server's own is not known.
 */
extern void settings_check_refused(void);

/* RestoreGUCState() that leaves the key as it is. */
extern void settings_restore(void *state);

/*
 * The API key for a chatbot, palloc'd: the first line of the key file that
 * matches, else contacts_push.api_key.  NULL if there is none; *why then says in
 * words what is missing or wrong (palloc'd, without any key).  Throws only when
 * out of memory.
 */
extern char *settings_find_key(const char *chatbot_id, char **why);

#endif							/* CONTACTS_PUSH_SETTINGS_H */
