/*
 * order.h
 *		What statements of the transaction at hand have enqueued, for triggers that fire
 *		out of order.
 *
 * A statement's triggers fire when it is through, those of a statement that a trigger or
 * a function in it runs before the outer one's are: what comes last is not always what is
 * newest.  Only what can matter is noted: what statements inside of others enqueue,
 * and keys that an update gives to rows.  What is noted takes memory in proportion, as the
 * events of the row triggers do that it is noted by.
 */
#ifndef CONTACTS_PUSH_ORDER_H
#define CONTACTS_PUSH_ORDER_H

/* Installs the hook by which statements inside of others are known. */
extern void contacts_push_order_install(void);

/* The statement whose triggers are firing for the relation; larger for one that began later. */
extern CommandId contacts_push_order_statement(Oid relation);

/*
 * True if a trigger runs that statement, or a function that is called in another one which
 * writes and names the relation or the watched table that it is a partition of.
 */
extern bool contacts_push_order_is_nested(Oid relation, Oid table);

/* The statement has enqueued or withdrawn this contact (text). */
extern void contacts_push_order_note(const char *chatbot_id, Datum external_id,
									 CommandId statement);

/* The last statement that has, of those that were noted; InvalidCommandId: none. */
extern CommandId contacts_push_order_last(const char *chatbot_id, Datum external_id);

#endif							/* CONTACTS_PUSH_ORDER_H */
