-- Databases in other encodings: JSON is UTF-8, whatever the database is.
\set ECHO none
\i sql/include/begin.psql
\i sql/include/worker_on.psql
\set first :DBNAME
\encoding UTF8
\set ECHO all

CREATE DATABASE regress_latin1 TEMPLATE template0 ENCODING 'LATIN1' LOCALE_PROVIDER libc LOCALE 'C';
CREATE DATABASE regress_sql_ascii TEMPLATE template0 ENCODING 'SQL_ASCII' LOCALE_PROVIDER libc LOCALE 'C';

-- LATIN1: what is stored has one byte a character, what is sent and comes back has two.
\connect regress_latin1
\encoding UTF8
\set ECHO none
CREATE EXTENSION contacts_push;
\i sql/include/functions.psql
\set ECHO all
SHOW server_encoding;
SELECT external_id, octet_length(external_id), name, email, stripe_accounts, custom_attributes
FROM chatbase_create_contacts('kölsch', '{"external_id": "jürgen", "name": "Jürgen Groß", "email": "jürgen@example.com",
	"stripe_accounts": [{"label": "größte", "stripe_id": "cus_ß"}], "custom_attributes": {"straße": "Öd\u00fc"}}');
SELECT chatbot, path, status FROM test.requests();
-- The answer's words: what LATIN1 lacks is a question mark in a message, but in a contact not made up.
-- (The rules are written as text: as jsonb they would have the characters.)
SELECT jsonb_typeof(test.ask('faults', replace('[{"action": {"status": 400, "message": "~u00fcber ~u20ac 5, ~u0141~u00f3d~u017a ~ud83d~udc4d"}}]', '~', '\')));
CALL test.fails($$SELECT chatbase_create_contacts('bot', '{"external_id": "a"}')$$);
SELECT jsonb_typeof(test.ask('faults', replace('[{"action": {"status": 200, "body": "{~"data~":[{~"id~":~"1~",~"external_id~":~"a~",~"name~":~"~u0141~"}]}"}}]', '~', '\')));
CALL test.fails($$SELECT chatbase_create_contacts('bot', '{"external_id": "a"}')$$);
SELECT jsonb_typeof(test.ask('faults', replace('[{"action": {"status": 200, "body": "{~"data~":[{~"id~":~"1~",~"external_id~":~"a~",~"custom_attributes~":{~"a~":~"~~u20ac~"}}]}"}}]', '~', '\')));
-- how the server words it differs between its versions
DO $$
DECLARE
	hint text;
BEGIN
	PERFORM chatbase_create_contacts('bot', '{"external_id": "a"}');
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT;
	RAISE INFO '%: %', SQLSTATE, hint;
END
$$;
CALL test.no_fault();
-- Through the outbox, by a table and columns with such names.
CREATE TABLE "Größen" ("schlüssel" text PRIMARY KEY, name text);
SELECT contacts_push.watch('"Größen"', 'größe', custom_attributes => $$jsonb_build_object('länge', length("schlüssel"))$$);
INSERT INTO "Größen" VALUES ('übergroß', 'Änne'), ('klein', 'Zoé');
SELECT contacts_push.enqueue('größe', '{"external_id": "é", "name": "è"}');
SELECT contacts_push.flush();
SELECT external_id, status, contact_id = h ->> 'id' AS contact_id
FROM contacts_push.outbox o
LEFT JOIN jsonb_array_elements(test.ask('contacts?chatbot=gr%C3%B6%C3%9Fe')) AS h ON h ->> 'external_id' = o.external_id
ORDER BY seq;
SELECT contacts_push.unwatch('"Größen"', 'größe');
DROP EXTENSION contacts_push;

-- SQL_ASCII: bytes, which are sent where they are UTF-8.
\connect regress_sql_ascii
\set ECHO none
CREATE EXTENSION contacts_push;
\i sql/include/functions.psql
\set ECHO all
SHOW server_encoding;
SELECT external_id, octet_length(external_id), name, custom_attributes
FROM chatbase_create_contacts('ascii', '{"external_id": "jürgen", "name": "李 👍", "custom_attributes": {"straße": "Ödü"}}');
SELECT length(external_id) FROM chatbase_create_contacts('ascii', jsonb_build_object('external_id', E'\x6a\xc3\xbc'));
CALL test.fails($$SELECT chatbase_create_contacts('ascii', jsonb_build_array('{"external_id": "a"}'::jsonb, jsonb_build_object('external_id', E'j\xfcrgen')))$$);
CALL test.fails($$SELECT chatbase_create_contacts(E'j\xfcrgen', '{"external_id": "a"}')$$);
CREATE TABLE users (id text PRIMARY KEY, name text);
SELECT contacts_push.watch('users', 'ascii');
INSERT INTO users VALUES ('u1', 'Jürgen'), ('u2', E'J\xfcrgen'), ('u3', E'\xf0\x9f\x91\x8d');
SELECT contacts_push.flush();
SELECT external_id, status, http_status, error FROM contacts_push.outbox ORDER BY seq;
DROP EXTENSION contacts_push CASCADE;

-- What has arrived.
\connect :first
\encoding UTF8
DROP DATABASE regress_latin1 WITH (FORCE);
DROP DATABASE regress_sql_ascii WITH (FORCE);
SELECT * FROM test.held('k%C3%B6lsch');
SELECT * FROM test.held('gr%C3%B6%C3%9Fe');
SELECT * FROM test.held('ascii');
