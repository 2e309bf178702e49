-- What row triggers enqueue is held back and appended together: nothing of a statement is
-- there before the others of its rows, in another order, or without it.
\set ECHO none
\i sql/include/begin.psql
\set ECHO all

CREATE VIEW newest AS
	SELECT DISTINCT ON (chatbot_id, external_id) chatbot_id, external_id, contact ->> 'name' AS name, contact IS NULL AS withdrawn
	FROM contacts_push.outbox ORDER BY chatbot_id, external_id, seq DESC;
CREATE TABLE users (id integer PRIMARY KEY, name text);
SELECT contacts_push.watch('users', 'bot'), contacts_push.watch('users', 'bot 2', external_id => $$'u' || id$$);
INSERT INTO users SELECT n, 'n' || n FROM generate_series(1, 3000) n;
TRUNCATE contacts_push.outbox;

-- An update of many rows is no subtransaction with an id of its own for each.
BEGIN;
SELECT pg_current_xact_id()::text::bigint AS first_id \gset
UPDATE users SET name = name || '!';
COMMIT;
SELECT pg_current_xact_id()::text::bigint - :first_id < 1000 AS few_ids;
SELECT chatbot_id, count(*), count(DISTINCT external_id), bool_and(contact ->> 'name' = 'n' || ltrim(external_id, 'u') || '!') AS right_name,
	bool_and(relation = 'users'::regclass) AS right_relation
FROM contacts_push.outbox GROUP BY 1 ORDER BY 1;
SELECT bool_and(external_id::integer = place) AS in_order
FROM (SELECT external_id, row_number() OVER (ORDER BY seq) AS place FROM contacts_push.outbox WHERE chatbot_id = 'bot') o;
-- nor are rows that are copied into a partitioned table
TRUNCATE contacts_push.outbox;
CREATE TABLE parted (id integer PRIMARY KEY, name text) PARTITION BY HASH (id);
CREATE TABLE parted_0 PARTITION OF parted FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE parted_1 (name text, id integer NOT NULL);
ALTER TABLE parted ATTACH PARTITION parted_1 FOR VALUES WITH (MODULUS 2, REMAINDER 1);
SELECT contacts_push.watch('parted', 'parted');
BEGIN;
SELECT pg_current_xact_id()::text::bigint AS first_id \gset
COPY parted FROM PROGRAM 'perl -e ''print "$_\tn$_\n" for 1 .. 2000''';
INSERT INTO parted SELECT n, 'n' || n FROM generate_series(2001, 3000) n;
UPDATE parted SET id = id + 10000 WHERE id <= 1000;
DELETE FROM parted WHERE id BETWEEN 1001 AND 2000;
COMMIT;
SELECT pg_current_xact_id()::text::bigint - :first_id < 1000 AS few_ids;
SELECT withdrawn, count(*), min(external_id::integer), max(external_id::integer) FROM newest GROUP BY 1;
DROP TABLE parted CASCADE;

-- Keys that are handed on: by updates, and by an insert of the same statement.
TRUNCATE contacts_push.outbox;
CREATE TABLE seats (id integer PRIMARY KEY, seat text);
SELECT contacts_push.watch('seats', 'seats', external_id => 'seat', name => 'id');
INSERT INTO seats SELECT n, 's' || n FROM generate_series(1, 4) n;
MERGE INTO seats s USING (VALUES (1, 's2'), (2, 's3'), (3, 's5'), (7, 's1'), (4, NULL)) AS m (id, seat) ON s.id = m.id
WHEN MATCHED AND m.seat IS NULL THEN DELETE
WHEN MATCHED THEN UPDATE SET seat = m.seat
WHEN NOT MATCHED THEN INSERT VALUES (m.id, m.seat);
TABLE seats ORDER BY id;
SELECT external_id, name, withdrawn FROM newest;
INSERT INTO seats VALUES (1, 's9'), (2, 's2'), (8, 's3') ON CONFLICT (id) DO UPDATE SET seat = EXCLUDED.seat;
TABLE seats ORDER BY id;
SELECT external_id, name, withdrawn FROM newest;
DROP TABLE seats CASCADE;

-- What the outbox refuses: those rows alone, in one warning for each chatbot, and counted.
TRUNCATE contacts_push.outbox, contacts_push_internal.enqueue_failure;
ALTER TABLE contacts_push.outbox ADD CONSTRAINT limited CHECK (contact ->> 'name' NOT LIKE '%7' OR external_id LIKE 'u%');
UPDATE users SET name = 'x' || id WHERE id <= 20;
SELECT chatbot_id, sum(rows), min(reason) FROM contacts_push_internal.enqueue_failure GROUP BY 1;
SELECT chatbot_id, count(*) FROM contacts_push.outbox GROUP BY 1 ORDER BY 1;
CREATE ROLE regress_contacts_push;
GRANT SELECT (id), UPDATE ON users TO regress_contacts_push;
SET ROLE regress_contacts_push;
UPDATE users SET name = 'y7' WHERE id <= 3;
RESET ROLE;
DROP OWNED BY regress_contacts_push;
DROP ROLE regress_contacts_push;
ALTER TABLE contacts_push.outbox DROP CONSTRAINT limited;
-- and a trigger of the outbox that updates a watched table itself
CREATE TABLE log (id serial PRIMARY KEY, name text);
SELECT contacts_push.watch('log', 'log');
INSERT INTO log (name) SELECT 'old' FROM generate_series(1, 3);
TRUNCATE contacts_push.outbox;
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF NEW.chatbot_id = 'bot' THEN
		UPDATE log SET name = NEW.external_id;
	END IF;
	RETURN NULL;
END
$$;
CREATE TRIGGER touch AFTER INSERT ON contacts_push.outbox FOR EACH ROW EXECUTE FUNCTION touch();
UPDATE users SET name = 'z' WHERE id IN (5, 6);
DROP TRIGGER touch ON contacts_push.outbox;
SELECT chatbot_id, count(*) FROM contacts_push.outbox GROUP BY 1 ORDER BY 1;
SELECT * FROM newest WHERE chatbot_id = 'log' ORDER BY 2;
DROP TABLE log CASCADE;
DROP FUNCTION touch;

-- A statement that fails, after some of its rows, leaves nothing behind, and nothing of it
-- comes with the next.
TRUNCATE contacts_push.outbox;
CREATE FUNCTION fails_late() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF NEW.name = 'fails' AND NEW.id = 9 THEN
		RAISE EXCEPTION 'row 9';
	END IF;
	RETURN NULL;
END
$$;
CREATE TRIGGER z_fails AFTER UPDATE ON users FOR EACH ROW EXECUTE FUNCTION fails_late();
UPDATE users SET name = 'fails' WHERE id < 20;
DO $$
BEGIN
	BEGIN
		UPDATE users SET name = 'fails' WHERE id < 20;
	EXCEPTION WHEN raise_exception THEN
		UPDATE users SET name = 'after' WHERE id IN (1, 2, 3);
	END;
	UPDATE users SET name = 'later' WHERE id IN (2, 3);
END
$$;
BEGIN;
UPDATE users SET name = 'kept' WHERE id IN (4, 5, 6);
SAVEPOINT s;
UPDATE users SET name = 'undone' WHERE id IN (4, 5, 6);
ROLLBACK TO s;
COMMIT;
SELECT external_id, name FROM newest WHERE chatbot_id = 'bot';
SELECT count(*) FROM contacts_push.outbox;
DROP TRIGGER z_fails ON users;
DROP FUNCTION fails_late;

-- Triggers that run statements of many rows in between, whose rows are changed again.
TRUNCATE contacts_push.outbox;
CREATE FUNCTION inside() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF NEW.name = 'outer' THEN
		UPDATE users SET name = 'inner ' || NEW.id WHERE id BETWEEN 1 AND 4 AND name = 'outer';
	END IF;
	RETURN NULL;
END
$$;
CREATE TRIGGER inside AFTER UPDATE ON users FOR EACH ROW EXECUTE FUNCTION inside();
UPDATE users SET name = 'outer' WHERE id BETWEEN 1 AND 6;
SELECT n.external_id, n.name, n.name = u.name AS as_in_table FROM newest n JOIN users u ON u.id::text = n.external_id WHERE n.chatbot_id = 'bot' ORDER BY 1;
DROP TRIGGER inside ON users;
DROP FUNCTION inside;
-- Cascades, and deferred triggers at the end of the transaction.
TRUNCATE contacts_push.outbox;
CREATE TABLE orders (id integer PRIMARY KEY, "user" integer REFERENCES users ON UPDATE CASCADE ON DELETE CASCADE DEFERRABLE);
SELECT contacts_push.watch('orders', 'orders', external_id => $$"user" || '-' || id$$);
INSERT INTO orders SELECT n, 30 + n % 3 FROM generate_series(1, 9) n;
UPDATE users SET id = id + 10000 WHERE id IN (30, 31);
DELETE FROM users WHERE id = 32;
SELECT external_id, withdrawn FROM newest WHERE chatbot_id = 'orders' ORDER BY withdrawn, external_id;
CREATE FUNCTION at_the_end() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	UPDATE users SET name = 'at the end' WHERE id IN (40, 41, 42) AND name <> 'at the end';
	RETURN NULL;
END
$$;
CREATE CONSTRAINT TRIGGER at_the_end AFTER UPDATE ON users DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION at_the_end();
UPDATE users SET name = 'first' WHERE id IN (40, 41, 42);
SELECT external_id, name FROM newest WHERE chatbot_id = 'bot' AND external_id LIKE '4_';
DROP TABLE users, orders CASCADE;
DROP FUNCTION at_the_end;
DROP VIEW newest;
