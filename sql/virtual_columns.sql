-- Virtual generated columns, which PostgreSQL has since 18.  A row that is written has no
-- values of them; a mapping that uses one evaluates its expression.
SELECT current_setting('server_version_num')::integer >= 180000 AS has_virtual_columns \gset
\if :has_virtual_columns
\else
	\echo skipped: this PostgreSQL has no virtual generated columns
	\quit
\endif
\set ECHO none
\i sql/include/begin.psql
\set ECHO all

-- In the key, in another column and in the WHERE, by name and in the row as a whole.
CREATE TABLE users (
	id integer PRIMARY KEY, given text, family text, consent date,
	name text GENERATED ALWAYS AS (given || ' ' || family) VIRTUAL,
	key text GENERATED ALWAYS AS ('u' || id) VIRTUAL NOT NULL,
	consents boolean GENERATED ALWAYS AS (consent IS NOT NULL),
	length integer GENERATED ALWAYS AS (length(given)) STORED);
CREATE VIEW consenting AS
	SELECT key AS external_id, name, to_jsonb(users) - 'consent' AS custom_attributes FROM users WHERE consents;
SELECT contacts_push.watch('users', 'default', external_id => 'key', custom_attributes => $$jsonb_build_object('upper', upper(name))$$);
SELECT contacts_push.watch('consenting', 'bot');
INSERT INTO users VALUES (1, 'Ann', 'Lee', '2024-02-29'), (2, 'Bob', 'Ray', NULL);
SELECT * FROM test.take_outbox();
SELECT * FROM users_contacts ORDER BY external_id;

-- What counts as a change is what the expressions use.
UPDATE users SET given = 'Anna' WHERE id = 1;
UPDATE users SET consent = '2024-03-01' WHERE id = 2;
UPDATE users SET given = given, consent = consent;
SELECT * FROM test.take_outbox();
UPDATE users SET id = 3, consent = NULL WHERE id = 1;
SELECT * FROM test.take_outbox();
DELETE FROM users WHERE id = 2;
SELECT * FROM test.take_outbox();

-- An expression that fails costs its row the contact, and not the statement.
SELECT contacts_push.unwatch('users');
ALTER TABLE users ADD share integer, ADD quotient integer GENERATED ALWAYS AS (100 / share);
CREATE VIEW divided AS SELECT id AS external_id, quotient::text AS name FROM users;
SELECT contacts_push.watch('divided', 'bot');
INSERT INTO users (id, share) VALUES (4, 5), (5, 0), (6, NULL);
SELECT * FROM test.take_outbox();
-- another expression, in a session that has compiled the one before
ALTER TABLE users ALTER quotient SET EXPRESSION AS (1000 / share);
INSERT INTO users (id, share) VALUES (7, 5);
SELECT * FROM test.take_outbox();
DELETE FROM users WHERE id = 5;
CALL contacts_push.backfill('divided');
SELECT * FROM test.take_outbox();
DROP TABLE users CASCADE;

-- Partitions whose columns have another order.
CREATE TABLE users (
	id integer PRIMARY KEY, given text,
	name text GENERATED ALWAYS AS (upper(given)) VIRTUAL) PARTITION BY RANGE (id);
CREATE TABLE users_1 (
	name text GENERATED ALWAYS AS (upper(given)) VIRTUAL, gone integer, given text, id integer NOT NULL);
ALTER TABLE users_1 DROP gone;
ALTER TABLE users ATTACH PARTITION users_1 FOR VALUES FROM (0) TO (100);
SELECT contacts_push.watch('users', 'bot');
INSERT INTO users VALUES (1, 'one');
INSERT INTO users_1 (id, given) VALUES (2, 'two');
UPDATE users SET given = 'two and a half' WHERE id = 2;
SELECT * FROM test.take_outbox();
DROP TABLE users CASCADE;

-- On the outbox itself, with what an operator may have put there.
CREATE TABLE users (id integer PRIMARY KEY, name text);
SELECT contacts_push.watch('users', 'bot');
ALTER TABLE contacts_push.outbox ADD upper_id text GENERATED ALWAYS AS (upper(external_id)) VIRTUAL NOT NULL;
ALTER TABLE contacts_push.outbox ADD CONSTRAINT two CHECK (upper_id <> '2');
INSERT INTO users VALUES (1, 'One'), (2, 'Two'), (3, 'Three');
SELECT external_id, upper_id FROM contacts_push.outbox ORDER BY seq;
SELECT enqueue_failures FROM contacts_push.progress;
DROP TABLE users CASCADE;
