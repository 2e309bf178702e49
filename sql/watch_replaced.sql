-- Views, functions and triggers that are replaced, renamed, nested or called by somebody
-- else's trigger: the statement succeeds, or says what is wrong with the trigger.
\set ECHO none
\i sql/include/begin.psql
\set ECHO all

-- The next statement has what the view says by then.
CREATE TABLE users (id integer PRIMARY KEY, email text, active boolean DEFAULT true);
CREATE VIEW own AS SELECT id AS external_id, email FROM users;
SELECT contacts_push.watch('own', 'bot');
INSERT INTO users VALUES (1, 'one@example.com');
CREATE OR REPLACE VIEW own AS SELECT id AS external_id, email, upper(email) AS name FROM users WHERE active;
INSERT INTO users VALUES (2, 'two@example.com', true), (3, 'three@example.com', false);
UPDATE users SET email = 'uno@example.com' WHERE id = 1;
UPDATE users SET active = false WHERE id = 1;
SELECT * FROM test.take_outbox();
-- in one transaction, and back again
BEGIN;
SAVEPOINT s;
CREATE OR REPLACE VIEW own AS SELECT id AS external_id, email, 'new' AS name FROM users;
INSERT INTO users VALUES (4, 'four@example.com');
SELECT external_id, contact ->> 'name' AS name FROM test.take_outbox();
ROLLBACK TO s;
INSERT INTO users VALUES (4, 'four@example.com');
COMMIT;
SELECT external_id, contact ->> 'name' AS name FROM test.take_outbox();
-- One that is no mapping any more is a failure of every row, until it is one again.
CREATE OR REPLACE VIEW own AS SELECT id AS external_id, email, max(email) OVER () AS name FROM users;
INSERT INTO users VALUES (5, 'five@example.com');
UPDATE users SET email = 'cinco@example.com' WHERE id = 5;
DELETE FROM users WHERE id = 5;
CALL contacts_push.backfill('users');
CREATE OR REPLACE VIEW own AS SELECT id AS external_id, email, email AS name, email AS nickname FROM users;
INSERT INTO users VALUES (6, 'six@example.com');
DROP VIEW own;
DROP VIEW own CASCADE;
SELECT count(*) FROM contacts_push_internal.watched_trigger;
SELECT * FROM test.take_outbox();

-- A function of the view that is replaced, is inlined or not, and gets another volatility.
CREATE FUNCTION label(users) RETURNS text LANGUAGE sql IMMUTABLE RETURN 'first ' || $1.id;
CREATE VIEW own AS SELECT id AS external_id, label(users) AS name FROM users;
SELECT contacts_push.watch('own', 'bot');
INSERT INTO users VALUES (10);
CREATE OR REPLACE FUNCTION label(users) RETURNS text LANGUAGE sql IMMUTABLE AS $$SELECT 'second ' || $1.id$$;
INSERT INTO users VALUES (11);
CREATE OR REPLACE FUNCTION label(users) RETURNS text LANGUAGE plpgsql AS $$BEGIN RETURN 'third ' || $1.id; END$$;
INSERT INTO users VALUES (12);
ALTER FUNCTION label(users) RENAME TO labelled;
INSERT INTO users VALUES (13);
SELECT external_id, contact ->> 'name' AS name FROM test.take_outbox();
-- a whole row has the columns that were added meanwhile
CREATE OR REPLACE FUNCTION labelled(users) RETURNS text LANGUAGE sql AS $$SELECT $1::text$$;
ALTER TABLE users ADD COLUMN added integer DEFAULT 7;
INSERT INTO users VALUES (14);
UPDATE users SET added = 8 WHERE id = 14;
SELECT external_id, contact ->> 'name' AS name FROM test.take_outbox();
DROP VIEW own CASCADE;
DROP FUNCTION labelled;

-- One that writes its own table, and fails there, while it runs: what it has written is
-- mapped by itself, in the middle of what is mapped.
TRUNCATE users;
CREATE FUNCTION nested(id integer, email text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	IF email = 'outer' THEN
		INSERT INTO users VALUES (id + 1, 'bad'), (id + 2, 'good');
	ELSIF email = 'outer update' THEN
		UPDATE users SET email = 'bad' WHERE users.id = nested.id + 2;
	ELSIF email = 'bad' THEN
		RAISE EXCEPTION 'it is bad';
	END IF;
	RETURN email || ' of ' || id;
END
$$;
CREATE VIEW own AS SELECT id AS external_id, 'a ' || nested(id, email) || ', ' || id AS name, email FROM users;
SELECT contacts_push.watch('own', 'bot');
INSERT INTO users VALUES (10, 'outer');
INSERT INTO users VALUES (20, 'outer'), (30, 'outer');
UPDATE users SET email = 'outer update' WHERE id = 10;
SELECT external_id, contact - 'external_id' AS contact FROM test.take_outbox();
INSERT INTO users VALUES (40, 'fine');
SELECT external_id, contact - 'external_id' AS contact FROM test.take_outbox();
-- one that replaces the view while it is evaluated
CREATE FUNCTION replaces(email text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	IF email = 'replace' THEN
		CREATE OR REPLACE VIEW own AS SELECT id AS external_id, 'replaced' AS name, email FROM users;
		INSERT INTO users VALUES (51, 'inner');
	END IF;
	RETURN email;
END
$$;
CREATE OR REPLACE VIEW own AS SELECT id AS external_id, replaces(email) || '!' AS name, email FROM users;
INSERT INTO users VALUES (50, 'replace'), (52, 'outer');
INSERT INTO users VALUES (53, 'next');
SELECT external_id, contact - 'external_id' AS contact FROM test.take_outbox();
DROP VIEW own CASCADE;
DROP FUNCTION nested, replaces;

-- A trigger that is replaced names another view, and has that at once.
CREATE VIEW own AS SELECT id AS external_id FROM users;
CREATE VIEW other AS SELECT 'other ' || id AS external_id FROM users;
SELECT contacts_push.watch('own', 'bot');
INSERT INTO users VALUES (60, 'own');
CREATE OR REPLACE TRIGGER contacts_push_insert AFTER INSERT ON users REFERENCING NEW TABLE AS new_rows
FOR EACH STATEMENT EXECUTE FUNCTION contacts_push_internal.enqueue_rows('bot', 'public.other');
INSERT INTO users VALUES (61, 'replaced');
SELECT external_id FROM test.take_outbox();
SELECT contacts_push.unwatch('users');

-- Triggers that are not watch()'s.
CREATE FUNCTION try_trigger(event text, rest text, arguments text DEFAULT $$'bot', 'public.other'$$) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('CREATE TRIGGER made %s ON users %s EXECUTE FUNCTION contacts_push_internal.enqueue_rows(%s)', event, rest, arguments);
	CALL test.fails('INSERT INTO users VALUES (70)');
	DROP TRIGGER made ON users;
END
$$;
SELECT try_trigger('AFTER INSERT', 'FOR EACH STATEMENT');
SELECT try_trigger('BEFORE INSERT', 'FOR EACH ROW');
SELECT try_trigger('AFTER INSERT', 'FOR EACH ROW', '');
SELECT try_trigger('AFTER INSERT', 'FOR EACH ROW', $$'bot', 'public.other', 'more'$$);
CREATE TRIGGER made AFTER UPDATE ON users REFERENCING OLD TABLE AS o NEW TABLE AS n
FOR EACH STATEMENT EXECUTE FUNCTION contacts_push_internal.enqueue_rows('bot', 'public.other');
CALL test.fails('UPDATE users SET email = NULL');
DROP TRIGGER made ON users;
CREATE TRIGGER made AFTER TRUNCATE ON users FOR EACH STATEMENT EXECUTE FUNCTION contacts_push_internal.enqueue_rows('bot', 'public.other');
CALL test.fails('TRUNCATE users');
DROP TRIGGER made ON users;
DROP FUNCTION try_trigger;
DROP TABLE users CASCADE;

-- Who writes through a view needs no USAGE on the schema behind it.
CREATE SCHEMA regress_private;
CREATE TABLE regress_private.users (id integer PRIMARY KEY, name text);
CREATE TABLE regress_private.orders (id integer PRIMARY KEY, "user" integer REFERENCES regress_private.users ON DELETE CASCADE, name text);
CREATE VIEW regress_users AS TABLE regress_private.users;
CREATE FUNCTION regress_private.shout(text) RETURNS text LANGUAGE plpgsql AS $$BEGIN RETURN upper($1); END$$;
SELECT contacts_push.watch('regress_private.users', 'bot', name => 'regress_private.shout(name)');
SELECT contacts_push.watch('regress_private.orders', 'bot', external_id => $$'o' || id$$);
CREATE ROLE regress_contacts_push_web;
GRANT SELECT, INSERT, UPDATE, DELETE ON regress_users TO regress_contacts_push_web;
SET ROLE regress_contacts_push_web;
INSERT INTO regress_users VALUES (1, 'One'), (2, 'Two');
UPDATE regress_users SET name = 'Deux' WHERE id = 2;
RESET ROLE;
INSERT INTO regress_private.orders VALUES (1, 1, 'First');
SET ROLE regress_contacts_push_web;
DELETE FROM regress_users WHERE id = 1;
RESET ROLE;
SELECT * FROM test.take_outbox();
-- But a function of the view is one that the writer may call.
REVOKE EXECUTE ON FUNCTION regress_private.shout FROM PUBLIC;
SET ROLE regress_contacts_push_web;
INSERT INTO regress_users VALUES (4, 'Four');
RESET ROLE;
SELECT * FROM test.take_outbox();
SET client_min_messages = warning;
DROP SCHEMA regress_private CASCADE;
RESET client_min_messages;
DROP ROLE regress_contacts_push_web;

-- A partition's rows are mapped as rows of the watched table.
CREATE TABLE parted (id integer PRIMARY KEY, name text) PARTITION BY RANGE (id);
CREATE TABLE leaf (dropped text, name text, id integer NOT NULL);
ALTER TABLE leaf DROP COLUMN dropped;
ALTER TABLE parted ATTACH PARTITION leaf FOR VALUES FROM (1) TO (100);
SELECT contacts_push.watch('parted', 'bot', custom_attributes => 'to_jsonb(parted)');
INSERT INTO parted VALUES (1, 'One');
INSERT INTO leaf (id, name) VALUES (2, 'Two');
UPDATE parted SET name = upper(name);
DELETE FROM leaf WHERE id = 2;
SELECT o.relation::regclass, o.external_id, o.contact FROM contacts_push.outbox o ORDER BY seq;
TRUNCATE contacts_push.outbox;
-- also when that table is a partition by then
CREATE TABLE whole (name text, id integer NOT NULL) PARTITION BY RANGE (id);
ALTER TABLE whole ATTACH PARTITION parted FOR VALUES FROM (1) TO (1000);
INSERT INTO leaf (id, name) VALUES (4, 'Four');
INSERT INTO whole (id, name) VALUES (5, 'Five');
DELETE FROM whole WHERE id = 4;
SELECT * FROM test.take_outbox();
ALTER TABLE whole DETACH PARTITION parted;
DROP TABLE whole;
SELECT contacts_push.unwatch('parted');
-- one with a watch of its own, from before
ALTER TABLE parted DETACH PARTITION leaf;
SELECT contacts_push.watch('leaf', 'bot', external_id => 'id');
ALTER TABLE parted ATTACH PARTITION leaf FOR VALUES FROM (1) TO (100);
INSERT INTO leaf (id, name) VALUES (3, 'Three');
UPDATE leaf SET name = 'Trois' WHERE id = 3;
SELECT * FROM test.take_outbox();
DROP TABLE parted CASCADE;

-- Names that leave no room for a suffix, of characters that are longer than a byte.
SELECT repeat('ä', 31) AS long_name \gset
CREATE TABLE :"long_name" (id integer PRIMARY KEY, name text);
SELECT contacts_push.watch(:'long_name', 'bot');
SELECT contacts_push.watch(:'long_name', 'bot 2');
INSERT INTO :"long_name" VALUES (1, 'One');
SELECT DISTINCT chatbot_id, view FROM contacts_push_internal.watched_trigger ORDER BY 1;
SELECT * FROM test.take_outbox();
SELECT contacts_push.unwatch(:'long_name');
SELECT count(*) FROM pg_class WHERE relname LIKE 'ä%contacts%';
DROP TABLE :"long_name";

-- A table with the name of a type.
CREATE TABLE public.line (id integer PRIMARY KEY, name text);
SELECT contacts_push.watch('public.line', 'bot', name => 'line.name');
INSERT INTO public.line VALUES (1, 'One');
SELECT * FROM test.take_outbox();
DROP TABLE public.line CASCADE;

-- A function that is replaced by one in another language while the row is mapped.  (Here once,
-- as numbers of a sequence are not rolled back; others would do it from another session.)
CREATE TABLE users (id integer PRIMARY KEY, name text, email text);
CREATE SEQUENCE times;
CREATE FUNCTION label(email text) RETURNS text LANGUAGE plpgsql AS $$BEGIN RETURN 'label ' || email; END$$;
CREATE FUNCTION replace_label(name text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	IF nextval('times') = 2 THEN
		CREATE OR REPLACE FUNCTION label(email text) RETURNS text LANGUAGE sql RETURN email;
	END IF;
	RETURN name;
END
$$;
SELECT contacts_push.watch('users', 'bot', name => 'replace_label(name)', email => 'label(email)');
INSERT INTO users VALUES (1, 'One', 'a@example.com');
UPDATE users SET name = 'Uno';
SELECT last_value FROM times;
SELECT * FROM test.take_outbox();
DROP TABLE users CASCADE;
DROP FUNCTION label, replace_label;
DROP SEQUENCE times;
