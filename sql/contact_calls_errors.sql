-- The calls beside create where something is wrong: each SQLSTATE for each call.
\set ECHO none
\i sql/include/begin.psql
\set ECHO all

-- Runs the calls for the contact "a", or some of them, and tells how they fail.
CREATE PROCEDURE fail(chatbot text DEFAULT 'bot', calls text DEFAULT 'list|get|update|delete')
LANGUAGE plpgsql AS $$
DECLARE
	call text;
BEGIN
	FOREACH call IN ARRAY string_to_array(calls, '|') LOOP
		CALL test.fails(format('SELECT chatbase_%s(%L%s)', CASE call WHEN 'list' THEN 'list_contacts' ELSE call || '_contact' END,
			chatbot, CASE call WHEN 'list' THEN '' WHEN 'update' THEN $x$, 'a', '{"name": "A"}'$x$ ELSE ', ''a''' END));
	END LOOP;
END
$$;

-- 22023: bad arguments; nothing is sent, and the message names the element.
CALL fail(NULL);
CALL fail('');
CALL fail('..', 'list');
CALL test.fails($$SELECT chatbase_get_contact('bot', NULL)$$);
CALL test.fails($$SELECT chatbase_get_contact('bot', '')$$);
CALL test.fails($$SELECT chatbase_delete_contact('bot', NULL)$$);
CALL test.fails($$SELECT chatbase_delete_contact('bot', '.')$$);
CALL test.fails($$SELECT chatbase_update_contact('bot', '..', '{"name": "A"}')$$);
CREATE PROCEDURE refuses(contact text)
LANGUAGE plpgsql AS $$
BEGIN
	CALL test.fails(format('SELECT chatbase_update_contact(''bot'', ''a'', %L)', contact));
END
$$;
CALL refuses(NULL);
CALL refuses('null');
CALL refuses('"a"');
CALL refuses('[{"name": "A"}]');
CALL refuses('{}');
CALL refuses('{"external_id": null}');
CALL refuses('{"external_id": ""}');
CALL refuses('{"external_id": 7}');
CALL refuses('{"name": 7}');
CALL refuses('{"phonenumber": 491234}');
CALL refuses('{"email": "a.example.com"}');
CALL refuses('{"email": ""}');
CALL refuses('{"stripe_accounts": {}}');
CALL refuses('{"stripe_accounts": [{"label": "main"}]}');
CALL refuses('{"stripe_accounts": [{"label": "main", "stripe_id": "cus_1", "stripe_email": null}]}');
CALL refuses('{"custom_attributes": []}');
SELECT stats -> 'requests' AS requests FROM test.ask('stats') AS stats;

-- 22023: 400
CALL test.fault('{"status": 400, "message": "Invalid\nrequest"}');
CALL fail();
-- With what it says of fields.
CALL test.fault(jsonb_build_object('status', 400, 'body', '{"message": "Invalid request data", "issues": [
	{"field": "custom_attributes.age", "message": "must be\na number"}, 7, {"field": "name"}, {"message": "key test-key"}]}'));
CALL fail(calls => 'update');
CALL test.no_fault();
CALL test.tell('contacts?chatbot=bot', '{"users": [{"external_id": "a"}, {"external_id": "b", "email": "b@example.com"}]}');
CALL test.tell('config', '{"nulls": "refused"}');
CALL refuses('{"name": null}');
CALL test.tell('config', '{"nulls": "clear"}');

-- 42704: no such chatbot, in either of its words; an update says it of a contact, too.
CALL test.tell('config', '{"other_calls": 404}');
CALL fail();
CALL test.tell('config', '{"other_calls": 0}');
CALL test.fault('{"status": 404, "message": "Chatbot not found"}');
CALL fail();
CALL test.no_fault();
CALL test.fails($$SELECT chatbase_update_contact('bot', 'nobody', '{"name": "A"}')$$);
-- What a 404 means cannot be told if the list fails; nothing was changed then.
CALL test.tell('faults', '[{"times": 1, "action": {"status": 404}}, {"action": {"status": 500}}]');
CALL fail(calls => 'delete');
CALL test.tell('faults', '[{"times": 1, "action": {"status": 404}}, {"action": {"status": 200, "body": "{}"}}]');
CALL fail(calls => 'get');
CALL test.no_fault();

-- 23505: what it is changed to is another's.
CALL refuses('{"email": "B@example.com"}');
CALL refuses('{"external_id": "b"}');
CALL test.fault('{"status": 409}');
CALL fail();

-- 28000
CALL test.fault('{"status": 401, "message": "Invalid API key: test-key"}');
CALL fail();
CALL test.fault('{"status": 403}');
CALL fail();

-- 58000: the server fails, or answers what the API does not promise.  The hint says what may have happened.
CALL test.fault('{"status": 500}');
CALL fail();
CALL test.tell('config', '{"other_calls": 405}');
CALL test.no_fault();
CALL fail();
CALL test.tell('config', '{"other_calls": 501}');
CALL fail();
CALL test.tell('config', '{"other_calls": 0}');
CALL test.fault(jsonb_build_object('redirect', :'stand_in_url' || '/elsewhere'));
CALL fail();
SELECT count(*) FROM test.requests() WHERE path = '/elsewhere';
CALL test.fault('{"status": 202}');
CALL fail();
CALL test.fault('{"status": 200, "body": "<html>Welcome</html>"}');
CALL fail();
CALL test.fault('{"status": 200, "body": "{\"message\": \"Success\"}"}');
CALL fail(calls => 'list|get|update');
CALL test.fault('{"status": 200, "body": "{\"message\": \"Success\", \"data\": {\"id\": \"1\", \"external_id\": \"b\"}}"}');
CALL fail();
CALL test.fault('{"status": 200, "body": "{\"message\": \"Success\", \"data\": [{\"external_id\": \"a\"}]}"}');
CALL fail(calls => 'list|get|update');
CALL test.fault('{"huge_body": 16777217}');
CALL fail();
-- An answer that names the contact without its new external_id is not that of the update.
CALL test.fault('{"status": 200, "body": "{\"message\": \"Success\", \"data\": {\"id\": \"1\", \"external_id\": \"a\"}}"}');
CALL refuses('{"external_id": "c"}');

-- 58030: no answer.  The detail is in libcurl's words.
CREATE PROCEDURE unanswered()
LANGUAGE plpgsql AS $$
DECLARE
	statement text;
	hint text;
BEGIN
	FOREACH statement IN ARRAY ARRAY['list_contacts(''bot'')', 'get_contact(''bot'', ''a'')',
		'update_contact(''bot'', ''a'', ''{"name": "A"}'')', 'delete_contact(''bot'', ''a'')'] LOOP
		BEGIN
			EXECUTE 'SELECT chatbase_' || statement;
		EXCEPTION WHEN io_error THEN
			GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT;
			RAISE INFO USING MESSAGE = SQLSTATE || ': ' || SQLERRM, HINT = hint;
		END;
	END LOOP;
END
$$;
CALL test.fault('{"drop": true}', 'after');
CALL unanswered();
SELECT held ->> 'external_id' AS external_id FROM test.held('bot') AS held;
CALL test.fault('{"hang": true}');
SET contacts_push.request_timeout = '50ms';
CALL unanswered();
RESET contacts_push.request_timeout;
CALL test.no_fault();
SET contacts_push.base_url = 'http://127.0.0.1:1/api/v1';
CALL unanswered();
RESET contacts_push.base_url;

-- The session goes on.
SELECT count(*) FROM chatbase_list_contacts('bot');

-- 53400: the answer says how long to wait.  The key is one that nothing else uses.
\set ECHO none
ALTER SYSTEM SET contacts_push.api_key = 'other-key';
\i sql/include/reload.psql
\set ECHO all
CALL test.fault('{"status": 429, "headers": {"Retry-After": "17"}}');
CALL fail();

-- 55000: no key.
\set ECHO none
ALTER SYSTEM RESET contacts_push.api_key;
\i sql/include/reload.psql
\set ECHO all
CALL fail();
\set ECHO none
ALTER SYSTEM SET contacts_push.api_key = 'test-key';
\i sql/include/reload.psql
\set ECHO all
CALL test.no_fault();

-- A type that was altered is noticed before anything is sent.
BEGIN;
ALTER TYPE contacts_push.contact ADD ATTRIBUTE more text;
CALL fail(calls => 'list|get|update');
ROLLBACK;

-- Who may call them is said by a GRANT, for each.
CREATE ROLE regress_contacts_push;
SET ROLE regress_contacts_push;
SELECT chatbase_list_contacts('bot');
SELECT chatbase_get_contact('bot', 'b');
SELECT chatbase_update_contact('bot', 'b', '{"name": "B"}');
SELECT chatbase_delete_contact('bot', 'b');
RESET ROLE;
GRANT EXECUTE ON FUNCTION chatbase_get_contact TO regress_contacts_push;
SET ROLE regress_contacts_push;
SELECT external_id FROM chatbase_get_contact('bot', 'b');
RESET ROLE;

DROP OWNED BY regress_contacts_push;
DROP ROLE regress_contacts_push;
DROP PROCEDURE fail, refuses, unanswered;
