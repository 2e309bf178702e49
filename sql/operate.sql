-- What an operator asks and does: progress, contact_status, chatbot, worker, request,
-- retry(), discard(), pause(), resume(), stripped_attributes.
\set ECHO none
\i sql/include/begin.psql
\set SHOW_CONTEXT never
\set ECHO all

-- Waits until a query yields true: for what the worker does by itself.
CREATE PROCEDURE wait_for(query text) LANGUAGE plpgsql AS $$
DECLARE
	fulfilled boolean;
	deadline timestamptz := clock_timestamp() + '3 minutes';
BEGIN
	LOOP
		EXECUTE query INTO fulfilled;
		EXIT WHEN fulfilled;
		COMMIT;
		IF clock_timestamp() > deadline THEN
			RAISE EXCEPTION 'in vain: %', query;
		END IF;
		PERFORM pg_sleep(0.01);
	END LOOP;
END$$;
-- progress without what depends on time, against what the table has.
CREATE VIEW numbers AS
	SELECT chatbot_id, pending, created, present, updated, deleted, conflict, rejected, failed, enqueue_failures, percent, state, bar
	FROM contacts_push.progress ORDER BY chatbot_id;
CREATE VIEW disagreement AS
	SELECT p.chatbot_id, s.status, p.n AS progress, s.n AS outbox
	FROM (SELECT chatbot_id, u.status, u.n FROM contacts_push.progress
		  CROSS JOIN LATERAL (VALUES ('pending', pending), ('created', created), ('present', present),
			('updated', updated), ('deleted', deleted), ('conflict', conflict), ('rejected', rejected), ('failed', failed)) AS u(status, n)) p
	FULL JOIN (SELECT chatbot_id, status::text, count(*) AS n FROM contacts_push.outbox
		  WHERE status NOT IN ('superseded', 'skipped', 'withdrawn') GROUP BY 1, 2) s USING (chatbot_id, status)
	WHERE COALESCE(p.n, 0) <> COALESCE(s.n, 0);
CREATE VIEW outcome AS
	SELECT chatbot_id, external_id, status, http_status, error, contact IS NULL AS no_contact, attempts, next_attempt_at IS NULL AS good_path
	FROM contacts_push.outbox ORDER BY chatbot_id, external_id, seq;

-- Nothing is there, and nobody sends.
SELECT * FROM numbers;
SELECT contacts_push.retry(), contacts_push.resume();
SELECT contacts_push.enqueue('shop', '[{"external_id": "1", "email": "one@example.com"}, {"external_id": "2"}, {"external_id": "3"}]');
SELECT * FROM numbers;
SELECT oldest_pending >= interval '0' AS age, eta, per_second FROM contacts_push.progress;

-- Two that Chatbase refuses, one that it takes, one that no request is made for.
CALL test.tell('contacts?chatbot=shop', '{"users": [{"external_id": "other", "email": "one@example.com"}]}');
CALL test.fault('{"refuse": true}', times => 0);
SELECT contacts_push.enqueue('shop', '{"external_id": "4", "email": "nobody"}');
\set ECHO none
\i sql/include/worker_on.psql
\set ECHO all
SELECT contacts_push.flush();
SELECT * FROM outcome;
SELECT * FROM numbers;
SELECT * FROM disagreement;
SELECT chatbot_id, paused_until, pause_reason, stripped_attributes FROM contacts_push.chatbot;
CALL wait_for('SELECT contacts = 4 AND requests_in_flight = 0 FROM contacts_push.worker');
SELECT pid IS NOT NULL AS pid, started_at <= last_activity_at AS active, requests_in_flight, requests > 0 AS requests, contacts, last_error IS NULL AS fine, requests_per_second > 0 AS budget FROM contacts_push.worker;
SELECT pid = (SELECT pid FROM pg_stat_activity WHERE backend_type = 'contacts_push worker' AND datname = current_database()) AS same FROM contacts_push.worker;
SELECT bool_and(finished_at >= started_at AND duration_ms >= 0 AND contacts = (SELECT sum(upper(r) - lower(r)) FROM unnest(seqs) r)) AS all_over, sum(contacts) FILTER (WHERE http_status = 200) AS taken FROM contacts_push.request;

-- retry() of one, as it was: refused again.  Of one that isn't refused: none.
SELECT contacts_push.retry('shop', '1');
SELECT contacts_push.flush();
SELECT * FROM outcome;
SELECT contacts_push.retry('shop', '2'), contacts_push.retry('shop', 'unknown');
SELECT * FROM disagreement;
-- Fixed by hand, and retried.
UPDATE contacts_push.outbox SET contact = contact || '{"email": "uno@example.com"}' WHERE external_id = '1';
SELECT contacts_push.retry('shop');
SELECT contacts_push.flush();
SELECT * FROM outcome;
SELECT * FROM disagreement;
SELECT * FROM test.held('shop');
-- Fixed by a newer intent.
SELECT contacts_push.enqueue('shop', '{"external_id": "4", "email": "four@example.com"}');
SELECT contacts_push.flush();
SELECT * FROM outcome WHERE external_id = '4';
SELECT * FROM numbers;
SELECT * FROM disagreement;
SELECT chatbot_id, external_id, status, error, contact_id IS NOT NULL AS id FROM contacts_push.contact_status ORDER BY 1, 2;
-- retry() rolled back changes nothing.
SELECT contacts_push.enqueue('shop', '{"external_id": "5", "email": "nobody"}');
SELECT contacts_push.flush();
BEGIN;
SELECT contacts_push.retry();
SELECT * FROM disagreement;
ROLLBACK;
SELECT * FROM disagreement;
SELECT status FROM outcome WHERE external_id = '5';

-- A paused chatbot: nothing is sent to it, and everything to others.
SELECT contacts_push.pause('shop');
SELECT contacts_push.enqueue('shop', '{"external_id": "6"}'), contacts_push.enqueue('other', '{"external_id": "6"}');
SELECT contacts_push.flush();
SELECT chatbot_id, external_id, status FROM outcome WHERE external_id = '6';
SELECT state ~ '^paused by .*, until contacts_push\.resume\(\)$' AS paused, pending FROM contacts_push.progress WHERE chatbot_id = 'shop';
SELECT paused_until FROM contacts_push.chatbot ORDER BY chatbot_id;
-- of one that isn't known to the worker yet, too
SELECT contacts_push.enqueue('new', '{"external_id": "1"}'), contacts_push.pause('new');
SELECT contacts_push.flush();
SELECT status FROM outcome WHERE chatbot_id = 'new';
SELECT contacts_push.resume('shop');
SELECT contacts_push.flush();
SELECT chatbot_id, external_id, status FROM outcome WHERE external_id = '6' OR chatbot_id = 'new';
-- all at once
SELECT contacts_push.pause();
SELECT contacts_push.enqueue('shop', '{"external_id": "7"}'), contacts_push.enqueue('other', '{"external_id": "7"}');
SELECT contacts_push.flush();
SELECT chatbot_id, status FROM outcome WHERE status = 'pending';
SELECT contacts_push.resume();
SELECT contacts_push.flush();
SELECT chatbot_id, status FROM outcome WHERE status = 'pending';
SELECT paused_until, pause_reason FROM contacts_push.chatbot WHERE paused_until IS NOT NULL OR pause_reason IS NOT NULL;
SELECT * FROM disagreement;
-- An operator's pause outlasts the worker's wish to pause by itself, and a rollback undoes it.
BEGIN;
SELECT contacts_push.pause('shop');
ROLLBACK;
SELECT contacts_push.enqueue('shop', '{"external_id": "8"}');
SELECT contacts_push.flush();
SELECT status FROM outcome WHERE external_id = '8';

-- Trouble shows in words.  The key:
CALL test.fault('{"status": 401, "message": "Invalid API key"}');
SELECT contacts_push.enqueue('shop', '{"external_id": "9"}');
CALL wait_for($$SELECT paused_until IS NOT NULL FROM contacts_push.chatbot WHERE chatbot_id = 'shop'$$);
SELECT regexp_replace(state, '\d+ s$', 'N s') AS state, pending FROM contacts_push.progress WHERE chatbot_id = 'shop';
CALL test.no_fault();
SELECT contacts_push.resume('shop');
SELECT contacts_push.flush();
SELECT state, pending FROM contacts_push.progress WHERE chatbot_id = 'shop';
-- the chatbot:
CALL test.fault('{"status": 404, "message": "Chatbot not found"}');
SELECT contacts_push.enqueue('shop', '{"external_id": "10"}');
CALL wait_for($$SELECT paused_until IS NOT NULL FROM contacts_push.chatbot WHERE chatbot_id = 'shop'$$);
SELECT regexp_replace(state, '\d+ s$', 'N s') AS state FROM contacts_push.progress WHERE chatbot_id = 'shop';
CALL test.no_fault();
SELECT contacts_push.resume('shop');
SELECT contacts_push.flush();
-- the server:
CALL test.fault('{"status": 503, "message": "Try again later"}');
SELECT contacts_push.enqueue('shop', '{"external_id": "11"}');
CALL wait_for($$SELECT EXISTS (SELECT FROM contacts_push.request WHERE http_status = 503 AND finished_at IS NOT NULL)$$);
SELECT regexp_replace(state, '\d+ s$', 'N s') AS state, eta FROM contacts_push.progress WHERE chatbot_id = 'shop';
CALL test.no_fault();
SELECT contacts_push.flush('3 minutes');
SELECT state, pending FROM contacts_push.progress WHERE chatbot_id = 'shop';
-- no worker sends:
ALTER SYSTEM SET contacts_push.enabled = off;
\set ECHO none
\i sql/include/reload.psql
\set SHOW_CONTEXT never
\set ECHO all
SELECT state FROM contacts_push.progress WHERE chatbot_id = 'shop';

-- A chatbot that nobody knows is a slip of the finger, and makes no phantom.
CALL test.fails($$SELECT contacts_push.pause('sho')$$);
CALL test.fails($$SELECT contacts_push.pause('the webshop')$$);
CALL test.fails($$SELECT contacts_push.resume('othe')$$);
CALL test.fails($$SELECT contacts_push.retry('shops')$$);
CALL test.fails($$SELECT contacts_push.discard('Shop')$$);
CALL test.fails($$SELECT contacts_push.discard(NULL)$$);
SELECT contacts_push.pause('nwe');
SELECT chatbot_id FROM contacts_push.progress ORDER BY 1;
-- one that a table is watched for is known
CREATE TABLE members (id integer PRIMARY KEY);
SELECT contacts_push.watch('members', 'club');
SELECT contacts_push.pause('club');
SELECT contacts_push.resume('club');
CALL test.fails($$SELECT contacts_push.pause('clbu')$$);
DROP TABLE members CASCADE;

-- retry() of a status, and of an error.
SELECT contacts_push.enqueue('choosy', '[{"external_id": "1", "email": "nobody"}, {"external_id": "2", "email": "nobody"}, {"external_id": "3"}, {"external_id": "4"}]');
UPDATE contacts_push.outbox SET status = CASE external_id WHEN '4' THEN 'failed' ELSE 'rejected' END::contacts_push.status,
	error = CASE external_id WHEN '1' THEN 'email must be one' WHEN '2' THEN 'email may be 100%' WHEN '4' THEN 'email server' END
WHERE chatbot_id = 'choosy';
INSERT INTO contacts_push.chatbot (chatbot_id, rejected, failed) VALUES ('choosy', 3, 1);
BEGIN;
SELECT contacts_push.retry('choosy', status => 'conflict'), contacts_push.retry('choosy', error => 'email'),
	contacts_push.retry('choosy', '2', 'failed'), contacts_push.retry('choosy', '1', error => '%100%');
SELECT contacts_push.retry(status => 'failed'), contacts_push.retry(error => '%\%');
SELECT external_id, status FROM outcome WHERE chatbot_id = 'choosy';
SELECT contacts_push.retry('choosy', NULL, 'rejected', 'email%');
ROLLBACK;
CALL test.fails($$SELECT contacts_push.retry('choosy', status => 'created')$$);

-- discard(): of a contact, of a chatbot; what may have been sent says so.
SELECT contacts_push.enqueue('choosy', '[{"external_id": "5"}, {"external_id": "6"}, {"external_id": "6"}, {"external_id": "7"}]');
INSERT INTO contacts_push.outbox (chatbot_id, external_id) VALUES ('choosy', '5');
UPDATE contacts_push.outbox SET unconfirmed = true, next_attempt_at = now() + interval '1 hour' WHERE chatbot_id = 'choosy' AND external_id = '7';
SELECT contacts_push.discard('choosy', '6'), contacts_push.discard('choosy', '1');
SELECT pending FROM contacts_push.progress WHERE chatbot_id = 'choosy';
SELECT contacts_push.discard('choosy'), contacts_push.discard('choosy');
SELECT external_id, status, regexp_replace(error, 'discarded by [^ ]+', 'discarded by ROLE') AS error, contact IS NULL AS no_contact, settled_at IS NOT NULL AS settled
FROM contacts_push.outbox WHERE chatbot_id = 'choosy' ORDER BY seq;
SELECT pending, rejected, failed, percent, state FROM contacts_push.progress WHERE chatbot_id = 'choosy';
SELECT * FROM disagreement;
DELETE FROM contacts_push.outbox WHERE chatbot_id = 'choosy';
DELETE FROM contacts_push.chatbot WHERE chatbot_id = 'choosy';

-- Attributes that the chatbot doesn't know.
CALL test.tell('config', '{"strip_attributes": ["plan", "Größe"]}');
\set ECHO none
\i sql/include/worker_on.psql
\set SHOW_CONTEXT never
\set ECHO all
SELECT contacts_push.enqueue('attributes', '[{"external_id": "1", "custom_attributes": {"plan": "gold", "since": 2020}}, {"external_id": "2", "custom_attributes": {"Größe": "XL", "since": 2021}}, {"external_id": "3"}]');
SELECT contacts_push.flush();
SELECT stripped_attributes FROM contacts_push.chatbot WHERE chatbot_id = 'attributes';
SELECT * FROM test.held('attributes');
-- they are known by now: the list forgets them
CALL test.tell('config', '{"strip_attributes": ["Größe"]}');
SELECT contacts_push.enqueue('attributes', '[{"external_id": "4", "custom_attributes": {"plan": "gold", "Größe": "S"}}]');
SELECT contacts_push.flush();
SELECT stripped_attributes FROM contacts_push.chatbot WHERE chatbot_id = 'attributes';
SELECT * FROM disagreement;

DROP VIEW numbers, disagreement, outcome;
DROP PROCEDURE wait_for;
