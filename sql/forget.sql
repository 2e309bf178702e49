-- forget(): no word of a contact stays, and all of the others does.
\set ECHO none
\i sql/include/begin.psql
\i sql/include/worker_on.psql
\set SHOW_CONTEXT never
\set ECHO all

-- Every row of every table of contacts_push that has some words in it.
CREATE FUNCTION traces(words text) RETURNS TABLE (relation text, entry text) LANGUAGE plpgsql AS $$
DECLARE
	table_name regclass;
BEGIN
	FOR table_name IN
		SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE n.nspname IN ('contacts_push', 'contacts_push_internal') AND c.relkind = 'r' ORDER BY c.oid::regclass::text
	LOOP
		RETURN QUERY EXECUTE format('SELECT %L, t::text FROM %s t WHERE t::text ILIKE %L', table_name, table_name, '%' || words || '%');
	END LOOP;
END
$$;

-- A user who was created with others, refused once, and whose e-mail another one was refused.
INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact) VALUES
	('shop', 'ada', '{"name": "Ada", "email": "ada@example.com"}'), ('shop', 'bob', '{"name": "Bob"}'), ('club', 'ada', '{"name": "Ada"}');
SELECT contacts_push.flush();
INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact) VALUES ('shop', 'cid', '{"email": "ada@example.com"}');
SELECT contacts_push.flush();
SELECT chatbot_id, external_id, status, error FROM contacts_push.outbox ORDER BY seq;
SELECT chatbot_id, external_id FROM contacts_push.outbox o WHERE EXISTS (SELECT FROM contacts_push.request q WHERE q.chatbot_id = o.chatbot_id AND q.seqs @> o.seq) ORDER BY 1, 2;
UPDATE contacts_push.request SET message = 'words about ADA@example.com' WHERE chatbot_id = 'shop' AND contacts > 1;
-- one who has Ada's key by now, and one who had it
INSERT INTO contacts_push.outbox (chatbot_id, external_id, previous_external_id, status) VALUES ('shop', 'dan', 'ada', 'updated');
SELECT relation, count(*) FROM traces('ada') GROUP BY 1 ORDER BY 1;
BEGIN;
SELECT contacts_push.forget('shop', 'ada');
SELECT chatbot_id, external_id, previous_external_id, status, error FROM contacts_push.outbox ORDER BY seq;
SELECT contacts_push.forget('shop', 'ada');
ROLLBACK;
SELECT relation, count(*) FROM traces('ada') GROUP BY 1 ORDER BY 1;
SELECT contacts_push.forget('shop', 'ada');
-- what the other has of its own stays
SELECT relation, split_part(entry, ',', 3) AS external_id FROM traces('ada') WHERE entry NOT LIKE '%club%';
SELECT chatbot_id, external_id FROM contacts_push.outbox o WHERE EXISTS (SELECT FROM contacts_push.request q WHERE q.chatbot_id = o.chatbot_id AND q.seqs @> o.seq) ORDER BY 1, 2;
-- What was counted stays counted.
SELECT chatbot_id, created, conflict FROM contacts_push.progress ORDER BY 1;

-- What is forgotten may be at Chatbase, as far as was known.
INSERT INTO contacts_push.outbox (chatbot_id, external_id, status, unconfirmed) VALUES
	('club', '1', 'created', false), ('club', '2', 'created', false), ('club', '2', 'deleted', false), ('club', '2', 'withdrawn', false),
	('club', '3', 'withdrawn', true), ('club', '4', 'rejected', false), ('club', '5', 'present', false), ('club', '5', 'deleted', false), ('club', '5', 'created', false);
SELECT contacts_push.forget('club', '1');
SELECT contacts_push.forget('club', '2');
SELECT contacts_push.forget('club', '3');
SELECT contacts_push.forget('club', '4');
SELECT contacts_push.forget('club', '5');
SELECT contacts_push.forget('club', 'nobody');

-- Not while something is pending, or was discarded just now; nor while another contact is to get its key.
SELECT contacts_push.pause('shop');
INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact) VALUES ('shop', 'eve', '{"name": "Eve"}');
CALL test.fails($$SELECT contacts_push.forget('shop', 'eve')$$);
BEGIN;
SELECT contacts_push.discard('shop', 'eve');
CALL test.fails($$SELECT contacts_push.forget('shop', 'eve')$$);
COMMIT;
SELECT contacts_push.forget('shop', 'eve');
INSERT INTO contacts_push.outbox (chatbot_id, external_id) VALUES ('shop', 'bob');
CALL test.fails($$SELECT contacts_push.forget('shop', 'bob')$$);
SELECT contacts_push.discard('shop');
INSERT INTO contacts_push.outbox (chatbot_id, external_id, previous_external_id, contact) VALUES ('shop', 'bobby', 'bob', '{"name": "Bob"}');
CALL test.fails($$SELECT contacts_push.forget('shop', 'bob')$$);
SELECT contacts_push.discard('shop');
SELECT contacts_push.forget('shop', 'bob');

-- Whose key was changed at Chatbase: of the new one nothing is left, and the old one is known to be gone.
INSERT INTO contacts_push.outbox (chatbot_id, external_id, previous_external_id, status, contact_id) VALUES
	('club', 'old', NULL, 'created', 'contact_1'), ('club', 'newer', 'old', 'updated', 'contact_1'), ('club', 'newest', 'newer', 'updated', 'contact_1');
SELECT contacts_push.forget('club', 'newest');
SELECT relation, entry FROM traces('newest');
SELECT external_id, status, error FROM contacts_push.contact_status WHERE chatbot_id = 'club' AND external_id IN ('old', 'newer', 'newest') ORDER BY 1;
SELECT contacts_push.forget('club', 'newer');
SELECT external_id, status, error FROM contacts_push.contact_status WHERE chatbot_id = 'club' AND external_id IN ('old', 'newer', 'newest') ORDER BY 1;
SELECT contacts_push.forget('club', 'old');

-- Bad arguments.
CALL test.fails($$SELECT contacts_push.forget(NULL, 'bob')$$);
CALL test.fails($$SELECT contacts_push.forget('shop', NULL)$$);
CALL test.fails($$SELECT contacts_push.forget('shopp', 'bob')$$);

DROP FUNCTION traces;
