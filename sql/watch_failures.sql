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
-- backfill() finds the rows when they have been fixed.
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

-- Functions in the view may raise anything, and return what a contact cannot have: that is for the worker to say.
CREATE TABLE users (id integer PRIMARY KEY, attributes jsonb);
CREATE FUNCTION key_of(id integer) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	IF id = 0 THEN
		RAISE EXCEPTION 'it''s zero' USING DETAIL = 'More about it.', ERRCODE = 'ZZ999';
	END IF;
	RETURN id::text;
END
$$;
CREATE VIEW own AS SELECT key_of(id) AS external_id, attributes AS custom_attributes FROM users;
SELECT contacts_push.watch('own', 'bot');
INSERT INTO users VALUES (1, NULL);
INSERT INTO users VALUES (2, 'null'), (3, '[]'), (4, '"a"'), (5, '{}'), (6, '7'), (7, '{"a": {"b": [1, null]}}'), (0, NULL);
SELECT * FROM test.take_outbox();
-- A function that may not be run is a failure of every row.
CREATE ROLE regress_contacts_push;
REVOKE EXECUTE ON FUNCTION key_of FROM PUBLIC;
GRANT INSERT, UPDATE, DELETE, SELECT ON users TO regress_contacts_push;
SET ROLE regress_contacts_push;
INSERT INTO users VALUES (13, '{"external_id": "c"}'), (14, NULL);
UPDATE users SET attributes = '{}' WHERE id = 13;
DELETE FROM users WHERE id = 13;
RESET ROLE;
SELECT * FROM test.take_outbox();
DROP TABLE users CASCADE;
DROP FUNCTION key_of;
DROP ROLE regress_contacts_push;

-- What fails in a column other than the key keeps nobody from being withdrawn.
CREATE TABLE users (id integer PRIMARY KEY, born text);
SELECT contacts_push.watch('users', 'bot', name => 'born::date');
INSERT INTO users VALUES (1, '2001-01-01'), (2, 'never');
UPDATE users SET id = 11, born = 'unknown' WHERE id = 1;
DELETE FROM users;
SELECT * FROM test.take_outbox();
DROP TABLE users CASCADE;

-- A constant that cannot be computed, a domain that is violated, a cast that fails, in the WHERE.
CREATE DOMAIN small AS integer CHECK (VALUE < 10);
CREATE TABLE users (id integer PRIMARY KEY, name text);
CREATE VIEW constant AS SELECT id AS external_id, (1 / (length('') + 0 * id))::text AS name FROM users;
CREATE VIEW violated AS SELECT id::small AS external_id FROM users;
CREATE VIEW asked AS SELECT id AS external_id FROM users WHERE name::integer > 0;
SELECT contacts_push.watch('constant', 'constant'), contacts_push.watch('violated', 'violated'), contacts_push.watch('asked', 'asked');
INSERT INTO users VALUES (1, '1'), (10, 'ten'), (2, NULL);
SELECT chatbot_id, external_id FROM test.take_outbox();
ALTER DOMAIN small DROP CONSTRAINT small_check;
ALTER DOMAIN small ADD CHECK (VALUE > 10) NOT VALID;
INSERT INTO users VALUES (3, '-3'), (11, '11');
SELECT chatbot_id, external_id FROM test.take_outbox();
DROP TABLE users CASCADE;
DROP DOMAIN small;

-- Functions may read and write; what one wrote for a row that it failed for is undone.
CREATE TABLE users (id integer PRIMARY KEY);
CREATE TABLE seen (id integer);
CREATE FUNCTION own(id integer) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO seen VALUES (id);
	RETURN (10 / (id - 2))::text;
END
$$;
SELECT contacts_push.watch('users', 'bot', external_id => 'own(id)');
INSERT INTO users VALUES (1), (2), (3);
SELECT * FROM seen ORDER BY id;
SELECT * FROM test.take_outbox();
DROP TABLE users CASCADE;
DROP TABLE seen;
DROP FUNCTION own;

-- Whoever may not read what the view uses is not told what is in it.
CREATE ROLE regress_contacts_push;
CREATE TABLE users (id integer PRIMARY KEY, born text, note text);
GRANT INSERT, UPDATE (note, id), SELECT (id) ON users TO regress_contacts_push;
SELECT contacts_push.watch('users', 'bot', custom_attributes => 'jsonb_build_object(''born'', born::date)');
INSERT INTO users VALUES (1, 'a secret');
SET ROLE regress_contacts_push;
UPDATE users SET id = 2 WHERE id = 1;
RESET ROLE;
GRANT SELECT (born) ON users TO regress_contacts_push;
SET ROLE regress_contacts_push;
UPDATE users SET id = 3 WHERE id = 2;
RESET ROLE;
ALTER TABLE users ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_rows ON users USING (true);
SET ROLE regress_contacts_push;
UPDATE users SET id = 4 WHERE id = 3;
RESET ROLE;
SELECT rows, reason FROM contacts_push_internal.enqueue_failure WHERE relation = 'public.users' ORDER BY failed_at DESC LIMIT 2;
SELECT * FROM test.take_outbox();
DROP TABLE users CASCADE;
DROP ROLE regress_contacts_push;

-- What is put on the outbox fails the push, not the application: a constraint, an index, a trigger.
CREATE TABLE users (id integer PRIMARY KEY, name text);
SELECT contacts_push.watch('users', 'bot');
TRUNCATE contacts_push_internal.enqueue_failure;
ALTER TABLE contacts_push.outbox ADD CONSTRAINT no_ann CHECK (contact ->> 'name' <> 'Ann');
INSERT INTO users VALUES (1, 'Ann'), (2, 'Bob');
UPDATE users SET name = 'Ann' WHERE id = 2;
ALTER TABLE contacts_push.outbox DROP CONSTRAINT no_ann;
CREATE UNIQUE INDEX once ON contacts_push.outbox (chatbot_id, external_id);
UPDATE users SET name = 'Cid';
DELETE FROM users WHERE id = 2;
DROP INDEX contacts_push.once;
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'not on my outbox'; END$$;
CREATE TRIGGER refuse BEFORE INSERT ON contacts_push.outbox FOR EACH ROW EXECUTE FUNCTION refuse();
INSERT INTO users VALUES (3, 'Dan'), (4, 'Eve');
ALTER TABLE contacts_push_internal.enqueue_failure ADD CHECK (rows < 2) NOT VALID;
INSERT INTO users VALUES (5, 'Fay'), (6, 'Gus');
ALTER TABLE contacts_push_internal.enqueue_failure DROP CONSTRAINT enqueue_failure_rows_check;
DROP TRIGGER refuse ON contacts_push.outbox;
TABLE users ORDER BY id;
SELECT external_id, contact FROM contacts_push.outbox ORDER BY seq;
SELECT rows, reason FROM contacts_push_internal.enqueue_failure ORDER BY reason, rows;
SELECT * FROM contacts_push.missing('users', 'bot') m ORDER BY m;
SET client_min_messages = warning;
CALL contacts_push.backfill('users');
RESET client_min_messages;
SELECT count(*) FROM contacts_push.missing('users', 'bot');
DROP FUNCTION refuse;
DROP TABLE users CASCADE;
TRUNCATE contacts_push.outbox;

-- It takes no more memory for many rows than for a few, whether they are taken by the
-- thousand, one by one because of bad ones, or withdrawn: an early row and the last one
-- look at how much there is.
CREATE TABLE users (id integer PRIMARY KEY);
CREATE TABLE memory (what text, bytes numeric);
CREATE FUNCTION own(id integer, what text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	IF what = 'bad ones' AND id % 2 = 1 THEN
		RAISE EXCEPTION 'an odd row';
	END IF;
	IF id IN (2020, 40000) THEN
		INSERT INTO memory SELECT what, sum(total_bytes) FROM pg_backend_memory_contexts;
	END IF;
	RETURN id::text;
END
$$;
-- 40,000 rows at 50 bytes each would be two megabytes; a context that grows adds one at most
CREATE VIEW memory_taken AS SELECT what, count(*),
	CASE WHEN max(bytes) - min(bytes) < 1500000 THEN 'bounded' ELSE (max(bytes) - min(bytes))::text END AS memory FROM memory GROUP BY what;
SELECT contacts_push.watch('users', 'bot', external_id => 'own(id, current_setting(''test.what''))');
-- what is to be kept goes to a file beyond that
SET work_mem = '64kB';
SET test.what = 'bad ones';
INSERT INTO users SELECT generate_series(1, 40000);
SELECT count(*) FROM test.take_outbox();
SET test.what = 'withdrawn';
DELETE FROM users;
SELECT count(*) FROM test.take_outbox();
SET test.what = 'by the thousand';
-- and what the session may have in files is left to the statement: a copy of the rows would not fit
SET temp_file_limit = '2MB';
INSERT INTO users SELECT generate_series(1, 40000);
RESET temp_file_limit;
SELECT count(*) FROM test.take_outbox();
RESET work_mem;
RESET test.what;
TABLE memory_taken ORDER BY what;
DROP TABLE users CASCADE;
DROP TABLE memory CASCADE;
DROP FUNCTION own;

-- What is no failure of the mapping stays what it is: cancel and class 40.
CREATE TABLE users (id integer PRIMARY KEY, state text);
CREATE FUNCTION own(state text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	IF state = 'slow' THEN
		PERFORM pg_sleep(3600);
	END IF;
	RAISE EXCEPTION 'state %', state USING ERRCODE = state;
END
$$;
SELECT contacts_push.watch('users', 'bot', name => 'own(state)');
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
-- and what was held meanwhile has been let go of
CREATE OR REPLACE FUNCTION own(state text) RETURNS text LANGUAGE sql RETURN state;
INSERT INTO users VALUES (10, 'fine');
SELECT * FROM test.take_outbox();
DROP TABLE users CASCADE;
DROP FUNCTION own;

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
DROP TRIGGER not_a_name ON users;
CREATE TRIGGER no_view AFTER INSERT ON users FOR EACH ROW EXECUTE FUNCTION contacts_push_internal.enqueue_rows('bot', 'public.users');
INSERT INTO users VALUES (2);
SELECT contacts_push_internal.enqueue_rows();
SELECT contacts_push_internal.wake_worker();
DROP TABLE users;
