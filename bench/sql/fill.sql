-- :rows contacts of :kind into the outbox, as a users table of an application has them.
INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact)
SELECT :'chatbot', n::text, contact(n, :'kind')
FROM generate_series(:after + 1::bigint, :after + :rows) AS n;
