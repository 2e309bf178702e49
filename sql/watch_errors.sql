-- What contacts_push.watch() and unwatch() refuse, and that nothing is left of it.
\set ECHO none
\i sql/include/begin.psql
\set ECHO all

CREATE TABLE users (id integer PRIMARY KEY, name text);

-- What is no table that can be watched.
CREATE VIEW user_view AS SELECT * FROM users;
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

-- A mapping of one's own that isn't one.
CREATE FUNCTION returns_json(users) RETURNS json LANGUAGE sql RETURN '{}'::json;
CREATE FUNCTION takes_nothing() RETURNS jsonb LANGUAGE sql RETURN '{}'::jsonb;
CREATE FUNCTION takes_another(pg_class) RETURNS jsonb LANGUAGE sql RETURN '{}'::jsonb;
CREATE FUNCTION returns_many(users) RETURNS SETOF jsonb LANGUAGE sql AS $$SELECT '{}'::jsonb$$;
CREATE PROCEDURE is_procedure(users) LANGUAGE sql AS '';
CREATE FUNCTION good(users) RETURNS jsonb LANGUAGE sql RETURN '{}'::jsonb;
CALL refuses('users', further => $$, contact => 'no_such_function'$$);
CALL refuses('users', further => $$, contact => 'no_such_schema.good'$$);
CALL refuses('users', further => $$, contact => 'returns_json'$$);
CALL refuses('users', further => $$, contact => 'returns_many'$$);
CALL refuses('users', further => $$, contact => 'takes_nothing'$$);
CALL refuses('users', further => $$, contact => 'takes_another'$$);
CALL refuses('users', further => $$, contact => 'is_procedure'$$);
CALL refuses('users', further => $$, contact => 'good', name => 'name'$$);
CALL refuses('users', further => $$, contact => 'good', external_id => 'id'$$);
DROP FUNCTION returns_json, takes_nothing, takes_another, returns_many, good;
DROP PROCEDURE is_procedure;

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

-- Columns that triggers see no value of (virtual, since PostgreSQL 18): the catalog says
-- so of one that it can't be made of in all versions.
CREATE TABLE virtual_column (id integer PRIMARY KEY, email text, shout text GENERATED ALWAYS AS (upper(email)) STORED);
CREATE FUNCTION own(virtual_column) RETURNS jsonb LANGUAGE sql AS $$SELECT jsonb_build_object('external_id', $1.id)$$;
BEGIN;
SELECT contacts_push.watch('virtual_column', 'stored', name => 'shout');
SET LOCAL allow_system_table_mods = on;
UPDATE pg_attribute SET attgenerated = 'v' WHERE attrelid = 'virtual_column'::regclass AND attname = 'shout';
CALL test.fails($$SELECT contacts_push.watch('virtual_column', 'bot', name => 'lower(shout)')$$);
CALL test.fails($$SELECT contacts_push.watch('virtual_column', 'bot', custom_attributes => 'to_jsonb(virtual_column)')$$);
CALL test.fails($$SELECT contacts_push.watch('virtual_column', 'bot', contact => 'own')$$);
SELECT contacts_push.watch('virtual_column', 'bot', name => 'upper(email)');
SELECT DISTINCT chatbot_id FROM contacts_push_internal.watched_trigger ORDER BY 1;
ROLLBACK;
DROP TABLE virtual_column CASCADE;

-- Nothing is left of any of these.
SELECT count(*) FROM pg_trigger WHERE tgrelid = 'users'::regclass;
SELECT count(*) FROM pg_proc WHERE proname LIKE '%\_contact%' AND pronamespace = 'public'::regnamespace AND proname <> 'chatbase_create_contacts';

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
