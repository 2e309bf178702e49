/*
 * journal.h
 *		What has been asked and how it was answered: the statistics and the log.
 *
 * Only told of things, never asked for a decision.
 */
#ifndef FAKE_CHATBASE_JOURNAL_H
#define FAKE_CHATBASE_JOURNAL_H

#include <stdbool.h>
#include <stdint.h>

#include "batch.h"
#include "buffer.h"

/* A request's place in the journal; all zero: not in it. */
typedef struct JournalEntry
{
	uint64_t	epoch;			/* of the journal; changes with every reset */
	uint64_t	line;			/* of the log, from 1 */
	long		number;			/* of the API's requests, from 1; 0: is none */
	bool		open;			/* not finished yet */
} JournalEntry;

/* Sets the clock to which at_ms refers. */
extern void journal_start(void);

/*
 * A request's headers have arrived.  chatbot: NULL for a request to anything but
 * the contacts of a chatbot, which counts as none of the API's requests.
 */
extern JournalEntry journal_begin(const char *method, const char *path, const char *chatbot,
								  bool authorization);

/* Its key (-1: none, or one that isn't valid) and its contacts are known. */
extern void journal_contents(const JournalEntry *entry, int key, const Batch *batch);

/* It is answered so; status 0: dropped.  Only the first call counts. */
extern void journal_finish(JournalEntry *entry, int status);

/* This many contacts were created by it. */
extern void journal_created(const JournalEntry *entry, size_t contacts);

/* A connection was accepted. */
extern void journal_connection(void);

/* Add what /_admin/stats and /_admin/requests answer. */
extern void journal_write_stats(Buffer *out, uint64_t contacts);
extern void journal_write_requests(Buffer *out);

/* Forgets all; what is under way then no longer counts, except as in flight. */
extern void journal_reset(void);

#endif							/* FAKE_CHATBASE_JOURNAL_H */
