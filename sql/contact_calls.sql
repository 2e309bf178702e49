-- chatbase_get_contact(), chatbase_update_contact(), chatbase_delete_contact() and
-- chatbase_list_contacts() where all goes well, under each reading of the API's reference.
\set ECHO none
\i sql/include/begin.psql
\set ECHO all

CREATE TEMPORARY TABLE made AS
	SELECT * FROM chatbase_create_contacts('bot', '[
		{"external_id": "full", "name": "John Doe", "email": "john@example.com", "phonenumber": "+1234567890",
		 "stripe_accounts": [{"label": "main", "stripe_id": "cus_1"}], "custom_attributes": {"plan": "gold", "age": 7}},
		{"external_id": "plain"}]');

-- A contact comes as it was created; where there is none, there is no row.
SELECT g = m AS same FROM chatbase_get_contact('bot', 'full') g, made m WHERE m.external_id = 'full';
SELECT g = m AS same FROM made m, chatbase_get_contact('bot', m.external_id) g;
SELECT count(*) FROM chatbase_get_contact('bot', 'nobody');
SELECT count(*) FROM chatbase_get_contact('never seen', 'nobody');

-- An update changes what is given, and returns all.
\x on
SELECT external_id, name, email, phonenumber, stripe_accounts, custom_attributes, updated_at >= created_at AS updated
FROM chatbase_update_contact('bot', 'full', '{"name": "Jane Doe", "email": "jane@example.com",
	"stripe_accounts": [], "custom_attributes": {"age": 8}}');
\x off
SELECT (chatbase_update_contact('bot', 'full', '{"phonenumber": null, "custom_attributes": {"plan": null}}')).custom_attributes;
SELECT held FROM test.held('bot') AS held;
-- Another server replaces the attributes, or keeps what it is told to clear.
CALL test.tell('config', '{"attributes": "replace", "nulls": "ignored"}');
SELECT name, custom_attributes
FROM chatbase_update_contact('bot', 'full', '{"name": null, "custom_attributes": {"vip": true}}');
CALL test.tell('config', '{"attributes": "merge", "nulls": "clear", "known_attributes": ["vip"]}');
SELECT custom_attributes FROM chatbase_update_contact('bot', 'full', '{"custom_attributes": {"vip": false, "new": 1}}');
CALL test.tell('config', '{"strip_attributes": []}');
-- The external_id, too: the answer has the new one.
SELECT external_id, name FROM chatbase_update_contact('bot', 'full', '{"external_id": "renamed"}');
SELECT count(*) FROM chatbase_get_contact('bot', 'full');

-- A deletion is one whatever it is answered with; the second time there is nothing to delete.
SELECT chatbase_delete_contact('bot', 'renamed'), chatbase_delete_contact('bot', 'renamed');
CALL test.tell('config', '{"delete_status": 204}');
SELECT chatbase_delete_contact('bot', 'plain'), chatbase_delete_contact('bot', 'plain');
SELECT count(*) FROM test.held('bot');
CALL test.fault('{"status": 200, "body": "{\"message\": \"Success\"}"}');
SELECT chatbase_delete_contact('bot', 'plain');
CALL test.no_fault();
CALL test.tell('config', '{"delete_status": 200}');

-- An external_id is one segment of the path, whatever is in it, and is never taken for another.
CREATE TABLE texts (n serial, value text);
INSERT INTO texts (value) VALUES
	('a/b'), ('a?b=c'), ('a#b'), ('100%'), ('%2F'), (E'a\nb'), (E'a\r\nX-Header: b'), ('a b+c&d'),
	('../..'), ('...'), ('ä ö 👍'), ('"''\'), ('@host:80'), ('~_-.'), (repeat('long ', 1000));
SELECT count(*) FROM texts, chatbase_create_contacts('texts', jsonb_build_object('external_id', value));
SELECT t.n, g.external_id = t.value AS got,
	(chatbase_update_contact('texts', t.value, '{"name": "N"}')).external_id = t.value AS updated,
	chatbase_delete_contact('texts', t.value) AS deleted
FROM texts t LEFT JOIN chatbase_get_contact('texts', t.value) g ON true
ORDER BY t.n;
SELECT count(*) FROM test.held('texts');
DROP TABLE texts;

-- "Resource not found" is said of a contact, of a chatbot, and of both: the list of the chatbot tells.
CALL test.tell('config', '{"contact_not_found": "Resource not found"}');
CALL test.tell('reset', '');
SELECT count(*) FROM chatbase_get_contact('bot', 'nobody');
SELECT chatbase_delete_contact('bot', 'nobody');
SELECT path, status FROM test.requests();
CALL test.tell('config', '{"contact_not_found": "CONTACT NOT FOUND."}');
CALL test.tell('reset', '');
SELECT count(*) FROM chatbase_get_contact('bot', 'nobody');
SELECT chatbase_delete_contact('bot', 'nobody');
SELECT path, status FROM test.requests();
CALL test.tell('config', '{"contact_not_found": "Contact not found"}');

-- A list has all contacts, whatever their order.
CREATE FUNCTION add_users(first integer, last integer) RETURNS bigint
LANGUAGE sql AS $$
	SELECT count(*) FROM (
		SELECT jsonb_agg(jsonb_build_object('external_id', 'u' || n, 'name', 'N' || n) ORDER BY n) AS users
		FROM generate_series(first, last) n GROUP BY n / 1000 ORDER BY n / 1000) AS u,
		chatbase_create_contacts('list', users)
$$;
SELECT count(*) FROM chatbase_list_contacts('list');
SELECT add_users(1, 2500);
SELECT count(*), count(DISTINCT external_id), bool_and(name = 'N' || ltrim(external_id, 'u')) AS named, count(id), count(created_at)
FROM chatbase_list_contacts('list');
CALL test.tell('config', '{"list_order": "newest"}');
SELECT (array_agg(external_id))[1:3] FROM chatbase_list_contacts('list');
CALL test.tell('config', '{"list_order": "scattered"}');
SELECT count(*), count(DISTINCT external_id) FROM chatbase_list_contacts('list');
CALL test.tell('reset', '');
SELECT add_users(1, 1000);
SELECT count(*) FROM chatbase_list_contacts('list');
SELECT path, status FROM test.requests() OFFSET 2;

-- In a select list, a page is asked for when its first row is: LIMIT stops asking, and a cursor waits.
CALL test.tell('reset', '');
CALL test.tell('config', '{"list_order": "newest"}');
SELECT add_users(1, 2500);
CALL test.tell('faults', '[]');
SELECT count(*) FROM (SELECT chatbase_list_contacts('list') LIMIT 999) AS l;
SELECT path FROM test.requests() WHERE path ~ 'page';
BEGIN;
DECLARE c CURSOR FOR SELECT (l).external_id FROM (SELECT chatbase_list_contacts('list') AS l) AS l;
FETCH 2 FROM c;
-- These shift all pages by ten: those that come again are not returned again.
SELECT add_users(2501, 2510);
CREATE TEMPORARY TABLE fetched (external_id text) ON COMMIT DROP;
DO $$
DECLARE
	c CONSTANT refcursor := 'c';
	id text;
BEGIN
	LOOP
		FETCH c INTO id;
		EXIT WHEN NOT FOUND;
		INSERT INTO fetched VALUES (id);
	END LOOP;
END
$$;
SELECT count(*), count(DISTINCT external_id) FROM fetched;
COMMIT;
SELECT path, status FROM test.requests() WHERE path ~ 'page' OFFSET 1;
-- The last page goes while the list is read.
BEGIN;
DECLARE c CURSOR FOR SELECT (l).external_id FROM (SELECT chatbase_list_contacts('list') AS l) AS l;
MOVE 2000 FROM c;
SELECT count(*) FROM generate_series(1, 510) n WHERE chatbase_delete_contact('list', 'u' || n);
FETCH ALL FROM c;
COMMIT;
SELECT path, status FROM test.requests() WHERE path ~ 'page' OFFSET 4;

-- Where the server does not say how many pages there are, the last one is the one that has nothing new.
CALL test.tell('reset', '');
CALL test.tell('faults', jsonb_build_array(
	jsonb_build_object('times', 1, 'action', jsonb_build_object('status', 200, 'body', '{"data": [{"id": "1"}, {"id": "2"}]}')),
	jsonb_build_object('times', 1, 'action', jsonb_build_object('status', 200, 'body', '{"data": [{"id": "2"}, {"id": "3"}]}')),
	jsonb_build_object('action', jsonb_build_object('status', 200, 'body', '{"data": [{"id": "3"}]}')))::text);
SELECT id FROM chatbase_list_contacts('list');
SELECT path FROM test.requests();
CALL test.no_fault();

-- None of this has to do with the outbox.
SELECT count(*) FROM contacts_push.outbox;
DROP FUNCTION add_users;
