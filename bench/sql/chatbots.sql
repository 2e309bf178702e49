-- :each contacts for each of :chatbots, one chatbot after the other; their external_ids begin
-- after :after.
INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact)
SELECT 'many' || chatbot, n::text, contact(n, 'usual')
FROM generate_series(1, :chatbots) AS chatbot,
	generate_series(:after + 1::bigint, :after + :each) AS n;
