// What the service uses of the tables; the rest of their columns is others' business.
import { bigint, pgTable, text } from 'drizzle-orm/pg-core';

const id = () => bigint('id', { mode: 'number' }).generatedAlwaysAsIdentity().primaryKey();

export const users = pgTable('users', {
  id: id(),
  name: text('name').notNull(),
  email: text('email').notNull().unique(),
});

export const invitations = pgTable('invitations', {
  code: text('code').primaryKey(),
  usedBy: bigint('used_by', { mode: 'number' }),
});

export const events = pgTable('events', {
  id: id(),
  userId: bigint('user_id', { mode: 'number' }).notNull(),
  what: text('what').notNull(),
});
