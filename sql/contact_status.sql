-- contact_status: what is said of a contact with several intents; and the numbers and states of
-- progress that come with updates and deletions.
\set ECHO none
\i sql/include/begin.psql
\set ECHO all

-- Intents that have come to something, as the worker would leave them.  A settled row has no
-- contact any more; of those that are pending, 'pending -' withdraws.
CREATE PROCEDURE intents(contact text, VARIADIC outcomes text[]) LANGUAGE plpgsql AS $$
DECLARE
	outcome text;
	word text;
	chatbot text;
BEGIN
	FOREACH chatbot IN ARRAY ARRAY['updates', 'deletes', 'neither', 'unknown'] LOOP
		FOREACH outcome IN ARRAY outcomes LOOP
			word := split_part(outcome, ' ', 1);
			INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact, status, http_status, previous_external_id, error)
			VALUES (chatbot, contact, CASE WHEN outcome IN ('pending', 'conflict', 'conflict foreign', 'rejected', 'failed') THEN '{}'::jsonb END,
				word::contacts_push.status,
				CASE WHEN word IN ('created', 'updated', 'deleted', 'conflict', 'failed') AND outcome <> 'conflict foreign' THEN 200 END,
				CASE WHEN outcome LIKE 'updated %' THEN split_part(outcome, ' ', 2) END, outcome);
		END LOOP;
	END LOOP;
END
$$;
CREATE VIEW shown AS
	SELECT external_id, max(status::text || coalesce(': ' || error, '')) FILTER (WHERE chatbot_id = 'updates') AS updates,
		max(status::text || coalesce(': ' || error, '')) FILTER (WHERE chatbot_id = 'deletes') AS deletes,
		max(status::text || coalesce(': ' || error, '')) FILTER (WHERE chatbot_id = 'neither') AS neither,
		max(status::text || coalesce(': ' || error, '')) FILTER (WHERE chatbot_id = 'unknown') AS unknown
	FROM contacts_push.contact_status GROUP BY external_id ORDER BY external_id;
SELECT contacts_push.push_changes('updates', deletes => false), contacts_push.push_changes('deletes', updates => false), contacts_push.push_changes('neither', false, false);

-- a contact that is there, and a later intent that waits
CALL intents('01 change', 'created', 'pending');
CALL intents('02 deletion', 'present', 'updated', 'pending -');
CALL intents('03 change, then deletion', 'created', 'pending', 'pending -');
-- or that was refused, or not sent
CALL intents('04 change refused', 'created', 'updated', 'rejected');
CALL intents('05 change not pushed', 'created', 'skipped');
CALL intents('06 change superseded', 'created', 'superseded', 'updated');
CALL intents('07 refused first', 'conflict', 'created', 'withdrawn');
-- one that is not there
CALL intents('11 new', 'pending');
CALL intents('12 fixed', 'rejected', 'pending');
CALL intents('13 withdrawn', 'withdrawn');
CALL intents('14 withdrawn soon', 'pending', 'pending -');
CALL intents('15 deleted', 'created', 'updated', 'deleted');
CALL intents('16 deleted and new', 'created', 'deleted', 'pending');
CALL intents('17 deleted and there again', 'created', 'deleted', 'created');
CALL intents('18 deleted, another withdrawal', 'created', 'deleted', 'pending -');
CALL intents('19 not deleted', 'created', 'failed');
-- what another source wants does not hide the owner's
CALL intents('21 foreign', 'created', 'conflict foreign');
CALL intents('22 foreign first', 'conflict foreign', 'pending');
CALL intents('23 only foreign', 'superseded', 'conflict foreign', 'withdrawn');
-- a key that was changed at Chatbase, once and back again
CALL intents('31 old', 'created', 'withdrawn');
CALL intents('32 new', 'updated 31_old');
UPDATE contacts_push.outbox SET previous_external_id = '31 old' WHERE previous_external_id = '31_old';
CALL intents('33 back', 'created');
CALL intents('34 there', 'updated 33_back');
UPDATE contacts_push.outbox SET previous_external_id = '33 back' WHERE previous_external_id = '33_back';
CALL intents('33 back', 'updated 34_there');
UPDATE contacts_push.outbox SET previous_external_id = '34 there' WHERE previous_external_id = '34_there';
-- swapped ones: each contact was changed where it was, as its id says
CALL intents('37 left', 'created');
CALL intents('38 right', 'created', 'updated 37_left');
CALL intents('37 left', 'updated 38_right');
UPDATE contacts_push.outbox SET previous_external_id = replace(previous_external_id, '_', ' '), contact_id = external_id WHERE external_id IN ('37 left', '38 right');
-- one that was not: what was there under the new key is changed, and the old one deleted, or not
CALL intents('35 taken away', 'created', 'pending');
INSERT INTO contacts_push.outbox (chatbot_id, external_id, previous_external_id, status, error)
SELECT c, '36 takes', '35 taken away', 'pending', 'pending' FROM unnest('{updates,deletes,neither,unknown}'::text[]) c;
TABLE shown;
-- The newest intent of each is found by the contact, as the indexes have it.
SELECT chatbot_id, status, error FROM contacts_push.contact_status WHERE external_id = '31 old' AND chatbot_id = 'updates';
TRUNCATE contacts_push.outbox;

-- Numbers of rows by what became of them, those that are not counted in the chatbot's row yet too.
UPDATE contacts_push.chatbot SET created = 10, updated = 5, deleted = 2 WHERE chatbot_id = 'updates';
INSERT INTO contacts_push_internal.tally VALUES ('updates', 1, 1, 2, 1, 0, 0, 3);
INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact) SELECT 'updates', n, '{}' FROM generate_series(1, 25) n;
SELECT chatbot_id, pending, created, present, updated, deleted, conflict, rejected, failed, percent FROM contacts_push.progress WHERE chatbot_id = 'updates';
TRUNCATE contacts_push.outbox, contacts_push.chatbot, contacts_push_internal.tally;

-- How many a second: of the requests that settle a contact, whatever they ask for.
INSERT INTO contacts_push.request (chatbot_id, call, contacts, seqs, outcome, started_at, finished_at)
SELECT call || ' ' || outcome, call, contacts, '{}', outcome, now() - interval '9 s', now() + interval '1 s'
FROM (VALUES ('create', 'created', 500), ('create', 'contact', 500), ('create', 'rejected', 1), ('create', 'server', 1), ('update', 'updated', 1),
	('update', 'contact', 1), ('update', 'absent', 1), ('update', 'network', 1), ('delete', 'deleted', 1), ('delete', 'absent', 1), ('read', 'absent', 1)) AS v(call, outcome, contacts);
INSERT INTO contacts_push.chatbot (chatbot_id) SELECT chatbot_id FROM contacts_push.request;
SELECT chatbot_id, per_second FROM contacts_push.progress WHERE per_second > 0 ORDER BY 1;
TRUNCATE contacts_push.request, contacts_push.chatbot;

-- Deletions that are held, beside others and alone.  The number is that of the worker's last
-- look: never more of them than there are pending rows.
CREATE VIEW state AS
	SELECT pending, eta IS NOT NULL AS has_eta,
		regexp_replace(regexp_replace(state, 'by \S+,', 'by ROLE,'), '\d+ s', 'N s') AS state FROM contacts_push.progress WHERE chatbot_id = 'bot';
CREATE PROCEDURE hold(n bigint) LANGUAGE sql AS $$
	INSERT INTO contacts_push.chatbot (chatbot_id, held_deletes) VALUES ('bot', n)
	ON CONFLICT (chatbot_id) DO UPDATE SET held_deletes = n
$$;
\set ECHO none
\i sql/include/worker_on.psql
\set ECHO all
-- Nobody but this session sees the rows: two that would be held, and one that would be sent.
BEGIN;
INSERT INTO contacts_push.outbox (chatbot_id, external_id) VALUES ('bot', '1'), ('bot', '2');
CALL hold(2);
TABLE state;
CALL hold(5);
TABLE state;
INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact) VALUES ('bot', '3', '{}');
CALL hold(NULL);
TABLE state;
CALL hold(2);
TABLE state;
UPDATE contacts_push.outbox SET next_attempt_at = now() + interval '1 hour' WHERE external_id = '3';
TABLE state;
SELECT contacts_push.pause('bot');
TABLE state;
ROLLBACK;
-- resume() lets those through that are there, of the chatbots that hold any.
BEGIN;
INSERT INTO contacts_push.outbox (chatbot_id, external_id) VALUES ('bot', '1');
CALL hold(2);
INSERT INTO contacts_push.chatbot (chatbot_id, held_deletes) VALUES ('other', 7);
INSERT INTO contacts_push.chatbot (chatbot_id) VALUES ('third');
SELECT contacts_push.resume('bot');
SELECT chatbot_id, released_deletes = (SELECT max(seq) FROM contacts_push.outbox) AS all_through FROM contacts_push.chatbot ORDER BY 1;
SELECT contacts_push.resume();
SELECT chatbot_id, released_deletes = (SELECT max(seq) FROM contacts_push.outbox) AS all_through FROM contacts_push.chatbot ORDER BY 1;
ROLLBACK;

DROP VIEW state, shown;
DROP PROCEDURE hold, intents;
