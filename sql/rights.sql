-- Who may do what, and that nobody's code runs with more rights than its author has.
\set ECHO none
\i sql/include/begin.psql
\set ECHO all

-- Two roles with the rights that the README gives: an owner of tables who may watch
-- them, and an application that may write one of them.
CREATE ROLE regress_contacts_push_owner;
CREATE ROLE regress_contacts_push_app;
GRANT USAGE ON SCHEMA contacts_push, contacts_push_internal TO regress_contacts_push_owner;
GRANT EXECUTE ON ROUTINE contacts_push.watch, contacts_push.unwatch, contacts_push.backfill,
    contacts_push.missing TO regress_contacts_push_owner;
CREATE SCHEMA shop AUTHORIZATION regress_contacts_push_owner;
GRANT USAGE ON SCHEMA shop TO regress_contacts_push_app;

-- What gets to run says as whom, in a table that everybody may write.
CREATE TABLE shop.ran (place bigserial, what text, who text);
GRANT INSERT, SELECT ON shop.ran TO PUBLIC;
GRANT USAGE ON SEQUENCE shop.ran_place_seq TO PUBLIC;
CREATE FUNCTION shop.took_place() RETURNS TABLE (what text, who text) LANGUAGE sql AS $$
	WITH gone AS (DELETE FROM shop.ran RETURNING *)
	SELECT DISTINCT g.what, CASE WHEN g.who LIKE 'regress%' THEN g.who ELSE 'the superuser' END FROM gone g ORDER BY 1
$$;

SET SESSION AUTHORIZATION regress_contacts_push_owner;
SET search_path = shop;
-- Traps: a type with a cast, a function of the server's own name, operators and a
-- table's default, all of which tell who ran them.
CREATE FUNCTION spring(what text) RETURNS text LANGUAGE plpgsql AS
	$$BEGIN INSERT INTO shop.ran (what, who) VALUES (what, current_user); RETURN what; END$$;
CREATE TYPE trap AS (content text);
CREATE FUNCTION trap_to_text(trap) RETURNS text LANGUAGE sql AS $$SELECT shop.spring('cast')$$;
CREATE CAST (trap AS text) WITH FUNCTION trap_to_text(trap) AS IMPLICIT;
CREATE FUNCTION trap_to_jsonb(trap) RETURNS jsonb LANGUAGE sql AS $$SELECT to_jsonb(shop.spring('jsonb cast'))$$;
CREATE CAST (trap AS jsonb) WITH FUNCTION trap_to_jsonb(trap) AS IMPLICIT;
CREATE FUNCTION octet_length(text) RETURNS integer LANGUAGE sql AS $$SELECT length(shop.spring('octet_length'))$$;
CREATE FUNCTION jsonb_typeof(jsonb) RETURNS text LANGUAGE sql AS $$SELECT shop.spring('jsonb_typeof')$$;
CREATE FUNCTION jsonb_build_object(text, text, text, text) RETURNS jsonb LANGUAGE sql AS $$SELECT to_jsonb(shop.spring('jsonb_build_object'))$$;
CREATE FUNCTION quote_ident(name) RETURNS text LANGUAGE sql AS $$SELECT shop.spring('quote_ident')$$;
CREATE FUNCTION format(text, text) RETURNS text LANGUAGE sql AS $$SELECT shop.spring('format')$$;
CREATE FUNCTION same(text, text) RETURNS boolean LANGUAGE sql AS $$SELECT shop.spring('=') IS NOT NULL$$;
CREATE OPERATOR = (LEFTARG = text, RIGHTARG = text, PROCEDURE = same);
CREATE FUNCTION merged(jsonb, jsonb) RETURNS jsonb LANGUAGE sql AS $$SELECT to_jsonb(shop.spring('||'))$$;
CREATE OPERATOR || (LEFTARG = jsonb, RIGHTARG = jsonb, PROCEDURE = merged);
CREATE FUNCTION member(jsonb, text) RETURNS text LANGUAGE sql AS $$SELECT shop.spring('->>')$$;
CREATE OPERATOR ->> (LEFTARG = jsonb, RIGHTARG = text, PROCEDURE = member);
CREATE FUNCTION less(integer, integer) RETURNS boolean LANGUAGE sql AS $$SELECT shop.spring('>=') IS NOT NULL$$;
CREATE OPERATOR >= (LEFTARG = integer, RIGHTARG = integer, PROCEDURE = less);
CREATE TABLE users (id integer PRIMARY KEY, name trap, email text, extra jsonb DEFAULT '{}');
GRANT INSERT, UPDATE, DELETE ON users TO regress_contacts_push_app;

-- A superuser, along the trap's own search_path, has the table watched, backfilled and
-- unwatched: nothing of the owner's runs with more than the owner's rights.
RESET SESSION AUTHORIZATION;
SET search_path = shop, pg_catalog, public;
INSERT INTO users VALUES (1, ROW('one'), 'one@example.com');
SELECT contacts_push.watch('users', 'bot', custom_attributes => 'extra || extra');
SELECT * FROM shop.took_place();
CALL contacts_push.backfill('users');
SELECT * FROM shop.took_place();
SELECT contacts_push.unwatch('users');
SELECT * FROM shop.took_place();
-- progress, retry, pause and resume on that path.
SELECT count(*) FROM contacts_push.progress;
SELECT contacts_push.retry('bot'), contacts_push.pause('bot'), contacts_push.resume('bot');
SELECT count(*) FROM contacts_push.contact_status, contacts_push.worker WHERE false;
SELECT * FROM shop.took_place();

-- The owner watches.  What the application writes runs the mapping as the application.
SET search_path = public;
SELECT count(*) > 0 AS backfilled FROM test.take_outbox();
SET SESSION AUTHORIZATION regress_contacts_push_owner;
SET search_path = shop;
SELECT contacts_push.watch('users', 'bot', custom_attributes => 'extra || extra');
SELECT tgname, tgargs FROM pg_catalog.pg_trigger WHERE tgrelid OPERATOR(pg_catalog.=) 'users'::regclass ORDER BY 1;
SET SESSION AUTHORIZATION regress_contacts_push_app;
INSERT INTO shop.users VALUES (2, ROW('two'), 'two@example.com');
SELECT current_user, session_user;
RESET SESSION AUTHORIZATION;
SET search_path = public;
SELECT * FROM shop.took_place();
SELECT external_id, contact ->> 'email' AS email FROM test.take_outbox();

-- And backfills.
SET SESSION AUTHORIZATION regress_contacts_push_owner;
CALL contacts_push.backfill('shop.users');
RESET SESSION AUTHORIZATION;
SELECT * FROM shop.took_place();
SELECT external_id, contact ->> 'email' AS email FROM test.take_outbox();

-- The same with a function of the owner's, which tries to become somebody else.
SET SESSION AUTHORIZATION regress_contacts_push_owner;
SET search_path = shop;
SELECT contacts_push.unwatch('users');
CREATE FUNCTION climb(id integer) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	PERFORM shop.spring('mapping');
	BEGIN
		RESET ROLE;
		PERFORM shop.spring('mapping after RESET ROLE');
	EXCEPTION WHEN insufficient_privilege OR object_in_use THEN
		PERFORM shop.spring('RESET ROLE was refused');
	END;
	BEGIN
		RESET SESSION AUTHORIZATION;
		PERFORM shop.spring('mapping after RESET SESSION AUTHORIZATION');
	EXCEPTION WHEN insufficient_privilege OR object_in_use THEN
		PERFORM shop.spring('RESET SESSION AUTHORIZATION was refused');
	END;
	RETURN id;
END$$;
SELECT contacts_push.watch('users', 'bot', external_id => 'climb(id)');
RESET SESSION AUTHORIZATION;
SET search_path = public;
CALL contacts_push.backfill('shop.users');
SELECT * FROM shop.took_place();
SELECT count(*) FROM contacts_push.missing('shop.users', 'bot');
SELECT * FROM shop.took_place();
SELECT external_id FROM test.take_outbox();
-- Nor later: what it leaves for the end of the transaction.
SET SESSION AUTHORIZATION regress_contacts_push_owner;
SET search_path = shop;
SELECT contacts_push.unwatch('users');
CREATE TABLE later (id integer);
CREATE FUNCTION spring_later() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN PERFORM shop.spring('deferred trigger'); RETURN NULL; END$$;
CREATE CONSTRAINT TRIGGER later AFTER INSERT ON later DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION spring_later();
CREATE FUNCTION wait(id integer) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO shop.later VALUES (id);
	RETURN id;
END$$;
SELECT contacts_push.watch('users', 'bot', external_id => 'wait(id)');
RESET SESSION AUTHORIZATION;
SET search_path = public;
CALL contacts_push.backfill('shop.users');
SELECT * FROM shop.took_place();
SELECT external_id FROM test.take_outbox();

-- Another's table is not to be backfilled, nor asked what of it is missing.
CREATE TABLE private (id integer PRIMARY KEY, secret text);
INSERT INTO private VALUES (1, 'secret');
SELECT contacts_push.watch('private', 'private');
SET SESSION AUTHORIZATION regress_contacts_push_owner;
CALL contacts_push.backfill('public.private');
SELECT contacts_push.missing('public.private', 'private');
RESET SESSION AUTHORIZATION;
SELECT contacts_push.unwatch('private');
SELECT count(*) FROM test.take_outbox();
-- A partition of somebody else's, who has made a cast of its rows: they are mapped as
-- those of the parent, and no code of the partition's owner runs.
CREATE TABLE parted (dropped text, id integer PRIMARY KEY, "No" integer, born varchar(20)) PARTITION BY LIST (id);
CREATE TABLE shop.evil (born varchar(20), "No" integer, id integer NOT NULL);
ALTER TABLE parted DROP COLUMN dropped;
ALTER TABLE parted ATTACH PARTITION shop.evil DEFAULT;
INSERT INTO parted VALUES (1, 10, '2001-01-01'), (2, 20, 'once');
ALTER TABLE shop.evil OWNER TO regress_contacts_push_owner;
SELECT contacts_push.watch('parted', 'bot', name => '"No"', custom_attributes => 'jsonb_build_object(''born'', born::date, ''row'', to_jsonb(parted))');
SET SESSION AUTHORIZATION regress_contacts_push_owner;
CREATE FUNCTION shop.evil_as_parted(shop.evil) RETURNS public.parted LANGUAGE sql AS
	$$SELECT CASE WHEN shop.spring('cast to the parent''s row type') IS NOT NULL THEN ROW(7, 7, '')::public.parted END$$;
CREATE CAST (shop.evil AS public.parted) WITH FUNCTION shop.evil_as_parted(shop.evil) AS IMPLICIT;
RESET SESSION AUTHORIZATION;
CALL contacts_push.backfill('parted');
SELECT * FROM shop.took_place();
SELECT external_id, contact FROM test.take_outbox();
-- Nor a policy of theirs; what the parent's owner may see is not for them to say.
ALTER TABLE parted OWNER TO regress_contacts_push_app;
ALTER VIEW parted_contacts OWNER TO regress_contacts_push_app;
SET SESSION AUTHORIZATION regress_contacts_push_owner;
CREATE POLICY spy ON shop.evil USING (shop.spring('policy') IS NOT NULL);
ALTER TABLE shop.evil ENABLE ROW LEVEL SECURITY;
RESET SESSION AUTHORIZATION;
CALL contacts_push.backfill('parted');
SELECT * FROM shop.took_place();
SELECT external_id FROM test.take_outbox();
DROP TABLE parted CASCADE;
-- A partition that belongs to somebody else doesn't lend its owner's rights either.
CREATE TABLE shop.parted (id integer PRIMARY KEY) PARTITION BY LIST (id);
CREATE TABLE shop.part PARTITION OF shop.parted DEFAULT;
INSERT INTO shop.parted VALUES (1);
ALTER TABLE shop.parted OWNER TO regress_contacts_push_owner;
ALTER TABLE shop.part OWNER TO regress_contacts_push_owner;
SET SESSION AUTHORIZATION regress_contacts_push_owner;
SET search_path = shop;
SELECT contacts_push.watch('parted', 'bot', external_id => 'spring(''mapping of '' || id)');
RESET SESSION AUTHORIZATION;
SET search_path = public;
ALTER TABLE shop.part OWNER TO CURRENT_USER;
CALL contacts_push.backfill('shop.parted');
SELECT * FROM shop.took_place();
SELECT external_id FROM test.take_outbox();

-- A table of the session's own with the name that rows have on their way.
SET SESSION AUTHORIZATION regress_contacts_push_owner;
SET search_path = shop;
SELECT contacts_push.unwatch('users');
SELECT contacts_push.watch('users', 'bot', name => $$'x'$$);
CREATE TEMP TABLE contacts_push_rows (external_id text, contact jsonb);
INSERT INTO contacts_push_rows VALUES ('forged', '{}');
CREATE TEMP TABLE outbox (external_id text, contact jsonb);
INSERT INTO users VALUES (3, ROW('three'), 'three@example.com');
RESET SESSION AUTHORIZATION;
SET search_path = public;
SELECT external_id, contact ->> 'name' AS name FROM test.take_outbox();
SELECT * FROM shop.took_place();
DROP TABLE pg_temp.contacts_push_rows, pg_temp.outbox;

-- An owner whose name has to be quoted owns the view like any other.
CREATE ROLE "regress_contacts_push ""Owner""";
CREATE TABLE shop.quoted (id integer PRIMARY KEY, email text);
ALTER TABLE shop.quoted OWNER TO "regress_contacts_push ""Owner""";
GRANT USAGE, CREATE ON SCHEMA shop TO "regress_contacts_push ""Owner""";
SELECT contacts_push.watch('shop.quoted', 'bot');
SELECT pg_get_userbyid(relowner) AS owner FROM pg_class WHERE oid = 'shop.quoted_contacts'::regclass;
DROP TABLE shop.quoted CASCADE;
DROP OWNED BY "regress_contacts_push ""Owner""";
DROP ROLE "regress_contacts_push ""Owner""";

-- Who may write some columns only has the rows mapped like anybody else.
CREATE ROLE regress_contacts_push_columns;
GRANT USAGE ON SCHEMA shop TO regress_contacts_push_columns;
CREATE TABLE shop.some_columns (id integer PRIMARY KEY, email text, secret text);
GRANT INSERT (id, email) ON shop.some_columns TO regress_contacts_push_columns;
SELECT contacts_push.watch('shop.some_columns', 'bot');
SET SESSION AUTHORIZATION regress_contacts_push_columns;
INSERT INTO shop.some_columns (id, email) VALUES (1, 'some@example.com');
RESET SESSION AUTHORIZATION;
SELECT external_id, contact ->> 'email' AS email FROM test.take_outbox();
DROP TABLE shop.some_columns CASCADE;
DROP OWNED BY regress_contacts_push_columns;
DROP ROLE regress_contacts_push_columns;

-- The application: it writes the table, and has no other right.
SET SESSION AUTHORIZATION regress_contacts_push_app;
INSERT INTO shop.users VALUES (4, NULL, 'four@example.com');
UPDATE shop.users SET email = 'new@example.com';
\set VERBOSITY sqlstate
SELECT * FROM contacts_push.outbox;
SELECT * FROM contacts_push.request;
SELECT * FROM contacts_push.chatbot;
SELECT * FROM contacts_push.progress;
SELECT * FROM contacts_push.contact_status;
SELECT * FROM contacts_push_internal.count_pending();
SELECT * FROM contacts_push.worker;
SELECT * FROM contacts_push_internal.enqueue_failure;
SELECT * FROM contacts_push_internal.watched_trigger;
SELECT contacts_push.enqueue('bot', '{"external_id": "a"}');
INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact) VALUES ('bot', 'a', '{}');
SELECT chatbase_create_contacts('bot', '{"external_id": "a"}');
SELECT contacts_push.watch('shop.users', 'bot 2');
SELECT contacts_push.unwatch('shop.users');
CALL contacts_push.backfill('shop.users');
SELECT contacts_push.retry();
SELECT contacts_push.pause();
SELECT contacts_push.flush();
SHOW contacts_push.api_key;
SELECT setting FROM pg_settings WHERE name = 'contacts_push.api_key';
SET contacts_push.api_key = 'mine';
SET contacts_push.base_url = 'http://localhost';
\set VERBOSITY default
RESET SESSION AUTHORIZATION;
-- With USAGE on the schema only, still nothing can be read or called.
GRANT USAGE ON SCHEMA contacts_push TO regress_contacts_push_app;
SET SESSION AUTHORIZATION regress_contacts_push_app;
SELECT * FROM contacts_push.outbox;
SELECT * FROM contacts_push.request;
SELECT * FROM contacts_push.chatbot;
SELECT * FROM contacts_push.progress;
SELECT contacts_push.enqueue('bot', '{"external_id": "a"}');
SELECT contacts_push.retry();
RESET SESSION AUTHORIZATION;
-- Each grant gives what it says.
GRANT EXECUTE ON FUNCTION contacts_push.enqueue(text, jsonb) TO regress_contacts_push_app;
SET SESSION AUTHORIZATION regress_contacts_push_app;
SELECT contacts_push.enqueue('bot', '{"external_id": "by function"}');
INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact) VALUES ('bot', 'a', '{}');
RESET SESSION AUTHORIZATION;
GRANT INSERT (chatbot_id, external_id, contact) ON contacts_push.outbox TO regress_contacts_push_app;
SET SESSION AUTHORIZATION regress_contacts_push_app;
INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact) VALUES ('bot', 'by insert', '{}');
INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact, status) VALUES ('bot', 'a', '{}', 'created');
SELECT external_id FROM contacts_push.outbox;
UPDATE contacts_push.outbox SET contact = '{}';
RESET SESSION AUTHORIZATION;
SELECT external_id, contact ->> 'email' AS email FROM test.take_outbox();

-- The owner may watch, but not what belongs to others, nor read what is recorded.
\set VERBOSITY terse
SET SESSION AUTHORIZATION regress_contacts_push_owner;
SELECT contacts_push.watch('public.private', 'bot', external_id => 'secret');
SELECT contacts_push.watch('contacts_push.chatbot', 'bot');
SELECT contacts_push.watch('pg_catalog.pg_authid', 'bot');
-- A trigger made by hand would push to a chatbot that watch() refuses.
CREATE TABLE shop.mine (id integer PRIMARY KEY, email text);
CREATE VIEW shop.mine_to_push AS SELECT id AS external_id, email FROM shop.mine;
CREATE TRIGGER by_hand AFTER INSERT ON shop.mine FOR EACH ROW EXECUTE FUNCTION contacts_push_internal.enqueue_rows('bot', 'shop.mine_to_push');
SELECT contacts_push.watch('shop.mine', 'my own bot');
SELECT current_user = session_user AS as_before;
SELECT * FROM contacts_push.outbox;
SELECT contacts_push.pause('bot');
SELECT contacts_push.retry();
\set VERBOSITY default
RESET SESSION AUTHORIZATION;

-- Whoever monitors the server reads numbers: all columns but those that can hold something of a
-- contact or an error's words.
\set monitor regress_contacts_push_monitor
CREATE ROLE :monitor IN ROLE pg_monitor;
SELECT c.oid::regclass AS relation, string_agg(a.attname, ', ' ORDER BY a.attnum) AS not_for_monitoring
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relnamespace = 'contacts_push'::regnamespace AND c.relkind IN ('r', 'v', 'm', 'p')
AND NOT has_column_privilege(:'monitor', c.oid, a.attnum, 'SELECT')
GROUP BY c.oid ORDER BY c.oid::regclass::text;
-- Nothing else is theirs, and nothing can be given on.
SELECT 'schema' AS kind, n.nspname::text AS name, has_schema_privilege(:'monitor', n.oid, 'CREATE') AS more
FROM pg_namespace n WHERE n.nspname LIKE 'contacts\_push%' AND has_schema_privilege(:'monitor', n.oid, 'USAGE')
UNION ALL
SELECT 'function', p.oid::regprocedure::text, has_function_privilege(:'monitor', p.oid, 'EXECUTE WITH GRANT OPTION')
FROM pg_proc p JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'contacts_push'
WHERE has_function_privilege(:'monitor', p.oid, 'EXECUTE')
UNION ALL
SELECT 'table', c.oid::regclass::text, true
FROM pg_class c WHERE c.relnamespace IN ('contacts_push'::regnamespace, 'contacts_push_internal'::regnamespace)
AND c.relkind IN ('r', 'v', 'm', 'p')
AND (has_table_privilege(:'monitor', c.oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')
	 OR has_any_column_privilege(:'monitor', c.oid, 'SELECT WITH GRANT OPTION, INSERT, UPDATE, REFERENCES'))
UNION ALL
SELECT 'sequence', c.oid::regclass::text, true
FROM pg_class c WHERE c.relkind = 'S' AND c.relnamespace = 'contacts_push'::regnamespace
AND CASE WHEN c.relkind = 'S' THEN has_sequence_privilege(:'monitor', c.oid, 'USAGE, SELECT, UPDATE') END
ORDER BY 1 DESC, 2;
-- They are real numbers, of an outbox and of counters that they cannot read themselves.
INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact)
SELECT 'watched bot', i, '{}' FROM generate_series(1, 3) i;
SET SESSION AUTHORIZATION :monitor;
SELECT chatbot_id, pending, created, oldest_pending >= '0' AS has_age, eta, bar FROM contacts_push.progress WHERE chatbot_id = 'watched bot';
SELECT count(*) < 2 AS workers, coalesce(sum(requests_in_flight), 0) AS requests_in_flight FROM contacts_push.worker;
SELECT chatbot_id, status, count(*) FROM contacts_push.outbox WHERE chatbot_id = 'watched bot' GROUP BY 1, 2 ORDER BY 1, 2;
SELECT count(*) FROM contacts_push.contact_status WHERE status = 'pending' AND chatbot_id = 'watched bot';
SELECT max(duration_ms) FROM contacts_push.request;
SELECT max(paused_until) FROM contacts_push.chatbot;
\set VERBOSITY sqlstate
SELECT * FROM contacts_push.progress;
SELECT state FROM contacts_push.progress;
SELECT last_error FROM contacts_push.worker;
SELECT pause_reason FROM contacts_push.chatbot;
SELECT message FROM contacts_push.request;
SELECT external_id FROM contacts_push.outbox;
SELECT contact FROM contacts_push.outbox;
SELECT outbox FROM contacts_push.outbox;
SELECT count(*) FROM contacts_push.outbox WHERE error LIKE 'a%';
SELECT external_id FROM contacts_push.contact_status;
SELECT contacts_push_internal.worker_trouble();
SELECT contacts_push.retry();
BEGIN;
LOCK TABLE contacts_push.outbox IN ACCESS SHARE MODE;
ROLLBACK;
\set VERBOSITY default
RESET SESSION AUTHORIZATION;
SELECT count(*) FROM test.take_outbox();
DROP ROLE :monitor;

-- What runs as its owner has a path of its own, now and whatever is added.
SELECT p.oid::regprocedure AS function FROM pg_proc p
JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'contacts_push'
WHERE p.prosecdef AND NOT EXISTS (SELECT FROM unnest(p.proconfig) s WHERE s LIKE 'search_path=pg_catalog, pg_temp');
SET client_min_messages = warning;
DROP SCHEMA shop CASCADE;
DROP TABLE private;
DROP OWNED BY regress_contacts_push_owner, regress_contacts_push_app;
DROP ROLE regress_contacts_push_owner, regress_contacts_push_app;
