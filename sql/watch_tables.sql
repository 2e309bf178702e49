-- contacts_push.watch() on tables of all kinds: the view that it makes, and what
-- an INSERT enqueues.
\set ECHO none
\i sql/include/begin.psql
\set ECHO all

-- A plain table is enough: the primary key, and columns whose names say what they are.
CREATE TABLE users (id integer PRIMARY KEY, name text, email text, phone text, password text);
SELECT contacts_push.watch('users', 'ckl123abc456');
\d users_contacts
SELECT * FROM test.definition('users_contacts', 'users');
SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE tgrelid = 'users'::regclass ORDER BY tgname;
SELECT * FROM contacts_push_internal.watched_trigger ORDER BY trigger_name;
INSERT INTO users VALUES (1, 'Ann', 'ann@example.com', '+1', 'secret'), (2, 'Bob', NULL, NULL, 'secret'), (3, NULL, NULL, NULL, 'secret');
SELECT * FROM users_contacts ORDER BY external_id;
SELECT * FROM test.take_outbox();
-- As many rows as there are in a statement; none: none.
INSERT INTO users SELECT n, 'name ' || n FROM generate_series(1001, 6000) n;
SELECT count(*), count(DISTINCT external_id), bool_and(contact ->> 'name' = 'name ' || external_id) FROM test.take_outbox();
INSERT INTO users SELECT 7000 WHERE false;
INSERT INTO users VALUES (1) ON CONFLICT DO NOTHING;
\copy users (id, name) FROM STDIN
7001	copied
7002	copied too
\.
WITH added AS (INSERT INTO users (id) VALUES (7003) RETURNING id)
SELECT id FROM added;
MERGE INTO users u USING (VALUES (1), (7004)) AS m (id) ON u.id = m.id
	WHEN NOT MATCHED THEN INSERT (id, name) VALUES (m.id, 'merged');
SELECT * FROM test.take_outbox();
-- What is rolled back is not enqueued.
BEGIN;
SAVEPOINT a;
INSERT INTO users VALUES (8001);
ROLLBACK TO a;
INSERT INTO users VALUES (8002);
COMMIT;
SELECT * FROM test.take_outbox();
-- A renamed column goes on to be mapped; one that is mapped can't be dropped or get another type.
ALTER TABLE users RENAME email TO mail;
INSERT INTO users (id, mail) VALUES (8003, 'renamed@example.com');
SELECT * FROM test.take_outbox();
ALTER TABLE users DROP COLUMN mail;
\set VERBOSITY sqlstate
ALTER TABLE users ALTER COLUMN mail TYPE varchar(100);
\set VERBOSITY default
ALTER TABLE users DROP COLUMN password;
ALTER TABLE users RENAME TO customers;
INSERT INTO customers (id, mail) VALUES (8004, 'table@example.com');
SELECT * FROM test.take_outbox();
DROP TABLE customers;
DROP VIEW users_contacts;
DROP TABLE customers CASCADE;

-- The other names that are recognised, the first of them where there are several.
CREATE TABLE names (code text PRIMARY KEY, full_name text, phone_number text, phone text);
SELECT contacts_push.watch('names', 'bot');
INSERT INTO names VALUES ('a', 'full', 'number', 'phone');
SELECT * FROM test.take_outbox();
DROP TABLE names CASCADE;
CREATE TABLE names (code text PRIMARY KEY, full_name text, name text, phonenumber text, phone_number text, email text);
SELECT contacts_push.watch('names', 'bot');
INSERT INTO names VALUES ('a', 'full', 'name', 'phonenumber', 'number', 'a@example.com');
SELECT * FROM test.take_outbox();
DROP TABLE names CASCADE;

-- Each argument, an expression over the columns.
CREATE TABLE people (given text, family text, login text UNIQUE NOT NULL, mobile bigint, mails text[], plan text, since date, cus text);
SELECT contacts_push.watch('people', 'bot',
	external_id => 'login',
	name => $$concat_ws(' ', given, family)$$,
	email => 'mails[1]',
	phonenumber => $$'+' || mobile$$,
	stripe_accounts => $$CASE WHEN cus IS NOT NULL THEN jsonb_build_array(jsonb_build_object('label', 'main', 'stripe_id', cus)) END$$,
	custom_attributes => $$jsonb_build_object('plan', plan, 'since', since)$$);
\d people_contacts
SELECT * FROM test.definition('people_contacts', 'people');
INSERT INTO people VALUES ('Ann', 'Lee', 'ann', 491234, '{ann@example.com,ann@example.org}', 'gold', '2024-02-29', 'cus_1');
INSERT INTO people (login) VALUES ('bob');
SELECT * FROM test.take_outbox();
SELECT * FROM people_contacts;
DROP TABLE people CASCADE;

-- Expressions see the table's columns whatever else has such a name, and functions along the caller's path.
CREATE SCHEMA path;
CREATE FUNCTION path.shorten(text) RETURNS text LANGUAGE sql IMMUTABLE RETURN left($1, 3);
CREATE TABLE relation (chatbot_id text, external_id text PRIMARY KEY, expression text, name text, contact text);
SELECT contacts_push.watch('relation', 'bot', name => 'left(nobody, 3)');
CALL test.fails($$SELECT contacts_push.watch('relation', 'bot', name => 'shorten(name)')$$);
SET search_path = public, path;
SELECT contacts_push.watch('relation', 'bot', name => 'shorten(name)', custom_attributes => $$jsonb_build_object('c', contact, 'b', chatbot_id, 'e', relation.expression)$$);
SET search_path = public;
\d relation_contacts
SELECT * FROM test.definition('relation_contacts', 'relation');
INSERT INTO relation VALUES ('b', 'x', 'e', 'Elisabeth', 'c');
SELECT * FROM test.take_outbox();
DROP TABLE relation CASCADE;
DROP SCHEMA path CASCADE;

-- Names that have to be quoted, and a schema outside of the search_path.
CREATE SCHEMA "My Schema";
CREATE TABLE "My Schema"."Users; ""x"" 'y'" ("The Id" bigint PRIMARY KEY, "Name" text, "e-mail" text, "select" text, "phone" text);
SELECT contacts_push.watch('"My Schema"."Users; ""x"" ''y''"', 'it''s "my" \ bot',
	name => '"Name"', email => '"e-mail"', custom_attributes => $$jsonb_build_object('it''s', "select")$$);
SELECT * FROM contacts_push_internal.watched_trigger ORDER BY trigger_name;
INSERT INTO "My Schema"."Users; ""x"" 'y'" VALUES (1, 'Quote', 'q@example.com', 'me', '+1');
SELECT * FROM test.take_outbox();
SELECT * FROM "My Schema"."Users; ""x"" 'y'_contacts";
SELECT contacts_push.unwatch('"My Schema"."Users; ""x"" ''y''"', 'it''s "my" \ bot');
-- A name that leaves no room for _contacts.
CREATE TABLE "My Schema".a234567890123456789012345678901234567890123456789012345678901xx (id integer PRIMARY KEY, user_name text);
SELECT contacts_push.watch('"My Schema".a234567890123456789012345678901234567890123456789012345678901xx', 'bot', name => 'user_name');
SELECT contacts_push.watch('"My Schema".a234567890123456789012345678901234567890123456789012345678901xx', 'bot 2');
INSERT INTO "My Schema".a234567890123456789012345678901234567890123456789012345678901xx VALUES (1, 'long');
SELECT * FROM test.take_outbox();
SELECT DISTINCT chatbot_id, view FROM contacts_push_internal.watched_trigger ORDER BY 1;
SET client_min_messages = warning;
DROP SCHEMA "My Schema" CASCADE;
RESET client_min_messages;
-- Names of the server's own kind.
CREATE TABLE "user" ("order" integer PRIMARY KEY, "table" text);
SELECT contacts_push.watch('"user"', 'bot', name => '"table"');
INSERT INTO "user" VALUES (1, 'reserved');
SELECT * FROM test.take_outbox();
DROP TABLE "user" CASCADE;

-- Several chatbots on one table, each with a mapping of its own; one that went away leaves the others.
CREATE TABLE users (id integer PRIMARY KEY, name text, active boolean DEFAULT true);
SELECT contacts_push.watch('users', 'bot 1');
SELECT contacts_push.watch('users', 'bot 2', external_id => $$'u' || id$$);
SELECT contacts_push.watch('users', 'bot 3', custom_attributes => $$jsonb_build_object('active', active)$$);
SELECT * FROM contacts_push_internal.watched_trigger ORDER BY chatbot_id, trigger_name;
INSERT INTO users VALUES (1, 'One');
SELECT * FROM test.take_outbox();
SELECT contacts_push.unwatch('users', 'bot 2');
INSERT INTO users VALUES (2, 'Two');
SELECT * FROM test.take_outbox();
SELECT contacts_push.watch('users', 'bot 4');
SELECT chatbot_id, trigger_name FROM contacts_push_internal.watched_trigger ORDER BY chatbot_id, trigger_name;
SELECT contacts_push.unwatch('users');
INSERT INTO users VALUES (3, 'Three');
SELECT * FROM test.take_outbox();
SELECT count(*) FROM contacts_push_internal.watched_trigger;
-- The views that watch() made are gone with their triggers.
SELECT relname FROM pg_class WHERE relname LIKE 'users\_contact%' ORDER BY relname;
DROP TABLE users CASCADE;

-- Nothing that watch() didn't make is replaced, or dropped by unwatch().
CREATE TABLE users (id integer PRIMARY KEY, name text);
CREATE VIEW users_contacts AS SELECT 1 AS one;
CREATE TYPE users_contacts_2 AS ENUM ('two');
SELECT contacts_push.watch('users', 'bot');
SELECT contacts_push.unwatch('users');
CREATE VIEW own AS SELECT id AS external_id FROM users;
SELECT contacts_push.watch('own', 'bot');
SELECT contacts_push.unwatch('users');
SELECT relname FROM pg_class WHERE relname ~ '^(users_contacts|own)' ORDER BY relname;
-- A view that something else needs by then stays, and says so.
SELECT contacts_push.watch('users', 'bot');
CREATE VIEW needs AS SELECT * FROM users_contacts_3;
SELECT contacts_push.unwatch('users');
SELECT relname FROM pg_class WHERE relname ~ '^users_contacts' ORDER BY relname;
SET client_min_messages = warning;
DROP TABLE users CASCADE;
RESET client_min_messages;
DROP VIEW users_contacts;
DROP TYPE users_contacts_2;

-- DROP EXTENSION needs CASCADE while a table is watched, and leaves the view.
CREATE TABLE users (id integer PRIMARY KEY, name text);
SELECT contacts_push.watch('users', 'bot');
DROP EXTENSION contacts_push;
DROP EXTENSION contacts_push CASCADE;
INSERT INTO users VALUES (1, 'One');
TABLE users_contacts;
DROP TABLE users CASCADE;
