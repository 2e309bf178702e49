-- What contacts_push.watch() and unwatch() refuse, and that nothing is left of it.
\set ECHO none
\i sql/include/begin.psql
\set ECHO all

CREATE TABLE users (id integer PRIMARY KEY, name text);

-- What is no table that can be watched.
CREATE VIEW user_view AS SELECT count(*) FROM users;
CREATE MATERIALIZED VIEW user_matview AS SELECT * FROM users;
CREATE TEMPORARY TABLE temporary_users (id integer PRIMARY KEY);
CREATE FOREIGN DATA WRAPPER nothing;
CREATE SERVER nowhere FOREIGN DATA WRAPPER nothing;
CREATE FOREIGN TABLE foreign_users (id integer) SERVER nowhere;
CREATE SEQUENCE user_ids;
CREATE TABLE parts (id integer PRIMARY KEY) PARTITION BY RANGE (id);
CREATE TABLE part PARTITION OF parts DEFAULT;
CREATE PROCEDURE refuses(relation regclass, chatbot text DEFAULT 'bot', further text DEFAULT '')
LANGUAGE plpgsql AS $$
BEGIN
	CALL test.fails(format('SELECT contacts_push.watch(%L, %L%s)', relation, chatbot, further));
END
$$;
CALL refuses('user_view', further => $$, external_id => 'id'$$);
CALL refuses('user_matview', further => $$, external_id => 'id'$$);
CALL refuses('temporary_users');
CALL refuses('foreign_users', further => $$, external_id => 'id'$$);
CALL refuses('user_ids');
CALL refuses('users_pkey');
CALL refuses('part');
CALL refuses('contacts_push.outbox');
CALL refuses(NULL);
CALL refuses(0);
CALL test.fails($$SELECT contacts_push.watch('no_such_table', 'bot')$$);
CALL test.fails($$SELECT contacts_push.watch(4000000000, 'bot')$$);
CALL refuses('pg_catalog.pg_class');
DROP VIEW user_view;
DROP MATERIALIZED VIEW user_matview;
DROP TABLE temporary_users;
DROP FOREIGN DATA WRAPPER nothing CASCADE;
DROP SEQUENCE user_ids;
DROP TABLE parts;

-- The chatbot.
CALL refuses('users', NULL);
CALL refuses('users', '');
CALL refuses('users', '..');
CALL refuses('users', repeat('x', 1025));

-- No key, or one of several columns: what identifies a row has to be said.
CREATE TABLE keyless (id integer, name text);
CREATE TABLE two_keys (a integer, b integer, PRIMARY KEY (a, b));
CALL refuses('keyless');
CALL refuses('two_keys');
SELECT contacts_push.watch('two_keys', 'bot', external_id => $$a || '/' || b$$);
INSERT INTO two_keys VALUES (1, 2);
SELECT * FROM test.take_outbox();
DROP TABLE keyless, two_keys CASCADE;

-- What is no expression over the columns.
CALL refuses('users', further => $$, name => 'nam'$$);
CALL refuses('users', further => $$, name => ''$$);
CALL refuses('users', further => $$, name => 'name,'$$);
CALL refuses('users', further => $$, name => 'name, id'$$);
CALL refuses('users', further => $$, name => 'name AS n'$$);
CALL refuses('users', further => $$, name => 'name FROM users'$$);
CALL refuses('users', further => $$, name => 'name WHERE true'$$);
CALL refuses('users', further => $$, name => 'name; DROP TABLE users'$$);
CALL refuses('users', further => $$, name => 'name) || (name'$$);
CALL refuses('users', further => $$, name => '(name'$$);
CALL refuses('users', further => $$, name => '*'$$);
CALL refuses('users', further => $$, name => '$1'$$);
CALL refuses('users', further => $$, name => 'max(name)'$$);
CALL refuses('users', further => $$, name => 'row_number() OVER ()'$$);
CALL refuses('users', further => $$, name => '(SELECT 1)'$$);
CALL refuses('users', further => $$, name => 'generate_series(1, 2)'$$);
CALL refuses('users', further => $$, name => 'upper(id)'$$);
CALL refuses('users', further => $$, name => 'other.name'$$);
CALL refuses('users', further => $$, external_id => 'OLD.id'$$);
CALL refuses('users', further => $$, name => 'name COLLATE "no such collation"'$$);

-- A view of one's own that is no mapping.
CREATE TABLE orders (id integer PRIMARY KEY, user_id integer, total numeric);
CREATE FOREIGN DATA WRAPPER nothing;
CREATE SERVER nowhere FOREIGN DATA WRAPPER nothing;
CREATE FOREIGN TABLE foreign_users (id integer) SERVER nowhere;
CREATE PROCEDURE refuses_view(query text, further text DEFAULT '')
LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE 'CREATE VIEW mine AS ' || query;
	CALL refuses('mine', further => further);
	DROP VIEW mine CASCADE;
END
$$;
CALL refuses_view('SELECT u.id AS external_id FROM users u JOIN orders o ON o.user_id = u.id');
CALL refuses_view('SELECT 1 AS external_id');
CALL refuses_view('SELECT DISTINCT id AS external_id FROM users');
CALL refuses_view('SELECT id AS external_id FROM users LIMIT 5');
CALL refuses_view('SELECT id AS external_id, count(*) OVER () AS name FROM users');
CALL refuses_view('SELECT name AS external_id, min(name) AS name FROM users GROUP BY name');
CALL refuses_view('SELECT id AS external_id FROM users UNION ALL SELECT id FROM orders');
CALL refuses_view('WITH u AS (SELECT * FROM users) SELECT id AS external_id FROM u');
CALL refuses_view('SELECT id AS external_id, generate_series(1, 2) AS name FROM users');
CALL refuses_view('SELECT id AS external_id FROM (SELECT * FROM users) u');
CALL refuses_view('SELECT g AS external_id FROM generate_series(1, 3) g');
CALL refuses_view('SELECT id AS external_id FROM users TABLESAMPLE SYSTEM (1)');
CALL refuses_view('SELECT id AS external_id, (SELECT max(total) FROM orders o WHERE o.user_id = u.id) AS name FROM users u');
CALL refuses_view('SELECT id AS external_id FROM users u WHERE EXISTS (SELECT FROM orders o WHERE o.user_id = u.id)');
CALL refuses_view('SELECT id AS external_id FROM foreign_users');
CREATE VIEW inner_view AS SELECT * FROM users;
CALL refuses_view('SELECT id AS external_id FROM inner_view');
CALL refuses_view('SELECT name FROM users');
CALL refuses_view('SELECT id AS external_id, name AS nmae FROM users');
CALL refuses_view('SELECT * FROM users');
CALL refuses_view('SELECT id AS external_id, name AS "Name" FROM users');
CALL refuses_view('SELECT id AS external_id, ctid AS name FROM users');
CALL refuses_view($$SELECT id AS external_id FROM users WHERE tableoid <> 0$$);
CALL refuses_view('SELECT id AS external_id, name AS custom_attributes FROM users');
CALL refuses_view('SELECT id AS external_id, id AS stripe_accounts FROM users');
CALL refuses_view('SELECT id AS external_id, users AS custom_attributes FROM users');
CALL refuses_view('SELECT relname AS external_id FROM pg_class');
CALL refuses_view('SELECT id AS external_id, name FROM users', $$, name => 'name'$$);
CALL refuses('inner_view', 'bot', $$, external_id => 'id'$$);
DROP VIEW inner_view;
DROP PROCEDURE refuses_view;
DROP FOREIGN DATA WRAPPER nothing CASCADE;
DROP TABLE orders;

-- Who may watch a table: its owner.
CREATE ROLE regress_contacts_push;
GRANT USAGE ON SCHEMA contacts_push, contacts_push_internal TO regress_contacts_push;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA contacts_push, contacts_push_internal TO regress_contacts_push;
GRANT SELECT ON contacts_push_internal.watched_trigger TO regress_contacts_push;
GRANT ALL ON users TO regress_contacts_push;
GRANT ALL ON SCHEMA test TO regress_contacts_push;
SET ROLE regress_contacts_push;
CALL refuses('users');
RESET ROLE;

-- A view that belongs to somebody else than its table.
CREATE VIEW mine AS SELECT id AS external_id FROM users;
GRANT CREATE ON SCHEMA public TO regress_contacts_push;
ALTER VIEW mine OWNER TO regress_contacts_push;
CALL refuses('mine');
SET ROLE regress_contacts_push;
CALL refuses('mine');
RESET ROLE;
DROP VIEW mine;
-- A chatbot that another role's table feeds: for that role and superusers only.
CREATE ROLE regress_contacts_push_2;
CREATE TABLE theirs (id integer PRIMARY KEY);
ALTER TABLE theirs OWNER TO regress_contacts_push;
GRANT USAGE, CREATE ON SCHEMA public TO regress_contacts_push_2;
GRANT USAGE ON SCHEMA contacts_push, contacts_push_internal TO regress_contacts_push_2;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA contacts_push, contacts_push_internal TO regress_contacts_push_2;
GRANT ALL ON SCHEMA test TO regress_contacts_push_2;
SET ROLE regress_contacts_push_2;
CREATE TABLE ours (id integer PRIMARY KEY);
SELECT contacts_push.watch('ours', 'our bot');
SET ROLE regress_contacts_push;
CALL refuses('theirs', 'our bot');
SELECT contacts_push.watch('theirs', 'their bot');
RESET ROLE;
GRANT regress_contacts_push_2 TO regress_contacts_push;
SET ROLE regress_contacts_push;
SELECT contacts_push.watch('theirs', 'our bot');
RESET ROLE;
SELECT contacts_push.unwatch('theirs');
CREATE TABLE superusers (id integer PRIMARY KEY);
SELECT contacts_push.watch('superusers', 'our bot');
DROP TABLE ours, theirs, superusers CASCADE;
DROP OWNED BY regress_contacts_push_2;
DROP ROLE regress_contacts_push_2;

-- Nothing is left of any of these.
SELECT count(*) FROM pg_trigger WHERE tgrelid = 'users'::regclass;
SELECT count(*) FROM pg_class WHERE relname LIKE '%\_contacts%' AND relnamespace = 'public'::regnamespace;

-- Once for a chatbot.
SELECT contacts_push.watch('users', 'bot');
CALL refuses('users');
CALL refuses('users', further => $$, name => 'upper(name)'$$);
SELECT count(*) FROM contacts_push_internal.watched_trigger;

-- Members that can be no JSON object or array.
ALTER TABLE users ADD COLUMN js text;
CALL refuses('users', 'bot 2', $$, custom_attributes => 'js'$$);
CALL refuses('users', 'bot 2', $$, custom_attributes => '''{"a": 1}'''$$);
CALL refuses('users', 'bot 2', $$, custom_attributes => 'NULL'$$);
CALL refuses('users', 'bot 2', $$, stripe_accounts => 'id'$$);
SELECT contacts_push.watch('users', 'bot 2', custom_attributes => 'js::json');
SELECT contacts_push.unwatch('users', 'bot 2');

-- A partition that came with a watch of its own.
CREATE TABLE parts (id integer PRIMARY KEY, name text) PARTITION BY RANGE (id);
CREATE TABLE "part 1" (id integer PRIMARY KEY, name text);
SELECT contacts_push.watch('"part 1"', 'bot');
ALTER TABLE parts ATTACH PARTITION "part 1" FOR VALUES FROM (1) TO (10);
CALL refuses('parts');
SELECT contacts_push.unwatch('"part 1"');
SELECT contacts_push.watch('parts', 'bot');
DROP TABLE parts CASCADE;

-- unwatch().
SET ROLE regress_contacts_push;
CALL test.fails($$SELECT contacts_push.unwatch('users')$$);
RESET ROLE;
CALL test.fails($$SELECT contacts_push.unwatch('users', 'other bot')$$);
SELECT contacts_push.unwatch('users', 'bot');
CALL test.fails($$SELECT contacts_push.unwatch('users', 'bot')$$);
CALL test.fails($$SELECT contacts_push.unwatch('users')$$);
CALL test.fails($$SELECT contacts_push.unwatch(NULL)$$);
CALL test.fails($$CALL contacts_push.backfill('users')$$);

DROP PROCEDURE refuses;
DROP TABLE users;
DROP OWNED BY regress_contacts_push;
DROP ROLE regress_contacts_push;
