/*
 * recent.h
 *		What statements of the transaction at hand have enqueued, for triggers that fire
 *		out of order.
 *
 * A statement's triggers fire when it is through, those of a statement that a
 * trigger runs before the outer one's are: what comes last is not always what is
 * newest.  Only what can matter is noted: what statements inside of triggers enqueue,
 * and keys that an update gives to rows.
 */
#ifndef CONTACTS_PUSH_RECENT_H
#define CONTACTS_PUSH_RECENT_H

/* The statement whose triggers are firing; larger for one that began later. */
extern CommandId recent_statement(void);

/* True if a trigger runs that statement. */
extern bool recent_is_nested(void);

/* The statement has enqueued or withdrawn this contact. */
extern void recent_note(const char *chatbot_id, const char *external_id,
						CommandId statement);

/* True if nothing is noted. */
extern bool recent_is_empty(void);

/* True if a statement that began later has done so. */
extern bool recent_by_later(const char *chatbot_id, const char *external_id,
							CommandId statement);

/* True if this very statement has. */
extern bool recent_by_same(const char *chatbot_id, const char *external_id,
						   CommandId statement);

#endif							/* CONTACTS_PUSH_RECENT_H */
