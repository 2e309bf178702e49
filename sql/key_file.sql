-- contacts_push.api_key_file: which file is accepted, and which key is taken from it.
-- The file lies in the data directory.
\set ECHO none
\i sql/include/begin.psql
ALTER SYSTEM RESET contacts_push.api_key;
ALTER SYSTEM SET contacts_push.api_key_file = 'regress_key_file';
\i sql/include/reload.psql
\set ECHO all

CREATE PROCEDURE run(program text, input text DEFAULT '')
LANGUAGE plpgsql AS $$
BEGIN
	-- what the program leaves of its input is read, too: else COPY may find the pipe closed
	EXECUTE format('COPY (SELECT %L) TO PROGRAM %L', encode(input::bytea, 'hex'),
		'{ ' || program || '; }; status=$?; cat >/dev/null; exit $status');
END
$$;
CREATE PROCEDURE write_file(content text, mode text DEFAULT '600')
LANGUAGE plpgsql AS $$
BEGIN
	CALL run('rm -f regress_key_file && umask 077 && perl -ne ''chomp; print pack q(H*), $_'' >regress_key_file && chmod ' ||
		mode || ' regress_key_file',
		replace(content, '\', '\\'));
END
$$;
-- Which key a chatbot's requests have: the stand-in knows one.
CREATE FUNCTION key_of(chatbot text) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
	detail text;
BEGIN
	PERFORM chatbase_create_contacts(chatbot, jsonb_build_object('external_id', gen_random_uuid()));
	RETURN 'test-key';
EXCEPTION
	WHEN invalid_authorization_specification THEN
		RETURN 'another key';
	WHEN object_not_in_prerequisite_state THEN
		GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
		RETURN detail;
END
$$;

-- One key for all.
CALL write_file(E'test-key\n');
SELECT key_of('bot'), key_of('other');
-- What is written is used at once.
CALL write_file('wrong-key');
SELECT key_of('bot');
CALL write_file(E'  test-key \t\r\n\r\n');
SELECT key_of('bot');

-- The file's mode, kind and existence.
CALL write_file('test-key', '400');
SELECT key_of('bot');
CALL write_file('test-key', '640');
SELECT key_of('bot');
CALL write_file('test-key', '604');
SELECT key_of('bot');
CALL write_file('test-key', '620');
SELECT key_of('bot');
CALL run('rm -f regress_key_file');
CALL test.fails($$SELECT chatbase_create_contacts('bot', '{"external_id": "a"}')$$);
CALL run('mkdir -m 700 regress_key_file');
SELECT key_of('bot');
CALL run('rmdir regress_key_file');
-- one that would wait for a writer for ever
CALL run('mkfifo -m 600 regress_key_file');
SELECT key_of('bot');
CALL run('rm regress_key_file');
CALL write_file(repeat('x', 1024 * 1024 + 1));
SELECT key_of('bot');

-- chatbot_id:key, as in .pgpass: the first line that matches.
CALL write_file($$
# comments and empty lines
  # are passed over, so is white space around a line

bot:wrong-key
	bot:test-key
 good:test-key  
good:wrong-key
a\:b:test-key
back\\slash:test-key
\star:wrong-key
spa ce:test-key
bo:wrong-key
#no:test-key
$$);
SELECT chatbot, key_of(chatbot)
FROM unnest(ARRAY['bot', 'good', 'a:b', 'a', 'back\slash', 'back', 'spa ce', 'b', 'bot', 'BOT', '#no', '*']) AS chatbot;
CALL write_file(E'bot:wrong-key\n*:test-key\nlate:wrong-key\n');
SELECT chatbot, key_of(chatbot) FROM unnest(ARRAY['bot', 'other', 'late', '*']) AS chatbot;
-- A line that is a key only is for all, too.
CALL write_file(E'bot:wrong-key\ntest-key\nlate:wrong-key\n');
SELECT chatbot, key_of(chatbot) FROM unnest(ARRAY['bot', 'other', 'late']) AS chatbot;
CALL write_file(E'bot:wrong-key\r\n\\*:wrong-key\r\nother:test-key\r\n');
SELECT chatbot, key_of(chatbot) FROM unnest(ARRAY['bot', 'other']) AS chatbot;

-- One that holds nothing says so: nobody is to look for the chatbot's line.
CALL write_file('');
SELECT key_of('bot');
CALL write_file(E'# to be filled in\n\n \t\n');
SELECT key_of('bot');

-- What can't be a key is not sent, and not shown.
CALL write_file('bot:secret key');
SELECT key_of('bot');
CALL write_file('bot:');
SELECT key_of('bot');
CALL write_file(E'bot:s\u00e9cret');
SELECT key_of('bot');
CALL write_file('bot:' || repeat('x', 8193));
SELECT key_of('bot');

-- Beside it, contacts_push.api_key is for those whom the file doesn't name; a file
-- that can't be used is not worked around.
\set ECHO none
ALTER SYSTEM SET contacts_push.api_key = 'test-key';
\i sql/include/reload.psql
\set ECHO all
CALL write_file('bot:wrong-key');
SELECT key_of('bot'), key_of('other');
CALL write_file('');
SELECT key_of('bot');
CALL write_file('bot:test-key', '644');
SELECT key_of('bot'), key_of('other');

CALL run('rm -f regress_key_file');
DROP FUNCTION key_of;
DROP PROCEDURE run, write_file;
