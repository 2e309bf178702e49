-- What updates and deletions of a watched table enqueue, and who needs which rights for it.
\set ECHO none
\i sql/include/begin.psql
\set ECHO all

CREATE TABLE users (id text PRIMARY KEY, name text, email text, visits integer DEFAULT 0, notes json);
SELECT contacts_push.watch('users', 'bot');
INSERT INTO users VALUES ('a', 'Ann'), ('b', 'Bob'), ('c', 'Cid');
SELECT count(*) FROM test.take_outbox();

-- An update counts where a mapped column changes; to the last bit.
UPDATE users SET email = 'ann@example.com' WHERE id = 'a';
UPDATE users SET visits = visits + 1, notes = '{}';
UPDATE users SET name = name;
UPDATE users SET name = NULL WHERE id = 'b';
UPDATE users SET name = 'CID' WHERE id = 'c';
UPDATE users SET name = name || '!', email = id || '@example.com';
UPDATE users SET name = 'nobody' WHERE false;
SELECT * FROM test.take_outbox();
INSERT INTO users VALUES ('a', 'Anna') ON CONFLICT (id) DO UPDATE SET name = EXCLUDED.name;
INSERT INTO users VALUES ('a', 'Anna'), ('d', 'Dan') ON CONFLICT (id) DO UPDATE SET name = EXCLUDED.name;
SELECT * FROM test.take_outbox();
-- A changed key is another contact: the old one is withdrawn.
UPDATE users SET id = 'z' WHERE id = 'd';
UPDATE users SET id = id || '2' WHERE id IN ('a', 'b');
SELECT * FROM test.take_outbox();
-- Deletions withdraw.
DELETE FROM users WHERE id = 'z';
DELETE FROM users WHERE id = 'z';
DELETE FROM users;
SELECT * FROM test.take_outbox();
-- In one transaction: in the order of the statements.
BEGIN;
INSERT INTO users VALUES ('t', 'Tim');
UPDATE users SET name = 'Tom';
DELETE FROM users;
INSERT INTO users VALUES ('t', 'Tea');
COMMIT;
SELECT * FROM test.take_outbox();
-- TRUNCATE and replication's apply enqueue nothing.
TRUNCATE users;
SET session_replication_role = replica;
INSERT INTO users VALUES ('r', 'replicated');
DELETE FROM users;
RESET session_replication_role;
SELECT * FROM test.take_outbox();
-- A key is what the mapping makes of it.
DROP TABLE users CASCADE;
CREATE TABLE users (id integer PRIMARY KEY, login text, name text);
SELECT contacts_push.watch('users', 'bot', external_id => 'lower(login)');
INSERT INTO users VALUES (1, 'Ann', 'A');
UPDATE users SET login = 'ANN';
UPDATE users SET login = 'Bob';
SELECT * FROM test.take_outbox();
DROP TABLE users CASCADE;

-- A mapping of the whole row sees every column.
CREATE TABLE users (id integer PRIMARY KEY, name text, data json);
CREATE FUNCTION own(users) RETURNS jsonb LANGUAGE sql STABLE AS
	$$SELECT jsonb_build_object('external_id', $1.id::text, 'custom_attributes', to_jsonb($1) - 'id')$$;
SELECT contacts_push.watch('users', 'own', contact => 'own');
SELECT contacts_push.watch('users', 'whole', custom_attributes => $$jsonb_build_object('name', name, 'columns', (SELECT 1))$$);
SELECT contacts_push.watch('users', 'whole', custom_attributes => 'to_jsonb(users)');
INSERT INTO users VALUES (1, 'One', '{"a": 1}');
UPDATE users SET data = '{"a":  1}';
UPDATE users SET name = 'One';
SELECT * FROM test.take_outbox();
-- The condition reads the same after a dump.
SELECT pg_get_triggerdef(oid) AS definition FROM pg_trigger WHERE tgrelid = 'users'::regclass AND tgname = 'contacts_push_update' \gset
DROP TRIGGER contacts_push_update ON users;
:definition;
SELECT pg_get_triggerdef(oid) = :'definition' AS same FROM pg_trigger WHERE tgrelid = 'users'::regclass AND tgname = 'contacts_push_update';
DROP TABLE users CASCADE;

-- The role that writes the table needs no right on anything of contacts_push, and the
-- mapping runs with its rights, not with more.
CREATE ROLE regress_contacts_push_owner;
CREATE ROLE regress_contacts_push_writer;
CREATE TABLE users (id integer PRIMARY KEY, name text);
ALTER TABLE users OWNER TO regress_contacts_push_owner;
GRANT SELECT, INSERT, UPDATE, DELETE ON users TO regress_contacts_push_writer;
SELECT contacts_push.watch('users', 'bot', custom_attributes => $$jsonb_build_object('user', current_user)$$);
SELECT pg_get_userbyid(proowner) AS owner, has_function_privilege('regress_contacts_push_writer', oid, 'EXECUTE') AS writer
FROM pg_proc WHERE proname = 'users_contact';
SET ROLE regress_contacts_push_writer;
INSERT INTO users VALUES (1, 'Written'), (2, 'Too');
UPDATE users SET name = 'Changed' WHERE id = 1;
DELETE FROM users WHERE id = 2;
SELECT current_user;
SELECT count(*) FROM contacts_push.outbox;
RESET ROLE;
SELECT * FROM test.take_outbox();
-- Where functions aren't everybody's, those who may write the table may run its mapping.
ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
SELECT contacts_push.watch('users', 'bot 2');
ALTER DEFAULT PRIVILEGES GRANT EXECUTE ON FUNCTIONS TO PUBLIC;
SELECT has_function_privilege('public', oid, 'EXECUTE') AS everybody, has_function_privilege('regress_contacts_push_writer', oid, 'EXECUTE') AS writer
FROM pg_proc WHERE proname = 'users_contact_2';
SET ROLE regress_contacts_push_writer;
INSERT INTO users VALUES (3, 'Both');
RESET ROLE;
SELECT * FROM test.take_outbox();
-- An owner who isn't a superuser watches and unwatches.
GRANT USAGE ON SCHEMA contacts_push, contacts_push_internal TO regress_contacts_push_owner;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA contacts_push, contacts_push_internal TO regress_contacts_push_owner;
GRANT SELECT ON contacts_push_internal.watched_trigger TO regress_contacts_push_owner;
GRANT CREATE ON SCHEMA public TO regress_contacts_push_owner;
SET ROLE regress_contacts_push_owner;
SELECT contacts_push.unwatch('users');
SELECT contacts_push.watch('users', 'bot 3', name => 'upper(name)');
INSERT INTO users VALUES (4, 'Owner');
RESET ROLE;
SELECT * FROM test.take_outbox();
DROP TABLE users CASCADE;
DROP OWNED BY regress_contacts_push_owner, regress_contacts_push_writer;
DROP ROLE regress_contacts_push_owner, regress_contacts_push_writer;
