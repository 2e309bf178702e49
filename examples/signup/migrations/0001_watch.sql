CREATE VIEW users_to_push AS
    SELECT id AS external_id, name, email, jsonb_build_object('tier', tier) AS custom_attributes
    FROM users;
SELECT contacts_push.watch('users_to_push', current_setting('signup.chatbot'));
