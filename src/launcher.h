/*
 * launcher.h
 *		The launcher: which databases need a worker.
 *
 * Layer 3.
 */
#ifndef CONTACTS_PUSH_LAUNCHER_H
#define CONTACTS_PUSH_LAUNCHER_H

/* Registers the launcher; called once, from _PG_init() while preloading. */
extern void launcher_register(void);

/* True if the database is a template, and gets no worker.  Looks at the catalogs. */
extern bool launcher_is_template(Oid database);

#endif							/* CONTACTS_PUSH_LAUNCHER_H */
