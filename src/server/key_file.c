/*
 * key_file.c
 *		The file of API keys.
 *
 * The worker looks for a key before each request, and for each of many chatbots that wait.  So
 * the file is kept, split into lines, until it has changed.
 */
#include "postgres.h"

#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "chatbase/key_lines.h"
#include "common/hashfn.h"
#include "compat.h"
#include "server/key_file.h"
#include "storage/fd.h"
#include "utils/memutils.h"

/* Largest key file that is read; .pgpass-like lines of even 1,000 chatbots fit. */
#define MAX_KEY_FILE_BYTES (1024 * 1024)

/*
 * A file that was changed less than that many seconds before it was read may have changed
 * since without another time stamp, and is read again.
 */
#define SETTLED_S 2

/* The first line of a chatbot. */
typedef struct KeyEntry
{
	const char *chatbot_id;
	char		status;
	const char *key;
} KeyEntry;

#define SH_PREFIX keys
#define SH_ELEMENT_TYPE KeyEntry
#define SH_KEY_TYPE const char *
#define SH_KEY chatbot_id
#define SH_HASH_KEY(tb, key) hash_bytes((const unsigned char *) (key), strlen(key))
#define SH_EQUAL(tb, a, b) (strcmp(a, b) == 0)
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

/* The file as it was read; everything is in the context. */
static struct
{
	MemoryContext context;		/* NULL: none is kept */
	char	   *path;
	struct stat st;
	keys_hash  *keys;			/* of the lines before the first for all chatbots */
	const char *any;			/* of that one; NULL: there is none */
}			kept;

/*
 * Checks owner and mode as the server does for ssl_key_file.  NULL: fine, else
 * what is wrong.
 */
static char *
check_mode(const char *path, const struct stat *st)
{
	mode_t		forbidden = S_IRWXG | S_IRWXO;

	/* As for ssl_key_file, root's file may be readable by the server's group. */
	if (st->st_uid == 0 && geteuid() != 0)
		forbidden = S_IWGRP | S_IXGRP | S_IRWXO;
	if (!S_ISREG(st->st_mode))
		return psprintf("\"%s\" is not a regular file", path);
	if (st->st_uid != geteuid() && st->st_uid != 0)
		return psprintf("key file \"%s\" must be owned by the database user or root",
						path);
	if (st->st_mode & forbidden)
		return psprintf("key file \"%s\" has group or world access; it must have mode 0600 (u=rw), or 0640 (u=rw,g=r) if owned by root",
						path);
	if (st->st_size > MAX_KEY_FILE_BYTES)
		return psprintf("key file \"%s\" is larger than %d bytes",
						path, MAX_KEY_FILE_BYTES);
	return NULL;
}

/* Reads the key file, palloc'd; NULL and *why if it can't be used. */
static char *
read_file(const char *path, struct stat *st, char **why)
{
	char	   *content = NULL;
	/* O_NONBLOCK: opening a FIFO must not wait for somebody who writes */
	int			fd = OpenTransientFile(path, O_RDONLY | O_NONBLOCK | PG_BINARY);

	if (fd < 0)
	{
		*why = psprintf("could not open key file \"%s\": %s", path, strerror(errno));
		return NULL;
	}
	if (fstat(fd, st) < 0)
		*why = psprintf("could not stat key file \"%s\": %s", path, strerror(errno));
	else if ((*why = check_mode(path, st)) == NULL)
	{
		content = palloc0(st->st_size + 1);
		if (read(fd, content, st->st_size) < 0)
		{
			*why = psprintf("could not read key file \"%s\": %s", path, strerror(errno));
			content = NULL;
		}
	}
	CloseTransientFile(fd);
	return content;
}

static void
forget(void)
{
	MemoryContext context = kept.context;

	memset(&kept, 0, sizeof(kept));
	if (context)
		MemoryContextDelete(context);
}

/* Reads the file and takes it apart; false and *why if it can't be used. */
static bool
keep_file(const char *path, char **why)
{
	MemoryContext old;
	struct stat st;
	char	   *content = read_file(path, &st, why);
	char	   *rest;
	KeyLine		line;

	if (content == NULL)
		return false;
	forget();
	kept.context = AllocSetContextCreate(TopMemoryContext, "contacts_push key file",
										 ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(kept.context);
	kept.path = pstrdup(path);
	kept.keys = keys_create(kept.context, 16, NULL);
	rest = pstrdup(content);
	/* a file that has just changed is read again and again, for each of many chatbots */
	pfree(content);
	/* what stands behind a line for all matches nothing */
	while (kept.any == NULL && key_lines_next(&rest, &line))
	{
		bool		found;

		if (line.chatbot_id == NULL)
			kept.any = line.key;
		else
		{
			KeyEntry   *entry = keys_insert(kept.keys, line.chatbot_id, &found);

			if (!found)
				entry->key = line.key;
		}
	}
	MemoryContextSwitchTo(old);
	if (time(NULL) - Max(st.st_mtime, st.st_ctime) >= SETTLED_S)
		kept.st = st;
	return true;
}

/* True if the file is the one that is kept. */
static bool
is_kept(const char *path)
{
	struct stat st;

	return kept.path && strcmp(kept.path, path) == 0 && stat(path, &st) == 0 &&
		st.st_ino == kept.st.st_ino && st.st_dev == kept.st.st_dev &&
		st.st_size == kept.st.st_size &&
		memcmp(&st.st_mtim, &kept.st.st_mtim, sizeof(st.st_mtim)) == 0 &&
		memcmp(&st.st_ctim, &kept.st.st_ctim, sizeof(st.st_ctim)) == 0;
}

bool
key_file_find(const char *path, const char *chatbot_id, char **key, bool *is_empty, char **why)
{
	KeyEntry   *entry;

	if (!is_kept(path) && !keep_file(path, why))
	{
		forget();
		return false;
	}
	entry = keys_lookup(kept.keys, chatbot_id);
	*is_empty = kept.keys->members == 0 && kept.any == NULL;
	*key = NULL;
	if (entry || kept.any)
		*key = pstrdup(entry ? entry->key : kept.any);
	return true;
}
