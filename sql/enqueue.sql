-- Ways into the outbox other than watched tables, and what becomes of the rows.
\set ECHO none
\i sql/include/begin.psql
\set ECHO all

-- enqueue(): one contact, or an array of them.
SELECT contacts_push.enqueue('bot', '{"external_id": "one", "name": "One"}');
SELECT contacts_push.enqueue('bot', '[{"external_id": "two"}, {"external_id": "three", "custom_attributes": {"n": 3}}]');
SELECT contacts_push.enqueue('other', '[]');
SELECT contacts_push.enqueue('other', (SELECT jsonb_agg(jsonb_build_object('external_id', 'n' || n)) FROM generate_series(1, 5000) n));
SELECT seq, chatbot_id, external_id, contact, status, attempts, next_attempt_at, unconfirmed, http_status, error, contact_id,
	enqueued_at > now() - interval '1 hour' AND enqueued_at <= now() AS enqueued_at, settled_at
FROM contacts_push.outbox WHERE chatbot_id = 'bot' ORDER BY seq;
SELECT count(*), count(DISTINCT external_id), min(status), max(status) FROM contacts_push.outbox WHERE chatbot_id = 'other';
TRUNCATE contacts_push.outbox;
BEGIN;
SELECT contacts_push.enqueue('bot', '{"external_id": "one"}');
SELECT * FROM test.take_outbox();
ROLLBACK;
SELECT * FROM test.take_outbox();

-- What it refuses: what could not be a row of the outbox.  One bad contact keeps out all.
CREATE PROCEDURE refuses(contact text, chatbot text DEFAULT 'bot')
LANGUAGE plpgsql AS $$
BEGIN
	CALL test.fails(format('SELECT contacts_push.enqueue(%L, %L)', chatbot, contact));
END
$$;
CALL refuses(NULL);
CALL refuses('{"external_id": "a"}', chatbot => NULL);
CALL refuses('{"external_id": "a"}', chatbot => '');
CALL refuses('{"external_id": "a"}', chatbot => repeat('x', 1025));
CALL refuses('{"external_id": "a"}', chatbot => '..');
CALL refuses('null');
CALL refuses('7');
CALL refuses('"a"');
CALL refuses('{}');
CALL refuses('{"external_id": null}');
CALL refuses('{"external_id": 7}');
CALL refuses('{"external_id": ""}');
CALL refuses(jsonb_build_object('external_id', repeat('x', 1025))::text);
CALL refuses('[{"external_id": "a"}, null]');
CALL refuses('[{"external_id": "a"}, [{"external_id": "b"}]]');
CALL refuses('[{"external_id": "a"}, {"external_id": "b"}, {"name": "c"}]');
SELECT * FROM test.take_outbox();
-- The longest that is accepted.
SELECT contacts_push.enqueue(repeat('x', 1024), jsonb_build_object('external_id', repeat('ü', 512)));
SELECT octet_length(chatbot_id) AS chatbot_id, octet_length(external_id) AS external_id FROM test.take_outbox();

-- A plain INSERT.
INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact) VALUES
	('bot', 'a', '{"name": "A"}'), ('bot', 'b', '{"external_id": "b"}'), ('bot', 'c', NULL);
SELECT * FROM test.take_outbox();
\set VERBOSITY sqlstate
INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact) VALUES (NULL, 'a', '{}');
INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact) VALUES ('bot', NULL, '{}');
INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact) VALUES ('', 'a', '{}');
INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact) VALUES ('bot', '', '{}');
INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact) VALUES ('bot', repeat('x', 1025), '{}');
INSERT INTO contacts_push.outbox (seq, chatbot_id, external_id, contact) VALUES (1, 'bot', 'a', '{}');
\set VERBOSITY default

-- The rights that are enough, and none more: USAGE on the schema is the first of them.
CREATE ROLE regress_contacts_push;
GRANT USAGE ON SCHEMA contacts_push TO regress_contacts_push;
SET ROLE regress_contacts_push;
SELECT contacts_push.enqueue('bot', '{"external_id": "a"}');
INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact) VALUES ('bot', 'a', '{}');
RESET ROLE;
GRANT EXECUTE ON FUNCTION contacts_push.enqueue TO regress_contacts_push;
GRANT INSERT (chatbot_id, external_id, contact) ON contacts_push.outbox TO regress_contacts_push;
SET ROLE regress_contacts_push;
SELECT contacts_push.enqueue('bot', '{"external_id": "by enqueue"}');
INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact) VALUES ('bot', 'by INSERT', '{}');
SELECT external_id FROM contacts_push.outbox;
INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact, status) VALUES ('bot', 'a', '{}', 'created');
SELECT current_user;
RESET ROLE;
SELECT * FROM test.take_outbox();
DROP OWNED BY regress_contacts_push;
DROP ROLE regress_contacts_push;

-- Nothing is sent while contacts_push.enabled is off, and flush() says that not all is settled.
SELECT contacts_push.enqueue('bot', '{"external_id": "waiting"}');
SELECT contacts_push.flush('50 ms');
SELECT contacts_push.flush(NULL) IS NULL AS null_for_null;
SELECT external_id, status FROM contacts_push.outbox;
SELECT stats -> 'requests' AS requests FROM test.ask('stats') AS stats;

-- What becomes of the rows, all of them pending when the worker begins.
CALL test.tell('contacts?chatbot=bot', '{"users": [{"external_id": "theirs", "email": "theirs@example.com"}]}');
INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact) VALUES
	('bot', 'new', '{"external_id": "new", "name": "New"}'),
	('bot', 'left out', '{"name": "external_id left out"}'),
	('bot', 'twice', '{"name": "first"}'),
	('bot', 'twice', '{"name": "second"}'),
	('bot', 'gone', '{"name": "Gone"}'),
	('bot', 'gone', NULL),
	('bot', 'back', '{"name": "first"}'),
	('bot', 'back', NULL),
	('bot', 'back', '{"name": "again"}'),
	('bot', 'never there', NULL),
	('bot', 'theirs', '{}'),
	('bot', 'e-mail', '{"email": "Theirs@Example.com"}'),
	('bot', 'differs', '{"external_id": "other"}'),
	('bot', 'no e-mail', '{"email": "none"}'),
	('bot', 'no object', '[]'),
	('bot', 'no string', '{"name": 7}');
\set ECHO none
\i sql/include/worker_on.psql
\set ECHO all
SELECT contacts_push.flush();
SELECT external_id, contact, status, http_status, error
FROM contacts_push.outbox ORDER BY seq;
SELECT o.external_id, o.contact_id = h ->> 'id' AS contact_id, o.settled_at >= o.enqueued_at AS settled_at
FROM contacts_push.outbox o
LEFT JOIN jsonb_array_elements(test.ask('contacts?chatbot=bot')) AS h ON h ->> 'external_id' = o.external_id
WHERE o.status = 'created' ORDER BY o.seq;
SELECT * FROM test.held('bot');
SELECT count(*) FROM contacts_push.outbox WHERE settled_at IS NULL OR unconfirmed OR next_attempt_at IS NOT NULL OR attempts > 0;

-- What comes later: what is created is not sent again, what was refused is.
INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact) VALUES
	('bot', 'new', '{"name": "changed"}'), ('bot', 'twice', NULL), ('bot', 'no e-mail', '{"email": "some@example.com"}');
SELECT contacts_push.flush();
SELECT external_id, contact, status, http_status, error
FROM contacts_push.outbox WHERE external_id IN ('new', 'twice', 'no e-mail') ORDER BY seq;
-- Each contact that the stand-in has was sent with an answer of 200 once, and the requests are in the log.
SELECT sum(contacts) FROM test.requests() WHERE status = 200;
SELECT count(*) = (SELECT count(*) FROM test.requests()) AS all_logged,
	sum(contacts) = (SELECT sum(contacts) FROM test.requests()) AS contacts,
	count(*) FILTER (WHERE finished_at IS NULL OR started_at > finished_at OR duration_ms < 0) AS odd
FROM contacts_push.request;
SELECT http_status, outcome, message, bool_and(contacts = (SELECT sum(upper(r) - lower(r)) FROM unnest(seqs) AS r)) AS contacts
FROM contacts_push.request GROUP BY 1, 2, 3 ORDER BY 1, 2, 3;

DROP PROCEDURE refuses;
