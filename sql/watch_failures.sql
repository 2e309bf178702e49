-- A mapping that fails never fails the statement: the rows that it fails for are left
-- out with one WARNING.
\set ECHO none
\i sql/include/begin.psql
\set ECHO all

CREATE TABLE users (id integer PRIMARY KEY, name text, born text, login text DEFAULT 'x');
SELECT contacts_push.watch('users', 'bot', custom_attributes => $$jsonb_build_object('year', extract(year FROM born::date))$$);
INSERT INTO users VALUES (1, 'One', '2000-01-01'), (2, 'Two', 'long ago'), (3, 'Three', '2001-01-01'), (4, 'Four', 'never'), (5, 'Five', NULL);
SELECT count(*) FROM users;
SELECT * FROM test.take_outbox();
INSERT INTO users VALUES (6, 'Six', 'soon');
INSERT INTO users VALUES (7, 'Seven', '2002-02-02');
DELETE FROM users WHERE id > 5;
SELECT * FROM test.take_outbox();
-- An update to what can't be mapped withdraws nothing: the user is still there.
UPDATE users SET born = 'unknown' WHERE id = 3;
UPDATE users SET born = '2003-03-03' WHERE id = 2;
UPDATE users SET id = 30 WHERE id = 3;
UPDATE users SET id = 3, born = '2001-01-01' WHERE id = 30;
SELECT * FROM test.take_outbox();
-- backfill() finds the rows when they have been mended.
UPDATE users SET born = NULL WHERE id = 4;
TRUNCATE contacts_push.outbox;
SET client_min_messages = warning;
CALL contacts_push.backfill('users');
CALL contacts_push.backfill('users');
RESET client_min_messages;
SELECT external_id, contact FROM test.take_outbox() ORDER BY 1;
-- In a transaction that goes on, and in a function that handles errors.
BEGIN;
INSERT INTO users VALUES (8, 'Eight', 'x');
INSERT INTO users VALUES (9, 'Nine', '2009-09-09');
SAVEPOINT a;
INSERT INTO users VALUES (10, 'Ten', 'x');
ROLLBACK TO a;
COMMIT;
SELECT id FROM users WHERE id > 5 ORDER BY id;
SELECT * FROM test.take_outbox();
-- The first reason is told of many, and they don't cost the others.
INSERT INTO users SELECT n, 'n', CASE WHEN n % 100 = 0 THEN 'bad ' || n ELSE '2010-01-01' END FROM generate_series(1001, 3000) n;
SELECT count(*), count(DISTINCT external_id) FROM test.take_outbox();
DROP TABLE users CASCADE;

-- An external_id that is none.
CREATE TABLE users (id integer PRIMARY KEY, login text);
SELECT contacts_push.watch('users', 'bot', external_id => 'login');
INSERT INTO users VALUES (1, NULL), (2, ''), (3, repeat('x', 1025)), (4, 'good'), (5, repeat('x', 1024));
SELECT length(external_id), left(external_id, 4) FROM test.take_outbox();
UPDATE users SET login = NULL WHERE id = 4;
UPDATE users SET login = 'better' WHERE id = 1;
SELECT external_id, contact FROM test.take_outbox();
DROP TABLE users CASCADE;

-- A mapping of one's own may return anything.
CREATE TABLE users (id integer PRIMARY KEY, contact jsonb);
CREATE FUNCTION own(users) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	IF $1.id = 0 THEN
		RAISE EXCEPTION 'it''s zero' USING DETAIL = 'More about it.', ERRCODE = 'ZZ999';
	END IF;
	RETURN $1.contact;
END
$$;
SELECT contacts_push.watch('users', 'bot', contact => 'own');
INSERT INTO users VALUES (1, NULL);
INSERT INTO users VALUES (2, 'null'), (3, '[]'), (4, '"a"'), (5, '{}'), (6, '{"external_id": null}'), (7, '{"external_id": 7}'),
	(8, '{"external_id": "good", "name": 7}'), (0, NULL);
INSERT INTO users VALUES (9, '[{"external_id": "a"}]'), (10, '{"external_id": {"a": 1}}');
SELECT * FROM test.take_outbox();
-- A function that is gone is a failure of every row, not of the statement; so is one that may not be run.
DROP FUNCTION own;
INSERT INTO users VALUES (11, '{"external_id": "a"}'), (12, '{"external_id": "b"}');
DELETE FROM users WHERE id = 11;
CREATE ROLE regress_contacts_push;
CREATE FUNCTION own(users) RETURNS jsonb LANGUAGE sql AS 'SELECT $1.contact';
REVOKE EXECUTE ON FUNCTION own FROM PUBLIC;
GRANT INSERT ON users TO regress_contacts_push;
SET ROLE regress_contacts_push;
INSERT INTO users VALUES (13, '{"external_id": "c"}');
RESET ROLE;
SELECT * FROM test.take_outbox();
DROP TABLE users CASCADE;
DROP ROLE regress_contacts_push;

-- A mapping may read and write; what it wrote for a row that it failed for is undone.
CREATE TABLE users (id integer PRIMARY KEY);
CREATE TABLE seen (id integer);
CREATE FUNCTION own(users) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO seen VALUES ($1.id);
	RETURN jsonb_build_object('external_id', (10 / ($1.id - 2))::text);
END
$$;
SELECT contacts_push.watch('users', 'bot', contact => 'own');
INSERT INTO users VALUES (1), (2), (3);
SELECT * FROM seen ORDER BY id;
SELECT * FROM test.take_outbox();
DROP TABLE users CASCADE;
DROP TABLE seen;

-- Row by row, it takes no more memory for many rows than for a few: an early row and
-- the last one look at how much there is.
CREATE TABLE users (id integer PRIMARY KEY);
CREATE TABLE memory (id integer, bytes numeric);
CREATE FUNCTION own(users) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	IF $1.id % 2 = 1 THEN
		RAISE EXCEPTION 'an odd row';
	END IF;
	IF $1.id IN (20, 20000) THEN
		INSERT INTO memory SELECT $1.id, sum(total_bytes) FROM pg_backend_memory_contexts;
	END IF;
	RETURN jsonb_build_object('external_id', $1.id::text);
END
$$;
SELECT contacts_push.watch('users', 'bot', contact => 'own');
-- what is to be kept goes to a file beyond that
SET work_mem = '64kB';
INSERT INTO users SELECT generate_series(1, 20000);
RESET work_mem;
-- 20,000 rows at 50 bytes each would be a megabyte
SELECT count(*), CASE WHEN max(bytes) - min(bytes) < 1000000 THEN 'bounded' ELSE (max(bytes) - min(bytes))::text END AS memory FROM memory;
SELECT count(*) FROM test.take_outbox();
DROP TABLE users CASCADE;
DROP TABLE memory;

-- What is no failure of the mapping stays what it is: cancel and class 40.
CREATE TABLE users (id integer PRIMARY KEY, state text);
CREATE FUNCTION own(users) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	IF $1.state = 'slow' THEN
		PERFORM pg_sleep(3600);
	END IF;
	RAISE EXCEPTION 'state %', $1.state USING ERRCODE = $1.state;
END
$$;
SELECT contacts_push.watch('users', 'bot', contact => 'own');
\set VERBOSITY sqlstate
SET statement_timeout = '50ms';
INSERT INTO users VALUES (1, 'slow');
RESET statement_timeout;
INSERT INTO users VALUES (2, '40001');
INSERT INTO users VALUES (3, '40P01');
INSERT INTO users VALUES (4, '53200');
INSERT INTO users VALUES (5, '53100');
INSERT INTO users VALUES (6, '57014');
INSERT INTO users VALUES (7, '57P01');
INSERT INTO users VALUES (8, '57P04');
\set VERBOSITY default
INSERT INTO users VALUES (9, '23505');
SELECT id FROM users;
DROP TABLE users CASCADE;

-- Somebody else's trigger on these functions, and no trigger at all.
CREATE TABLE users (id integer PRIMARY KEY);
CREATE TRIGGER none AFTER INSERT ON users FOR EACH ROW EXECUTE FUNCTION contacts_push_internal.enqueue_rows();
INSERT INTO users VALUES (1);
DROP TRIGGER none ON users;
CREATE TRIGGER before BEFORE INSERT ON users FOR EACH ROW EXECUTE FUNCTION contacts_push_internal.enqueue_rows('bot', 'public.f');
INSERT INTO users VALUES (1);
DROP TRIGGER before ON users;
CREATE TRIGGER no_table AFTER INSERT ON users FOR EACH STATEMENT EXECUTE FUNCTION contacts_push_internal.enqueue_rows('bot', 'public.f');
INSERT INTO users VALUES (1);
DROP TRIGGER no_table ON users;
CREATE TRIGGER not_a_name AFTER INSERT ON users FOR EACH ROW EXECUTE FUNCTION contacts_push_internal.enqueue_rows('bot', 'f(); SELECT 1');
INSERT INTO users VALUES (1);
SELECT contacts_push_internal.enqueue_rows();
SELECT contacts_push_internal.wake_worker();
DROP TABLE users;
