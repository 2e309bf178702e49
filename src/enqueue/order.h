/*
 * order.h
 *		Which statement of this transaction has enqueued a contact last, for triggers that
 *		fire out of order.
 *
 * A statement's AFTER triggers fire when it has finished.  A statement that a trigger or
 * function runs inside of it finishes first although it began later, so the intent that
 * is appended last is not always the newest.  This module notes what nested statements
 * enqueue, and keys that an update gives to rows: nothing else can be overtaken.  Its memory
 * grows with the number of notes, as the server's queue of trigger events does.
 */
#ifndef CONTACTS_PUSH_ORDER_H
#define CONTACTS_PUSH_ORDER_H

/* Installs the hook by which statements inside of others are known. */
extern void contacts_push_order_install(void);

/* Returns the statement whose triggers fire for the relation; a later one has a larger number. */
extern CommandId contacts_push_order_statement(Oid relation);

/*
 * Returns whether that statement runs inside of a trigger, or inside of a statement that
 * writes and names the relation or the watched table that it is a partition of.
 */
extern bool contacts_push_order_is_nested(Oid relation, Oid table);

/* Notes that the statement has enqueued or withdrawn a contact; both ids are text. */
extern void contacts_push_order_note(Datum chatbot_id, Datum external_id, CommandId statement);

/* Returns whether that was noted for a statement which began no earlier than this one. */
extern bool contacts_push_order_is_noted(Datum chatbot_id, Datum external_id, CommandId statement);

#endif							/* CONTACTS_PUSH_ORDER_H */
