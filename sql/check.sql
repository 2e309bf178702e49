-- contacts_push.check(): each mistake of a newcomer, and what the hint says.  Those of the
-- server, the key file and the network are in t/195_check.pl.
\set ECHO none
\i sql/include/begin.psql
-- The rows for a chatbot that are about something; of the server only those that do not depend
-- on what runs there just now.
CREATE FUNCTION test.check(chatbot text, about text DEFAULT '')
RETURNS TABLE (what text, ok boolean, detail text, hint text) LANGUAGE sql AS $$
	SELECT replace(c.what, 'chatbot ' || chatbot || ': ', ''), c.ok,
		regexp_replace(test.without_address(c.detail), '\d{4}-\d\d-\d\d [0-9:]+', 'WHEN'), test.without_address(c.hint)
	FROM contacts_push.check(chatbot) WITH ORDINALITY c(what, ok, detail, hint, place)
	WHERE c.what ~ about AND c.what !~ '^worker'
	ORDER BY place
$$;
-- The commands that a hint has, without what is to be done afterwards.
CREATE FUNCTION test.hint(chatbot text, about text) RETURNS SETOF text LANGUAGE sql AS $$
	SELECT substring(c.hint FROM '^(.*;) then CALL') FROM test.check(chatbot, about) c WHERE NOT c.ok
$$;
\pset format unaligned
\pset null '(null)'
\set ECHO all

-- Nothing is watched, and the workers are off.
SELECT what, ok, detail, hint FROM contacts_push.check() WHERE what !~ '^worker';
-- A chatbot that is asked for is tried all the same.
SELECT * FROM test.check('bot');
-- A value that no request could have.
\set VERBOSITY terse
SELECT contacts_push.check('..');
\set VERBOSITY default

-- A table that all is well with.
CREATE TABLE users (id integer PRIMARY KEY, name text, email text, plan text, born date);
SELECT contacts_push.watch('users', 'bot');
SELECT * FROM test.check('bot', 'table|attribute');
-- Without an argument: all chatbots, and each table of each.
SELECT contacts_push.watch('users', 'bat', external_id => 'id + 0');
SELECT contacts_push.enqueue('cat', '{"external_id": "1"}');
SELECT what FROM contacts_push.check() WHERE what LIKE 'chatbot %table%';
SELECT contacts_push.unwatch('users', 'bat');

-- It makes two requests a chatbot, and neither changes anything.
CALL test.tell('reset', '');
SELECT count(*) FROM test.check('bot');
SELECT m ->> 'method' AS method, m ->> 'path' AS path FROM jsonb_array_elements(test.ask('requests')) m;

-- What is answered.
CALL test.fault('{"status": 401, "message": "Invalid API key test-key"}');
SELECT * FROM test.check('bot', 'answer|accepted|found|attribute');
CALL test.fault('{"status": 403}');
SELECT * FROM test.check('bot', 'answer|accepted|found|attribute');
CALL test.fault('{"status": 404, "message": "Chatbot not found"}');
SELECT * FROM test.check('bot', 'answer|accepted|found|attribute');
CALL test.fault('{"status": 429, "headers": {"Retry-After": "7"}}');
SELECT * FROM test.check('bot', 'answer|accepted|found|attribute');
SELECT contacts_push.resume();
CALL test.fault('{"status": 503}');
SELECT * FROM test.check('bot', 'answer|accepted|found|attribute');
CALL test.fault('{"status": 404, "body": "<html>Not found</html>"}');
SELECT * FROM test.check('bot', 'answer|accepted|found|attribute');
CALL test.fault('{"status": 200, "body": "{\"message\": \"Welcome\"}"}');
SELECT * FROM test.check('bot', 'answer|accepted|found|attribute');
CALL test.fault('{"redirect": "https://example.com/"}');
SELECT * FROM test.check('bot', 'answer|accepted|found|attribute');
CALL test.fault('{"drop": true}');
SELECT * FROM test.check('bot', 'answer|accepted|found|attribute');
CALL test.no_fault();
CALL test.tell('config', '{"other_calls": 405}');
SELECT * FROM test.check('bot', 'answer|accepted|found|attribute');
CALL test.tell('config', '{"other_calls": 0}');

-- No key, and none of those behind it is tried.
\set ECHO none
ALTER SYSTEM RESET contacts_push.api_key;
\i sql/include/reload.psql
\set ECHO all
SELECT * FROM test.check('bot', 'key|resolution|connection|TLS|answer|found|attribute');
\set ECHO none
ALTER SYSTEM SET contacts_push.api_key = 'test-key';
\i sql/include/reload.psql
\set ECHO all

-- Custom attributes that the schema lacks, has archived, or has of another type.
SELECT contacts_push.unwatch('users');
SELECT contacts_push.watch('users', 'bot', custom_attributes =>
	$$jsonb_build_object('plan', plan, 'born', born, 'vip', true, 'old', id, 'fine', plan, 'age', 'text', 'at', plan)$$);
SELECT * FROM test.check('bot', 'attribute');
CALL test.tell('attributes?chatbot=bot', '{"name": "plan", "type": "text", "label": "Plan"}');
CALL test.tell('attributes?chatbot=bot', '{"name": "born", "type": "date", "label": "Born"}');
CALL test.tell('attributes?chatbot=bot', '{"name": "vip", "type": "number", "label": "VIP"}');
CALL test.tell('attributes?chatbot=bot', '{"name": "old", "type": "number", "label": "Old", "archived": true}');
CALL test.tell('attributes?chatbot=bot', '{"name": "fine", "type": "text", "label": "Fine"}');
CALL test.tell('attributes?chatbot=bot', '{"name": "at", "type": "date", "label": "At"}');
SELECT * FROM test.check('bot', 'attribute');
-- Those that Chatbase has dropped of contacts that came otherwise.
INSERT INTO contacts_push.chatbot (chatbot_id, stripped_attributes) VALUES ('other', '{lost,plan}');
CALL test.tell('attributes?chatbot=other', '{"name": "plan", "type": "text", "label": "Plan"}');
SELECT * FROM test.check('other', 'attribute');
-- Names that only the rows know.
CREATE OR REPLACE VIEW users_contacts AS SELECT id AS external_id, name, email,
	jsonb_build_object('plan', plan) || jsonb_build_object(plan, 1) AS custom_attributes FROM users;
SELECT * FROM test.check('bot', 'attribute');
CREATE OR REPLACE VIEW users_contacts AS SELECT id AS external_id, name, email,
	jsonb_build_object('plan', plan) AS custom_attributes FROM users;
SELECT * FROM test.check('bot', 'attribute');
-- A list of them that is none.
CALL test.tell('reset', '');
CALL test.tell('faults', '[{"match": {"from": 2}, "action": {"status": 200, "body": "{}"}}]');
SELECT * FROM test.check('bot', 'attribute|found');
CALL test.tell('reset', '');
CALL test.tell('faults', '[{"match": {"from": 2}, "action": {"status": 200, "body": "{\"data\": {\"created\": []}}"}}]');
SELECT * FROM test.check('bot', 'attribute');
-- Elements that are no attributes have no name, and are none of ours.
CALL test.tell('reset', '');
CALL test.tell('faults', '[{"match": {"from": 2}, "action": {"status": 200, "body": "{\"data\": [1, null, \"plan\", [], {}, {\"name\": 1, \"archived\": 7}]}"}}]');
SELECT * FROM test.check('bot', 'attribute');
CALL test.no_fault();

-- Triggers that are disabled, or gone.
ALTER TABLE users DISABLE TRIGGER contacts_push_update;
SELECT * FROM test.check('bot', 'triggers');
ALTER TABLE users DISABLE TRIGGER ALL;
SELECT * FROM test.check('bot', 'triggers');
SELECT test.hint('bot', 'triggers') \gexec
SELECT * FROM test.check('bot', 'triggers');
ALTER TABLE users ENABLE ALWAYS TRIGGER contacts_push_insert;
SELECT * FROM test.check('bot', 'triggers');
ALTER TABLE users ENABLE REPLICA TRIGGER contacts_push_insert;
SELECT * FROM test.check('bot', 'triggers');
-- The mapping stays, and so does what is asked of the triggers.
SELECT test.hint('bot', 'triggers') \gexec
SELECT * FROM test.check('bot', 'triggers|view');
SELECT * FROM test.definition('users_contacts', 'users');
DROP TRIGGER contacts_push_delete ON users;
SELECT * FROM test.check('bot', 'triggers');
SELECT test.hint('bot', 'triggers') \gexec
SELECT * FROM test.check('bot', 'triggers');
SELECT contacts_push.unwatch('users');
DROP VIEW users_contacts;
CREATE TABLE parted (id integer PRIMARY KEY) PARTITION BY LIST (id);
CREATE TABLE "Part 1" PARTITION OF parted FOR VALUES IN (1);
SELECT contacts_push.watch('parted', 'bot');
SELECT * FROM test.check('bot', 'parted');
ALTER TABLE "Part 1" DISABLE TRIGGER contacts_push_insert;
SELECT * FROM test.check('bot', 'parted');
SELECT test.hint('bot', 'parted') \gexec
SELECT * FROM test.check('bot', 'triggers');
SET client_min_messages = warning;
DROP TABLE parted CASCADE;
RESET client_min_messages;

-- A view that has another name, another owner, or is none that contacts can be made of.
SELECT contacts_push.watch('users', 'bot');
ALTER VIEW users_contacts RENAME TO people;
SELECT * FROM test.check('bot', 'view');
SELECT test.hint('bot', 'view') \gexec
SELECT * FROM test.check('bot', 'view');
SELECT contacts_push.unwatch('users');
DROP VIEW people;
SELECT contacts_push.watch('users', 'bot');
CREATE ROLE regress_contacts_push_other;
CREATE ROLE regress_contacts_push_writer;
ALTER TABLE users OWNER TO regress_contacts_push_other;
ALTER VIEW users_contacts OWNER TO regress_contacts_push_writer;
SELECT * FROM test.check('bot', 'view');
SELECT test.hint('bot', 'view') \gexec
SELECT * FROM test.check('bot', 'view');
ALTER TABLE users OWNER TO CURRENT_USER;
ALTER VIEW users_contacts OWNER TO CURRENT_USER;
CREATE OR REPLACE VIEW users_contacts AS SELECT id AS external_id, name, email, plan FROM users;
SELECT * FROM test.check('bot', 'view');
SET client_min_messages = warning;
DROP VIEW users_contacts CASCADE;
RESET client_min_messages;
SELECT * FROM test.check('bot', 'table');
-- As after a restore: no dependency leads to the view, and nothing has its name.
SELECT contacts_push.watch('users', 'bot');
SET allow_system_table_mods = on;
DELETE FROM pg_depend d USING pg_trigger t
WHERE d.classid = 'pg_trigger'::regclass AND d.objid = t.oid AND d.refobjid = 'users_contacts'::regclass;
RESET allow_system_table_mods;
ALTER VIEW users_contacts RENAME TO people;
SELECT * FROM test.check('bot', 'view');
ALTER VIEW people RENAME TO users_contacts;
SELECT * FROM test.check('bot', 'view');
SELECT contacts_push.unwatch('users');

-- Children, since it was watched and before.
SELECT contacts_push.watch('users', 'bot');
CREATE TABLE young () INHERITS (users);
SELECT * FROM test.check('bot', 'children');
SELECT test.hint('bot', 'children') \gexec
SELECT * FROM test.check('bot', 'children');
DROP TABLE young;
SELECT * FROM test.check('bot', 'children');

-- Row security.
ALTER TABLE users ENABLE ROW LEVEL SECURITY;
SELECT * FROM test.check('bot', 'security');
ALTER TABLE users DISABLE ROW LEVEL SECURITY;
SELECT contacts_push.unwatch('users');

-- Roles that write the table, but may not execute what the view calls.
CREATE FUNCTION shout(text) RETURNS text LANGUAGE sql AS 'SELECT upper($1) || ''!''';
CREATE FUNCTION louder(text, text) RETURNS text LANGUAGE sql AS 'SELECT $1 || upper($2)';
CREATE OPERATOR <!> (LEFTARG = text, RIGHTARG = text, PROCEDURE = louder);
SELECT contacts_push.watch('users', 'bot', name => $$shout(name) <!> 'x'$$);
GRANT INSERT ON users TO regress_contacts_push_writer;
GRANT UPDATE (name) ON users TO PUBLIC;
SELECT * FROM test.check('bot', 'rights');
REVOKE EXECUTE ON FUNCTION shout, louder FROM PUBLIC;
GRANT EXECUTE ON FUNCTION louder TO regress_contacts_push_writer;
SELECT * FROM test.check('bot', 'rights');
SELECT test.hint('bot', 'rights') \gexec
SELECT * FROM test.check('bot', 'rights');
SELECT contacts_push.unwatch('users');

-- Rows that were left out, a chatbot that is paused.
SELECT contacts_push.watch('users', 'bot', name => $$CASE WHEN plan = 'bad' THEN (1 / (id - id))::text END$$);
SET client_min_messages = error;
INSERT INTO users VALUES (1, 'one', 'one@example.com', 'bad');
RESET client_min_messages;
SELECT * FROM test.check('bot', 'left out');
SELECT contacts_push.pause('bot');
SELECT what, ok, replace(detail, session_user, 'somebody') AS detail, hint FROM test.check('bot', 'pauses');
UPDATE contacts_push.chatbot SET paused_until = now() + '1 hour', pause_reason = '401 Invalid API key' WHERE chatbot_id = 'bot';
SELECT * FROM test.check('bot', 'pauses');
SELECT contacts_push.resume('bot');
SELECT * FROM test.check('bot', 'pauses');

-- Publications of what a subscriber has no use for.
SET client_min_messages = error;
CREATE PUBLICATION regress_all FOR ALL TABLES;
CREATE PUBLICATION "regress Schema" FOR TABLES IN SCHEMA contacts_push, public;
CREATE PUBLICATION regress_fine FOR TABLE users;
RESET client_min_messages;
SELECT * FROM test.check('bot', 'publications');
DROP PUBLICATION regress_all, "regress Schema";
SELECT * FROM test.check('bot', 'publications');
DROP PUBLICATION regress_fine;

-- Nobody may call it who was not given the right to; whoever was needs no more than an operator has.
SET SESSION AUTHORIZATION regress_contacts_push_other;
SELECT contacts_push.check();
RESET SESSION AUTHORIZATION;
GRANT USAGE ON SCHEMA contacts_push, contacts_push_internal TO regress_contacts_push_other;
GRANT SELECT ON ALL TABLES IN SCHEMA contacts_push, contacts_push_internal TO regress_contacts_push_other;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA contacts_push_internal TO regress_contacts_push_other;
GRANT EXECUTE ON FUNCTION contacts_push.check TO regress_contacts_push_other;
SET SESSION AUTHORIZATION regress_contacts_push_other;
SELECT c.what, c.ok, c.detail, c.hint FROM contacts_push.check('bot') c
WHERE c.what ~ '^(preload|setting)' OR c.what LIKE '%key' OR c.what LIKE '%found';
RESET SESSION AUTHORIZATION;
\set ECHO none
ALTER SYSTEM RESET contacts_push.api_key;
\i sql/include/reload.psql
\set ECHO all
SET SESSION AUTHORIZATION regress_contacts_push_other;
SELECT c.what, c.ok, c.detail FROM contacts_push.check('bot') c WHERE c.what LIKE '%key';
RESET SESSION AUTHORIZATION;
SET client_min_messages = warning;
DROP TABLE users CASCADE;
DROP FUNCTION shout, louder CASCADE;
DROP OWNED BY regress_contacts_push_other, regress_contacts_push_writer;
DROP ROLE regress_contacts_push_other, regress_contacts_push_writer;
