-- contacts_push.register_attributes() and create_attribute(): which types the expressions and
-- the rows of a view tell, and what cannot be told.
\set ECHO none
\i sql/include/begin.psql
CREATE FUNCTION test.attributes() RETURNS TABLE (name text, type text, label text) LANGUAGE sql AS $$
	SELECT a ->> 'name', a ->> 'type', a ->> 'label'
	FROM jsonb_array_elements(test.ask('attributes?chatbot=bot')) WITH ORDINALITY e(a, place) ORDER BY place
$$;
\pset null '(null)'
\set ECHO all

CREATE TYPE color AS ENUM ('red', 'green');
CREATE DOMAIN amount AS numeric CHECK (VALUE >= 0);
CREATE TYPE pair AS (a integer, b text);
CREATE TABLE users (id integer PRIMARY KEY, plan text, score float4, due amount, vip boolean, born date,
	seen_at timestamptz, shade color, token uuid, tags text[], both_of pair, extra jsonb, short "char", at time);

-- One by one, before any row is there: the expression tells.
SELECT contacts_push.watch('users', 'bot', custom_attributes => $$jsonb_build_object('plan', plan, 'score', score,
	'due', due, 'vip', vip, 'born', born, 'seen_at', seen_at, 'shade', shade, 'token', token, 'tags', tags,
	'pair', both_of, 'extra', extra, 'short', short, 'at', at, 'constant', 'x', 'nothing', NULL, 'one', 1,
	'wrapped', to_jsonb(born), 'MixedCase', plan, 'with-hyphen', plan, '1st', plan, 'two words', plan,
	'city', extra -> 'city', 'zip', extra ->> 'zip')$$);
SELECT * FROM contacts_push.register_attributes('bot', 'users');
SELECT * FROM test.attributes();
SELECT count(*) AS requests, sum((status <> 200)::integer) AS failed FROM test.requests();

-- What rows tell, where the expression does not.
INSERT INTO users (id, tags, both_of, extra) VALUES
	(1, '{a}', (1, 'b'), '{"n": 1, "city": "Bonn"}'), (2, NULL, NULL, '{"city": 53111}'), (3, NULL, NULL, NULL);
SELECT name, type, outcome, detail FROM contacts_push.register_attributes('bot', 'users')
WHERE name IN ('tags', 'pair', 'extra', 'city', 'nothing');
-- Now for good; once is enough.
SELECT name, type, outcome, detail FROM contacts_push.register_attributes('bot', 'users', false)
WHERE outcome NOT LIKE 'not %';
SELECT * FROM test.attributes();
SELECT outcome, count(*) FROM contacts_push.register_attributes('bot', 'users', false) GROUP BY 1 ORDER BY 1;

-- What the schema has archived, or of another type.
SELECT contacts_push.unwatch('users');
CALL test.tell('reset', '');
CALL test.tell('attributes?chatbot=bot', '{"name": "plan", "type": "number", "label": "Plan"}');
CALL test.tell('attributes?chatbot=bot', '{"name": "born", "type": "text", "label": "Born"}');
CALL test.tell('attributes?chatbot=bot', '{"name": "vip", "type": "boolean", "label": "VIP", "archived": true}');
CALL test.tell('attributes?chatbot=bot', '{"name": "at", "type": "date", "label": "At"}');
CREATE VIEW people AS SELECT id AS external_id,
	jsonb_build_object('plan', plan, 'born', born, 'vip', vip, 'at', plan) AS custom_attributes FROM users;
-- A view need not be watched yet.
SELECT * FROM contacts_push.register_attributes('bot', 'people', false);

-- Other expressions of objects.
CREATE VIEW mappings AS
	SELECT * FROM (VALUES
		('jsonb_build_object(''a'', 1) || jsonb_build_object(''b'', true)'),
		('json_build_object(''a'', 1)::jsonb'),
		('json_build_object(''a'', 1)'),
		('jsonb_build_object()'),
		('jsonb_strip_nulls(jsonb_build_object(''a'', plan))'),
		('CASE WHEN vip THEN jsonb_build_object(''a'', 1) ELSE jsonb_build_object(''a'', plan, ''b'', 2) END'),
		('CASE WHEN vip THEN jsonb_build_object(''a'', 1) END'),
		('coalesce(jsonb_build_object(''a'', born), ''{}'')'),
		('to_jsonb(both_of)'),
		('to_jsonb(users) - ''id'' - ''{plan,vip,short}''::text[] - ''nobody'''),
		('to_jsonb(ROW(plan))'),
		('jsonb_build_object(VARIADIC ARRAY[''a'', plan])'),
		('jsonb_build_object(plan, 1, ''a'', 2)'),
		('extra'),
		('NULL::jsonb'),
		('jsonb_build_object(''a'', plan) - plan')) AS m(expression);
CREATE TABLE told (expression text, attributes text);
DO $$
DECLARE
	mapping text;
	told text;
BEGIN
	FOR mapping IN SELECT m.expression FROM mappings m LOOP
		EXECUTE format('CREATE VIEW mapped AS SELECT id AS external_id, %s AS custom_attributes FROM users', mapping);
		SELECT string_agg(coalesce(a.name, '...') || ' ' || coalesce(a.type, '?'), ', ' ORDER BY a.name COLLATE "C") INTO told
		FROM contacts_push_internal.view_attributes('mapped') a;
		INSERT INTO told VALUES (mapping, told);
		DROP VIEW mapped;
	END LOOP;
END
$$;
SELECT * FROM told;

-- Rows with names of their own.
CREATE TABLE guests (id integer PRIMARY KEY, extra jsonb);
SELECT contacts_push.watch('guests', 'bot', custom_attributes => 'extra');
SELECT * FROM contacts_push.register_attributes('bot', 'guests');
INSERT INTO guests VALUES
	(1, '{"text": "x", "number": 1.5, "flag": true, "day": "2026-01-31", "moment": "2026-01-31T10:00:00.5Z"}'),
	(2, '{"text": "2026-01-31", "number": 0, "flag": null, "day": null, "moment": "2026-01-31 10:00+02", "null": null}'),
	(3, '{"mixed": 1, "list": [], "object": {}, "almost": "2026-1-31"}'), (4, '{"mixed": "1"}'), (5, '[1]'), (6, NULL);
SELECT * FROM contacts_push.register_attributes('bot', 'guests');
-- One that raises.
SELECT contacts_push.unwatch('guests');
SELECT contacts_push.watch('guests', 'bot', custom_attributes => $$jsonb_build_object('a', 1) || jsonb_build_object(id / (id - 3), 1)$$);
SELECT * FROM contacts_push.register_attributes('bot', 'guests');
SELECT contacts_push.unwatch('guests');
-- Several views of one table.
SELECT contacts_push.watch('guests', 'bot', custom_attributes => $$jsonb_build_object('a', id, 'b', true)$$);
CREATE VIEW guests_2 AS SELECT id AS external_id, jsonb_build_object('c', id) AS custom_attributes FROM guests;
SELECT contacts_push.watch('guests_2', 'other');
SELECT * FROM contacts_push.register_attributes('bot', 'guests');
SELECT * FROM contacts_push.register_attributes('other', 'guests');

-- What the server refuses is said of each, and the others are created.
CALL test.tell('config', '{"attribute_names": "snake"}');
SELECT contacts_push.unwatch('guests');
SELECT contacts_push.watch('guests', 'bot', custom_attributes => $$jsonb_build_object('Big', id, 'email', 'x', 'fine', true)$$);
SELECT * FROM contacts_push.register_attributes('bot', 'guests', false);
SELECT name FROM test.attributes() WHERE name IN ('Big', 'email', 'fine');
-- But what is not about one of them ends it.
SELECT contacts_push.unwatch('guests');
SELECT contacts_push.watch('guests', 'bot', custom_attributes => $$jsonb_build_object('new_1', id, 'new_2', id, 'new_3', id, 'fine', true)$$);
CALL test.tell('faults', '[{"match": {"method": "POST"}, "action": {"status": 429, "headers": {"Retry-After": "1"}}}]');
SELECT * FROM contacts_push.register_attributes('bot', 'guests', false);
SELECT contacts_push.resume();
CALL test.no_fault();
SELECT * FROM contacts_push.register_attributes('bot', 'guests', NULL);

-- One alone.
SELECT contacts_push.create_attribute('bot', 'signed_up_at', 'date');
SELECT contacts_push.create_attribute('bot', 'note', 'text', 'Note "ü"');
SELECT * FROM test.attributes() WHERE name IN ('signed_up_at', 'note');
CALL test.fails($$SELECT contacts_push.create_attribute('bot', 'note', 'text')$$);
CALL test.fails($$SELECT contacts_push.create_attribute('bot', 'no te', 'text')$$);
CALL test.fails($$SELECT contacts_push.create_attribute('bot', '', 'text')$$);
CALL test.fails($$SELECT contacts_push.create_attribute('bot', 'x', 'string')$$);
CALL test.fails($$SELECT contacts_push.create_attribute('bot', NULL, 'text')$$);
CALL test.fails($$SELECT contacts_push.create_attribute(NULL, 'x', 'text')$$);
CALL test.fails($$SELECT contacts_push.create_attribute('bot', 'a-b', 'text')$$);
CALL test.fault('{"status": 401}');
CALL test.fails($$SELECT contacts_push.create_attribute('bot', 'x', 'text')$$);
CALL test.fault('{"status": 200, "body": "created"}');
CALL test.fails($$SELECT contacts_push.create_attribute('bot', 'x', 'text')$$);
CALL test.fault('{"status": 201}', 'after');
SELECT contacts_push.create_attribute('bot', 'x', 'text');
CALL test.fault('{"drop": true}', 'after');
CALL test.fails($$SELECT contacts_push.create_attribute('bot', 'y', 'text')$$);
CALL test.no_fault();
SELECT count(*) FROM test.attributes() WHERE name IN ('x', 'y');

-- What cannot be asked for.
CALL test.fails($$SELECT contacts_push.register_attributes('bot', NULL)$$);
CALL test.fails($$SELECT contacts_push.register_attributes(NULL, 'people')$$);
CALL test.fails($$SELECT contacts_push.register_attributes('nobody', 'guests')$$);
CALL test.fails($$SELECT contacts_push.register_attributes('bot', 'told')$$);
CALL test.fails($$SELECT contacts_push.register_attributes('bot', 'mappings')$$);
CALL test.fault('{"status": 404, "message": "Chatbot not found"}');
CALL test.fails($$SELECT contacts_push.register_attributes('bot', 'guests')$$);
CALL test.no_fault();

-- A view of another role's is sampled as that role, whoever asks.
CREATE ROLE regress_contacts_push_owner;
CREATE SCHEMA shop AUTHORIZATION regress_contacts_push_owner;
SET SESSION AUTHORIZATION regress_contacts_push_owner;
SET search_path = shop;
CREATE TABLE ran (who text);
CREATE FUNCTION spring(id integer) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO shop.ran VALUES (current_user);
	BEGIN
		RESET ROLE;
		INSERT INTO shop.ran VALUES ('after RESET ROLE ' || current_user);
	EXCEPTION WHEN insufficient_privilege OR object_in_use THEN
		NULL;
	END;
	RETURN jsonb_build_object('sprung', id);
END$$;
CREATE TABLE traps (id integer PRIMARY KEY);
INSERT INTO traps VALUES (1);
CREATE VIEW traps_contacts AS SELECT id AS external_id, spring(id) AS custom_attributes FROM traps;
RESET SESSION AUTHORIZATION;
SET search_path = public;
-- check() runs nothing of it at all
SELECT contacts_push.watch('shop.traps_contacts', 'bot');
SELECT count(*) > 10 AS rows FROM contacts_push.check('bot');
SELECT * FROM shop.ran;
SELECT * FROM contacts_push.register_attributes('bot', 'shop.traps');
SELECT DISTINCT who FROM shop.ran;
-- nor one that somebody else has put over a table of another's
TRUNCATE shop.ran;
CREATE ROLE regress_contacts_push_other;
GRANT USAGE ON SCHEMA shop TO regress_contacts_push_other;
GRANT SELECT ON guests TO regress_contacts_push_owner;
SET SESSION AUTHORIZATION regress_contacts_push_owner;
CREATE VIEW shop.guests AS SELECT id AS external_id, shop.spring(id) AS custom_attributes FROM public.guests;
RESET SESSION AUTHORIZATION;
SELECT * FROM contacts_push.register_attributes('bot', 'shop.guests');
SELECT * FROM shop.ran;
-- Whoever may call it for a table of others is told what the expressions tell.
GRANT USAGE ON SCHEMA contacts_push, contacts_push_internal TO regress_contacts_push_other;
GRANT EXECUTE ON FUNCTION contacts_push.register_attributes, contacts_push_internal.list_attributes,
	contacts_push_internal.view_attributes, contacts_push_internal.sample_attributes TO regress_contacts_push_other;
GRANT SELECT ON contacts_push_internal.watched_trigger TO regress_contacts_push_other;
SET SESSION AUTHORIZATION regress_contacts_push_other;
SELECT * FROM contacts_push.register_attributes('bot', 'shop.traps_contacts');
-- An operator's rights create nothing.
SELECT contacts_push.create_attribute('bot', 'z', 'text');
RESET SESSION AUTHORIZATION;
SET client_min_messages = warning;
DROP SCHEMA shop CASCADE;
DROP TABLE guests, users, told CASCADE;
DROP TYPE color, pair;
DROP DOMAIN amount;
DROP OWNED BY regress_contacts_push_owner, regress_contacts_push_other;
DROP ROLE regress_contacts_push_owner, regress_contacts_push_other;
