-- contacts_push.backfill(): what it finds, what it leaves out, and what it says.
\set ECHO none
\i sql/include/begin.psql
\set SHOW_CONTEXT never
\set ECHO all

CREATE FUNCTION enqueued() RETURNS TABLE (chatbot_id text, external_id text, name text) LANGUAGE sql AS
	$$SELECT o.chatbot_id, o.external_id, o.contact ->> 'name' FROM contacts_push.outbox o ORDER BY 1, length(external_id), 2, seq$$;

-- The rows that were there before, once.
CREATE TABLE users (id integer PRIMARY KEY, name text, born text);
INSERT INTO users VALUES (1, 'One'), (2, 'Two'), (3, 'Three');
CALL contacts_push.backfill('users');
SELECT contacts_push.watch('users', 'bot', custom_attributes => 'jsonb_build_object(''born'', born::date)');
CALL contacts_push.backfill('users', 'bott');
CALL contacts_push.backfill(NULL);
INSERT INTO users VALUES (4, 'Four');
CALL contacts_push.backfill('users');
SELECT * FROM enqueued();
CALL contacts_push.backfill('users');
CALL contacts_push.backfill('users', 'bot');
SELECT count(*) FROM enqueued();
-- It commits, so it can't be part of a transaction.
BEGIN;
CALL contacts_push.backfill('users');
ROLLBACK;
-- At any isolation level that the session has by default.
INSERT INTO users VALUES (5, 'Five');
DELETE FROM contacts_push.outbox WHERE external_id IN ('4', '5');
SET default_transaction_isolation = 'serializable';
CALL contacts_push.backfill('users');
RESET default_transaction_isolation;
SELECT external_id FROM enqueued();

-- Contacts with an outcome are not sent again, those that were not sent are.
TRUNCATE contacts_push.outbox;
CALL contacts_push.backfill('users');
UPDATE contacts_push.outbox SET status = s::contacts_push.status, settled_at = now()
FROM unnest(ARRAY['created', 'present', 'conflict', 'rejected', 'failed']) WITH ORDINALITY AS o(s, n) WHERE external_id = n::text;
CALL contacts_push.backfill('users');
UPDATE contacts_push.outbox SET status = s::contacts_push.status, contact = NULL
FROM unnest(ARRAY['superseded', 'skipped', 'withdrawn']) WITH ORDINALITY AS o(s, n) WHERE external_id = n::text;
-- a withdrawal that isn't worked off yet doesn't count
DELETE FROM users WHERE id = 4;
DELETE FROM contacts_push.outbox WHERE external_id = '4' AND contact IS NOT NULL;
SET session_replication_role = replica;
INSERT INTO users VALUES (4, 'Four again');
RESET session_replication_role;
-- nor does what it is about to withdraw
DELETE FROM users WHERE id = 5;
SET session_replication_role = replica;
INSERT INTO users VALUES (5, 'Five again');
RESET session_replication_role;
CALL contacts_push.backfill('users');
SELECT external_id, status, contact IS NULL AS no_contact FROM contacts_push.outbox ORDER BY external_id, seq;

-- A contact that was deleted is missing again, or is about to be, or whose key another one has by
-- now.  Not so one that is there again, or was changed where it was when keys were swapped.
TRUNCATE contacts_push.outbox;
INSERT INTO contacts_push.outbox (chatbot_id, external_id, previous_external_id, status, contact_id)
SELECT 'bot', split_part(i, ' ', 1), nullif(split_part(i, ' ', 3), '-'), split_part(i, ' ', 2)::contacts_push.status, nullif(split_part(i, ' ', 4), '-')
FROM unnest(ARRAY['1 created - i1', '1 deleted - i1', '2 updated - i2', '2 pending - -', '3 created - i3', '3 withdrawn - -', 'x updated 3 i3',
	'4 present - -', '4 deleted - -', '4 created - i4', '5 created - i5', '6 created - i6', '6 updated 5 i6', '5 updated 6 i5']) WITH ORDINALITY AS u(i, n)
ORDER BY n;
INSERT INTO users VALUES (6, 'Six');
SELECT * FROM contacts_push.missing('users', 'bot') m ORDER BY m;
CALL contacts_push.backfill('users');
SELECT external_id, contact ->> 'name' AS name FROM contacts_push.outbox WHERE contact IS NOT NULL ORDER BY external_id, seq;
-- and what was refused before that says nothing either
INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact, status) VALUES ('bot', '4', '{}', 'rejected'), ('bot', '4', NULL, 'deleted');
SELECT * FROM contacts_push.missing('users', 'bot') m ORDER BY m;
DELETE FROM users WHERE id = 6;

-- Rows whose mapping fails are left out, said so, and found when they are fixed.
TRUNCATE contacts_push.outbox;
INSERT INTO users VALUES (6, 'Six', 'once'), (7, 'Seven', '2007-07-07'), (8, 'Eight', 'never');
SELECT enqueue_failures FROM contacts_push.progress;
CALL contacts_push.backfill('users');
SELECT external_id FROM enqueued();
UPDATE users SET born = '2006-06-06' WHERE id = 6;
SET session_replication_role = replica;
UPDATE users SET born = '2008-08-08' WHERE id = 8;
RESET session_replication_role;
CALL contacts_push.backfill('users');
SELECT external_id FROM enqueued();
CALL contacts_push.backfill('users');
SELECT enqueue_failures FROM contacts_push.progress;
-- external_ids that are none
DROP TABLE users CASCADE;
TRUNCATE contacts_push.outbox;
CREATE TABLE users (id integer, login text);
INSERT INTO users VALUES (1, NULL), (2, ''), (3, repeat('x', 1025)), (4, repeat('y', 1024)), (5, 'five');
SELECT contacts_push.watch('users', 'bot', external_id => 'login');
CALL contacts_push.backfill('users');
SELECT length(external_id) FROM enqueued();
-- one external_id for several rows: an intent for each
INSERT INTO users VALUES (6, 'twice'), (7, 'twice');
TRUNCATE contacts_push.outbox;
DELETE FROM users WHERE id < 6;
TRUNCATE contacts_push.outbox;
CALL contacts_push.backfill('users');
SELECT external_id FROM enqueued();
DROP TABLE users CASCADE;

-- Nothing is left in the session of rows that fail.
CREATE TABLE users (id integer PRIMARY KEY);
CREATE FUNCTION own(id integer) RETURNS text LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'none'; END$$;
SELECT contacts_push.watch('users', 'bot', external_id => 'own(id)');
SET session_replication_role = replica;
INSERT INTO users SELECT generate_series(1, 500);
RESET session_replication_role;
CALL contacts_push.backfill('users');
SELECT count(*) AS mappings FROM pg_backend_memory_contexts WHERE name = 'contacts_push mapping';
SELECT count(*) FROM contacts_push.missing('users', 'bot');
DROP TABLE users CASCADE;
DROP FUNCTION own;

-- A view of one's own, named itself or by its table; only what it has.
TRUNCATE contacts_push.outbox;
CREATE TABLE users (id integer PRIMARY KEY, name text, verified boolean);
INSERT INTO users VALUES (1, 'One', true), (2, 'Two', false), (3, 'Three', true);
CREATE VIEW members AS SELECT 'm' || id AS external_id, name FROM users WHERE verified;
CALL contacts_push.backfill('members');
SELECT * FROM contacts_push.missing('members', 'bot');
SELECT contacts_push.watch('members', 'bot'), contacts_push.watch('users', 'all');
SELECT * FROM contacts_push.missing('members', 'bot') m ORDER BY m;
SELECT * FROM contacts_push.missing('users', 'bot') m ORDER BY m;
SELECT * FROM contacts_push.missing('users', 'all') m ORDER BY m;
SELECT * FROM contacts_push.missing('members', 'all');
CALL contacts_push.backfill('members');
SELECT chatbot_id, external_id FROM enqueued();
CALL contacts_push.backfill('users');
SELECT chatbot_id, external_id FROM enqueued();
SELECT relation::regclass, count(*) FROM contacts_push.outbox GROUP BY 1;
SELECT * FROM contacts_push.missing('users', 'bot') UNION ALL SELECT * FROM contacts_push.missing('users', 'all');
SELECT * FROM contacts_push.missing('users', NULL);
DROP TABLE users CASCADE;

-- What no trigger has seen: TRUNCATE of the outbox, replication's apply, a trigger that was disabled.
TRUNCATE contacts_push.outbox;
CREATE TABLE users (id integer PRIMARY KEY, name text);
SELECT contacts_push.watch('users', 'bot');
ALTER TABLE users DISABLE TRIGGER USER;
INSERT INTO users VALUES (1, 'disabled');
ALTER TABLE users ENABLE TRIGGER USER;
SET session_replication_role = replica;
INSERT INTO users VALUES (2, 'replica');
RESET session_replication_role;
SELECT * FROM enqueued();
CALL contacts_push.backfill('users');
SELECT * FROM enqueued();

-- Each of the table's chatbots has its own; or the one that is named.
SELECT contacts_push.watch('users', 'bot 2', name => '''Mx. '' || name');
SELECT contacts_push.watch('users', 'bot 3');
CALL contacts_push.backfill('users', 'bot 2');
SELECT * FROM enqueued();
CALL contacts_push.backfill('users');
SELECT * FROM enqueued() WHERE chatbot_id = 'bot 3';
DROP TABLE users CASCADE;

-- Many rows, in chunks; an empty table; a table with room that was freed.
TRUNCATE contacts_push.outbox;
CREATE TABLE "Many Users" (id integer PRIMARY KEY, name text, filler text DEFAULT repeat('x', 1000)) WITH (autovacuum_enabled = off);
SELECT contacts_push.watch('"Many Users"', 'bot');
CALL contacts_push.backfill('"Many Users"');
SET session_replication_role = replica;
INSERT INTO "Many Users" SELECT n, 'User ' || n FROM generate_series(1, 1400) n;
DELETE FROM "Many Users" WHERE id BETWEEN 300 AND 1000;
RESET session_replication_role;
CALL contacts_push.backfill('"Many Users"');
SELECT count(*), count(DISTINCT external_id), bool_and(name = 'User ' || external_id) FROM enqueued();
-- Stopped and run again: it goes on.
DELETE FROM contacts_push.outbox WHERE seq % 2 = 0;
CALL contacts_push.backfill('"Many Users"');
SELECT count(*), count(DISTINCT external_id) FROM enqueued();
DROP TABLE "Many Users" CASCADE;

-- Partitions of any depth; children by inheritance are tables of their own.
TRUNCATE contacts_push.outbox;
CREATE TABLE users (id integer PRIMARY KEY, name text) PARTITION BY RANGE (id);
CREATE TABLE users_low PARTITION OF users FOR VALUES FROM (1) TO (100);
CREATE TABLE users_high PARTITION OF users FOR VALUES FROM (100) TO (1000) PARTITION BY RANGE (id);
CREATE TABLE users_high_1 (name text, id integer NOT NULL);
ALTER TABLE users_high ATTACH PARTITION users_high_1 FOR VALUES FROM (100) TO (500);
INSERT INTO users VALUES (1, 'low'), (2, 'low'), (100, 'high'), (101, 'high');
SELECT contacts_push.watch('users', 'bot');
INSERT INTO users VALUES (102, 'watched');
CALL contacts_push.backfill('users');
SELECT * FROM enqueued();
CALL contacts_push.backfill('users_low');
DROP TABLE users CASCADE;
TRUNCATE contacts_push.outbox;
CREATE TABLE users (id integer PRIMARY KEY, name text);
CREATE TABLE guests (PRIMARY KEY (id)) INHERITS (users);
INSERT INTO users VALUES (1, 'user');
INSERT INTO guests VALUES (2, 'guest');
SELECT contacts_push.watch('users', 'bot');
CALL contacts_push.backfill('users');
SELECT * FROM enqueued();
DROP TABLE users CASCADE;
-- A partitioned table without partitions.
CREATE TABLE users (id integer PRIMARY KEY, name text) PARTITION BY RANGE (id);
SELECT contacts_push.watch('users', 'bot');
CALL contacts_push.backfill('users');
DROP TABLE users CASCADE;

-- A mapping that is fixed: what it has made otherwise, and what is not created, is
-- replaced; once, whatever the mapping makes the next time.
TRUNCATE contacts_push.outbox;
CREATE TABLE users (id integer PRIMARY KEY, login text, mail text);
INSERT INTO users SELECT n, 'login' || n, 'mail' || n || '@example.com' FROM generate_series(1, 6) n;
SELECT contacts_push.watch('users', 'bot', email => 'login');
CALL contacts_push.backfill('users');
UPDATE contacts_push.outbox SET status = 'rejected' WHERE external_id IN ('1', '2');
UPDATE contacts_push.outbox SET status = 'created', contact = NULL WHERE external_id = '3';
INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact) VALUES ('bot', '4', NULL);
INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact) VALUES ('bot', '2', '{"external_id": "2", "email": "mail2@example.com"}');
CALL contacts_push.backfill('users');
SELECT contacts_push.unwatch('users'), contacts_push.watch('users', 'bot', email => 'mail');
CALL contacts_push.backfill('users');
SELECT external_id, status, contact ->> 'email' AS email FROM contacts_push.outbox ORDER BY seq;
CALL contacts_push.backfill('users');
SELECT contacts_push.unwatch('users'), contacts_push.watch('users', 'bot', email => 'mail', name => 'random()');
CALL contacts_push.backfill('users');
TRUNCATE contacts_push.outbox;
SELECT contacts_push.unwatch('users'), contacts_push.watch('users', 'bot');
-- Policies that the owner has forced on itself are not for backfill().
CREATE ROLE regress_contacts_push_owner;
GRANT USAGE, CREATE ON SCHEMA public TO regress_contacts_push_owner;
ALTER TABLE users OWNER TO regress_contacts_push_owner;
ALTER TABLE users ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CALL contacts_push.backfill('users');
SELECT count(*) FROM contacts_push.outbox;
-- It comes to an end where a trigger keeps rows out of the outbox.
CREATE FUNCTION keep_out() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TRIGGER keep_out BEFORE INSERT ON contacts_push.outbox FOR EACH ROW WHEN (NEW.external_id > '4') EXECUTE FUNCTION keep_out();
TRUNCATE contacts_push.outbox;
SET statement_timeout = '1min';
CALL contacts_push.backfill('users');
RESET statement_timeout;
SELECT external_id FROM contacts_push.outbox ORDER BY 1;
DROP TRIGGER keep_out ON contacts_push.outbox;
DROP FUNCTION keep_out();
-- and where a row has another external_id each time
TRUNCATE contacts_push.outbox;
SELECT contacts_push.unwatch('users'), contacts_push.watch('users', 'bot', external_id => 'gen_random_uuid()');
SET statement_timeout = '1min';
CALL contacts_push.backfill('users');
RESET statement_timeout;
SELECT count(*) FROM contacts_push.outbox;
DROP TABLE users CASCADE;
DROP OWNED BY regress_contacts_push_owner CASCADE;
DROP ROLE regress_contacts_push_owner;

-- Backfilled contacts are sent like any others.
TRUNCATE contacts_push.outbox;
CREATE TABLE users (id integer PRIMARY KEY, name text);
INSERT INTO users SELECT n, 'User ' || n FROM generate_series(1, 1200) n;
SELECT contacts_push.watch('users', 'bot');
\set ECHO none
\i sql/include/worker_on.psql
\set ECHO all
CALL contacts_push.backfill('users');
SELECT contacts_push.flush();
SELECT status, count(*) FROM contacts_push.outbox GROUP BY 1;
SELECT count(*) FROM test.held('bot');
CALL contacts_push.backfill('users');
SELECT contacts_push.flush();
SELECT status, count(*) FROM contacts_push.outbox GROUP BY 1;
DROP TABLE users CASCADE;
DROP FUNCTION enqueued;
