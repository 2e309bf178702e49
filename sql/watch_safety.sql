-- Who can say what runs as every writer of a table: its owner, by the view that was
-- named, and nobody else by something of the same name.
\set ECHO none
\i sql/include/begin.psql
\set ECHO all

CREATE ROLE regress_contacts_push_owner;
CREATE ROLE regress_contacts_push_thief;
CREATE ROLE regress_contacts_push_app;
GRANT USAGE ON SCHEMA contacts_push, contacts_push_internal TO regress_contacts_push_owner, regress_contacts_push_thief;
GRANT EXECUTE ON ROUTINE contacts_push.watch, contacts_push.unwatch, contacts_push.backfill, contacts_push.missing,
    contacts_push_internal.enqueue_rows TO regress_contacts_push_owner, regress_contacts_push_thief;
CREATE SCHEMA shop;
GRANT USAGE, CREATE ON SCHEMA shop TO regress_contacts_push_owner, regress_contacts_push_thief;
GRANT USAGE ON SCHEMA shop TO regress_contacts_push_app;
CREATE TABLE shop.ran (what text, who text);
GRANT INSERT ON shop.ran TO PUBLIC;
CREATE FUNCTION shop.spring(what text) RETURNS text LANGUAGE plpgsql AS
	$$BEGIN INSERT INTO shop.ran VALUES (what, current_user); RETURN what; END$$;

SET SESSION AUTHORIZATION regress_contacts_push_owner;
SET search_path = shop;
CREATE TABLE users (id integer PRIMARY KEY, name text);
GRANT SELECT, INSERT, UPDATE, DELETE ON users TO regress_contacts_push_app;
GRANT SELECT, REFERENCES ON users TO regress_contacts_push_thief;
SELECT contacts_push.watch('users', 'bot');

-- The original moves, and somebody makes another of its name: nobody notices.
ALTER VIEW users_contacts RENAME TO moved;
SET SESSION AUTHORIZATION regress_contacts_push_thief;
CREATE VIEW shop.users_contacts AS SELECT id AS external_id, shop.spring('view of the name') AS name FROM shop.users;
SET SESSION AUTHORIZATION regress_contacts_push_app;
INSERT INTO shop.users VALUES (1, 'One');
RESET SESSION AUTHORIZATION;
TABLE shop.ran;
SELECT external_id, contact ->> 'name' AS name FROM test.take_outbox();

-- A restored dump goes by the name: that has to be the owner's, too.  (What a dump
-- leaves out is taken away by hand.)
DELETE FROM pg_depend WHERE classid = 'pg_trigger'::regclass AND refobjid = 'shop.moved'::regclass;
DROP VIEW shop.moved;
SET SESSION AUTHORIZATION regress_contacts_push_app;
INSERT INTO shop.users VALUES (2, 'Two');
UPDATE shop.users SET name = 'Zwei' WHERE id = 2;
DELETE FROM shop.users WHERE id = 2;
RESET SESSION AUTHORIZATION;
CALL contacts_push.backfill('shop.users');
TABLE shop.ran;
SELECT external_id, contact ->> 'name' AS name FROM test.take_outbox();
-- a table, function or schema of that name is none
DROP VIEW shop.users_contacts;
SET SESSION AUTHORIZATION regress_contacts_push_thief;
CREATE TABLE shop.users_contacts (external_id text DEFAULT shop.spring('table of the name'));
CREATE FUNCTION shop.users_contacts(shop.users) RETURNS jsonb LANGUAGE sql AS $$SELECT to_jsonb(shop.spring('function of the name'))$$;
SET SESSION AUTHORIZATION regress_contacts_push_app;
INSERT INTO shop.users VALUES (3, 'Three');
RESET SESSION AUTHORIZATION;
DROP TABLE shop.users_contacts;
ALTER SCHEMA shop RENAME TO shop_2;
CREATE SCHEMA shop;
GRANT USAGE, CREATE ON SCHEMA shop TO regress_contacts_push_thief;
SET SESSION AUTHORIZATION regress_contacts_push_thief;
CREATE VIEW shop.users_contacts AS SELECT id AS external_id, shop_2.spring('schema of the name') AS name FROM shop_2.users;
RESET SESSION AUTHORIZATION;
GRANT USAGE ON SCHEMA shop_2 TO regress_contacts_push_app;
SET SESSION AUTHORIZATION regress_contacts_push_app;
INSERT INTO shop_2.users VALUES (4, 'Four');
RESET SESSION AUTHORIZATION;
DROP VIEW shop.users_contacts;
DROP SCHEMA shop;
ALTER SCHEMA shop_2 RENAME TO shop;
TABLE shop.ran;
SELECT external_id, contact ->> 'name' AS name FROM test.take_outbox();
-- the owner's own, under that name, is taken, as a restored dump has it
SET SESSION AUTHORIZATION regress_contacts_push_owner;
CREATE VIEW users_contacts AS SELECT id AS external_id, name FROM users;
SET SESSION AUTHORIZATION regress_contacts_push_app;
INSERT INTO shop.users VALUES (5, 'Five');
RESET SESSION AUTHORIZATION;
SELECT DISTINCT view FROM contacts_push_internal.watched_trigger;
SELECT external_id, contact ->> 'name' AS name FROM test.take_outbox();

-- A former owner keeps the view, and replaces it.
SET SESSION AUTHORIZATION regress_contacts_push_owner;
SELECT contacts_push.unwatch('users');
DROP VIEW users_contacts;
SELECT contacts_push.watch('users', 'bot');
RESET SESSION AUTHORIZATION;
ALTER TABLE shop.users OWNER TO regress_contacts_push_thief;
SET SESSION AUTHORIZATION regress_contacts_push_owner;
CREATE OR REPLACE VIEW shop.users_contacts AS SELECT id AS external_id, shop.spring('former owner') AS name FROM shop.users;
SET SESSION AUTHORIZATION regress_contacts_push_app;
INSERT INTO shop.users VALUES (6, 'Six');
UPDATE shop.users SET name = 'Seis' WHERE id = 6;
RESET SESSION AUTHORIZATION;
TABLE shop.ran;
-- in the same session that has used it
INSERT INTO shop.users VALUES (7, 'Seven');
ALTER VIEW shop.users_contacts OWNER TO regress_contacts_push_thief;
INSERT INTO shop.users VALUES (8, 'Eight');
ALTER VIEW shop.users_contacts OWNER TO regress_contacts_push_owner;
INSERT INTO shop.users VALUES (9, 'Nine');
TABLE shop.ran;
ALTER TABLE shop.users OWNER TO regress_contacts_push_owner;
INSERT INTO shop.users VALUES (10, 'Ten');
SELECT external_id FROM test.take_outbox();
TRUNCATE shop.ran;
-- a superuser's view is as good, until that is none any more
CREATE ROLE regress_contacts_push_super SUPERUSER;
ALTER VIEW shop.users_contacts OWNER TO regress_contacts_push_super;
INSERT INTO shop.users VALUES (11, 'Eleven');
ALTER ROLE regress_contacts_push_super NOSUPERUSER;
INSERT INTO shop.users VALUES (12, 'Twelve');
SELECT external_id FROM test.take_outbox();
ALTER VIEW shop.users_contacts OWNER TO regress_contacts_push_owner;
DROP ROLE regress_contacts_push_super;
TRUNCATE shop.ran;

-- An overload made later is not what the view calls.
SET SESSION AUTHORIZATION regress_contacts_push_owner;
SET search_path = shop;
CREATE FUNCTION label(text) RETURNS text LANGUAGE sql RETURN 'label of ' || $1;
CREATE OR REPLACE VIEW users_contacts AS SELECT id AS external_id, label(name::varchar) AS name FROM users;
SET SESSION AUTHORIZATION regress_contacts_push_thief;
SET search_path = shop;
CREATE FUNCTION label(varchar) RETURNS text LANGUAGE sql AS $$SELECT shop.spring('overload')$$;
SET SESSION AUTHORIZATION regress_contacts_push_app;
SET search_path = shop;
INSERT INTO users VALUES (20, 'Twenty');
RESET SESSION AUTHORIZATION;
TABLE shop.ran;
SELECT external_id, contact ->> 'name' AS name FROM test.take_outbox();

-- The rights of whoever writes: two roles in one session, of which one lacks EXECUTE, and
-- a right that is taken away between two statements.
SET search_path = public;
REVOKE EXECUTE ON FUNCTION shop.label(text) FROM PUBLIC;
INSERT INTO shop.users VALUES (30, 'the superuser');
SET ROLE regress_contacts_push_app;
INSERT INTO shop.users VALUES (31, 'not allowed');
RESET ROLE;
INSERT INTO shop.users VALUES (32, 'the superuser again');
GRANT EXECUTE ON FUNCTION shop.label(text) TO regress_contacts_push_app;
SET ROLE regress_contacts_push_app;
INSERT INTO shop.users VALUES (33, 'allowed');
RESET ROLE;
REVOKE EXECUTE ON FUNCTION shop.label(text) FROM regress_contacts_push_app;
SET ROLE regress_contacts_push_app;
INSERT INTO shop.users VALUES (34, 'not any more');
RESET ROLE;
CREATE ROLE regress_contacts_push_group;
GRANT EXECUTE ON FUNCTION shop.label(text) TO regress_contacts_push_group;
GRANT regress_contacts_push_group TO regress_contacts_push_app;
SET ROLE regress_contacts_push_app;
INSERT INTO shop.users VALUES (35, 'as a member');
RESET ROLE;
REVOKE regress_contacts_push_group FROM regress_contacts_push_app;
SET ROLE regress_contacts_push_app;
INSERT INTO shop.users VALUES (36, 'a member no more');
RESET ROLE;
SELECT external_id, contact ->> 'name' AS name FROM test.take_outbox();
-- the same for one that is inlined and one that is computed when the view is compiled
CREATE FUNCTION shop.constant() RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$BEGIN RETURN 'constant'; END$$;
ALTER FUNCTION shop.constant() OWNER TO regress_contacts_push_owner;
REVOKE EXECUTE ON FUNCTION shop.constant FROM PUBLIC;
SET SESSION AUTHORIZATION regress_contacts_push_owner;
CREATE OR REPLACE VIEW shop.users_contacts AS SELECT id AS external_id, shop.constant() AS name FROM shop.users;
RESET SESSION AUTHORIZATION;
INSERT INTO shop.users VALUES (40, '');
SET ROLE regress_contacts_push_app;
INSERT INTO shop.users VALUES (41, '');
RESET ROLE;
SELECT external_id, contact ->> 'name' AS name FROM test.take_outbox();

-- A SECURITY DEFINER function in a schema that one cannot use is not to be had by a
-- trigger of one's own that names a view there, or the function itself.
CREATE SCHEMA private;
CREATE FUNCTION private.secret(integer) RETURNS text LANGUAGE sql SECURITY DEFINER AS $$SELECT shop.spring('secret')$$;
CREATE TABLE private.accounts (id integer PRIMARY KEY);
CREATE VIEW private.accounts_contacts AS SELECT id AS external_id, private.secret(id) AS name FROM private.accounts;
SET SESSION AUTHORIZATION regress_contacts_push_thief;
CREATE TABLE shop.mine (id integer PRIMARY KEY);
CREATE TRIGGER a AFTER INSERT ON shop.mine FOR EACH ROW EXECUTE FUNCTION contacts_push_internal.enqueue_rows('bot', 'private.accounts_contacts');
CREATE TRIGGER b AFTER INSERT ON shop.mine FOR EACH ROW EXECUTE FUNCTION contacts_push_internal.enqueue_rows('bot', 'private.secret');
CREATE TRIGGER c AFTER INSERT ON shop.mine FOR EACH ROW EXECUTE FUNCTION contacts_push_internal.enqueue_rows('bot', 'shop.users_contacts');
\set VERBOSITY terse
INSERT INTO shop.mine VALUES (1);
SELECT contacts_push.watch('private.accounts_contacts'::regclass, 'bot');
SELECT contacts_push.watch('shop.mine', 'bot 2', name => 'private.secret(id)');
\set VERBOSITY default
RESET SESSION AUTHORIZATION;
SELECT reason FROM contacts_push_internal.enqueue_failure WHERE relation = 'shop.mine' ORDER BY 1;
TABLE shop.ran;
SELECT external_id FROM test.take_outbox();

-- Nor is one's own function run by others because of where one's table hangs.
SET SESSION AUTHORIZATION regress_contacts_push_thief;
SELECT contacts_push.watch('shop.mine', 'mine', name => 'shop.spring(''as '' || current_user)');
SELECT contacts_push.backfill('shop.mine');
CALL contacts_push.backfill('shop.mine');
RESET SESSION AUTHORIZATION;
CALL contacts_push.backfill('shop.mine');
SELECT count(*) FROM contacts_push.missing('shop.mine', 'mine');
SELECT DISTINCT who FROM shop.ran;

SET client_min_messages = warning;
DROP SCHEMA shop, private CASCADE;
DROP OWNED BY regress_contacts_push_owner, regress_contacts_push_thief, regress_contacts_push_app, regress_contacts_push_group;
DROP ROLE regress_contacts_push_owner, regress_contacts_push_thief, regress_contacts_push_app, regress_contacts_push_group;
