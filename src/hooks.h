/*
 * hooks.h
 *		Commands of the server that concern the workers.
 *
 * Layer 3.
 */
#ifndef CONTACTS_PUSH_HOOKS_H
#define CONTACTS_PUSH_HOOKS_H

/* Installs the hooks; called once, from _PG_init() while preloading. */
extern void hooks_install(void);

#endif							/* CONTACTS_PUSH_HOOKS_H */
