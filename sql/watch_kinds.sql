-- contacts_push.watch() on tables and columns of other kinds.
\set ECHO none
\i sql/include/begin.psql
\set ECHO all

-- A partitioned table: row triggers that the partitions get too, also later ones.
CREATE TABLE users (id integer, region text, name text, PRIMARY KEY (id, region)) PARTITION BY LIST (region);
CREATE TABLE users_eu PARTITION OF users FOR VALUES IN ('eu') PARTITION BY RANGE (id);
CREATE TABLE users_eu_1 PARTITION OF users_eu FOR VALUES FROM (0) TO (100);
SELECT contacts_push.watch('users', 'bot', external_id => $$region || '-' || id$$);
CREATE TABLE users_us (name text, dropped integer, region text NOT NULL, id integer NOT NULL);
ALTER TABLE users_us DROP COLUMN dropped;
ALTER TABLE users ATTACH PARTITION users_us FOR VALUES IN ('us');
SELECT * FROM contacts_push_internal.watched_trigger ORDER BY trigger_name;
INSERT INTO users VALUES (1, 'eu', 'Ann'), (2, 'us', 'Bob');
INSERT INTO users_us (id, region, name) VALUES (3, 'us', 'straight into a partition');
UPDATE users SET name = upper(name) WHERE id < 3;
UPDATE users_us SET name = 'Cid' WHERE id = 3;
SELECT * FROM test.take_outbox();
-- From one partition to another.
UPDATE users SET region = 'eu' WHERE id = 2;
SELECT * FROM test.take_outbox();
DELETE FROM users WHERE id = 1;
DELETE FROM users_us;
SELECT * FROM test.take_outbox();
-- A detached partition is no longer watched.
ALTER TABLE users DETACH PARTITION users_us;
INSERT INTO users_us (id, region) VALUES (4, 'us');
SELECT * FROM test.take_outbox();
SELECT contacts_push.unwatch('users');
INSERT INTO users VALUES (5, 'eu');
SELECT * FROM test.take_outbox();
SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'contacts\_push%' AND tgrelid::regclass::text LIKE 'users%';
DROP TABLE users, users_us CASCADE;

-- A table with children by inheritance: itself only.
CREATE TABLE users (id integer PRIMARY KEY, name text);
CREATE TABLE special_users (rank integer) INHERITS (users);
SELECT contacts_push.watch('users', 'bot');
INSERT INTO users VALUES (1, 'plain');
INSERT INTO special_users VALUES (2, 'special', 7);
UPDATE users SET name = upper(name);
UPDATE special_users SET rank = 8;
DELETE FROM special_users;
DELETE FROM users;
SELECT * FROM test.take_outbox();
-- A row that stays is not withdrawn because a child has one with its key, and a child's
-- is, whoever is named.
INSERT INTO users VALUES (1, 'parent');
INSERT INTO special_users VALUES (1, 'child', 1), (5, 'other child', 1);
SELECT contacts_push.watch('special_users', 'bot', external_id => $$'s' || id$$);
DELETE FROM users WHERE name LIKE '%child';
TABLE users;
SELECT * FROM test.take_outbox();
-- One that gets children afterwards.
CREATE TABLE more_users (id integer PRIMARY KEY, name text);
SELECT contacts_push.watch('more_users', 'bot');
CREATE TABLE grown_users () INHERITS (more_users);
INSERT INTO more_users VALUES (1, 'parent');
INSERT INTO grown_users VALUES (1, 'child');
DELETE FROM more_users WHERE name = 'child';
SELECT contacts_push.unwatch('more_users'), contacts_push.watch('more_users', 'bot');
INSERT INTO grown_users VALUES (1, 'child');
DELETE FROM more_users WHERE name = 'child';
DELETE FROM more_users;
SELECT * FROM test.take_outbox();
SET client_min_messages = warning;
DROP TABLE users, more_users CASCADE;
RESET client_min_messages;

-- Columns of all kinds become text.
CREATE DOMAIN address AS text CHECK (VALUE ~ '@');
CREATE TYPE plan AS ENUM ('free', 'pro');
CREATE TYPE pair AS (a integer, b text);
CREATE TABLE users (
	id uuid PRIMARY KEY,
	given varchar(20), family char(10),
	name text GENERATED ALWAYS AS (given || ' ' || family) STORED,
	email address, phone bigint, plan plan, tags text[], born date, seen timestamptz, score numeric(6, 2), active boolean,
	pair pair, more jsonb, plain json);
SELECT contacts_push.watch('users', 'bot', custom_attributes => $$jsonb_build_object(
	'plan', plan, 'tags', tags, 'born', born, 'seen', seen, 'score', score, 'active', active, 'pair', pair, 'b', (pair).b, 'more', more, 'plain', plain)$$);
INSERT INTO users VALUES ('00000000-0000-0000-0000-000000000001', 'Ann', 'Lee', DEFAULT, 'ann@example.com', 49123, 'pro', '{a,b}',
	'2000-02-29', '2024-01-01 00:00+00', 12.5, true, '(1,x)', '{"k": [1, null]}', '{"k":  1}');
SELECT contact - 'custom_attributes' AS contact, jsonb_pretty(contact -> 'custom_attributes') AS custom_attributes FROM test.take_outbox();
UPDATE users SET plain = '{"k": 1}';
UPDATE users SET given = 'Anna';
UPDATE users SET score = 12.50, tags = tags, seen = seen + interval '0';
SELECT contact ->> 'name' AS name FROM test.take_outbox();
DROP TABLE users CASCADE;
-- A jsonb column as it is, where it isn't NULL; arrays and objects for the members that are such.
CREATE TABLE users (email address PRIMARY KEY, stripe jsonb, attributes jsonb, "json" json);
SELECT contacts_push.watch('users', 'bot', stripe_accounts => 'stripe', custom_attributes => 'attributes');
SELECT contacts_push.watch('users', 'json', custom_attributes => 'json');
INSERT INTO users VALUES
	('a@b', '[{"label": "main", "stripe_id": "cus_1"}]', '{"none": null, "empty": {}, "list": [null]}', '{"a": null}'), ('c@d', NULL, NULL, NULL);
SELECT t.*, contacts_push.validate(contact) FROM test.take_outbox() t;
DROP TABLE users CASCADE;
-- Blanks around names, e-mails and phone numbers are trimmed, and what is empty then is left
-- out; an external_id is what it is, and what is inside of attributes, too.
CREATE TABLE users (id text PRIMARY KEY, name text, email char(20), phone varchar(20), note text);
SELECT contacts_push.watch('users', 'bot', custom_attributes => 'jsonb_build_object(''note'', note)');
INSERT INTO users VALUES
	(' a ', E' \t Ann  Lee\r\n', 'ann@example.com', '   +1', ' b '),
	(E'\tb', '', '', ' ', ''), ('  ', E'\n', NULL, NULL, NULL), ('c', ' ä ', ' ', '', NULL),
	('d', U&'\00a0d\00a0', E'\f\x0b', 'x', NULL);
SELECT external_id, contact FROM test.take_outbox();
UPDATE users SET name = name || ' ', phone = '+1' WHERE id = ' a ';
SELECT external_id, contact FROM test.take_outbox();
DROP TABLE users CASCADE;
DROP TYPE plan, pair;
DROP DOMAIN address;

-- A table whose columns have come and gone, and one that is unlogged.
CREATE UNLOGGED TABLE users (gone integer, id integer PRIMARY KEY, gone_too text, name text);
ALTER TABLE users DROP COLUMN gone, DROP COLUMN gone_too, ADD COLUMN phone text DEFAULT '+0';
SELECT contacts_push.watch('users', 'bot');
INSERT INTO users VALUES (1, 'One');
ALTER TABLE users ADD COLUMN email text;
UPDATE users SET email = 'not mapped';
UPDATE users SET phone = '+1';
SELECT * FROM test.take_outbox();
DROP TABLE users CASCADE;

-- A table that changes while a session goes on: its trigger's plans are made anew.
CREATE TABLE users (id integer PRIMARY KEY, name text);
SELECT contacts_push.watch('users', 'bot');
INSERT INTO users VALUES (1, 'One');
ALTER TABLE users ADD COLUMN more text;
INSERT INTO users VALUES (2, 'Two');
ALTER TABLE users RENAME TO people;
ALTER TABLE people RENAME name TO label;
INSERT INTO people VALUES (3, 'Three');
CREATE SCHEMA moved;
ALTER TABLE people SET SCHEMA moved;
INSERT INTO moved.people VALUES (4, 'Four');
UPDATE moved.people SET label = 'Changed' WHERE id = 4;
CREATE OR REPLACE VIEW users_contacts AS SELECT id AS external_id, label AS name, 'new' AS email FROM moved.people;
INSERT INTO moved.people VALUES (5, 'Five');
SELECT * FROM test.take_outbox();
SELECT view FROM contacts_push_internal.watched_trigger;
SELECT contacts_push.unwatch('moved.people');
DROP TABLE moved.people CASCADE;
DROP SCHEMA moved;

-- Triggers of the table's own: what they change is what is enqueued, what they skip isn't.
CREATE TABLE users (id integer PRIMARY KEY, name text);
CREATE FUNCTION change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF NEW.id = 0 THEN
		RETURN NULL;
	END IF;
	NEW.name := upper(NEW.name);
	RETURN NEW;
END
$$;
CREATE TRIGGER change BEFORE INSERT OR UPDATE ON users FOR EACH ROW EXECUTE FUNCTION change();
SELECT contacts_push.watch('users', 'bot');
INSERT INTO users VALUES (0, 'skipped'), (1, 'changed');
UPDATE users SET name = 'changed';
UPDATE users SET name = 'changed again';
SELECT * FROM test.take_outbox();
-- Cascades are changes as others are.
CREATE TABLE companies (id integer PRIMARY KEY);
INSERT INTO companies VALUES (1);
ALTER TABLE users ADD company integer REFERENCES companies ON DELETE CASCADE;
UPDATE users SET company = 1;
DELETE FROM companies;
SELECT * FROM test.take_outbox();
DROP TABLE users, companies CASCADE;
DROP FUNCTION change;
