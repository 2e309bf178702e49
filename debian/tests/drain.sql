-- What a new user does: everybody of a table is at Chatbase in the end, and the database says so.
CREATE EXTENSION contacts_push;
CREATE TABLE users (id integer PRIMARY KEY, name text, email text);
INSERT INTO users SELECT n, 'User ' || n, 'user' || n || '@example.com' FROM generate_series(1, 1500) n;
SELECT contacts_push.watch('users', :'chatbot');
CALL contacts_push.backfill('users');
INSERT INTO users VALUES (1501, 'Ada Lovelace', 'ada@example.com'), (1502, 'Mailless', 'nobody');
SELECT contacts_push.flush('5 minutes');
SELECT pending, created, rejected, state FROM contacts_push.progress;
SELECT set_config('drain.chatbot', :'chatbot', false);
DO $$
DECLARE
	chatbot text := current_setting('drain.chatbot');
BEGIN
	ASSERT (SELECT (pending, created, rejected) = (0, 1501, 1) FROM contacts_push.progress), 'not all is settled';
	ASSERT (SELECT count(*) = 1501 AND count(DISTINCT c.id) = 1501
		FROM chatbase_list_contacts(chatbot) c
		JOIN contacts_push.contact_status s ON s.contact_id = c.id AND s.external_id = c.external_id
		JOIN users u ON u.id::text = c.external_id AND u.name = c.name AND u.email = c.email
		WHERE s.chatbot_id = chatbot AND s.status = 'created'), 'not all is at Chatbase';
END
$$;
DROP EXTENSION contacts_push CASCADE;
