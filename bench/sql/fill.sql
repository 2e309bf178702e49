-- :rows contacts into the outbox, as a users table of an application has them.
INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact)
SELECT :'chatbot', n::text, jsonb_build_object(
	'external_id', n::text,
	'name', 'Given ' || n || ' Family',
	'email', 'given.' || n || '@example.com',
	'phonenumber', '+1 555 ' || lpad(n::text, 8, '0'))
FROM generate_series(1, :rows) AS n;
