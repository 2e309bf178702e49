/*
 * hooks.h
 *		Commands of the server that concern the workers.
 */
#ifndef CONTACTS_PUSH_HOOKS_H
#define CONTACTS_PUSH_HOOKS_H

/* Installs the hooks; called once, from _PG_init() while preloading. */
extern void hooks_install(void);

/* True if the database is a template, and gets no worker.  Looks at the catalogs. */
extern bool hooks_is_template(Oid database);

#endif							/* CONTACTS_PUSH_HOOKS_H */
