-- Once for each environment, as a superuser in its database:
--     psql -d signup -v chatbot=ckl123abc456 -f setup.sql
CREATE EXTENSION contacts_push;

-- Each environment has a chatbot of its own; the migrations ask here for its name.
ALTER DATABASE signup SET signup.chatbot = :'chatbot';
-- Changed e-mails and closed accounts are to follow.
SELECT contacts_push.push_changes(:'chatbot', updates => true, deletes => true);

-- Who owns the tables, runs the migrations, and watches.
CREATE ROLE signup_owner LOGIN;
ALTER DATABASE signup OWNER TO signup_owner;
GRANT USAGE ON SCHEMA contacts_push, contacts_push_internal TO signup_owner;
GRANT EXECUTE ON ROUTINE contacts_push.watch, contacts_push.unwatch, contacts_push.backfill,
    contacts_push.missing TO signup_owner;

-- Whom the service connects as: no grant on anything of contacts_push.
CREATE ROLE signup LOGIN;
