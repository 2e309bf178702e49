/*
 * launcher.h
 *		The launcher: which databases need a worker.
 */
#ifndef CONTACTS_PUSH_LAUNCHER_H
#define CONTACTS_PUSH_LAUNCHER_H

/* Registers the launcher; called once, from _PG_init() while preloading. */
extern void launcher_register(void);

#endif							/* CONTACTS_PUSH_LAUNCHER_H */
