-- Rows get into the outbox from C, and what somebody has put on the outbox holds for them
-- as for any INSERT, in the name of whoever writes.
\set ECHO none
\i sql/include/begin.psql
\set ECHO all

CREATE TABLE users (id integer PRIMARY KEY, email text);
SELECT contacts_push.watch('users', 'bot');
CREATE ROLE regress_contacts_push_writer;
CREATE ROLE regress_contacts_push_other;
GRANT INSERT, SELECT ON users TO regress_contacts_push_writer, regress_contacts_push_other;

-- Every column is as an INSERT fills it.
INSERT INTO users VALUES (1, 'one@example.com');
SELECT contacts_push.enqueue('bot', '{"external_id": "two", "name": "Two"}');
INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact) VALUES ('bot', 'three', '{"name": "Three"}');
SELECT seq, chatbot_id, external_id, relation::regclass, previous_external_id, contact, status, attempts, next_attempt_at,
	unconfirmed, http_status, error, contact_id, settled_at
FROM contacts_push.outbox ORDER BY seq;
BEGIN;
INSERT INTO users VALUES (4, NULL);
SELECT external_id, enqueued_at = now() AS now FROM contacts_push.outbox WHERE external_id = '4';
COMMIT;

-- Many rows: in order, with a number each, and all of them in every index.
TRUNCATE contacts_push.outbox;
INSERT INTO users SELECT n, n || '@example.com' FROM generate_series(1001, 5000) n;
SELECT count(*), count(DISTINCT seq), bool_and(external_id = (seq - first + 1001)::text) AS in_order
FROM contacts_push.outbox CROSS JOIN (SELECT min(seq) AS first FROM contacts_push.outbox) AS f;
-- also large ones, which are stored apart
INSERT INTO users SELECT n, repeat(md5(n::text), 100) || n FROM generate_series(5001, 5300) n;
SET enable_seqscan = off;
SELECT count(*) FROM contacts_push.outbox WHERE seq > 0;
SELECT count(*) FROM contacts_push.outbox WHERE chatbot_id = 'bot';
SELECT count(*) FROM contacts_push.outbox WHERE chatbot_id = 'bot' AND external_id = '5300' AND contact ->> 'email' = repeat(md5('5300'), 100) || '5300';
RESET enable_seqscan;
TRUNCATE contacts_push.outbox;

-- Columns of somebody's: defaults of every kind, generated ones, dropped ones; in one
-- session, which has to notice.
CREATE SEQUENCE ticket;
GRANT USAGE ON SEQUENCE ticket TO regress_contacts_push_writer;
CREATE FUNCTION next_ticket() RETURNS text LANGUAGE sql AS $$SELECT 'ticket ' || nextval('ticket')$$;
ALTER TABLE contacts_push.outbox ADD gone integer DEFAULT 1, ADD plain text DEFAULT 'plain',
	ADD ticket text DEFAULT next_ticket(), ADD who name DEFAULT current_user, ADD nothing text,
	ADD upper_id text GENERATED ALWAYS AS (upper(external_id)) STORED;
ALTER TABLE contacts_push.outbox DROP gone;
INSERT INTO users VALUES (10), (11);
SELECT external_id, plain, ticket, who = current_user AS who, nothing, upper_id FROM contacts_push.outbox ORDER BY seq;
CREATE OR REPLACE FUNCTION next_ticket() RETURNS text LANGUAGE sql AS $$SELECT 'new ' || nextval('ticket')$$;
ALTER TABLE contacts_push.outbox ALTER plain SET DEFAULT 'changed';
SET ROLE regress_contacts_push_writer;
INSERT INTO users VALUES (12);
RESET ROLE;
SELECT external_id, plain, ticket, who, nothing, upper_id FROM contacts_push.outbox WHERE seq = (SELECT max(seq) FROM contacts_push.outbox);
-- what was noticed in a subtransaction that was rolled back is forgotten
BEGIN;
SAVEPOINT a;
ALTER TABLE contacts_push.outbox ALTER plain SET DEFAULT 'rolled back';
INSERT INTO users VALUES (13);
ROLLBACK TO a;
INSERT INTO users VALUES (13);
COMMIT;
SELECT external_id, plain FROM contacts_push.outbox WHERE seq = (SELECT max(seq) FROM contacts_push.outbox);
ALTER TABLE contacts_push.outbox DROP plain, DROP ticket, DROP who, DROP nothing, DROP upper_id;
INSERT INTO users VALUES (14);
SELECT external_id, contact FROM contacts_push.outbox WHERE external_id = '14';
TRUNCATE contacts_push.outbox;

-- Indexes of somebody's: of an expression, partial, of other kinds.
CREATE INDEX by_email ON contacts_push.outbox (lower(contact ->> 'email')) WHERE contact IS NOT NULL;
INSERT INTO users SELECT n, 'E' || n FROM generate_series(6001, 6010) n;
CREATE INDEX by_time ON contacts_push.outbox USING brin (enqueued_at) WITH (autosummarize = on);
CREATE INDEX by_content ON contacts_push.outbox USING gin (contact);
INSERT INTO users SELECT n, 'E' || n FROM generate_series(6011, 6020) n;
INSERT INTO users VALUES (6021, 'E6021');
INSERT INTO users VALUES (6022, 'E6022');
SET enable_seqscan = off;
SELECT count(*) FROM contacts_push.outbox WHERE lower(contact ->> 'email') LIKE 'e60%' AND lower(contact ->> 'email') >= 'e60' AND contact IS NOT NULL;
SELECT count(*) FROM contacts_push.outbox WHERE contact @> '{"email": "E6022"}';
SELECT count(*) FROM contacts_push.outbox WHERE enqueued_at > now() - interval '1 day';
RESET enable_seqscan;
DROP INDEX contacts_push.by_email, contacts_push.by_time, contacts_push.by_content;
INSERT INTO users VALUES (6023, 'E6023');
SELECT count(*) FROM test.take_outbox();
-- partial ones on a column that is not given: no row gets into them unless somebody fills it
CREATE INDEX refused ON contacts_push.outbox (seq) WHERE http_status IS NOT NULL AND error IS NULL;
CREATE INDEX open ON contacts_push.outbox (external_id) WHERE http_status IS NULL;
INSERT INTO users VALUES (6024);
CREATE FUNCTION fill() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN NEW.http_status := 1; NEW.next_attempt_at := now(); RETURN NEW; END$$;
CREATE TRIGGER fill BEFORE INSERT ON contacts_push.outbox FOR EACH ROW EXECUTE FUNCTION fill();
INSERT INTO users VALUES (6025);
DROP TRIGGER fill ON contacts_push.outbox;
INSERT INTO users VALUES (6026);
ALTER TABLE contacts_push.outbox ALTER http_status SET DEFAULT 2, ALTER next_attempt_at SET DEFAULT now();
INSERT INTO users VALUES (6027);
ALTER TABLE contacts_push.outbox ALTER http_status DROP DEFAULT, ALTER next_attempt_at DROP DEFAULT;
INSERT INTO users VALUES (6028);
SET enable_seqscan = off;
SELECT external_id FROM contacts_push.outbox WHERE http_status IS NOT NULL AND error IS NULL ORDER BY seq;
SELECT external_id FROM contacts_push.outbox WHERE chatbot_id = 'bot' AND next_attempt_at IS NOT NULL ORDER BY chatbot_id, next_attempt_at, seq;
SELECT external_id FROM contacts_push.outbox WHERE http_status IS NULL ORDER BY external_id;
RESET enable_seqscan;
DROP INDEX contacts_push.refused, contacts_push.open;
SELECT count(*) FROM test.take_outbox();

-- The outbox is what the name means, whatever a session has written before.
ALTER TABLE contacts_push.outbox RENAME TO other;
INSERT INTO users VALUES (6029);
ALTER TABLE contacts_push.other RENAME TO outbox;
INSERT INTO users VALUES (6030);
ALTER SCHEMA contacts_push RENAME TO other;
INSERT INTO users VALUES (6031);
ALTER SCHEMA other RENAME TO contacts_push;
INSERT INTO users VALUES (6032);
SELECT external_id FROM test.take_outbox();
DELETE FROM contacts_push_internal.enqueue_failure;

-- Triggers of somebody's fire as for an INSERT, in the name of who writes.
CREATE TABLE fired (place bigserial, what text, who name);
GRANT INSERT ON fired TO PUBLIC;
GRANT USAGE ON SEQUENCE fired_place_seq TO PUBLIC;
CREATE FUNCTION fire() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO fired (what, who) VALUES
		(concat_ws(' ', TG_WHEN, TG_LEVEL, CASE TG_LEVEL WHEN 'ROW' THEN NEW.external_id END), current_user);
	RETURN NEW;
END
$$;
CREATE TRIGGER a BEFORE INSERT ON contacts_push.outbox FOR EACH STATEMENT EXECUTE FUNCTION fire();
CREATE TRIGGER b BEFORE INSERT ON contacts_push.outbox FOR EACH ROW EXECUTE FUNCTION fire();
CREATE TRIGGER c AFTER INSERT ON contacts_push.outbox FOR EACH ROW WHEN (NEW.external_id <> '21') EXECUTE FUNCTION fire();
CREATE TRIGGER d AFTER INSERT ON contacts_push.outbox FOR EACH STATEMENT EXECUTE FUNCTION fire();
SET ROLE regress_contacts_push_writer;
INSERT INTO users VALUES (20), (21);
RESET ROLE;
SELECT what, who FROM fired ORDER BY place;
TRUNCATE fired;
DROP TRIGGER a ON contacts_push.outbox;
DROP TRIGGER b ON contacts_push.outbox;
DROP TRIGGER c ON contacts_push.outbox;
DROP TRIGGER d ON contacts_push.outbox;
SELECT external_id FROM test.take_outbox();
-- one that changes rows or leaves them out
CREATE FUNCTION change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF NEW.external_id = '31' THEN
		RETURN NULL;
	END IF;
	NEW.contact := NEW.contact || jsonb_build_object('name', 'changed', 'before', (SELECT count(*) FROM contacts_push.outbox));
	RETURN NEW;
END
$$;
CREATE TRIGGER change BEFORE INSERT ON contacts_push.outbox FOR EACH ROW EXECUTE FUNCTION change();
INSERT INTO users VALUES (30), (31), (32);
SELECT external_id, contact FROM test.take_outbox();
DROP TRIGGER change ON contacts_push.outbox;
-- with a transition table
CREATE FUNCTION count_rows() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO fired (what, who) SELECT string_agg(external_id, ' ' ORDER BY seq), current_user FROM appended;
	RETURN NULL;
END
$$;
CREATE TRIGGER count_rows AFTER INSERT ON contacts_push.outbox REFERENCING NEW TABLE AS appended FOR EACH STATEMENT EXECUTE FUNCTION count_rows();
INSERT INTO users VALUES (33), (34);
DROP TRIGGER count_rows ON contacts_push.outbox;
SELECT what FROM fired ORDER BY place;
TRUNCATE fired;
-- one that writes a watched table
CREATE TABLE orders (id integer PRIMARY KEY);
SELECT contacts_push.watch('orders', 'bot 2');
CREATE FUNCTION also_order() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF NEW.chatbot_id = 'bot' THEN
		INSERT INTO orders VALUES (NEW.external_id::integer * 10);
	END IF;
	RETURN NULL;
END
$$;
CREATE TRIGGER also_order AFTER INSERT ON contacts_push.outbox FOR EACH ROW EXECUTE FUNCTION also_order();
INSERT INTO users VALUES (35), (36);
INSERT INTO users VALUES (37);
DROP TRIGGER also_order ON contacts_push.outbox;
DROP TABLE orders CASCADE;
SELECT chatbot_id, external_id FROM test.take_outbox();

-- What refuses a row fails the push, never the statement: one warning, counted, and
-- backfill finds the row when the reason is gone.
CREATE VIEW failures AS
	SELECT relation, rows, reason FROM contacts_push_internal.enqueue_failure ORDER BY failed_at, rows;
ALTER TABLE contacts_push.outbox ADD CONSTRAINT nobody CHECK (contact ->> 'email' <> 'nobody');
INSERT INTO users VALUES (40, 'nobody');
INSERT INTO users VALUES (41, 'somebody');
ALTER TABLE contacts_push.outbox DROP CONSTRAINT nobody;
ALTER TABLE contacts_push.outbox ADD wanted text NOT NULL DEFAULT 'x';
ALTER TABLE contacts_push.outbox ALTER wanted DROP DEFAULT;
INSERT INTO users VALUES (42, 'not null');
ALTER TABLE contacts_push.outbox DROP wanted;
CREATE UNIQUE INDEX once ON contacts_push.outbox (chatbot_id, external_id);
UPDATE users SET email = 'else' WHERE id = 41;
DROP INDEX contacts_push.once;
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'refused: % %', TG_WHEN, TG_LEVEL; END$$;
CREATE TRIGGER refuse BEFORE INSERT ON contacts_push.outbox FOR EACH ROW EXECUTE FUNCTION refuse();
INSERT INTO users VALUES (43, 'before');
DROP TRIGGER refuse ON contacts_push.outbox;
CREATE TRIGGER refuse AFTER INSERT ON contacts_push.outbox FOR EACH ROW EXECUTE FUNCTION refuse();
INSERT INTO users VALUES (44, 'after');
DROP TRIGGER refuse ON contacts_push.outbox;
CREATE TRIGGER refuse AFTER INSERT ON contacts_push.outbox FOR EACH STATEMENT EXECUTE FUNCTION refuse();
INSERT INTO users VALUES (45, 'statement');
DROP TRIGGER refuse ON contacts_push.outbox;
-- a number that is taken, after a careless restore
SELECT setval('contacts_push.outbox_seq_seq', (SELECT max(seq) FROM contacts_push.outbox) - 1) > 0 AS set_back;
INSERT INTO users VALUES (46, 'number');
INSERT INTO users VALUES (47, 'next number');
-- a foreign key
CREATE TABLE allowed (chatbot_id text PRIMARY KEY);
ALTER TABLE contacts_push.outbox ADD CONSTRAINT allowed FOREIGN KEY (chatbot_id) REFERENCES allowed NOT VALID;
INSERT INTO users VALUES (48, 'foreign key');
ALTER TABLE contacts_push.outbox DROP CONSTRAINT allowed;
DROP TABLE allowed;
-- not even the note of it: the warning is all there is
ALTER TABLE contacts_push_internal.enqueue_failure ADD CONSTRAINT none CHECK (false) NOT VALID;
ALTER TABLE contacts_push.outbox ADD CONSTRAINT none CHECK (false) NOT VALID;
INSERT INTO users VALUES (49, 'neither');
ALTER TABLE contacts_push_internal.enqueue_failure DROP CONSTRAINT none;
-- nor enqueue(), which is asked for it
\set VERBOSITY terse
SELECT contacts_push.enqueue('bot', '{"external_id": "a"}');
\set VERBOSITY default
ALTER TABLE contacts_push.outbox DROP CONSTRAINT none;
SELECT count(*) FROM users WHERE id BETWEEN 40 AND 49;
SELECT external_id FROM contacts_push.outbox ORDER BY seq;
SELECT * FROM failures;
SELECT enqueue_failures FROM contacts_push.progress WHERE chatbot_id = 'bot';
DELETE FROM users WHERE id < 40 OR id > 49;
DELETE FROM contacts_push.outbox WHERE contact IS NULL;
SET client_min_messages = warning;
CALL contacts_push.backfill('users');
RESET client_min_messages;
SELECT u.id FROM users u WHERE NOT EXISTS (SELECT FROM contacts_push.outbox o WHERE o.external_id = u.id::text);
TRUNCATE contacts_push.outbox;

-- A role that may write the table and nothing else; row security of the outbox is not asked.
ALTER TABLE contacts_push.outbox ENABLE ROW LEVEL SECURITY;
ALTER TABLE contacts_push.outbox FORCE ROW LEVEL SECURITY;
SET SESSION AUTHORIZATION regress_contacts_push_writer;
INSERT INTO users VALUES (50);
RESET SESSION AUTHORIZATION;
ALTER TABLE contacts_push.outbox NO FORCE ROW LEVEL SECURITY;
ALTER TABLE contacts_push.outbox DISABLE ROW LEVEL SECURITY;
-- A function in a constraint runs as who writes; two roles in one session, one of which may
-- not call it, and the other not any more.
CREATE FUNCTION allow(text) RETURNS boolean LANGUAGE plpgsql AS $$BEGIN INSERT INTO fired (what, who) VALUES ('check', current_user); RETURN true; END$$;
REVOKE EXECUTE ON FUNCTION allow FROM PUBLIC;
GRANT EXECUTE ON FUNCTION allow TO regress_contacts_push_writer;
ALTER TABLE contacts_push.outbox ADD CONSTRAINT allowed CHECK (allow(external_id));
TRUNCATE fired;
SET ROLE regress_contacts_push_writer;
INSERT INTO users VALUES (51);
SET ROLE regress_contacts_push_other;
INSERT INTO users VALUES (52);
SET ROLE regress_contacts_push_writer;
INSERT INTO users VALUES (53);
RESET ROLE;
REVOKE EXECUTE ON FUNCTION allow FROM regress_contacts_push_writer;
SET ROLE regress_contacts_push_writer;
INSERT INTO users VALUES (54);
RESET ROLE;
SELECT what, who FROM fired ORDER BY place;
ALTER TABLE contacts_push.outbox DROP CONSTRAINT allowed;
SELECT external_id FROM test.take_outbox();

-- What a session keeps does not grow with what it appends.
CREATE TABLE memory (bytes numeric);
CREATE PROCEDURE append(n integer) LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1 .. n LOOP
		INSERT INTO users VALUES (100000 + i);
		DELETE FROM users WHERE id = 100000 + i;
		COMMIT;
	END LOOP;
	INSERT INTO memory SELECT sum(total_bytes) FROM pg_backend_memory_contexts;
END
$$;
CALL append(100);
CALL append(3000);
-- 6,000 appends at 50 bytes each would be 300 kB
SELECT CASE WHEN max(bytes) - min(bytes) < 300000 THEN 'bounded' ELSE (max(bytes) - min(bytes))::text END AS memory FROM memory;
DROP PROCEDURE append;
DROP TABLE memory;
SELECT count(*) FROM test.take_outbox();

-- Nothing is appended in a transaction that is read-only.
BEGIN READ ONLY;
SELECT contacts_push.enqueue('bot', '{"external_id": "a"}');
ROLLBACK;

DROP VIEW failures;
DROP TABLE users CASCADE;
DROP TABLE fired;
DROP SEQUENCE ticket CASCADE;
DROP FUNCTION fill, fire, change, count_rows, also_order, refuse, allow, next_ticket;
DROP ROLE regress_contacts_push_writer, regress_contacts_push_other;
