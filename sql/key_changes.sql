-- What lands in the outbox when external_ids change, are swapped and handed on, in one
-- statement, into and out of a view's WHERE, and from one partition to another.
\set ECHO none
\i sql/include/begin.psql
\set ECHO all

-- The intents in their order, and what is wrong with the newest of each contact: it must
-- withdraw just those that the view does not have.
CREATE VIEW intents AS
	SELECT external_id, previous_external_id AS previous, contact ->> 'name' AS name,
		contact IS NULL AS withdrawn
	FROM contacts_push.outbox ORDER BY seq;
CREATE FUNCTION wrong(contacts regclass) RETURNS TABLE (external_id text, name text, newest text)
LANGUAGE plpgsql AS $$
BEGIN
	RETURN QUERY EXECUTE format($q$
		SELECT external_id, v.name, o.name
		FROM (SELECT external_id::text, name::text FROM %s) v
		FULL JOIN (SELECT * FROM (SELECT DISTINCT ON (external_id) external_id::text,
				contact ->> 'name' AS name, contact IS NULL AS withdrawn
			FROM contacts_push.outbox ORDER BY external_id, seq DESC) n WHERE NOT withdrawn) o USING (external_id)
		WHERE v.name IS DISTINCT FROM o.name $q$, contacts);
END
$$;

-- One row; there and back; with other changes; a key that stays the same in another case.
CREATE TABLE users (id text, name text, active boolean DEFAULT true);
CREATE VIEW active_users AS SELECT lower(id) AS external_id, name FROM users WHERE active;
SELECT contacts_push.watch('active_users', 'bot');
INSERT INTO users VALUES ('a', 'Ann'), ('b', 'Bob'), ('c', 'Cid');
INSERT INTO users VALUES ('x', 'Xi', false);
TRUNCATE contacts_push.outbox;
UPDATE users SET id = 'd' WHERE id = 'a';
UPDATE users SET id = 'a', name = 'Anna' WHERE id = 'd';
UPDATE users SET id = 'A' WHERE id = 'a';
TABLE intents;

-- Together with a move into the WHERE, or out of it: no contact has gone to the new key then.
TRUNCATE contacts_push.outbox;
UPDATE users SET id = 'y', active = true WHERE id = 'x';
UPDATE users SET id = 'x', active = false WHERE id = 'y';
UPDATE users SET id = 'z' WHERE id = 'x';
UPDATE users SET active = true WHERE id = 'z';
UPDATE users SET active = false WHERE id = 'z';
TABLE intents;

-- Swapped, rotated, and moved on by one, in whatever order the rows are visited.
TRUNCATE users, contacts_push.outbox;
INSERT INTO users SELECT n, 'n' || n FROM generate_series(1, 4) n;
TRUNCATE contacts_push.outbox;
UPDATE users SET id = CASE id WHEN '1' THEN '2' WHEN '2' THEN '1' ELSE id END WHERE id IN ('1', '2');
TABLE intents;
SELECT * FROM wrong('active_users') WHERE external_id IN ('1', '2');
TRUNCATE contacts_push.outbox;
UPDATE users SET id = id::integer % 4 + 1;
TABLE intents;
SELECT * FROM wrong('active_users');
TRUNCATE contacts_push.outbox;
UPDATE users SET id = id::integer + 1;
TABLE intents;
SELECT * FROM wrong('active_users');
TRUNCATE contacts_push.outbox;
UPDATE users SET id = id::integer - 1;
TABLE intents;
SELECT * FROM wrong('active_users');
-- one takes the key of one that leaves the WHERE, or leaves for good
TRUNCATE contacts_push.outbox;
UPDATE users SET active = id <> '2', id = CASE id WHEN '1' THEN '2' ELSE id END WHERE id IN ('1', '2');
TABLE intents;
SELECT * FROM wrong('active_users') WHERE external_id IN ('1', '2');
DROP TABLE users CASCADE;

-- A key of one that is deleted by a MERGE that inserts it anew; row by row and by statement.
CREATE TABLE seats (id integer, seat text);
CREATE TABLE parted_seats (id integer, seat text) PARTITION BY HASH (id);
CREATE TABLE parted_seats_1 PARTITION OF parted_seats FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE parted_seats_2 PARTITION OF parted_seats FOR VALUES WITH (MODULUS 2, REMAINDER 1);
SELECT contacts_push.watch('seats', 'bot', external_id => 'seat', name => 'id');
SELECT contacts_push.watch('parted_seats', 'bot', external_id => 'seat', name => 'id');
INSERT INTO seats VALUES (1, 's1'), (2, 's2'), (3, 's3');
TRUNCATE contacts_push.outbox;
MERGE INTO seats s USING (VALUES (1, 's1', 'd'), (9, 's1', 'i'), (8, 's2', 'i'), (2, 's2', 'd'), (7, 's3', 'i'), (3, 's4', 'u'))
	AS m (id, seat, action) ON s.id = m.id
WHEN MATCHED AND m.action = 'd' THEN DELETE
WHEN MATCHED THEN UPDATE SET seat = m.seat
WHEN NOT MATCHED THEN INSERT VALUES (m.id, m.seat);
SELECT * FROM wrong('seats_contacts');
DELETE FROM seats;
INSERT INTO parted_seats VALUES (1, 's1'), (2, 's2'), (3, 's3');
TRUNCATE contacts_push.outbox;
MERGE INTO parted_seats s USING (VALUES (1, 's1', 'd'), (9, 's1', 'i'), (8, 's2', 'i'), (2, 's2', 'd'), (7, 's3', 'i'), (3, 's4', 'u'))
	AS m (id, seat, action) ON s.id = m.id
WHEN MATCHED AND m.action = 'd' THEN DELETE
WHEN MATCHED THEN UPDATE SET seat = m.seat
WHEN NOT MATCHED THEN INSERT VALUES (m.id, m.seat);
SELECT * FROM wrong('parted_seats_contacts');
-- and one that a row gives up, behind the one that gets it, when INSERT ... ON CONFLICT changes it
DELETE FROM parted_seats;
CREATE UNIQUE INDEX ON parted_seats (id);
INSERT INTO parted_seats VALUES (1, 's1'), (2, 's2');
TRUNCATE contacts_push.outbox;
INSERT INTO parted_seats VALUES (3, 's1'), (1, 's5'), (4, 's2'), (2, 's4') ON CONFLICT (id) DO UPDATE SET seat = EXCLUDED.seat;
SELECT * FROM wrong('parted_seats_contacts');
-- and one that is deleted and inserted by one statement
TRUNCATE contacts_push.outbox;
WITH gone AS (DELETE FROM parted_seats WHERE seat = 's1' RETURNING *)
INSERT INTO parted_seats SELECT id + 100, seat FROM gone;
SELECT * FROM wrong('parted_seats_contacts') WHERE external_id = 's1';
DROP TABLE seats, parted_seats CASCADE;

-- A row that moves to another partition fires for a deletion and an insertion, and is one
-- user all the same.
CREATE TABLE visitors (id integer, name text, active boolean DEFAULT true) PARTITION BY RANGE (id);
CREATE TABLE visitors_1 PARTITION OF visitors FOR VALUES FROM (0) TO (10);
CREATE TABLE visitors_2 PARTITION OF visitors FOR VALUES FROM (10) TO (20);
CREATE TABLE visitors_3 PARTITION OF visitors FOR VALUES FROM (20) TO (100);
CREATE VIEW visitors_to_push AS SELECT id AS external_id, name FROM visitors WHERE active;
SELECT contacts_push.watch('visitors_to_push', 'bot'), contacts_push.watch('visitors', 'other', external_id => '''v'' || id');
INSERT INTO visitors VALUES (1, 'one'), (2, 'two'), (11, 'eleven'), (12, 'twelve');
INSERT INTO visitors VALUES (3, 'three', false);
TRUNCATE contacts_push.outbox;
UPDATE visitors SET id = 21 WHERE id = 11;
TABLE intents;
-- several at once, each under its own old key; some of them handed on
TRUNCATE contacts_push.outbox;
UPDATE visitors SET id = id + 10 WHERE id IN (1, 2, 12);
SELECT * FROM intents WHERE external_id NOT LIKE 'v%';
SELECT * FROM intents WHERE external_id LIKE 'v%';
SELECT * FROM wrong('visitors_to_push') WHERE external_id IN ('1', '2', '11', '12', '22');
-- into the WHERE, and out of it, on the way
TRUNCATE contacts_push.outbox;
UPDATE visitors SET id = 13, active = true WHERE id = 3;
UPDATE visitors SET id = 3, active = false WHERE id = 13;
SELECT * FROM intents WHERE external_id NOT LIKE 'v%';
-- the partition key is not the external_id
CREATE TABLE guests (id integer, name text, region text) PARTITION BY LIST (region);
CREATE TABLE guests_1 PARTITION OF guests FOR VALUES IN ('eu');
CREATE TABLE guests_2 PARTITION OF guests FOR VALUES IN ('us');
SELECT contacts_push.watch('guests', 'bot', external_id => 'id');
INSERT INTO guests VALUES (1, 'one', 'eu'), (2, 'two', 'us');
TRUNCATE contacts_push.outbox;
UPDATE guests SET region = CASE region WHEN 'eu' THEN 'us' ELSE 'eu' END;
TABLE intents;
-- One that cannot be mapped any more takes nobody else's key along.
TRUNCATE contacts_push.outbox;
DROP TABLE guests CASCADE;
CREATE TABLE guests (id integer, name text, region text) PARTITION BY LIST (region);
CREATE TABLE guests_1 PARTITION OF guests FOR VALUES IN ('eu');
CREATE TABLE guests_2 PARTITION OF guests FOR VALUES IN ('us');
SELECT contacts_push.watch('guests', 'bot', external_id => '10 / id');
INSERT INTO guests VALUES (1, 'one', 'eu'), (2, 'two', 'eu'), (5, 'three', 'eu');
TRUNCATE contacts_push.outbox;
UPDATE guests SET region = 'us', id = CASE id WHEN 1 THEN 0 WHEN 2 THEN 10 ELSE id END;
TABLE intents;
-- Another row of the statement is no successor: neither one that a command beside the update inserts,
-- though the one that has moved is,
DELETE FROM visitors;
INSERT INTO visitors VALUES (1, 'one'), (5, 'five');
TRUNCATE contacts_push.outbox;
WITH new AS (INSERT INTO visitors VALUES (4, 'four')), gone AS (DELETE FROM visitors WHERE id = 1)
UPDATE visitors SET id = 15 WHERE id = 5;
SELECT * FROM intents WHERE external_id NOT LIKE 'v%';
MERGE INTO visitors v USING (VALUES (15)) m (id) ON v.id = m.id WHEN MATCHED THEN UPDATE SET id = 25;
SELECT * FROM intents WHERE external_id = '25';
-- nor one that comes in where another leaves for a part of the table that is not watched.
CREATE TABLE people (id integer, name text, active boolean) PARTITION BY RANGE (id);
CREATE TABLE people_100 PARTITION OF people FOR VALUES FROM (100) TO (200);
ALTER TABLE people ATTACH PARTITION visitors FOR VALUES FROM (0) TO (100);
INSERT INTO people VALUES (105, 'one hundred and five', true);
TRUNCATE contacts_push.outbox;
UPDATE people SET id = CASE id WHEN 4 THEN 104 ELSE 6 END WHERE id IN (4, 105);
SELECT * FROM intents WHERE external_id NOT LIKE 'v%';
ALTER TABLE people DETACH PARTITION visitors;
DROP TABLE people;
-- TRUNCATE says nothing of anybody.
TRUNCATE contacts_push.outbox;
TRUNCATE guests, visitors;
TABLE intents;

SET client_min_messages = warning;
DROP TABLE guests, visitors CASCADE;
DROP FUNCTION wrong;
DROP VIEW intents;
