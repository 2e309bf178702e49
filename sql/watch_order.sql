-- Triggers fire when their statement is through, and those of a statement that a trigger
-- runs before the outer one's: what is enqueued last is what the table has in the end.
\set ECHO none
\i sql/include/begin.psql
\set ECHO all

-- Who would be sent, and with what; and what is withdrawn.
CREATE FUNCTION newest() RETURNS TABLE (chatbot_id text, external_id text, contact jsonb)
LANGUAGE sql AS $$
	SELECT DISTINCT ON (t.chatbot_id, t.external_id) t.chatbot_id, t.external_id, t.contact
	FROM test.take_outbox() WITH ORDINALITY AS t(chatbot_id, external_id, contact, place)
	ORDER BY t.chatbot_id, t.external_id, t.place DESC
$$;
CREATE VIEW newest AS SELECT n.chatbot_id, n.external_id, n.contact - 'external_id' AS contact FROM newest() n;

-- Keys that move in one statement: each user is there under its new one.
CREATE TABLE users (id integer PRIMARY KEY DEFERRABLE, name text);
SELECT contacts_push.watch('users', 'bot');
SELECT contacts_push.watch('users', 'bot 2');
INSERT INTO users SELECT n, 'User ' || n FROM generate_series(1, 4) n;
TRUNCATE contacts_push.outbox;
UPDATE users SET id = id + 1;
TABLE newest;
UPDATE users SET id = id - 1;
TABLE newest;
UPDATE users SET id = 5 - id;
TABLE newest;
-- In one transaction, statement by statement, they do go.
BEGIN;
UPDATE users SET id = 10 WHERE id = 1;
UPDATE users SET id = 11 WHERE id = 10;
COMMIT;
SELECT * FROM newest WHERE chatbot_id = 'bot';
BEGIN;
SAVEPOINT s;
UPDATE users SET id = 20 WHERE id = 11;
ROLLBACK TO s;
UPDATE users SET id = 21 WHERE id = 11;
COMMIT;
SELECT * FROM newest WHERE chatbot_id = 'bot';
DROP TABLE users CASCADE;

-- An e-mail as the key, handed on in a circle.
CREATE TABLE users (id integer PRIMARY KEY, email text UNIQUE DEFERRABLE);
SELECT contacts_push.watch('users', 'bot', external_id => 'email');
INSERT INTO users VALUES (1, 'a@example.com'), (2, 'b@example.com'), (3, 'c@example.com');
TRUNCATE contacts_push.outbox;
UPDATE users SET email = chr(ascii('a') + id % 3) || '@example.com';
TABLE newest;
DROP TABLE users CASCADE;

-- Rows that a trigger changes again in the statement that has inserted or updated them.
CREATE TABLE users (id integer PRIMARY KEY, name text, email text, seen integer);
SELECT contacts_push.watch('users', 'bot');
CREATE FUNCTION again() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF NEW.name = 'loud' THEN
		UPDATE users SET name = 'quiet' WHERE id = NEW.id;
	ELSIF NEW.name = 'spam' THEN
		DELETE FROM users WHERE id = NEW.id;
	ELSIF NEW.name = 'moving' THEN
		UPDATE users SET id = id + 100, name = 'moved' WHERE id = NEW.id;
	ELSIF NEW.name = 'undone' THEN
		BEGIN
			UPDATE users SET name = 'never' WHERE id = NEW.id;
			RAISE EXCEPTION 'no';
		EXCEPTION WHEN raise_exception THEN
			NULL;
		END;
	ELSIF NEW.name = 'seen' AND NEW.seen IS NULL THEN
		UPDATE users SET seen = 1 WHERE id = NEW.id;
	ELSIF NEW.name = 'twin' THEN
		INSERT INTO users VALUES (NEW.id + 100, 'sister');
	END IF;
	RETURN NULL;
END
$$;
CREATE TRIGGER again AFTER INSERT OR UPDATE ON users FOR EACH ROW EXECUTE FUNCTION again();
INSERT INTO users VALUES (1, 'loud'), (2, 'plain'), (3, 'spam'), (4, 'moving'), (5, 'undone'), (6, 'seen'), (7, 'twin');
TABLE users ORDER BY id;
TABLE newest;
UPDATE users SET name = 'loud' WHERE id IN (2, 5);
TABLE newest;
UPDATE users SET name = 'spam' WHERE id = 7;
TABLE newest;
UPDATE users SET id = 200, name = 'loud' WHERE id = 6;
TABLE newest;
-- The same in one transaction, again and again: only what is nested is left out.
BEGIN;
INSERT INTO users VALUES (8, 'loud');
DELETE FROM users WHERE id = 8;
INSERT INTO users VALUES (8, 'plain');
UPDATE users SET name = 'loud' WHERE id = 8;
COMMIT;
SELECT * FROM newest WHERE external_id = '8';
DO $$
BEGIN
	INSERT INTO users VALUES (9, 'loud');
	DELETE FROM users WHERE id = 9;
	INSERT INTO users VALUES (9, 'back');
END
$$;
SELECT * FROM newest WHERE external_id = '9';

-- A cascade withdraws, and who comes back after it is enqueued.
CREATE TABLE teams (id integer PRIMARY KEY);
CREATE TABLE members (id integer PRIMARY KEY, team integer REFERENCES teams ON DELETE CASCADE, name text);
SELECT contacts_push.watch('members', 'bot', external_id => $$'m' || id$$);
INSERT INTO teams VALUES (1), (2);
INSERT INTO members VALUES (1, 1, 'One'), (2, 2, 'Two');
TRUNCATE contacts_push.outbox;
DO $$
BEGIN
	DELETE FROM teams WHERE id = 1;
	INSERT INTO members VALUES (1, 2, 'One again');
END
$$;
TABLE newest;

-- Whom a trigger changes before the cascade takes or changes him; and who is put back in a cascade.
CREATE FUNCTION closing() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	UPDATE members SET name = name || ', closing' WHERE team = OLD.id;
	RETURN CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END;
END
$$;
CREATE TRIGGER closing BEFORE DELETE OR UPDATE ON teams FOR EACH ROW EXECUTE FUNCTION closing();
DELETE FROM teams WHERE id = 2;
TABLE newest;
ALTER TABLE members DROP CONSTRAINT members_team_fkey, ADD FOREIGN KEY (team) REFERENCES teams ON UPDATE CASCADE ON DELETE CASCADE;
SELECT contacts_push.unwatch('members');
SELECT contacts_push.watch('members', 'bot', external_id => $$'m' || id$$, name => $$name || ' of ' || team$$);
INSERT INTO teams VALUES (3);
INSERT INTO members VALUES (3, 3, 'Three');
UPDATE teams SET id = 4;
TABLE members;
TABLE newest;
INSERT INTO teams VALUES (5);
CREATE FUNCTION back() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN INSERT INTO members VALUES (OLD.id, 5, 'back'); RETURN NULL; END$$;
CREATE TRIGGER back AFTER DELETE ON members FOR EACH ROW EXECUTE FUNCTION back();
DELETE FROM teams WHERE id = 4;
TABLE members;
TABLE newest;

DROP TABLE users, members, teams CASCADE;
DROP FUNCTION again, closing, back;

-- A MERGE that deletes a row and gives its key to another, and one that moves keys about.
CREATE TABLE users (id integer PRIMARY KEY, email text);
SELECT contacts_push.watch('users', 'bot', external_id => 'email');
INSERT INTO users VALUES (1, 'a@example.com'), (2, 'b@example.com'), (3, 'c@example.com');
TRUNCATE contacts_push.outbox;
MERGE INTO users u USING (VALUES (1, 'delete', NULL), (2, 'update', 'c@example.com'), (3, 'delete', NULL), (4, 'insert', 'a@example.com')) AS m (id, what, email)
ON u.id = m.id
WHEN MATCHED AND m.what = 'delete' THEN DELETE
WHEN MATCHED THEN UPDATE SET email = m.email
WHEN NOT MATCHED THEN INSERT VALUES (m.id, m.email);
TABLE users ORDER BY id;
TABLE newest;
-- One statement that does both, in either order.
WITH gone AS (DELETE FROM users WHERE id = 2 RETURNING email)
INSERT INTO users SELECT 5, email FROM gone;
WITH added AS (INSERT INTO users VALUES (6, 'd@example.com') RETURNING email)
DELETE FROM users WHERE id IN (SELECT 4 FROM added);
TABLE users ORDER BY id;
TABLE newest;
DROP TABLE users CASCADE;

-- A function in a statement that writes the rows of that statement again: an inner one's triggers fire first.
CREATE TABLE users (id integer PRIMARY KEY, email text);
SELECT contacts_push.watch('users', 'bot');
CREATE FUNCTION finish(id integer) RETURNS integer LANGUAGE plpgsql AS $$
BEGIN
	UPDATE users SET email = lower(email) WHERE users.id = finish.id;
	RETURN id;
END
$$;
CREATE FUNCTION finish_sql(id integer) RETURNS integer LANGUAGE sql AS
	'UPDATE users SET email = lower(email) WHERE users.id = finish_sql.id RETURNING users.id';
WITH added AS (INSERT INTO users VALUES (1, 'A@example.com') RETURNING id) SELECT finish(id) FROM added;
INSERT INTO users VALUES (2, 'B@example.com') RETURNING finish(id);
INSERT INTO users VALUES (3, 'C@example.com') RETURNING finish_sql(id);
TABLE users ORDER BY id;
TABLE newest;
-- What was rolled back in there leaves what was before: the function's, or the statement's.
CREATE FUNCTION finish_and_fail(id integer, first text) RETURNS integer LANGUAGE plpgsql AS $$
BEGIN
	UPDATE users SET email = first WHERE users.id = finish_and_fail.id AND first IS NOT NULL;
	BEGIN
		UPDATE users SET email = 'never@example.com' WHERE users.id = finish_and_fail.id;
		RAISE EXCEPTION 'no';
	EXCEPTION WHEN raise_exception THEN
		RETURN id;
	END;
END
$$;
INSERT INTO users VALUES (4, 'd@example.com') RETURNING finish_and_fail(id, 'first@example.com');
INSERT INTO users VALUES (5, 'e@example.com') RETURNING finish_and_fail(id, NULL);
BEGIN;
SAVEPOINT s;
INSERT INTO users VALUES (6, 'f@example.com') RETURNING finish_and_fail(id, 'again@example.com');
RELEASE s;
COMMIT;
SELECT * FROM users WHERE id > 3 ORDER BY id;
TABLE newest;
DROP TABLE users CASCADE;
-- The one names the partitioned table, the other a partition, either way round.
CREATE TABLE users (id integer PRIMARY KEY, email text) PARTITION BY RANGE (id);
CREATE TABLE users_1 PARTITION OF users FOR VALUES FROM (1) TO (10);
SELECT contacts_push.watch('users', 'bot');
CREATE FUNCTION finish_part(id integer) RETURNS integer LANGUAGE sql AS
	'UPDATE users_1 SET email = lower(email) WHERE users_1.id = finish_part.id RETURNING users_1.id';
INSERT INTO users VALUES (1, 'A@example.com') RETURNING finish_part(id);
INSERT INTO users_1 VALUES (2, 'B@example.com') RETURNING finish(id);
TABLE newest;
DROP TABLE users CASCADE;
DROP FUNCTION finish, finish_sql, finish_and_fail, finish_part;
DROP VIEW newest;
DROP FUNCTION newest;
