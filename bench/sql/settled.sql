-- :rows contacts that were created, without having the worker send them: the outbox as
-- it is after years.
INSERT INTO contacts_push.outbox (chatbot_id, external_id, status, http_status, contact_id, settled_at)
SELECT :'chatbot', 'old' || n, 'created', 200, 'contact_' || n, now()
FROM generate_series(1, :rows) AS n;
INSERT INTO contacts_push.chatbot (chatbot_id, created) VALUES (:'chatbot', :rows)
ON CONFLICT (chatbot_id) DO UPDATE SET created = chatbot.created + excluded.created;
