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
-- The new one knows the old one, and both know their table.
UPDATE users SET id = 'y', name = 'moved' WHERE id = 'z';
UPDATE users SET id = 'z' WHERE id = 'y';
SELECT external_id, previous_external_id, relation::regclass, contact IS NULL AS withdrawn FROM contacts_push.outbox ORDER BY seq;
TRUNCATE contacts_push.outbox;
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
-- A key is what the view makes of it.
DROP TABLE users CASCADE;
CREATE TABLE users (id integer PRIMARY KEY, login text, name text);
SELECT contacts_push.watch('users', 'bot', external_id => 'lower(login)');
INSERT INTO users VALUES (1, 'Ann', 'A');
UPDATE users SET login = 'ANN';
UPDATE users SET login = 'Bob';
SELECT * FROM test.take_outbox();
DROP TABLE users CASCADE;

-- A view of the whole row sees every column.
CREATE TABLE users (id integer PRIMARY KEY, name text, data json);
SELECT contacts_push.watch('users', 'whole', custom_attributes => 'to_jsonb(users) - ''id''');
INSERT INTO users VALUES (1, 'One', '{"a": 1}');
UPDATE users SET data = '{"a":  1}';
UPDATE users SET name = 'One';
SELECT * FROM test.take_outbox();
DROP TABLE users CASCADE;

-- Values that are stored out of line: to the last bit, and only those that are used.
CREATE TABLE users (id integer PRIMARY KEY, name text, bio text, other text);
ALTER TABLE users ALTER COLUMN bio SET STORAGE EXTERNAL, ALTER COLUMN other SET STORAGE EXTERNAL;
SELECT contacts_push.watch('users', 'bot', custom_attributes => 'jsonb_build_object(''bio'', left(bio, 3), ''length'', length(bio))');
INSERT INTO users VALUES (1, 'One', repeat('x', 10000), repeat('y', 10000));
UPDATE users SET other = repeat('z', 10000);
UPDATE users SET bio = repeat('x', 10000);
SELECT external_id, contact -> 'custom_attributes' AS attributes FROM test.take_outbox();
UPDATE users SET bio = repeat('x', 9999) || 'y';
UPDATE users SET bio = NULL;
SELECT external_id, contact -> 'custom_attributes' AS attributes FROM test.take_outbox();
DROP TABLE users CASCADE;

-- Who enters and leaves what the WHERE says, by an update of a column that nothing else uses.
CREATE TABLE users (id integer PRIMARY KEY, name text, verified boolean DEFAULT false, deleted_at date);
CREATE VIEW members AS SELECT id AS external_id, name FROM users WHERE verified AND deleted_at IS NULL;
SELECT contacts_push.watch('members', 'bot');
INSERT INTO users VALUES (1, 'in', true), (2, 'out', false), (3, 'unknown', NULL);
SELECT * FROM test.take_outbox();
UPDATE users SET name = upper(name);
SELECT * FROM test.take_outbox();
UPDATE users SET verified = NOT verified;
SELECT * FROM test.take_outbox();
UPDATE users SET deleted_at = '2026-01-01' WHERE id <> 3;
SELECT * FROM test.take_outbox();
UPDATE users SET id = id + 10, verified = true, deleted_at = NULL;
SELECT * FROM test.take_outbox();
UPDATE users SET id = id + 10, verified = id = 11;
SELECT * FROM test.take_outbox();
DELETE FROM users;
SELECT * FROM test.take_outbox();
-- one leaves, and another gets its key, in one statement
CREATE TABLE seats (seat integer PRIMARY KEY DEFERRABLE, name text, taken boolean);
CREATE VIEW guests AS SELECT 's' || seat AS external_id, name FROM seats WHERE taken;
SELECT contacts_push.watch('guests', 'bot');
INSERT INTO seats VALUES (1, 'Ann', true), (2, 'Bob', true), (3, 'Cid', false);
UPDATE seats SET taken = seat <> 1, seat = CASE seat WHEN 1 THEN 3 WHEN 3 THEN 1 ELSE 2 END;
SELECT DISTINCT ON (external_id) external_id, contact
FROM test.take_outbox() WITH ORDINALITY AS t(chatbot_id, external_id, contact, place) ORDER BY external_id, place DESC;
DROP TABLE users, seats CASCADE;

-- The role that writes the table needs no right on anything of contacts_push, and the
-- mapping runs with its rights, not with more.
CREATE ROLE regress_contacts_push_owner;
CREATE ROLE regress_contacts_push_writer;
CREATE TABLE users (id integer PRIMARY KEY, name text);
ALTER TABLE users OWNER TO regress_contacts_push_owner;
GRANT SELECT, INSERT, UPDATE, DELETE ON users TO regress_contacts_push_writer;
SELECT contacts_push.watch('users', 'bot', custom_attributes => $$jsonb_build_object('user', current_user)$$);
SELECT pg_get_userbyid(relowner) AS owner, reloptions, has_table_privilege('regress_contacts_push_writer', oid, 'SELECT') AS writer
FROM pg_class WHERE relname = 'users_contacts';
SET ROLE regress_contacts_push_writer;
INSERT INTO users VALUES (1, 'Written'), (2, 'Too');
UPDATE users SET name = 'Changed' WHERE id = 1;
DELETE FROM users WHERE id = 2;
SELECT current_user;
SELECT count(*) FROM contacts_push.outbox;
RESET ROLE;
SELECT * FROM test.take_outbox();
-- One that may only insert, and does not know the schema.
CREATE SCHEMA hidden;
ALTER TABLE users SET SCHEMA hidden;
ALTER VIEW users_contacts SET SCHEMA hidden;
REVOKE ALL ON hidden.users FROM regress_contacts_push_writer;
GRANT INSERT ON hidden.users TO regress_contacts_push_writer;
CREATE VIEW way_in AS TABLE hidden.users;
GRANT INSERT ON way_in TO regress_contacts_push_writer;
SET ROLE regress_contacts_push_writer;
INSERT INTO way_in VALUES (3, 'Inserted');
RESET ROLE;
SELECT * FROM test.take_outbox();
DROP VIEW way_in;
ALTER TABLE hidden.users SET SCHEMA public;
ALTER VIEW hidden.users_contacts SET SCHEMA public;
DROP SCHEMA hidden;
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
