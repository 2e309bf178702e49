/*
 * append.h
 *		Rows into a table of the extension, without SPI and without anybody else's identity.
 *
 * An append is an INSERT as the current user, whom no right is asked for: defaults are
 * filled in, constraints checked, indexes kept and triggers fired as on any table.  All of it
 * throws as an INSERT does, and belongs into a subtransaction where that must not fail the
 * caller: an append that has thrown is gone with it.
 */
#ifndef CONTACTS_PUSH_APPEND_H
#define CONTACTS_PUSH_APPEND_H

/* Columns that a caller gives, at most. */
#define APPEND_MAX_COLUMNS 8

/* A table, and which of its columns are given.  Each is a constant: it is known by its address. */
typedef struct AppendTarget
{
	const char *schema;
	const char *table;
	int			ncolumns;
	const char *columns[APPEND_MAX_COLUMNS];
} AppendTarget;

typedef struct TableAppend TableAppend;

/*
 * Opens the table, and locks it before the first number is drawn for it: until the
 * transaction ends the lock says that there may be rows under way.
 */
extern TableAppend *table_append_begin(const AppendTarget *target);

/* Adds a row; the values, in the order of the columns, are copied. */
extern void table_append_row(TableAppend *append, const Datum *values, const bool *nulls);

/* Writes what is still buffered, fires the triggers and frees the append; how many rows. */
extern int64 table_append_end(TableAppend *append);

#endif							/* CONTACTS_PUSH_APPEND_H */
