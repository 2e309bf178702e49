-- contacts_push--1.0--1.1.sql
--		An update as a later version could need one, for the tests only: it rewrites the
--		outbox, takes the strongest locks and replaces a function under the worker's hands.
\echo Use "ALTER EXTENSION contacts_push UPDATE TO '1.1'" to load this file. \quit

ALTER TABLE contacts_push.outbox ADD COLUMN note text DEFAULT clock_timestamp()::text;
ALTER TABLE contacts_push.request ADD COLUMN note text;
ALTER TABLE contacts_push.chatbot ADD COLUMN note text;
CREATE FUNCTION contacts_push.new_in_1_1() RETURNS text LANGUAGE sql AS $$SELECT 'here'$$;
