-- chatbase_create_contacts() where something is wrong: the SQLSTATE says whose
-- fault it is, the message what failed, the detail what the API said.
\set ECHO none
\i sql/include/begin.psql
\set ECHO all

-- Bad arguments: nothing is sent, and the message names the element.
CREATE PROCEDURE refuses(users text, chatbot text DEFAULT 'bot')
LANGUAGE plpgsql AS $$
BEGIN
	CALL test.fails(format('SELECT chatbase_create_contacts(%L, %L)', chatbot, users));
END
$$;
CALL refuses(NULL);
CALL refuses('[{"external_id": "a"}]', chatbot => NULL);
CALL refuses('[{"external_id": "a"}]', chatbot => '');
CALL refuses('null');
CALL refuses('"a"');
CALL refuses('7');
CALL refuses('true');
CALL refuses('[]');
CALL refuses('{}');
CALL refuses('[{"external_id": "a"}, 7]');
CALL refuses('[{"external_id": "a"}, "b"]');
CALL refuses('[{"external_id": "a"}, null]');
CALL refuses('[[{"external_id": "a"}]]');
CALL refuses('[{"external_id": "a"}, {"name": "b"}]');
CALL refuses('[{"external_id": ""}]');
CALL refuses('[{"external_id": 7}]');
CALL refuses('[{"external_id": null}]');
CALL refuses('[{"external_id": ["a"]}]');
CALL refuses('[{"external_id": "a"}, {"external_id": "b"}, {"external_id": "c"}, {"external_id": "d", "email": "d.example.com"}]');
CALL refuses('[{"external_id": "a", "email": "@example.com"}]');
CALL refuses('[{"external_id": "a", "email": "a@"}]');
CALL refuses('[{"external_id": "a", "email": ""}]');
CALL refuses('[{"external_id": "a", "email": null}]');
CALL refuses('[{"external_id": "a", "email": 7}]');
CALL refuses('[{"external_id": "a", "name": 7}]');
CALL refuses('[{"external_id": "a", "phonenumber": 491234}]');
CALL refuses('[{"external_id": "a", "stripe_accounts": {}}]');
CALL refuses('[{"external_id": "a", "stripe_accounts": "cus_1"}]');
CALL refuses('[{"external_id": "a", "stripe_accounts": ["cus_1"]}]');
CALL refuses('[{"external_id": "a", "stripe_accounts": [{"label": "main", "stripe_id": "cus_1"}, {"label": "other"}]}]');
CALL refuses('[{"external_id": "a", "stripe_accounts": [{"stripe_id": "cus_1"}]}]');
CALL refuses('[{"external_id": "a", "stripe_accounts": [{"label": "main", "stripe_id": 1}]}]');
CALL refuses('[{"external_id": "a", "stripe_accounts": [{"label": "main", "stripe_id": "cus_1", "stripe_email": "none"}]}]');
CALL refuses('[{"external_id": "a", "custom_attributes": []}]');
CALL refuses('[{"external_id": "a", "custom_attributes": "plan"}]');
CALL refuses('{"external_id": "a", "email": "none"}');
SELECT jsonb_agg(jsonb_build_object('external_id', n::text)) AS users FROM generate_series(1, 1001) n \gset
CALL refuses(:'users');
-- Twice in one call: both elements are named.
CALL refuses('[{"external_id": "a"}, {"external_id": "b"}, {"external_id": "A"}, {"external_id": "b"}, {"external_id": "a"}]');
CALL refuses('[{"external_id": "a", "email": "a@example.com"}, {"external_id": "b"}, {"external_id": "c", "email": "A@Example.com"}]');
SELECT stats -> 'requests' AS requests FROM test.ask('stats') AS stats;
-- What the schema says nothing about is for the server to decide.
SELECT external_id FROM chatbase_create_contacts('bot', '{"external_id": "more", "nickname": 7, "stripe_accounts": [], "custom_attributes": {}, "name": ""}');

-- 400: what the server finds wrong where the checks here don't.
CALL test.fault('{"refuse": true}');
CALL refuses('{"external_id": "a"}');
-- A NUL, which text can't have, hides nothing else of what it said.
CALL test.fault(jsonb_build_object('status', 400, 'body', '{"message": "name \u0000 is not valid"}'));
CALL refuses('{"external_id": "a"}');
-- 401
CALL test.fault('{"status": 401, "message": "Invalid API key"}');
CALL refuses('{"external_id": "a"}');
-- 404
CALL test.fault('{"status": 404}');
CALL refuses('{"external_id": "a"}');
CALL test.no_fault();

-- 409: an external_id or an e-mail, whatever its case, that is there already.
CALL test.tell('contacts?chatbot=taken', '{"users": [{"external_id": "old", "email": "old@example.com"}]}');
CALL refuses('[{"external_id": "new"}, {"external_id": "old"}]', chatbot => 'taken');
CALL refuses('[{"external_id": "new", "email": "OLD@Example.com"}]', chatbot => 'taken');
SELECT * FROM test.held('taken');

-- 5xx: nobody knows whether the contacts were created.
CALL test.fault('{"status": 500}');
CALL refuses('{"external_id": "a"}');
CALL test.fault('{"status": 503, "message": "Down for maintenance", "headers": {"Retry-After": "120"}}');
CALL refuses('{"external_id": "a"}');
CALL test.fault('{"status": 502, "body": "<html>Bad gateway</html>"}');
CALL refuses('{"external_id": "a"}');

-- Answers that the API doesn't promise.  A redirect is not followed.
CALL test.tell('reset', '');
CALL test.fault(jsonb_build_object('redirect', :'stand_in_url' || '/elsewhere'));
CALL refuses('{"external_id": "a"}');
CALL test.fault(jsonb_build_object('redirect', :'stand_in_url' || '/elsewhere', 'status', 308));
CALL refuses('{"external_id": "a"}');
SELECT path, status FROM test.requests();
CALL test.fault('{"status": 418}');
CALL refuses('{"external_id": "a"}');
CALL test.fault('{"status": 201, "body": "{\"message\":\"Success\",\"data\":[]}"}');
CALL refuses('{"external_id": "a"}');
CALL test.fault('{"status": 200, "body": "<html>Welcome</html>"}');
CALL refuses('{"external_id": "a"}');
CALL test.fault('{"status": 200, "body": ""}');
CALL refuses('{"external_id": "a"}');
CALL test.fault('{"status": 200, "body": "{}"}');
CALL refuses('{"external_id": "a"}');
CALL test.fault('{"status": 200, "body": "{\"message\":\"Success\",\"data\":[]} and more"}');
CALL refuses('{"external_id": "a"}');
CALL test.fault('{"status": 200, "body": "{\"message\":\"Success\",\"data\":[{\"id\":\"1\",\"external_id\":\"b\"}]}"}');
CALL refuses('{"external_id": "a"}');
CALL test.fault('{"status": 200, "body": "{\"message\":\"Success\",\"data\":[{\"external_id\":\"a\"}]}"}');
CALL refuses('{"external_id": "a"}');
CALL test.fault('{"omit": 1}', 'after');
CALL refuses('[{"external_id": "omit 1"}, {"external_id": "omit 2"}]');
-- Larger than contacts_push.max_response_bytes.
CALL test.fault('{"huge_body": 16777217}', 'after');
CALL refuses('{"external_id": "huge"}');
-- As the hint says: they may have been created.
SELECT held ->> 'external_id' AS external_id FROM test.held('bot') AS held;

-- The API's words in the detail: on one line, at most 1 kB, characters whole.
CALL test.fault('{"status": 500, "message": "one\ntwo\r\u0001\u007f three"}');
CALL refuses('{"external_id": "a"}');
CREATE FUNCTION detail() RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
	detail text;
BEGIN
	PERFORM chatbase_create_contacts('bot', '{"external_id": "a"}');
	RETURN NULL;
EXCEPTION WHEN system_error THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
	RETURN detail;
END
$$;
CALL test.fault(jsonb_build_object('status', 500, 'message', repeat('x', 5000)));
SELECT octet_length(detail) AS bytes, detail ~ '^x*$' AS as_it_was FROM detail();
CALL test.fault(jsonb_build_object('status', 500, 'message', 'x' || repeat('ü', 5000)));
SELECT octet_length(detail) AS bytes, detail ~ '^xü*$' AS as_it_was FROM detail();

-- The connection ends, the time is over, or there is none.  The detail is in libcurl's words.
CREATE PROCEDURE unanswered(users text)
LANGUAGE plpgsql AS $$
DECLARE
	detail text;
	hint text;
BEGIN
	PERFORM chatbase_create_contacts('bot', users::jsonb);
EXCEPTION WHEN io_error OR invalid_authorization_specification THEN
	GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT, detail = PG_EXCEPTION_DETAIL;
	RAISE INFO USING MESSAGE = SQLSTATE || ': ' || SQLERRM,
		DETAIL = CASE WHEN detail = '' THEN 'none' ELSE 'some' END, HINT = hint;
END
$$;
CALL test.tell('reset', '');
CALL test.fault('{"drop": true}');
CALL unanswered('{"external_id": "dropped before"}');
CALL test.fault('{"drop": true}', 'after');
CALL unanswered('{"external_id": "dropped after"}');
CALL test.fault('{"cut_body": 60}', 'after');
CALL unanswered('{"external_id": "cut"}');
CALL test.fault('{"hang": true}');
SET contacts_push.request_timeout = '50ms';
CALL unanswered('{"external_id": "late"}');
RESET contacts_push.request_timeout;
CALL test.no_fault();
-- Each was sent once.
SELECT count(*) FROM test.requests();
SELECT held ->> 'external_id' AS external_id FROM test.held('bot') AS held;
-- Port 1 is nobody's, and the stand-in speaks no TLS.
SET contacts_push.base_url = 'http://127.0.0.1:1/api/v1';
CALL unanswered('{"external_id": "a"}');
SET contacts_push.base_url = 'http://[::1]:1';
CALL unanswered('{"external_id": "a"}');
SET contacts_push.base_url = 'https://no-such-host.invalid/api/v1';
CALL unanswered('{"external_id": "a"}');
SELECT set_config('contacts_push.base_url', replace(:'base_url', 'http:', 'https:'), false) ~ '^https:' AS https;
CALL unanswered('{"external_id": "a"}');
SET contacts_push.ca_file = '/nonexistent/ca.pem';
CALL unanswered('{"external_id": "a"}');
RESET contacts_push.ca_file;
RESET contacts_push.base_url;

-- A wrong key.
\set ECHO none
ALTER SYSTEM SET contacts_push.api_key = 'wrong-key';
\i sql/include/reload.psql
\set ECHO all
CALL refuses('{"external_id": "a"}');

-- 429: how long to wait is said by the answer, in one way or the other.  The worker
-- would wait, too, had it the same key.
CALL test.fault('{"status": 429, "headers": {"Retry-After": "17"}}');
CALL refuses('{"external_id": "a"}');
CALL test.fault('{"status": 429, "headers": {"Retry-After": "1"}}');
CALL refuses('{"external_id": "a"}');
CALL test.fault('{"status": 429, "headers": {"X-RateLimit-Reset": "23"}}');
CALL refuses('{"external_id": "a"}');
CALL test.fault('{"status": 429}');
CALL refuses('{"external_id": "a"}');

-- A refusal whose answer was cut is one all the same.
CALL test.fault('{"status": 401, "cut_body": 5}');
CALL unanswered('{"external_id": "a"}');

\set ECHO none
ALTER SYSTEM RESET contacts_push.api_key;
\i sql/include/reload.psql
\set ECHO all
-- No key.  Why, and where it is looked for, is for those who may see the settings.
CALL refuses('{"external_id": "a"}');
CREATE ROLE regress_contacts_push;
GRANT EXECUTE ON FUNCTION chatbase_create_contacts TO regress_contacts_push;
SET ROLE regress_contacts_push;
SELECT chatbase_create_contacts('bot', '{"external_id": "a"}');
RESET ROLE;
DROP OWNED BY regress_contacts_push;
DROP ROLE regress_contacts_push;

-- None of all this has made the session unusable.
\set ECHO none
ALTER SYSTEM SET contacts_push.api_key = 'test-key';
\i sql/include/reload.psql
\set ECHO all
CALL test.fault('{"hang": true}');
SET statement_timeout = '50ms';
SELECT chatbase_create_contacts('bot', '{"external_id": "a"}');
RESET statement_timeout;
CALL test.no_fault();
SELECT external_id FROM chatbase_create_contacts('bot', '{"external_id": "at last"}');

-- A type that was altered is noticed before anything is sent.
BEGIN;
ALTER TYPE contacts_push.contact ADD ATTRIBUTE more text;
CALL refuses('{"external_id": "altered"}');
ROLLBACK;
BEGIN;
ALTER TYPE contacts_push.contact ALTER ATTRIBUTE created_at TYPE text;
CALL refuses('{"external_id": "altered"}');
ROLLBACK;
SELECT external_id FROM chatbase_create_contacts('bot', '{"external_id": "altered"}');

-- Who may call it is said by a GRANT.
CREATE ROLE regress_contacts_push;
SET ROLE regress_contacts_push;
SELECT chatbase_create_contacts('bot', '{"external_id": "b"}');
RESET ROLE;
GRANT EXECUTE ON FUNCTION chatbase_create_contacts TO regress_contacts_push;
SET ROLE regress_contacts_push;
SELECT external_id FROM chatbase_create_contacts('bot', '{"external_id": "b"}');
RESET ROLE;

DROP OWNED BY regress_contacts_push;
DROP ROLE regress_contacts_push;
DROP PROCEDURE refuses, unanswered;
DROP FUNCTION detail;
