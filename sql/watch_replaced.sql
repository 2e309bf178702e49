-- Mappings and triggers that are replaced, renamed, nested or called by somebody else's
-- trigger: the statement succeeds, or says what is wrong with the trigger.
\set ECHO none
\i sql/include/begin.psql
\set ECHO all

CREATE TABLE users (id integer PRIMARY KEY, email text);
CREATE FUNCTION own(u users) RETURNS jsonb LANGUAGE sql STABLE RETURN jsonb_build_object('external_id', u.id::text, 'email', u.email);
SELECT contacts_push.watch('users', 'bot', contact => 'own');
INSERT INTO users VALUES (1, 'one@example.com');
-- What returns something else now is made jsonb, or left out: by each kind of trigger
-- and by backfill().
DROP FUNCTION own;
CREATE FUNCTION own(u users) RETURNS json LANGUAGE sql STABLE RETURN format('{   "external_id":"%s", "email": "%s"}', u.id, u.email)::json;
INSERT INTO users VALUES (2, 'two@example.com');
UPDATE users SET email = 'uno@example.com' WHERE id = 1;
DELETE FROM users WHERE id = 2;
SELECT * FROM test.take_outbox();
CALL contacts_push.backfill('users');
SELECT * FROM test.take_outbox();
DROP FUNCTION own;
CREATE FUNCTION own(u users) RETURNS text LANGUAGE sql STABLE RETURN CASE WHEN u.id = 3 THEN 'no JSON' ELSE format('{"external_id":"%s"}', u.id) END;
INSERT INTO users VALUES (3, 'three@example.com'), (4, 'four@example.com');
UPDATE users SET email = 'drei@example.com' WHERE id = 3;
DELETE FROM users WHERE id = 3;
CALL contacts_push.backfill('users');
SELECT * FROM test.take_outbox();
DROP FUNCTION own;
CREATE FUNCTION own(u users) RETURNS point LANGUAGE sql STABLE RETURN point '(1,2)';
INSERT INTO users VALUES (5, 'five@example.com');
SELECT * FROM test.take_outbox();
DROP FUNCTION own;
CREATE FUNCTION own(u users) RETURNS SETOF jsonb LANGUAGE sql STABLE AS $$ SELECT jsonb_build_object('external_id', u.id::text) FROM generate_series(1, u.id - 5) $$;
INSERT INTO users VALUES (6, 'six@example.com');
SELECT * FROM test.take_outbox();
DROP FUNCTION own;

-- One that writes its own table, and fails there, while it runs.
TRUNCATE users;
CREATE FUNCTION own(u users) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	IF u.email = 'outer' THEN
		INSERT INTO users VALUES (u.id + 1, 'bad'), (u.id + 2, 'good');
	ELSIF u.email = 'outer update' THEN
		UPDATE users SET email = 'bad' WHERE id = u.id + 2;
	ELSIF u.email = 'bad' THEN
		RAISE EXCEPTION 'it is bad';
	END IF;
	RETURN jsonb_build_object('external_id', u.id::text, 'email', u.email);
END
$$;
INSERT INTO users VALUES (10, 'outer');
INSERT INTO users VALUES (20, 'outer'), (30, 'outer');
UPDATE users SET email = 'outer update' WHERE id = 10;
SELECT external_id, contact ->> 'email' AS email FROM test.take_outbox();
INSERT INTO users VALUES (40, 'fine');
SELECT external_id, contact ->> 'email' AS email FROM test.take_outbox();

-- A trigger that is replaced calls the new mapping at once.
CREATE FUNCTION other(u users) RETURNS jsonb LANGUAGE sql STABLE RETURN jsonb_build_object('external_id', 'other ' || u.id);
CREATE OR REPLACE TRIGGER contacts_push_insert AFTER INSERT ON users REFERENCING NEW TABLE AS new_rows
FOR EACH STATEMENT EXECUTE FUNCTION contacts_push_internal.enqueue_rows('bot', 'public.other');
INSERT INTO users VALUES (41, 'replaced');
SELECT external_id FROM test.take_outbox();
SELECT contacts_push.unwatch('users');

-- Triggers that are not watch()'s.
CREATE FUNCTION try_trigger(event text, rest text, arguments text DEFAULT $$'bot', 'public.other'$$) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('CREATE TRIGGER made %s ON users %s EXECUTE FUNCTION contacts_push_internal.enqueue_rows(%s)', event, rest, arguments);
	CALL test.fails('INSERT INTO users VALUES (50)');
	DROP TRIGGER made ON users;
END
$$;
SELECT try_trigger('AFTER INSERT', 'FOR EACH STATEMENT');
SELECT try_trigger('BEFORE INSERT', 'FOR EACH ROW');
SELECT try_trigger('AFTER INSERT', 'FOR EACH ROW', '');
SELECT try_trigger('AFTER INSERT', 'FOR EACH ROW', $$'bot', 'public.other', 'more'$$);
SELECT try_trigger('AFTER INSERT', 'FOR EACH ROW', $$'bot', 'other'$$);
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
SELECT contacts_push.watch('regress_private.users', 'bot');
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
-- The same when its plan has become invalid.
ALTER TABLE regress_private.users RENAME COLUMN name TO called;
SET ROLE regress_contacts_push_web;
INSERT INTO regress_users VALUES (3, 'Three');
UPDATE regress_users SET name = 'Trois' WHERE id = 3;
RESET ROLE;
SELECT * FROM test.take_outbox();
-- But the mapping is no more than what it may call.
REVOKE EXECUTE ON FUNCTION regress_private.users_contact FROM PUBLIC;
SET ROLE regress_contacts_push_web;
INSERT INTO regress_users VALUES (4, 'Four');
RESET ROLE;
SELECT * FROM test.take_outbox();
SET client_min_messages = warning;
DROP SCHEMA regress_private CASCADE;
RESET client_min_messages;
DROP ROLE regress_contacts_push_web;

-- A partition's rows are mapped as rows of the watched table, whatever else there is.
CREATE TABLE parted (id integer PRIMARY KEY, name text) PARTITION BY RANGE (id);
CREATE TABLE leaf (dropped text, name text, id integer NOT NULL);
ALTER TABLE leaf DROP COLUMN dropped;
ALTER TABLE parted ATTACH PARTITION leaf FOR VALUES FROM (1) TO (100);
SELECT contacts_push.watch('parted', 'bot');
CREATE FUNCTION parted_contact(l leaf) RETURNS jsonb LANGUAGE sql RETURN jsonb_build_object('external_id', 'the leaf''s own');
INSERT INTO parted VALUES (1, 'One');
INSERT INTO leaf (id, name) VALUES (2, 'Two');
UPDATE parted SET name = upper(name);
DELETE FROM leaf WHERE id = 2;
SELECT * FROM test.take_outbox();
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
SELECT chatbot_id, mapping FROM contacts_push_internal.watched_trigger ORDER BY 1, 2;
SELECT * FROM test.take_outbox();
SELECT contacts_push.unwatch(:'long_name');
SELECT count(*) FROM pg_proc WHERE proname LIKE 'ä%';
DROP TABLE :"long_name";

-- A table with the name of a type.
CREATE TABLE public.line (id integer PRIMARY KEY);
CREATE FUNCTION line_as_contact(l public.line) RETURNS jsonb LANGUAGE sql STABLE RETURN jsonb_build_object('external_id', l.id::text);
SELECT contacts_push.watch('public.line', 'bot', contact => 'line_as_contact');
INSERT INTO public.line VALUES (1);
SELECT * FROM test.take_outbox();
DROP TABLE public.line CASCADE;

-- A table that has got another owner: the mapping that stays is not in the way.
CREATE ROLE regress_contacts_push_new;
GRANT USAGE, CREATE ON SCHEMA public TO regress_contacts_push_new;
GRANT USAGE ON SCHEMA contacts_push, contacts_push_internal TO regress_contacts_push_new;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA contacts_push, contacts_push_internal TO regress_contacts_push_new;
GRANT SELECT ON contacts_push_internal.watched_trigger TO regress_contacts_push_new;
CREATE TABLE handed_on (id integer PRIMARY KEY, name text);
SELECT contacts_push.watch('handed_on', 'bot');
ALTER TABLE handed_on OWNER TO regress_contacts_push_new;
SET ROLE regress_contacts_push_new;
SELECT contacts_push.unwatch('handed_on');
SELECT contacts_push.watch('handed_on', 'bot');
INSERT INTO handed_on VALUES (1, 'One');
SELECT contacts_push.unwatch('handed_on');
RESET ROLE;
SELECT * FROM test.take_outbox();
SELECT proname, proowner::regrole FROM pg_proc WHERE proname LIKE 'handed%' ORDER BY 1;
DROP TABLE handed_on CASCADE;
DROP OWNED BY regress_contacts_push_new;
DROP ROLE regress_contacts_push_new;
