-- chatbase_create_contacts() where all goes well: what arrives, and what comes back.
\set ECHO none
\i sql/include/begin.psql
\set ECHO all

-- Each column of a row, from a contact with every member.
\x on
SELECT id ~ '.' AS id, external_id, name, email, phonenumber, stripe_accounts, custom_attributes,
	created_at > now() - interval '1 hour' AND created_at < now() + interval '1 hour' AS created_at,
	updated_at = created_at AS updated_at
FROM chatbase_create_contacts('bot', '[{
	"external_id": "user_123", "name": "John Doe", "email": "john@example.com", "phonenumber": "+1234567890",
	"stripe_accounts": [
		{"label": "main", "stripe_id": "cus_123abc456", "stripe_email": "john@example.com"},
		{"label": "other", "stripe_id": "cus_2"}],
	"custom_attributes": {"department": "Sales", "subscription_tier": "Premium"}}]');
\x off
SELECT jsonb_pretty(held) FROM test.held('bot') AS held;

-- The ids are the ones that the stand-in gave.
CREATE TEMPORARY TABLE got AS
	SELECT * FROM chatbase_create_contacts('ids', '[{"external_id": "b"}, {"external_id": "a"}]');
SELECT g.external_id, g.id = h ->> 'id' AS id
FROM got g
LEFT JOIN jsonb_array_elements(test.ask('contacts?chatbot=ids')) AS h ON h ->> 'external_id' = g.external_id
ORDER BY external_id;

-- What is left out is NULL, or what the API makes of it; one object is as good as an array of one.
SELECT external_id, name, email, phonenumber
FROM chatbase_create_contacts('bot', '{"external_id": "alone"}');
SELECT (chatbase_create_contacts('bot', '{"external_id": "in the target list"}')).external_id;

-- Custom attributes keep their types and their depth.
SELECT custom_attributes = '{"n": 1.50, "big": 12345678901234567890, "t": true, "none": null, "list": [1, {"a": []}], "o": {"o": {}}, "": "empty key"}'::jsonb AS same,
	custom_attributes
FROM chatbase_create_contacts('bot', '{"external_id": "attributes", "custom_attributes":
	{"n": 1.50, "big": 12345678901234567890, "t": true, "none": null, "list": [1, {"a": []}], "o": {"o": {}}, "": "empty key"}}');

-- Times as text, which a compatible server may send.
CALL test.fault(jsonb_build_object('status', 200, 'body', '{"data": [{"id": "1", "external_id": "times",
	"created_at": "2024-02-29T12:34:56.789012+05:30", "updated_at": "2024-02-29T08:00:00Z"}]}'));
SELECT created_at = '2024-02-29 07:04:56.789012 UTC' AS created_at, updated_at = '2024-02-29 08:00 UTC' AS updated_at
FROM chatbase_create_contacts('bot', '{"external_id": "times"}');
CALL test.no_fault();

-- Text arrives as it is: quotes, backslashes, control characters, emoji, and what looks like an escape.
CREATE TABLE texts (n serial, value text);
INSERT INTO texts (value) VALUES
	('O''Brien "Bob" \ / </script>'), ('Zoë Müller-Łukasiewicz 李小龍'), ('👩‍👩‍👧 👍🏽'),
	(E'tab\tnewline\nreturn\r'), (E'\x01\x1f\x7f'), ('\u0000 \n'), ('%s %n %41'), (repeat('long ', 2000));
CREATE TEMPORARY TABLE got_texts AS
	SELECT * FROM chatbase_create_contacts('texts', (
		SELECT jsonb_agg(jsonb_build_object('external_id', 'text ' || n, 'name', value,
			'custom_attributes', jsonb_build_object('text', value)) ORDER BY n)
		FROM texts));
SELECT t.n, g.name = t.value AS name, g.custom_attributes ->> 'text' = t.value AS attribute,
	h ->> 'name' = t.value AS held, h -> 'custom_attributes' ->> 'text' = t.value AS held_attribute
FROM texts t
LEFT JOIN got_texts g ON g.external_id = 'text ' || t.n
LEFT JOIN test.held('texts') AS h ON h ->> 'external_id' = g.external_id
ORDER BY t.n;
SELECT t.n, r.external_id = t.value AS external_id
FROM texts t
CROSS JOIN chatbase_create_contacts('external_ids', jsonb_build_object('external_id', value)) AS r
ORDER BY t.n;

-- U+0000 doesn't even become jsonb.
\set VERBOSITY sqlstate
SELECT chatbase_create_contacts('bot', '{"external_id": "a\u0000b"}');
\set VERBOSITY default

-- Rows have the order of the input, whatever the reply's is, in both shapes of a reply.
CREATE PROCEDURE check_order(chatbot text)
LANGUAGE plpgsql AS $$
DECLARE
	wanted text[] := ARRAY(SELECT 'o' || md5(n::text) FROM generate_series(1, 1000) n);
	got text[];
BEGIN
	SELECT array_agg(c.external_id) INTO got
	FROM chatbase_create_contacts(chatbot, (
		SELECT jsonb_agg(jsonb_build_object('external_id', id) ORDER BY place)
		FROM unnest(wanted) WITH ORDINALITY AS w(id, place))) AS c;
	RAISE INFO '% rows, in order: %', cardinality(got), got = wanted;
END
$$;
CALL check_order('input');
CALL test.tell('config', '{"order": "reverse"}');
CALL check_order('reverse');
CALL test.tell('config', '{"shape": "created"}');
CALL check_order('created, reverse');
CALL test.tell('config', '{"order": "input"}');
CALL check_order('created');
CALL test.tell('config', '{"shape": "array"}');
SELECT chatbot, contacts, status FROM test.requests() WHERE contacts = 1000;

-- Attributes that the chatbot's schema lacks are missing in the answer, and so in the row.
CALL test.tell('config', '{"strip_attributes": ["plan"]}');
SELECT custom_attributes
FROM chatbase_create_contacts('stripped', '{"external_id": "a", "custom_attributes": {"plan": "gold", "age": 7}}');
CALL test.tell('config', '{"strip_attributes": []}');

-- A chatbot_id is one segment of the path, whatever is in it.
CREATE TABLE chatbots (n serial, id text);
INSERT INTO chatbots (id) VALUES
	('ckl123abc456'), ('a/b'), ('a?b=c'), ('a#b'), ('100%'), ('%2F'), (E'a\nb'), (E'a\r\nX-Header: b'), ('a b+c&d'),
	('..%2f..'), ('../..'), ('a/../b'), ('...'), ('.a'), ('ä ö 👍'), ('"''\'), ('@host:80'), ('~_-.');
CALL test.tell('reset', '');
SELECT count(*) FROM chatbots, chatbase_create_contacts(id, jsonb_build_object('external_id', 'user of ' || id));
SELECT to_jsonb(c.id) AS sent, r.chatbot = c.id AS same, r.path, r.status
FROM (SELECT row_number() OVER (), * FROM test.requests()) AS r(n, chatbot, path)
JOIN chatbots c USING (n)
ORDER BY n;
-- These two can't be one.
CALL test.fails($$SELECT chatbase_create_contacts('.', '{"external_id": "a"}')$$);
CALL test.fails($$SELECT chatbase_create_contacts('..', '{"external_id": "a"}')$$);

-- One request a call, and one connection for the calls of a session.
CALL test.tell('reset', '');
SELECT count(*) FROM generate_series(1, 20) n,
	chatbase_create_contacts('bot', jsonb_build_object('external_id', n::text));
SELECT stats -> 'requests' AS requests, stats -> 'created' AS created
FROM test.ask('stats') AS stats;
SELECT count(*) FROM contacts_push.outbox;

-- What was created stays so when the transaction doesn't.
BEGIN;
SELECT count(*) FROM chatbase_create_contacts('bot', '{"external_id": "rolled back"}');
ROLLBACK;
CALL test.fails($$SELECT chatbase_create_contacts('bot', '{"external_id": "rolled back"}')$$);

DROP PROCEDURE check_order;
DROP TABLE texts, chatbots;
