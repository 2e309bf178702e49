-- push_changes(), and what watch() says of updates and deletions.
\set ECHO none
\i sql/include/begin.psql
\set ECHO all

CREATE VIEW chosen AS
	SELECT chatbot_id, updates, deletes FROM contacts_push.chatbot ORDER BY chatbot_id;

-- A chatbot may be configured before anything is enqueued for it.  Both, unless told otherwise;
-- NULL leaves what was.
SELECT contacts_push.push_changes('shop', NULL, NULL);
TABLE chosen;
SELECT contacts_push.push_changes('shop');
TABLE chosen;
SELECT contacts_push.push_changes('shop', updates => false);
TABLE chosen;
SELECT contacts_push.push_changes('shop', NULL, false), contacts_push.push_changes('club', true, true);
TABLE chosen;
BEGIN;
SELECT contacts_push.push_changes('shop', false, true);
ROLLBACK;
TABLE chosen;
CALL test.fails($$SELECT contacts_push.push_changes(NULL, true, true)$$);
CALL test.fails($$SELECT contacts_push.push_changes('', true, true)$$);
CALL test.fails($$SELECT contacts_push.push_changes('..')$$);

-- watch() does the same, for the chatbot of the table.
CREATE TABLE users (id integer PRIMARY KEY, email text);
SELECT contacts_push.watch('users', 'members', deletes => true);
SELECT contacts_push.watch('users', 'shop');
SELECT contacts_push.watch('users', 'club', updates => NULL, deletes => false);
TABLE chosen;
SELECT contacts_push.unwatch('users', 'members');
SELECT contacts_push.watch('users', 'members', updates => true, deletes => false);
TABLE chosen;
-- A chatbot that a table is watched for is known.
SELECT contacts_push.push_changes('members', true, true);

-- Both ask for the right to it.
CREATE ROLE regress_contacts_push_changes;
GRANT USAGE ON SCHEMA contacts_push, contacts_push_internal TO regress_contacts_push_changes;
GRANT EXECUTE ON FUNCTION contacts_push.watch TO regress_contacts_push_changes;
CREATE SCHEMA mine AUTHORIZATION regress_contacts_push_changes;
SET SESSION AUTHORIZATION regress_contacts_push_changes;
CREATE TABLE mine.users (id integer PRIMARY KEY);
\set VERBOSITY terse
SELECT contacts_push.push_changes('mine', true);
SELECT contacts_push.watch('mine.users', 'mine', updates => true);
SELECT contacts_push.watch('mine.users', 'mine');
\set VERBOSITY default
RESET SESSION AUTHORIZATION;
TABLE chosen;

SET client_min_messages = warning;
DROP SCHEMA mine CASCADE;
DROP OWNED BY regress_contacts_push_changes;
DROP ROLE regress_contacts_push_changes;
DROP TABLE users CASCADE;
DROP VIEW chosen;
