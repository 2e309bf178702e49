/*
 * session.h
 *		The worker's database session and its settings.
 */
#ifndef CONTACTS_PUSH_SESSION_H
#define CONTACTS_PUSH_SESSION_H

/* Connects to the database; called once. */
extern void session_begin(Oid database);

/* To be called after the configuration has been read again. */
extern void session_reloaded(void);

#endif							/* CONTACTS_PUSH_SESSION_H */
