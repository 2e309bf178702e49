-- Two tables that feed one chatbot with the same keys: a contact belongs to the source that
-- enqueued it first, while that is a table which is watched.
\set ECHO none
\i sql/include/begin.psql
\set ECHO all

CREATE TABLE users (id text PRIMARY KEY, name text);
CREATE TABLE "Customers" (id text PRIMARY KEY, name text);
SELECT contacts_push.watch('users', 'bot');
SELECT contacts_push.watch('"Customers"', 'bot');
CREATE VIEW intents AS
	SELECT external_id, seq, relation::regclass AS source, contact ->> 'name' AS name, status, http_status, error
	FROM contacts_push.outbox;

-- Both are pending, in either order.
INSERT INTO users VALUES ('1', 'user'), ('2', 'user');
INSERT INTO "Customers" VALUES ('1', 'customer'), ('3', 'customer');
INSERT INTO users VALUES ('3', 'user');
SELECT contacts_push.enqueue('bot', '{"external_id": "2", "name": "by hand"}');
\set ECHO none
\i sql/include/worker_on.psql
\set ECHO all
SELECT contacts_push.flush();
SELECT * FROM intents ORDER BY external_id, seq;
SELECT * FROM test.held('bot');
SELECT created, conflict FROM contacts_push.progress WHERE chatbot_id = 'bot';

-- One is there already: the other's change and withdrawal are conflicts, too.
UPDATE "Customers" SET name = 'changed' WHERE id = '1';
DELETE FROM "Customers" WHERE id = '1';
INSERT INTO contacts_push.outbox (chatbot_id, external_id) VALUES ('bot', '2');
SELECT contacts_push.flush();
SELECT * FROM intents WHERE external_id IN ('1', '2') ORDER BY external_id, seq;
SELECT external_id, status FROM contacts_push.contact_status ORDER BY 1;

-- One that is refused still is the owner's to fix, whatever others have tried meanwhile.
CALL test.fault('{"refuse": true}');
INSERT INTO users VALUES ('4', 'refused');
SELECT contacts_push.flush();
CALL test.no_fault();
INSERT INTO "Customers" VALUES ('4', 'customer');
SELECT contacts_push.flush();
UPDATE users SET name = 'fixed' WHERE id = '4';
SELECT contacts_push.flush();
UPDATE "Customers" SET name = 'again' WHERE id = '4';
SELECT contacts_push.flush();
SELECT source, name, status, error FROM intents WHERE external_id = '4' ORDER BY seq;

-- What came from no table belongs to nobody.
SELECT contacts_push.enqueue('bot', '{"external_id": "5", "name": "by hand"}');
SELECT contacts_push.flush();
INSERT INTO users VALUES ('5', 'user');
SELECT contacts_push.flush();
SELECT source, name, status, error FROM intents WHERE external_id = '5' ORDER BY seq;

-- Another chatbot has other contacts.
SELECT contacts_push.enqueue('bot 2', '{"external_id": "1", "name": "elsewhere"}');
SELECT contacts_push.flush();
SELECT status FROM contacts_push.outbox WHERE chatbot_id = 'bot 2';

-- When the table is no longer watched, or gone, the next may have it.
CALL test.fault('{"refuse": true}');
INSERT INTO users VALUES ('6', 'refused');
SELECT contacts_push.flush();
CALL test.no_fault();
SELECT contacts_push.unwatch('users', 'bot');
INSERT INTO "Customers" VALUES ('6', 'customer');
SELECT contacts_push.flush();
SELECT source, name, status, error FROM intents WHERE external_id = '6' ORDER BY seq;
SELECT contacts_push.watch('users', 'bot');
CALL test.fault('{"refuse": true}');
INSERT INTO users VALUES ('7', 'refused');
SELECT contacts_push.flush();
CALL test.no_fault();
SET client_min_messages = warning;
DROP TABLE users CASCADE;
RESET client_min_messages;
INSERT INTO "Customers" VALUES ('7', 'customer');
SELECT contacts_push.flush();
SELECT name, status, error FROM intents WHERE external_id = '7' ORDER BY seq;

-- The source of a partition's rows is the table that is watched.
CREATE TABLE parted (id text PRIMARY KEY) PARTITION BY LIST (id);
CREATE TABLE part PARTITION OF parted DEFAULT;
SELECT contacts_push.watch('parted', 'bot');
INSERT INTO part VALUES ('8');
SELECT external_id, source FROM intents WHERE external_id = '8';

-- Which tables are watched for a chatbot already says who else may watch for it.
CREATE ROLE regress_contacts_push_owner;
CREATE ROLE regress_contacts_push_member IN ROLE regress_contacts_push_owner;
CREATE ROLE regress_contacts_push_stranger;
GRANT USAGE ON SCHEMA contacts_push, contacts_push_internal, test TO PUBLIC;
GRANT SELECT ON contacts_push_internal.watched_trigger TO PUBLIC;
GRANT EXECUTE ON ALL ROUTINES IN SCHEMA contacts_push, contacts_push_internal TO PUBLIC;
GRANT CREATE ON SCHEMA public TO PUBLIC;
SET ROLE regress_contacts_push_owner;
CREATE TABLE owned (id text PRIMARY KEY);
SELECT contacts_push.watch('owned', 'shared');
SET ROLE regress_contacts_push_stranger;
CREATE TABLE strange (id text PRIMARY KEY);
CALL test.fails($$SELECT contacts_push.watch('strange', 'shared')$$);
SELECT contacts_push.watch('strange', 'own');
SET ROLE regress_contacts_push_member;
CREATE TABLE other (id text PRIMARY KEY);
SELECT contacts_push.watch('other', 'shared');
RESET ROLE;
SELECT contacts_push.watch('"Customers"', 'shared');
REVOKE CREATE ON SCHEMA public FROM PUBLIC;

SET client_min_messages = warning;
DROP TABLE "Customers", parted, owned, strange, other CASCADE;
DROP ROLE regress_contacts_push_owner, regress_contacts_push_member, regress_contacts_push_stranger;
