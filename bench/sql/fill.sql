-- :rows contacts into the outbox, as a users table of an application has them; with
-- :small they have an e-mail only.
INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact)
SELECT :'chatbot', n::text, CASE WHEN :'small'::boolean THEN jsonb_build_object(
	'external_id', n::text,
	'email', 'given.' || n || '@example.com')
ELSE jsonb_build_object(
	'external_id', n::text,
	'name', 'Given ' || n || ' Family',
	'email', 'given.' || n || '@example.com',
	'phonenumber', '+1 555 ' || lpad(n::text, 8, '0')) END
FROM generate_series(1, :rows) AS n;
