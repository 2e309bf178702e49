-- Three tables of users as many applications have one: unwatched, watched, and
-- one with the trigger that people write by hand.
CREATE TABLE users_plain (
	id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	name text NOT NULL,
	email text NOT NULL UNIQUE,
	phonenumber text,
	logins integer NOT NULL DEFAULT 0,
	created_at timestamptz NOT NULL DEFAULT now());
CREATE TABLE users_watched (LIKE users_plain INCLUDING ALL);
CREATE TABLE users_by_hand (LIKE users_plain INCLUDING ALL);

SELECT contacts_push.watch('users_watched', :'chatbot');

CREATE FUNCTION by_hand()
RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
	INSERT INTO plain_outbox (payload)
	VALUES (jsonb_build_object('external_id', NEW.id::text, 'name', NEW.name,
							   'email', NEW.email, 'phonenumber', NEW.phonenumber));
	RETURN NULL;
END
$$;
CREATE TRIGGER by_hand AFTER INSERT ON users_by_hand
	FOR EACH ROW EXECUTE FUNCTION by_hand();

-- What the sessions note of themselves: the time they had a processor, of Linux.
CREATE UNLOGGED TABLE cpu (what text, pid integer, ns bigint);
CREATE FUNCTION note_cpu(what text)
RETURNS void
LANGUAGE sql
AS $$
	INSERT INTO cpu
	SELECT what, pg_backend_pid(), split_part(pg_read_file('/proc/self/schedstat'), ' ', 1)::bigint
$$;
