/* contacts_push--1.0.sql */

-- complain if script is sourced in psql, rather than via CREATE EXTENSION
\echo Use "CREATE EXTENSION contacts_push" to load this file. \quit

-- What is parsed here (views, defaults, CHECKs) means the server's own functions and operators.
SET LOCAL search_path = pg_catalog, pg_temp;

CREATE SCHEMA contacts_push;
COMMENT ON SCHEMA contacts_push IS 'contacts_push: an outbox of contacts for Chatbase chatbots, and what became of them';
CREATE SCHEMA contacts_push_internal;
COMMENT ON SCHEMA contacts_push_internal IS 'contacts_push: what is not for users, helper functions and the worker''s own tables';

--
-- Types
--

CREATE TYPE contacts_push.status AS ENUM (
	'pending', 'created', 'present', 'updated', 'deleted', 'conflict', 'rejected', 'failed',
	'superseded', 'skipped', 'withdrawn');
COMMENT ON TYPE contacts_push.status IS 'what became of a row of contacts_push.outbox; conflict: its external_id belongs to a contact that this outbox did not create, or its e-mail to another contact, of this outbox or not';

CREATE TYPE contacts_push.contact AS (
	id text,
	external_id text,
	name text,
	email text,
	phonenumber text,
	stripe_accounts jsonb,
	custom_attributes jsonb,
	created_at timestamptz,
	updated_at timestamptz);
COMMENT ON TYPE contacts_push.contact IS 'a contact as the API returns it';
COMMENT ON COLUMN contacts_push.contact.id IS 'Chatbase''s id of the contact';
COMMENT ON COLUMN contacts_push.contact.external_id IS 'the id it was given in the call';
COMMENT ON COLUMN contacts_push.contact.name IS 'its name';
COMMENT ON COLUMN contacts_push.contact.email IS 'its e-mail address';
COMMENT ON COLUMN contacts_push.contact.phonenumber IS 'its phone number';
COMMENT ON COLUMN contacts_push.contact.stripe_accounts IS 'its Stripe accounts, an array of objects';
COMMENT ON COLUMN contacts_push.contact.custom_attributes IS 'its custom attributes, an object; without those that the chatbot does not know';
COMMENT ON COLUMN contacts_push.contact.created_at IS 'when Chatbase created it';
COMMENT ON COLUMN contacts_push.contact.updated_at IS 'when Chatbase last changed it';

-- Numbers that are added to: nobody can write one by hand that the worker's additions,
-- or the sums of the views, would take beyond the integers.
CREATE DOMAIN contacts_push_internal.counter AS bigint
	CONSTRAINT counter_check CHECK (VALUE BETWEEN -1000000000000000 AND 1000000000000000);
COMMENT ON DOMAIN contacts_push_internal.counter IS 'a number of rows, with room to add to it';

--
-- Tables
--

-- Every settle leaves a new version of its row: free space in the page keeps it
-- there (HOT), so no index but the small partial one is touched.  Rows shrink when
-- they are settled, those of small contacts least: with 60 a fifth of the settles of
-- contacts with just an e-mail is not HOT, with 55 hardly any (bench/run wal).
-- What is compared is compared bytewise: that costs the least for each row, and no
-- upgrade of the operating system's locales makes an index wrong.
CREATE TABLE contacts_push.outbox (
	seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY
		-- ranges of them must have a bound on both sides
		CONSTRAINT outbox_seq_check CHECK (seq > 0 AND seq < 9223372036854775807),
	chatbot_id text COLLATE "C" NOT NULL
		CONSTRAINT outbox_chatbot_id_check
		CHECK (octet_length(chatbot_id) BETWEEN 1 AND 1024
			   -- no path segment of a URL can be one of these
			   AND chatbot_id NOT IN ('.', '..')),
	external_id text COLLATE "C" NOT NULL
		CONSTRAINT outbox_external_id_check
		CHECK (octet_length(external_id) BETWEEN 1 AND 1024),
	relation oid,
	previous_external_id text COLLATE "C"
		CONSTRAINT outbox_previous_external_id_check
		CHECK (octet_length(previous_external_id) BETWEEN 1 AND 1024),
	contact jsonb,
	status contacts_push.status NOT NULL DEFAULT 'pending',
	attempts integer NOT NULL DEFAULT 0
		CONSTRAINT outbox_attempts_check CHECK (attempts >= 0),
	-- the worker reckons with both times
	next_attempt_at timestamptz
		CONSTRAINT outbox_next_attempt_at_check CHECK (isfinite(next_attempt_at)),
	unconfirmed boolean NOT NULL DEFAULT false,
	http_status integer,
	error text,
	contact_id text,
	contact_hash bigint,
	contact_members bytea,
	enqueued_at timestamptz NOT NULL DEFAULT now()
		CONSTRAINT outbox_enqueued_at_check CHECK (isfinite(enqueued_at)),
	settled_at timestamptz)
WITH (fillfactor = 55);
CREATE INDEX outbox_contact ON contacts_push.outbox (chatbot_id, external_id);
CREATE INDEX outbox_due ON contacts_push.outbox (chatbot_id, next_attempt_at, seq)
	WHERE next_attempt_at IS NOT NULL;
CREATE INDEX outbox_previous ON contacts_push.outbox (chatbot_id, previous_external_id)
	WHERE previous_external_id IS NOT NULL;

COMMENT ON TABLE contacts_push.outbox IS 'contacts to be created at Chatbase, one row an intent; the application appends, the worker settles';
COMMENT ON COLUMN contacts_push.outbox.seq IS 'order of arrival';
COMMENT ON COLUMN contacts_push.outbox.chatbot_id IS 'the chatbot it is for';
COMMENT ON COLUMN contacts_push.outbox.external_id IS 'the contact''s identity in this database';
COMMENT ON COLUMN contacts_push.outbox.relation IS 'OID of the watched table it came from, of partitions the root; NULL: contacts_push.enqueue() or a plain INSERT';
COMMENT ON COLUMN contacts_push.outbox.previous_external_id IS 'the key has been changed from this one; an updated row with the contact_id that this one had has changed it at Chatbase, too';
COMMENT ON COLUMN contacts_push.outbox.contact IS 'the ContactInput to send; NULL withdraws the contact, and once the row is settled and nothing is to be fixed';
COMMENT ON COLUMN contacts_push.outbox.status IS 'what became of it';
COMMENT ON COLUMN contacts_push.outbox.attempts IS 'failures charged to this contact alone';
COMMENT ON COLUMN contacts_push.outbox.next_attempt_at IS 'not sent again before; NULL on the good path';
COMMENT ON COLUMN contacts_push.outbox.unconfirmed IS 'an earlier request with it got no usable answer';
COMMENT ON COLUMN contacts_push.outbox.http_status IS 'of the answer that settled or last refused it';
COMMENT ON COLUMN contacts_push.outbox.error IS 'why it is not created';
COMMENT ON COLUMN contacts_push.outbox.contact_id IS 'Chatbase''s id of the contact';
COMMENT ON COLUMN contacts_push.outbox.contact_hash IS 'hash of what was sent last, once Chatbase has it; NULL: not known';
COMMENT ON COLUMN contacts_push.outbox.contact_members IS 'which of the chatbot''s members (contacts_push_internal.member) that had, a bit each; NULL: not known';
COMMENT ON COLUMN contacts_push.outbox.enqueued_at IS 'start of the transaction that appended it';
COMMENT ON COLUMN contacts_push.outbox.settled_at IS 'when it was settled';
COMMENT ON SEQUENCE contacts_push.outbox_seq_seq IS 'numbers the rows of contacts_push.outbox';
COMMENT ON INDEX contacts_push.outbox_pkey IS 'finds rows in their order of arrival';
COMMENT ON INDEX contacts_push.outbox_contact IS 'finds the intents of one contact';
COMMENT ON INDEX contacts_push.outbox_due IS 'finds the few that wait for another try';
COMMENT ON INDEX contacts_push.outbox_previous IS 'finds what has become of a contact whose key was changed';

CREATE TABLE contacts_push.chatbot (
	chatbot_id text COLLATE "C" PRIMARY KEY
		CONSTRAINT chatbot_chatbot_id_check
		CHECK (octet_length(chatbot_id) BETWEEN 1 AND 1024 AND chatbot_id NOT IN ('.', '..')),
	updates boolean NOT NULL DEFAULT false,
	deletes boolean NOT NULL DEFAULT false,
	paused_until timestamptz,
	pause_reason text
		CONSTRAINT chatbot_pause_reason_check CHECK (octet_length(pause_reason) <= 8192),
	pause_kind text,
	backoff_until timestamptz,
	backoff_reason text,
	held_deletes bigint,
	released_deletes bigint,
	stripped_attributes text[] NOT NULL DEFAULT '{}',
	created contacts_push_internal.counter NOT NULL DEFAULT 0,
	present contacts_push_internal.counter NOT NULL DEFAULT 0,
	updated contacts_push_internal.counter NOT NULL DEFAULT 0,
	deleted contacts_push_internal.counter NOT NULL DEFAULT 0,
	conflict contacts_push_internal.counter NOT NULL DEFAULT 0,
	rejected contacts_push_internal.counter NOT NULL DEFAULT 0,
	failed contacts_push_internal.counter NOT NULL DEFAULT 0,
	enqueue_failures contacts_push_internal.counter NOT NULL DEFAULT 0)
WITH (fillfactor = 10);
CREATE INDEX chatbot_paused ON contacts_push.chatbot (chatbot_id) WHERE paused_until IS NOT NULL;
COMMENT ON TABLE contacts_push.chatbot IS 'the chatbots that contacts are pushed to';
COMMENT ON INDEX contacts_push.chatbot_pkey IS 'finds a chatbot';
COMMENT ON INDEX contacts_push.chatbot_paused IS 'finds those that are paused';
COMMENT ON COLUMN contacts_push.chatbot.chatbot_id IS 'the chatbot''s id, as in the URL of the API';
COMMENT ON COLUMN contacts_push.chatbot.updates IS 'whether later changes of contacts are pushed';
COMMENT ON COLUMN contacts_push.chatbot.deletes IS 'whether contacts are deleted at Chatbase when their users are';
COMMENT ON COLUMN contacts_push.chatbot.paused_until IS 'no request is made before; infinity: until contacts_push.resume()';
COMMENT ON COLUMN contacts_push.chatbot.pause_reason IS 'why it is paused';
COMMENT ON COLUMN contacts_push.chatbot.pause_kind IS 'what may end the pause, for the worker: key, chatbot, quota or refusals; NULL: contacts_push.resume() only';
COMMENT ON COLUMN contacts_push.chatbot.backoff_until IS 'when it is tried again after it has given no usable answer; NULL: it answers';
COMMENT ON COLUMN contacts_push.chatbot.backoff_reason IS 'what its last request failed with; NULL: it answers';
COMMENT ON COLUMN contacts_push.chatbot.held_deletes IS 'deletions that wait for contacts_push.resume(), as more were asked for than contacts_push.max_pending_deletes; NULL: none';
COMMENT ON COLUMN contacts_push.chatbot.released_deletes IS 'contacts_push.resume() has let deletions up to this contacts_push.outbox.seq through, however many they are';
COMMENT ON COLUMN contacts_push.chatbot.stripped_attributes IS 'custom attributes that were sent and that the answer lacked: not in the chatbot''s schema';
COMMENT ON COLUMN contacts_push.chatbot.created IS 'rows settled as created, without those in contacts_push_internal.tally, as the other numbers';
COMMENT ON COLUMN contacts_push.chatbot.present IS 'rows settled as present';
COMMENT ON COLUMN contacts_push.chatbot.updated IS 'rows settled as updated';
COMMENT ON COLUMN contacts_push.chatbot.deleted IS 'rows settled as deleted';
COMMENT ON COLUMN contacts_push.chatbot.conflict IS 'rows settled as conflict';
COMMENT ON COLUMN contacts_push.chatbot.rejected IS 'rows settled as rejected';
COMMENT ON COLUMN contacts_push.chatbot.failed IS 'rows settled as failed';
COMMENT ON COLUMN contacts_push.chatbot.enqueue_failures IS 'rows of watched tables that were left out because their mapping failed, without those in contacts_push_internal.enqueue_failure that are not counted yet';

-- The worker waits for nobody who holds a chatbot's row, and its numbers must not be lost
-- with it: it appends them here, and folds them in once a minute.
CREATE TABLE contacts_push_internal.tally (
	chatbot_id text COLLATE "C" NOT NULL,
	created contacts_push_internal.counter NOT NULL,
	present contacts_push_internal.counter NOT NULL,
	updated contacts_push_internal.counter NOT NULL,
	deleted contacts_push_internal.counter NOT NULL,
	conflict contacts_push_internal.counter NOT NULL,
	rejected contacts_push_internal.counter NOT NULL,
	failed contacts_push_internal.counter NOT NULL);
COMMENT ON TABLE contacts_push_internal.tally IS 'what has been settled, to be added to the chatbots'' rows';
COMMENT ON COLUMN contacts_push_internal.tally.chatbot_id IS 'the chatbot';
COMMENT ON COLUMN contacts_push_internal.tally.created IS 'rows settled as created';
COMMENT ON COLUMN contacts_push_internal.tally.present IS 'rows settled as present';
COMMENT ON COLUMN contacts_push_internal.tally.updated IS 'rows settled as updated';
COMMENT ON COLUMN contacts_push_internal.tally.deleted IS 'rows settled as deleted';
COMMENT ON COLUMN contacts_push_internal.tally.conflict IS 'rows settled as conflict';
COMMENT ON COLUMN contacts_push_internal.tally.rejected IS 'rows settled as rejected';
COMMENT ON COLUMN contacts_push_internal.tally.failed IS 'rows settled as failed';

-- Appended by whoever writes the watched table, counted in contacts_push.chatbot by
-- the worker: a counter would make writers wait for each other.
CREATE TABLE contacts_push_internal.enqueue_failure (
	chatbot_id text COLLATE "C" NOT NULL,
	relation text NOT NULL,
	rows contacts_push_internal.counter NOT NULL,
	reason text NOT NULL,
	failed_at timestamptz NOT NULL DEFAULT now(),
	counted boolean NOT NULL DEFAULT false);
CREATE INDEX enqueue_failure_uncounted ON contacts_push_internal.enqueue_failure (chatbot_id)
	WHERE NOT counted;
COMMENT ON TABLE contacts_push_internal.enqueue_failure IS 'statements whose rows were not all enqueued; contacts_push.backfill() finds the rows again';
COMMENT ON COLUMN contacts_push_internal.enqueue_failure.chatbot_id IS 'the chatbot they were for';
COMMENT ON COLUMN contacts_push_internal.enqueue_failure.relation IS 'the watched table';
COMMENT ON COLUMN contacts_push_internal.enqueue_failure.rows IS 'how many were left out';
COMMENT ON COLUMN contacts_push_internal.enqueue_failure.reason IS 'why the first of them was';
COMMENT ON COLUMN contacts_push_internal.enqueue_failure.failed_at IS 'start of the transaction';
COMMENT ON COLUMN contacts_push_internal.enqueue_failure.counted IS 'contacts_push.chatbot.enqueue_failures has it';
COMMENT ON INDEX contacts_push_internal.enqueue_failure_uncounted IS 'finds what the worker has not counted yet';

-- What members contacts have been sent with, as numbers; the worker appends.
CREATE TABLE contacts_push_internal.member (
	chatbot_id text COLLATE "C" NOT NULL,
	number integer NOT NULL,
	name text COLLATE "C" NOT NULL,
	PRIMARY KEY (chatbot_id, number));
COMMENT ON TABLE contacts_push_internal.member IS 'members of contacts that have been sent, custom attributes among them, so that one that goes can be cleared at Chatbase';
COMMENT ON COLUMN contacts_push_internal.member.chatbot_id IS 'the chatbot';
COMMENT ON COLUMN contacts_push_internal.member.number IS 'its bit in contacts_push.outbox.contact_members, from 0';
COMMENT ON COLUMN contacts_push_internal.member.name IS 'name of the member; of a custom attribute with custom_attributes. before it';
COMMENT ON INDEX contacts_push_internal.member_pkey IS 'finds the members of a chatbot';

CREATE TABLE contacts_push.request (
	id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	chatbot_id text COLLATE "C" NOT NULL,
	call text NOT NULL,
	contacts integer NOT NULL,
	seqs int8multirange NOT NULL,
	started_at timestamptz NOT NULL DEFAULT clock_timestamp()
		CONSTRAINT request_started_at_check CHECK (isfinite(started_at)),
	finished_at timestamptz
		CONSTRAINT request_finished_at_check CHECK (isfinite(finished_at)),
	http_status integer,
	outcome text,
	message text,
	request_id text,
	duration_ms bigint);
CREATE INDEX request_unfinished ON contacts_push.request (id) WHERE finished_at IS NULL;
COMMENT ON TABLE contacts_push.request IS 'the requests of the worker; a row is committed before its request leaves';
COMMENT ON COLUMN contacts_push.request.id IS 'order of departure';
COMMENT ON COLUMN contacts_push.request.chatbot_id IS 'the chatbot it went to';
COMMENT ON COLUMN contacts_push.request.call IS 'what was asked for: create, update, delete or read';
COMMENT ON COLUMN contacts_push.request.contacts IS 'how many contacts it carried';
COMMENT ON COLUMN contacts_push.request.seqs IS 'which: their contacts_push.outbox.seq';
COMMENT ON COLUMN contacts_push.request.started_at IS 'when it was decided on';
COMMENT ON COLUMN contacts_push.request.finished_at IS 'when what it came to was written for each of its contacts; NULL: under way, or not written yet';
COMMENT ON COLUMN contacts_push.request.http_status IS 'status of the answer; NULL: none has arrived';
COMMENT ON COLUMN contacts_push.request.outcome IS 'what the answer meant';
COMMENT ON COLUMN contacts_push.request.message IS 'the API''s message, or what failed';
COMMENT ON COLUMN contacts_push.request.request_id IS 'the API''s number of the request, x-request-id in its answer; NULL: none';
COMMENT ON COLUMN contacts_push.request.duration_ms IS 'from departure to answer, milliseconds';
COMMENT ON SEQUENCE contacts_push.request_id_seq IS 'numbers the rows of contacts_push.request';
COMMENT ON INDEX contacts_push.request_pkey IS 'finds requests in the order of their departure';
COMMENT ON INDEX contacts_push.request_unfinished IS 'finds what a worker has left behind';

-- One row, until a restored dump brings its own: no key, or that could not be restored.
CREATE TABLE contacts_push_internal.lineage (
	system_identifier bigint,
	timeline integer,
	database oid,
	since timestamptz NOT NULL DEFAULT now()
		CONSTRAINT lineage_since_check CHECK (isfinite(since)));
INSERT INTO contacts_push_internal.lineage DEFAULT VALUES;
COMMENT ON TABLE contacts_push_internal.lineage IS 'where this outbox is worked off: after a restore, a copy or a new timeline nobody here knows what has been sent meanwhile';
COMMENT ON COLUMN contacts_push_internal.lineage.system_identifier IS 'of the cluster, as in pg_control_system(); NULL: no worker has come yet';
COMMENT ON COLUMN contacts_push_internal.lineage.timeline IS 'of the cluster''s write-ahead log';
COMMENT ON COLUMN contacts_push_internal.lineage.database IS 'OID of the database';
COMMENT ON COLUMN contacts_push_internal.lineage.since IS 'since when: rows of contacts_push.outbox that are older may have been sent elsewhere';

CREATE TABLE contacts_push_internal.worker_state (
	unsettled int8multirange NOT NULL)
WITH (fillfactor = 10);
CREATE UNIQUE INDEX worker_state_single ON contacts_push_internal.worker_state ((true));
INSERT INTO contacts_push_internal.worker_state (unsettled) VALUES ('{[1,)}');
COMMENT ON TABLE contacts_push_internal.worker_state IS 'how far the worker is; one row';
COMMENT ON COLUMN contacts_push_internal.worker_state.unsettled IS 'where in contacts_push.outbox.seq pending rows can be, but for those that wait for another attempt';
COMMENT ON INDEX contacts_push_internal.worker_state_single IS 'keeps it to one row';

-- Whatever is updated or deleted from needs an identity, or a publication that comes to
-- hold it (FOR ALL TABLES, say) has every such statement fail.  These have no key.
ALTER TABLE contacts_push_internal.tally REPLICA IDENTITY FULL;
ALTER TABLE contacts_push_internal.enqueue_failure REPLICA IDENTITY FULL;
ALTER TABLE contacts_push_internal.lineage REPLICA IDENTITY FULL;
ALTER TABLE contacts_push_internal.worker_state REPLICA IDENTITY FULL;

-- What pg_dump carries: all but the requests that are over.
SELECT pg_catalog.pg_extension_config_dump('contacts_push.outbox', '');
SELECT pg_catalog.pg_extension_config_dump('contacts_push.outbox_seq_seq', '');
SELECT pg_catalog.pg_extension_config_dump('contacts_push.chatbot', '');
SELECT pg_catalog.pg_extension_config_dump('contacts_push.request', 'WHERE finished_at IS NULL');
SELECT pg_catalog.pg_extension_config_dump('contacts_push.request_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('contacts_push_internal.lineage', '');
SELECT pg_catalog.pg_extension_config_dump('contacts_push_internal.enqueue_failure', '');
SELECT pg_catalog.pg_extension_config_dump('contacts_push_internal.tally', '');
SELECT pg_catalog.pg_extension_config_dump('contacts_push_internal.member', '');

--
-- Calls
--

CREATE FUNCTION @extschema@.chatbase_create_contacts(chatbot_id text, users jsonb)
RETURNS SETOF contacts_push.contact
AS 'MODULE_PATHNAME', 'contacts_push_create_contacts'
LANGUAGE C VOLATILE PARALLEL UNSAFE COST 1000000 ROWS 1000;
COMMENT ON FUNCTION @extschema@.chatbase_create_contacts(text, jsonb) IS 'creates 1 to 1000 contacts in a chatbot with one request, and returns them in the order given';

CREATE FUNCTION @extschema@.chatbase_list_contacts(chatbot_id text)
RETURNS SETOF contacts_push.contact
AS 'MODULE_PATHNAME', 'contacts_push_list_contacts'
LANGUAGE C VOLATILE PARALLEL UNSAFE COST 1000000 ROWS 1000;
COMMENT ON FUNCTION @extschema@.chatbase_list_contacts(text) IS 'returns all contacts of a chatbot, with a request for each 1000 of them';

CREATE FUNCTION @extschema@.chatbase_get_contact(chatbot_id text, external_id text)
RETURNS SETOF contacts_push.contact
AS 'MODULE_PATHNAME', 'contacts_push_get_contact'
LANGUAGE C VOLATILE PARALLEL UNSAFE COST 1000000 ROWS 1;
COMMENT ON FUNCTION @extschema@.chatbase_get_contact(text, text) IS 'returns a contact of a chatbot; no row if there is no such contact';

CREATE FUNCTION @extschema@.chatbase_update_contact(chatbot_id text, external_id text, contact jsonb)
RETURNS contacts_push.contact
AS 'MODULE_PATHNAME', 'contacts_push_update_contact'
LANGUAGE C VOLATILE PARALLEL UNSAFE COST 1000000;
COMMENT ON FUNCTION @extschema@.chatbase_update_contact(text, text, jsonb) IS 'changes the given members of a contact of a chatbot, and returns it as it is then';

CREATE FUNCTION @extschema@.chatbase_delete_contact(chatbot_id text, external_id text)
RETURNS boolean
AS 'MODULE_PATHNAME', 'contacts_push_delete_contact'
LANGUAGE C VOLATILE PARALLEL UNSAFE COST 1000000;
COMMENT ON FUNCTION @extschema@.chatbase_delete_contact(text, text) IS 'deletes a contact of a chatbot for good; false if there is no such contact';

--
-- Ways into the outbox
--

CREATE FUNCTION contacts_push.enqueue(chatbot_id text, contact jsonb)
RETURNS bigint
AS 'MODULE_PATHNAME', 'contacts_push_enqueue'
LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION contacts_push.enqueue(text, jsonb) IS 'appends one contact, or an array of them, to the outbox; returns how many';

CREATE FUNCTION contacts_push_internal.wake_worker()
RETURNS trigger
AS 'MODULE_PATHNAME', 'contacts_push_wake_worker'
LANGUAGE C;
COMMENT ON FUNCTION contacts_push_internal.wake_worker() IS 'trigger: wakes the worker when the transaction commits';

CREATE TRIGGER wake_worker AFTER INSERT ON contacts_push.outbox
	FOR EACH STATEMENT EXECUTE FUNCTION contacts_push_internal.wake_worker();
COMMENT ON TRIGGER wake_worker ON contacts_push.outbox IS 'wakes the worker when the transaction commits';

CREATE FUNCTION contacts_push_internal.enqueue_rows()
RETURNS trigger
AS 'MODULE_PATHNAME', 'contacts_push_enqueue_rows'
LANGUAGE C;
COMMENT ON FUNCTION contacts_push_internal.enqueue_rows() IS 'trigger on a watched table: appends the contacts of the changed rows to the outbox; arguments: chatbot_id, view';

--
-- Watching tables
--

-- The outbox belongs to the server that works it off: a subscriber has no use for it,
-- and one without its tables stops at their first change.
CREATE FUNCTION contacts_push_internal.warn_of_publications()
RETURNS void
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	publication text;
	scope text;
BEGIN
	FOR publication, scope IN
		SELECT p.pubname, CASE WHEN p.puballtables THEN 'ALL TABLES' ELSE 'TABLES IN SCHEMA '
			|| string_agg(quote_ident(n.nspname), ', ' ORDER BY n.nspname) END
		FROM pg_publication p
		LEFT JOIN (pg_publication_namespace s
				   JOIN pg_namespace n ON n.oid = s.pnnspid
				   AND n.nspname IN ('contacts_push', 'contacts_push_internal')) ON s.pnpubid = p.oid
		WHERE p.puballtables OR n.oid IS NOT NULL
		GROUP BY p.oid, p.pubname, p.puballtables
		ORDER BY p.pubname
	LOOP
		RAISE WARNING 'publication "%" publishes the tables of contacts_push, too', publication
			USING DETAIL = 'It is FOR ' || scope || '. A subscriber that does not have these tables stops at the first change of one.',
				HINT = 'Publish your own tables by name or by schema.';
	END LOOP;
END
$$;
COMMENT ON FUNCTION contacts_push_internal.warn_of_publications() IS 'warns of publications that publish the tables of contacts_push, as all tables or by their schema';

-- The triggers are the registry: their arguments, NUL-terminated in tgargs, say
-- which chatbot and which view.
CREATE VIEW contacts_push_internal.watched_trigger AS
	SELECT t.tgrelid::regclass AS relation,
		a.arguments[1] AS chatbot_id,
		-- a restored dump has no dependency
		coalesce((SELECT d.refobjid::regclass FROM pg_depend d
				  JOIN pg_class c ON c.oid = d.refobjid AND c.relkind = 'v'
				  WHERE d.classid = 'pg_trigger'::regclass AND d.objid = t.oid
				  AND d.refclassid = 'pg_class'::regclass AND d.deptype = 'n'),
			to_regclass(a.arguments[2])) AS view,
		t.tgname AS trigger_name
	FROM pg_trigger t
	CROSS JOIN LATERAL (
		SELECT array_agg(convert_from(decode(part, 'hex'), getdatabaseencoding()) ORDER BY place)
			AS arguments
		FROM regexp_split_to_table(
			regexp_replace(encode(t.tgargs, 'hex'), '(..)', '\1 ', 'g'), '00 ')
			WITH ORDINALITY AS split(spaced, place)
		CROSS JOIN LATERAL (SELECT replace(spaced, ' ', '')) AS joined(part)) AS a
	WHERE t.tgfoid = 'contacts_push_internal.enqueue_rows'::regproc
	AND t.tgparentid = 0;
COMMENT ON VIEW contacts_push_internal.watched_trigger IS 'the triggers that contacts_push.watch() has made';
COMMENT ON COLUMN contacts_push_internal.watched_trigger.relation IS 'the watched table';
COMMENT ON COLUMN contacts_push_internal.watched_trigger.chatbot_id IS 'the chatbot its rows are pushed to';
COMMENT ON COLUMN contacts_push_internal.watched_trigger.view IS 'the view that says what the contacts of the table are';
COMMENT ON COLUMN contacts_push_internal.watched_trigger.trigger_name IS 'name of the trigger';

-- For the worker: a contact belongs to the table that enqueued it first, while this is so.
CREATE FUNCTION contacts_push_internal.source_name(relation oid, chatbot_id text)
RETURNS text
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT n.nspname || '.' || c.relname
	FROM pg_class c
	JOIN pg_namespace n ON n.oid = c.relnamespace
	WHERE c.oid = source_name.relation
	AND EXISTS (SELECT FROM contacts_push_internal.watched_trigger t
				WHERE t.relation = c.oid AND t.chatbot_id = source_name.chatbot_id)
$$;
COMMENT ON FUNCTION contacts_push_internal.source_name(oid, text) IS 'qualified name of a table while it is there and watched for the chatbot';

-- Names in the expressions are looked up along the caller's search_path.
CREATE FUNCTION contacts_push.watch(relation regclass, chatbot_id text,
	external_id text DEFAULT NULL, name text DEFAULT NULL, email text DEFAULT NULL,
	phonenumber text DEFAULT NULL, stripe_accounts text DEFAULT NULL,
	custom_attributes text DEFAULT NULL,
	updates boolean DEFAULT NULL, deletes boolean DEFAULT NULL, replicated boolean DEFAULT false)
RETURNS regclass
AS 'MODULE_PATHNAME', 'contacts_push_watch'
LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION contacts_push.watch(regclass, text, text, text, text, text, text, text, boolean, boolean, boolean) IS 'has the rows of a table, or of a view over one, pushed to a chatbot from now on; returns the view that says what their contacts are';

CREATE FUNCTION contacts_push.unwatch(relation regclass, chatbot_id text DEFAULT NULL)
RETURNS void
AS 'MODULE_PATHNAME', 'contacts_push_unwatch'
LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION contacts_push.unwatch(regclass, text) IS 'ends contacts_push.watch(), and drops the view that it made';

CREATE PROCEDURE contacts_push.backfill(relation regclass, chatbot_id text DEFAULT NULL)
AS 'MODULE_PATHNAME', 'contacts_push_backfill'
LANGUAGE C;
COMMENT ON PROCEDURE contacts_push.backfill(regclass, text) IS 'enqueues the rows of a watched table that the outbox does not have, in chunks that it commits; can be stopped and run again';

CREATE FUNCTION contacts_push.missing(relation regclass, chatbot_id text)
RETURNS SETOF text
AS 'MODULE_PATHNAME', 'contacts_push_missing'
LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION contacts_push.missing(regclass, text) IS 'the external_ids of a watched table''s contacts that the outbox does not have';

--
-- Operating
--

CREATE FUNCTION contacts_push.flush(timeout interval DEFAULT '1 minute')
RETURNS boolean
AS 'MODULE_PATHNAME', 'contacts_push_flush'
LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION contacts_push.flush(interval) IS 'waits until nothing that was committed before is pending, or only what is paused; true when all is settled, false when some is paused or the time is over';

CREATE FUNCTION contacts_push.validate(contact jsonb)
RETURNS text
AS 'MODULE_PATHNAME', 'contacts_push_validate'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION contacts_push.validate(jsonb) IS 'what is wrong with a ContactInput; NULL: nothing';

CREATE FUNCTION contacts_push_internal.wake(resumed boolean DEFAULT false, discarded boolean DEFAULT false)
RETURNS void
AS 'MODULE_PATHNAME', 'contacts_push_wake'
LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION contacts_push_internal.wake(boolean, boolean) IS 'wakes the worker when the transaction commits; resumed: ends its back-offs, too; discarded: it lets go of rows that are not pending any more';

-- The outbox is asked by hopping through its index: of a chatbot whose worker has not
-- come yet nothing else tells.
CREATE VIEW contacts_push_internal.known_chatbot AS
	WITH RECURSIVE hop(chatbot_id) AS (
		(SELECT o.chatbot_id FROM contacts_push.outbox o ORDER BY o.chatbot_id LIMIT 1)
		UNION ALL
		SELECT (SELECT o.chatbot_id FROM contacts_push.outbox o
				WHERE o.chatbot_id OPERATOR(pg_catalog.>) h.chatbot_id
				ORDER BY o.chatbot_id LIMIT 1)
		FROM hop h WHERE h.chatbot_id IS NOT NULL)
	SELECT h.chatbot_id FROM hop h WHERE h.chatbot_id IS NOT NULL
	UNION SELECT c.chatbot_id FROM contacts_push.chatbot c
	UNION SELECT t.chatbot_id FROM contacts_push_internal.watched_trigger t;
COMMENT ON VIEW contacts_push_internal.known_chatbot IS 'the chatbots that somebody has enqueued for or watches a table for';
COMMENT ON COLUMN contacts_push_internal.known_chatbot.chatbot_id IS 'the chatbot''s id, as in the URL of the API';

-- Raises for a chatbot that is not among those that are known, and names the nearest.
CREATE FUNCTION contacts_push_internal.check_chatbot(chatbot_id text, known text[])
RETURNS void
AS 'MODULE_PATHNAME', 'contacts_push_check_chatbot'
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION contacts_push_internal.check_chatbot(text, text[]) IS 'raises if a chatbot is not among those that are known';

CREATE FUNCTION contacts_push_internal.check_chatbot_id(chatbot_id text)
RETURNS void
AS 'MODULE_PATHNAME', 'contacts_push_check_chatbot_id'
LANGUAGE C IMMUTABLE PARALLEL SAFE;
COMMENT ON FUNCTION contacts_push_internal.check_chatbot_id(text) IS 'raises if no chatbot can have this id';

CREATE FUNCTION contacts_push.retry(chatbot_id text DEFAULT NULL, external_id text DEFAULT NULL,
	status contacts_push.status DEFAULT NULL, error text DEFAULT NULL)
RETURNS bigint
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	retried bigint;
BEGIN
	PERFORM contacts_push_internal.check_chatbot(retry.chatbot_id,
		ARRAY(SELECT k.chatbot_id FROM contacts_push_internal.known_chatbot k));
	IF retry.status NOT IN ('conflict', 'rejected', 'failed') THEN
		RAISE EXCEPTION 'cannot retry what is %', retry.status
			USING ERRCODE = 'invalid_parameter_value',
				HINT = 'Refused are conflict, rejected and failed.';
	END IF;
	-- Rows of another attempt are found by their next_attempt_at.
	WITH refused AS (
		SELECT o.seq, o.chatbot_id, o.status FROM contacts_push.outbox o
		WHERE o.status IN ('conflict', 'rejected', 'failed')
		AND (retry.chatbot_id IS NULL OR o.chatbot_id = retry.chatbot_id)
		AND (retry.external_id IS NULL OR o.external_id = retry.external_id)
		AND (retry.status IS NULL OR o.status = retry.status)
		AND (retry.error IS NULL OR o.error LIKE retry.error)
		FOR NO KEY UPDATE
	), pending AS (
		UPDATE contacts_push.outbox o
		SET status = 'pending', attempts = 0, next_attempt_at = now(), settled_at = NULL
		FROM refused r WHERE o.seq = r.seq
	), numbers AS (
		SELECT r.chatbot_id,
			count(*) FILTER (WHERE r.status = 'conflict') AS conflict,
			count(*) FILTER (WHERE r.status = 'rejected') AS rejected,
			count(*) FILTER (WHERE r.status = 'failed') AS failed
		FROM refused r GROUP BY r.chatbot_id
	), counted AS (
		UPDATE contacts_push.chatbot c
		SET conflict = c.conflict - n.conflict, rejected = c.rejected - n.rejected,
			failed = c.failed - n.failed
		FROM numbers n WHERE c.chatbot_id = n.chatbot_id
	)
	SELECT count(*) INTO retried FROM refused;
	PERFORM contacts_push_internal.wake();
	RETURN retried;
END
$$;
COMMENT ON FUNCTION contacts_push.retry(text, text, contacts_push.status, text) IS 'has refused contacts sent again: of a chatbot, one contact, of a status, with an error that is LIKE a pattern; returns how many';

-- What may have been sent is said to, since nobody will ask any more.
CREATE FUNCTION contacts_push.discard(chatbot_id text, external_id text DEFAULT NULL)
RETURNS bigint
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	discarded bigint;
BEGIN
	PERFORM contacts_push_internal.check_chatbot_id(discard.chatbot_id);
	PERFORM contacts_push_internal.check_chatbot(discard.chatbot_id,
		ARRAY(SELECT k.chatbot_id FROM contacts_push_internal.known_chatbot k));
	UPDATE contacts_push.outbox o
	SET status = 'withdrawn', contact = NULL, next_attempt_at = NULL, settled_at = clock_timestamp(),
		(unconfirmed, error) = (
			SELECT d.doubt, 'discarded by ' || session_user || CASE WHEN d.doubt
				THEN ' after a request with it that has no usable answer: Chatbase may have it'
				ELSE '' END
			FROM (SELECT o.unconfirmed
				  OR coalesce(o.enqueued_at < (SELECT max(l.since) FROM contacts_push_internal.lineage l), false)
				  OR EXISTS (SELECT FROM contacts_push.request q
							 WHERE q.finished_at IS NULL AND q.seqs @> o.seq
							 AND q.chatbot_id = o.chatbot_id AND q.started_at >= o.enqueued_at)) AS d(doubt))
	WHERE o.chatbot_id = discard.chatbot_id AND o.status = 'pending'
	AND (discard.external_id IS NULL OR o.external_id = discard.external_id);
	GET DIAGNOSTICS discarded = ROW_COUNT;
	PERFORM contacts_push_internal.wake(discarded => true);
	RETURN discarded;
END
$$;
COMMENT ON FUNCTION contacts_push.discard(text, text) IS 'withdraws what is pending for a chatbot, or for one contact of it; returns how many rows';

CREATE FUNCTION contacts_push.pause(chatbot_id text DEFAULT NULL)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	known text[] := ARRAY(SELECT k.chatbot_id FROM contacts_push_internal.known_chatbot k ORDER BY k.chatbot_id);
BEGIN
	PERFORM contacts_push_internal.check_chatbot(pause.chatbot_id, known);
	INSERT INTO contacts_push.chatbot (chatbot_id)
	SELECT k.chatbot_id FROM unnest(known) AS k(chatbot_id)
	WHERE pause.chatbot_id IS NULL OR k.chatbot_id = pause.chatbot_id
	ON CONFLICT DO NOTHING;
	UPDATE contacts_push.chatbot c
	SET paused_until = 'infinity', pause_reason = 'paused by ' || session_user, pause_kind = NULL
	WHERE pause.chatbot_id IS NULL OR c.chatbot_id = pause.chatbot_id;
	PERFORM contacts_push_internal.wake();
END
$$;
COMMENT ON FUNCTION contacts_push.pause(text) IS 'sends nothing to a chatbot, or to any that is known, until contacts_push.resume()';

CREATE FUNCTION contacts_push.resume(chatbot_id text DEFAULT NULL)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
	PERFORM contacts_push_internal.check_chatbot(resume.chatbot_id,
		ARRAY(SELECT k.chatbot_id FROM contacts_push_internal.known_chatbot k));
	UPDATE contacts_push.chatbot c
	SET paused_until = NULL, pause_reason = NULL, pause_kind = NULL,
		released_deletes = CASE WHEN c.held_deletes IS NULL THEN c.released_deletes
			ELSE (SELECT max(o.seq) FROM contacts_push.outbox o) END
	WHERE (c.paused_until IS NOT NULL OR c.held_deletes IS NOT NULL)
	AND (resume.chatbot_id IS NULL OR c.chatbot_id = resume.chatbot_id);
	PERFORM contacts_push_internal.wake(resumed => true);
END
$$;
COMMENT ON FUNCTION contacts_push.resume(text) IS 'ends a pause, whoever made it, has the chatbot tried at once, and lets deletions through that are held';

CREATE FUNCTION contacts_push.push_changes(chatbot_id text,
	updates boolean DEFAULT NULL, deletes boolean DEFAULT NULL)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
	PERFORM contacts_push_internal.check_chatbot_id(push_changes.chatbot_id);
	IF NOT EXISTS (SELECT FROM contacts_push_internal.known_chatbot k
				   WHERE k.chatbot_id = push_changes.chatbot_id) THEN
		RAISE NOTICE 'nobody has enqueued a contact for chatbot "%" yet, and no table is watched for it',
			push_changes.chatbot_id;
	END IF;
	INSERT INTO contacts_push.chatbot AS c (chatbot_id, updates, deletes)
	VALUES (push_changes.chatbot_id, coalesce(push_changes.updates, false),
		coalesce(push_changes.deletes, false))
	ON CONFLICT (chatbot_id) DO UPDATE
	SET updates = coalesce(push_changes.updates, c.updates),
		deletes = coalesce(push_changes.deletes, c.deletes);
	PERFORM contacts_push_internal.wake();
END
$$;
COMMENT ON FUNCTION contacts_push.push_changes(text, boolean, boolean) IS 'whether later changes of a chatbot''s contacts are pushed, and their deletions; NULL: as it was';

CREATE FUNCTION contacts_push_internal.worker_report(
	OUT pid integer, OUT started_at timestamptz, OUT last_activity_at timestamptz,
	OUT requests_in_flight integer, OUT requests bigint, OUT contacts bigint,
	OUT last_error text, OUT last_error_chatbot_id text, OUT last_error_at timestamptz,
	OUT requests_per_second double precision, OUT held_until timestamptz,
	OUT busy_with text, OUT busy_since timestamptz)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'contacts_push_worker_report'
LANGUAGE C VOLATILE PARALLEL RESTRICTED ROWS 1;
COMMENT ON FUNCTION contacts_push_internal.worker_report() IS 'what this database''s worker reports of itself';

CREATE VIEW contacts_push.worker AS
	SELECT r.pid, r.started_at, r.last_activity_at, r.requests_in_flight,
		r.requests, r.contacts, r.last_error, r.last_error_chatbot_id, r.last_error_at,
		r.requests_per_second, r.held_until, r.busy_with, r.busy_since
	FROM contacts_push_internal.worker_report() r;
COMMENT ON VIEW contacts_push.worker IS 'this database''s worker; no row: none is running';
COMMENT ON COLUMN contacts_push.worker.pid IS 'its process';
COMMENT ON COLUMN contacts_push.worker.started_at IS 'when it started';
COMMENT ON COLUMN contacts_push.worker.last_activity_at IS 'when it last looked at the outbox';
COMMENT ON COLUMN contacts_push.worker.requests_in_flight IS 'requests under way';
COMMENT ON COLUMN contacts_push.worker.requests IS 'requests answered since it started';
COMMENT ON COLUMN contacts_push.worker.contacts IS 'contacts settled since it started';
COMMENT ON COLUMN contacts_push.worker.last_error IS 'its last trouble; NULL: all is well';
COMMENT ON COLUMN contacts_push.worker.last_error_chatbot_id IS 'the chatbot it was about';
COMMENT ON COLUMN contacts_push.worker.last_error_at IS 'when it came';
COMMENT ON COLUMN contacts_push.worker.requests_per_second IS 'what the budget of the key that was used last allows now';
COMMENT ON COLUMN contacts_push.worker.busy_with IS 'what it does at the moment; NULL: it sleeps or waits for answers';
COMMENT ON COLUMN contacts_push.worker.busy_since IS 'since when';
COMMENT ON COLUMN contacts_push.worker.held_until IS 'nothing leaves with that key before, because of a 429; NULL: it is not held';

-- Everything that says something of a contact.  A key that was changed at Chatbase has taken the
-- contact away from the old one; where keys were swapped, the id tells that it has not.
CREATE VIEW contacts_push_internal.contact_intent AS
	SELECT o.chatbot_id, o.external_id, o.seq, o.relation, o.contact, o.status, o.attempts,
		o.next_attempt_at, o.unconfirmed, o.http_status, o.error, o.contact_id, o.enqueued_at, o.settled_at
	FROM contacts_push.outbox o
	UNION ALL
	SELECT o.chatbot_id, o.previous_external_id, o.seq, o.relation, NULL::jsonb, 'deleted'::contacts_push.status,
		o.attempts, NULL::timestamptz, false, o.http_status,
		concat('its external_id is "', o.external_id, '" since'), o.contact_id, o.enqueued_at, o.settled_at
	FROM contacts_push.outbox o
	WHERE o.previous_external_id IS NOT NULL AND o.status = 'updated'
	AND (SELECT t.contact_id FROM contacts_push.outbox t
		 WHERE t.chatbot_id = o.chatbot_id AND t.external_id = o.previous_external_id
		 AND t.seq < o.seq AND t.status IN ('created', 'present', 'updated')
		 ORDER BY t.seq DESC LIMIT 1) <> o.contact_id IS NOT TRUE;
COMMENT ON VIEW contacts_push_internal.contact_intent IS 'rows of contacts_push.outbox by the contact that they are about; one that changed a key at Chatbase is the old one''s deletion, too';
COMMENT ON COLUMN contacts_push_internal.contact_intent.chatbot_id IS 'the chatbot it is for';
COMMENT ON COLUMN contacts_push_internal.contact_intent.external_id IS 'the contact''s identity in this database';
COMMENT ON COLUMN contacts_push_internal.contact_intent.seq IS 'contacts_push.outbox.seq';
COMMENT ON COLUMN contacts_push_internal.contact_intent.relation IS 'OID of the watched table it came from';
COMMENT ON COLUMN contacts_push_internal.contact_intent.contact IS 'the ContactInput to send; NULL withdraws';
COMMENT ON COLUMN contacts_push_internal.contact_intent.status IS 'what became of it';
COMMENT ON COLUMN contacts_push_internal.contact_intent.attempts IS 'failures charged to this contact alone';
COMMENT ON COLUMN contacts_push_internal.contact_intent.next_attempt_at IS 'not sent again before; NULL on the good path';
COMMENT ON COLUMN contacts_push_internal.contact_intent.unconfirmed IS 'an earlier request with it got no usable answer';
COMMENT ON COLUMN contacts_push_internal.contact_intent.http_status IS 'of the answer that settled or last refused it';
COMMENT ON COLUMN contacts_push_internal.contact_intent.error IS 'why it is not created';
COMMENT ON COLUMN contacts_push_internal.contact_intent.contact_id IS 'Chatbase''s id of the contact';
COMMENT ON COLUMN contacts_push_internal.contact_intent.enqueued_at IS 'start of the transaction that appended it';
COMMENT ON COLUMN contacts_push_internal.contact_intent.settled_at IS 'when it was settled';

-- The newest intent counts, but for those that say nothing of what is at Chatbase: that were
-- not sent, that came from another source than the contact, or that wait to be skipped,
-- because the contact is there and such changes are not pushed.
CREATE VIEW contacts_push.contact_status AS
	SELECT DISTINCT ON (i.chatbot_id, i.external_id)
		i.chatbot_id, i.external_id, i.status, i.seq, i.attempts, i.next_attempt_at,
		i.unconfirmed, i.http_status, i.error, i.contact_id, i.enqueued_at, i.settled_at
	FROM contacts_push_internal.contact_intent i
	ORDER BY i.chatbot_id, i.external_id,
		CASE
			WHEN i.status IN ('superseded', 'skipped', 'withdrawn') THEN 2
			WHEN i.status = 'conflict' AND i.http_status IS NULL THEN 1
			WHEN i.status <> 'pending' THEN 0
			WHEN (SELECT CASE WHEN i.contact IS NULL THEN c.deletes ELSE c.updates END
				  FROM contacts_push.chatbot c WHERE c.chatbot_id = i.chatbot_id) THEN 0
			WHEN (SELECT t.status FROM contacts_push_internal.contact_intent t
				  WHERE t.chatbot_id = i.chatbot_id AND t.external_id = i.external_id
				  AND t.status IN ('created', 'present', 'updated', 'deleted')
				  ORDER BY t.seq DESC LIMIT 1) IN ('created', 'present', 'updated') THEN 1
			ELSE 0 END,
		i.seq DESC;
COMMENT ON VIEW contacts_push.contact_status IS 'one row a contact: the newest of its intents, leaving out as far as there are others those that are not sent (superseded, skipped, withdrawn, of another source, or pending but about a contact that is there and whose changes are not pushed)';
COMMENT ON COLUMN contacts_push.contact_status.chatbot_id IS 'the chatbot it is for';
COMMENT ON COLUMN contacts_push.contact_status.external_id IS 'the contact''s identity in this database';
COMMENT ON COLUMN contacts_push.contact_status.status IS 'what became of it';
COMMENT ON COLUMN contacts_push.contact_status.seq IS 'the intent that counts: its contacts_push.outbox.seq';
COMMENT ON COLUMN contacts_push.contact_status.attempts IS 'failures charged to this contact alone';
COMMENT ON COLUMN contacts_push.contact_status.next_attempt_at IS 'not sent again before; NULL on the good path';
COMMENT ON COLUMN contacts_push.contact_status.unconfirmed IS 'an earlier request with it got no usable answer';
COMMENT ON COLUMN contacts_push.contact_status.http_status IS 'of the answer that settled or last refused it';
COMMENT ON COLUMN contacts_push.contact_status.error IS 'why it is not created, updated or deleted; which key it has since, if that has changed';
COMMENT ON COLUMN contacts_push.contact_status.contact_id IS 'Chatbase''s id of the contact';
COMMENT ON COLUMN contacts_push.contact_status.enqueued_at IS 'start of the transaction that appended the intent';
COMMENT ON COLUMN contacts_push.contact_status.settled_at IS 'when it was settled';

-- Pending rows are found where the worker says that they can be, so the cost does
-- not depend on how many are settled.  Each stretch is grouped by itself, right above
-- its scan: rows that first go through the join cost twice as much.  In a function
-- because of its settings: the statistics of a queue are always stale, so the planner
-- would read or sort too much, and compiling the query would take longer than running
-- it.
CREATE FUNCTION contacts_push_internal.count_pending(
	OUT chatbot_id text, OUT contacts bigint, OUT oldest timestamptz,
	OUT deferred bigint, OUT next_attempt_at timestamptz)
RETURNS SETOF record
LANGUAGE sql STABLE PARALLEL RESTRICTED SECURITY DEFINER ROWS 10
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
SET enable_bitmapscan = off
SET enable_sort = off
SET jit = off
SET max_parallel_workers_per_gather = 0
AS $$
	SELECT p.chatbot_id, sum(p.contacts)::int8, min(p.oldest), sum(p.deferred)::int8,
		min(p.next_attempt_at)
	FROM (
		SELECT s.chatbot_id, s.contacts, s.oldest, 0 AS deferred,
			NULL::timestamptz AS next_attempt_at
		FROM contacts_push_internal.worker_state w
		CROSS JOIN LATERAL unnest(w.unsettled) AS r(span)
		CROSS JOIN LATERAL (
			SELECT o.chatbot_id, count(*) AS contacts, min(o.enqueued_at) AS oldest
			FROM (
				SELECT p.chatbot_id, p.enqueued_at
				FROM contacts_push.outbox p
				WHERE p.seq >= coalesce(lower(r.span), 1)
				AND p.seq < coalesce(upper(r.span), 9223372036854775807)
				AND p.status = 'pending' AND p.next_attempt_at IS NULL
				OFFSET 0) AS o
			GROUP BY o.chatbot_id) AS s
		UNION ALL
		SELECT o.chatbot_id, count(*), min(o.enqueued_at),
			count(*) FILTER (WHERE o.next_attempt_at > statement_timestamp()),
			min(o.next_attempt_at) FILTER (WHERE isfinite(o.next_attempt_at))
		FROM contacts_push.outbox o
		WHERE o.next_attempt_at IS NOT NULL AND o.status = 'pending'
		GROUP BY o.chatbot_id) AS p
	GROUP BY p.chatbot_id
$$;
COMMENT ON FUNCTION contacts_push_internal.count_pending() IS 'how many rows are pending for each chatbot, since when, and how many of them wait for another attempt';

CREATE FUNCTION contacts_push_internal.key_state(chatbot_ids text[],
	OUT chatbot_id text, OUT key integer, OUT held_until timestamptz)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'contacts_push_key_state'
LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED;
COMMENT ON FUNCTION contacts_push_internal.key_state(text[]) IS 'which chatbots share an API key (they have one number), and until when a 429 holds it';

CREATE FUNCTION contacts_push_internal.worker_trouble()
RETURNS text
AS 'MODULE_PATHNAME', 'contacts_push_worker_trouble'
LANGUAGE C VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION contacts_push_internal.worker_trouble() IS 'why no worker runs for this database; NULL: one does';

CREATE VIEW contacts_push.progress AS
	WITH pending AS (
		SELECT * FROM contacts_push_internal.count_pending()
	), failure AS (
		SELECT f.chatbot_id, sum(f.rows)::int8 AS rows
		FROM contacts_push_internal.enqueue_failure f
		WHERE NOT f.counted
		GROUP BY f.chatbot_id
	), settled AS (
		SELECT s.chatbot_id, sum(s.created)::int8 AS created, sum(s.present)::int8 AS present,
			sum(s.updated)::int8 AS updated, sum(s.deleted)::int8 AS deleted,
			sum(s.conflict)::int8 AS conflict, sum(s.rejected)::int8 AS rejected,
			sum(s.failed)::int8 AS failed
		FROM (
			SELECT c.chatbot_id, c.created, c.present, c.updated, c.deleted, c.conflict, c.rejected, c.failed
			FROM contacts_push.chatbot c
			UNION ALL
			SELECT t.chatbot_id, t.created, t.present, t.updated, t.deleted, t.conflict, t.rejected, t.failed
			FROM contacts_push_internal.tally t) AS s
		GROUP BY s.chatbot_id
	), known AS (
		SELECT s.chatbot_id FROM settled s
		UNION SELECT p.chatbot_id FROM pending p
		UNION SELECT f.chatbot_id FROM failure f
	), key AS (
		SELECT * FROM contacts_push_internal.key_state(ARRAY(SELECT k.chatbot_id FROM known k))
	), recent AS (
		-- few enough to be read in no time; a minute at the API's limit has 600
		SELECT r.chatbot_id, min(r.started_at) AS since, max(r.finished_at) AS until,
			coalesce(sum(r.contacts) FILTER (
				WHERE r.outcome IN ('created', 'partial')
				OR (r.outcome = 'contact' AND r.contacts = 1)), 0) AS contacts
		FROM (SELECT * FROM contacts_push.request ORDER BY id DESC LIMIT 600) AS r
		WHERE r.finished_at > statement_timestamp() - '1 minute'::interval
		GROUP BY r.chatbot_id
	), rate AS (
		-- the chatbots of a key share what it brings; less than a second tells nothing yet
		SELECT k.key, sum(r.contacts) AS contacts,
			greatest(extract(epoch FROM max(r.until) - min(r.since)), 1) AS seconds
		FROM recent r JOIN key k USING (chatbot_id)
		GROUP BY k.key
	), unanswered AS (
		SELECT r.chatbot_id, min(r.started_at) AS since
		FROM contacts_push.request r
		WHERE r.finished_at IS NULL AND r.outcome IS NULL
		GROUP BY r.chatbot_id
	), server AS MATERIALIZED (
		SELECT contacts_push_internal.worker_trouble() AS trouble,
			current_setting('contacts_push.enabled')::bool AS enabled,
			statement_timestamp() AS now,
			-- as a rule it takes milliseconds
			(SELECT concat('worker busy for ',
					ceil(extract(epoch FROM statement_timestamp() - r.busy_since)), ' s: ', r.busy_with)
				FROM contacts_push_internal.worker_report() r
				WHERE r.busy_since < statement_timestamp() - interval '10 s') AS busy
	), number AS (
		SELECT k.chatbot_id, k.key, p.oldest,
			coalesce(p.contacts, 0) AS pending,
			coalesce(p.contacts, 0) - h.held AS moving,
			coalesce(s.created, 0) AS created, coalesce(s.present, 0) AS present,
			coalesce(s.updated, 0) AS updated, coalesce(s.deleted, 0) AS deleted,
			coalesce(s.conflict, 0) AS conflict, coalesce(s.rejected, 0) AS rejected,
			coalesce(s.failed, 0) AS failed,
			coalesce(c.enqueue_failures, 0) + coalesce(f.rows, 0) AS enqueue_failures,
			coalesce(r.contacts / t.seconds, 0) AS per_second,
			t.contacts / t.seconds AS key_per_second,
			CASE
				WHEN v.trouble IS NOT NULL THEN concat('worker not running: ', v.trouble)
				WHEN NOT v.enabled THEN 'stopped: contacts_push.enabled is off'
				WHEN c.paused_until = 'infinity' THEN
					concat(c.pause_reason, ', until contacts_push.resume()')
				WHEN c.paused_until > v.now THEN
					concat('paused: ', c.pause_reason, ', next try in ',
						ceil(extract(epoch FROM c.paused_until - v.now)), ' s')
				WHEN p.contacts IS NULL THEN 'idle'
				-- what holds these is said below
				WHEN p.contacts = h.held THEN NULL
				WHEN v.busy IS NOT NULL THEN v.busy
				WHEN k.held_until > v.now THEN
					concat('waiting for the key''s limit until ', to_char(k.held_until, 'HH24:MI:SS'))
				WHEN c.backoff_until IS NOT NULL THEN
					concat('backing off: ', c.backoff_reason, ', next try in ',
						greatest(ceil(extract(epoch FROM c.backoff_until - v.now)), 0), ' s')
				WHEN p.deferred = p.contacts - h.held THEN
					concat('deferred: next attempt in ',
						ceil(extract(epoch FROM p.next_attempt_at - v.now)), ' s')
				WHEN greatest(u.since, r.until) < v.now - '10 s'::interval AND u.since IS NOT NULL THEN
					concat('waiting for an answer for ',
						floor(extract(epoch FROM v.now - u.since)), ' s')
				ELSE 'pushing'
			END AS state,
			CASE WHEN h.held > 0 THEN
				concat(h.held, ' deletions held: contacts_push.resume() lets them through') END AS held
		FROM key k
		CROSS JOIN server v
		LEFT JOIN contacts_push.chatbot c USING (chatbot_id)
		LEFT JOIN settled s USING (chatbot_id)
		LEFT JOIN pending p USING (chatbot_id)
		LEFT JOIN failure f USING (chatbot_id)
		LEFT JOIN recent r USING (chatbot_id)
		LEFT JOIN unanswered u USING (chatbot_id)
		LEFT JOIN rate t USING (key)
		-- the number is that of the worker's last look
		CROSS JOIN LATERAL (SELECT least(coalesce(c.held_deletes, 0), coalesce(p.contacts, 0))) AS h(held)
	), share AS (
		SELECT n.*, trunc(100.0 * d.done / nullif(d.done + n.pending, 0), 1) AS percent,
			-- they take turns: until one is through, each of the others has as many sent,
			-- or all that it has
			sum(n.moving) OVER smaller
				+ n.moving * (count(*) OVER (PARTITION BY n.key, n.state = 'pushing')
					- count(*) OVER smaller) AS turns
		FROM number n
		CROSS JOIN LATERAL (SELECT n.created + n.present + n.updated + n.deleted
			+ n.conflict + n.rejected + n.failed) AS d(done)
		WINDOW smaller AS (PARTITION BY n.key, n.state = 'pushing' ORDER BY n.moving
			RANGE UNBOUNDED PRECEDING)
	)
	SELECT s.chatbot_id, s.pending, s.created, s.present, s.updated, s.deleted, s.conflict, s.rejected, s.failed,
		s.enqueue_failures, s.percent,
		round(s.per_second::numeric, 1) AS per_second,
		CASE WHEN s.state = 'pushing' AND s.key_per_second > 0 THEN
			make_interval(secs => ceil(s.turns / s.key_per_second)::float8) END AS eta,
		date_trunc('milliseconds', statement_timestamp() - s.oldest) AS oldest_pending,
		concat_ws(', ', s.state, s.held) AS state,
		rpad(repeat('#', (s.percent / 5)::int4), 20, '.') AS bar
	FROM share s
	ORDER BY s.chatbot_id;
COMMENT ON VIEW contacts_push.progress IS 'how far each chatbot is, one row a chatbot; made for \watch';
COMMENT ON COLUMN contacts_push.progress.chatbot_id IS 'the chatbot';
COMMENT ON COLUMN contacts_push.progress.pending IS 'rows to be sent';
COMMENT ON COLUMN contacts_push.progress.created IS 'contacts that Chatbase has created';
COMMENT ON COLUMN contacts_push.progress.present IS 'contacts that Chatbase has, by a request whose answer was lost';
COMMENT ON COLUMN contacts_push.progress.updated IS 'changes of contacts that Chatbase has made';
COMMENT ON COLUMN contacts_push.progress.deleted IS 'contacts that Chatbase has deleted';
COMMENT ON COLUMN contacts_push.progress.conflict IS 'contacts whose external_id or e-mail belongs to another';
COMMENT ON COLUMN contacts_push.progress.rejected IS 'contacts that are not valid';
COMMENT ON COLUMN contacts_push.progress.failed IS 'contacts that the server failed on';
COMMENT ON COLUMN contacts_push.progress.enqueue_failures IS 'rows of watched tables that could not be enqueued';
COMMENT ON COLUMN contacts_push.progress.percent IS 'of the contacts that have an outcome';
COMMENT ON COLUMN contacts_push.progress.per_second IS 'contacts settled a second, over the last minute or 600 requests of its key';
COMMENT ON COLUMN contacts_push.progress.eta IS 'time the rest takes, beside the others of its key; NULL while nothing moves';
COMMENT ON COLUMN contacts_push.progress.oldest_pending IS 'age of the oldest pending row';
COMMENT ON COLUMN contacts_push.progress.state IS 'what goes on, in words';
COMMENT ON COLUMN contacts_push.progress.bar IS 'percent, to look at';

CREATE FUNCTION contacts_push_internal.announce_installation()
RETURNS void
AS 'MODULE_PATHNAME', 'contacts_push_announce_installation'
LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION contacts_push_internal.announce_installation() IS 'has a worker started for this database when the transaction commits';

--
-- Rights: nothing to anybody but the owner, whatever ALTER DEFAULT PRIVILEGES has given away
--

DO $$
DECLARE
	granted record;
BEGIN
	FOR granted IN
		SELECT DISTINCT o.kind, o.name,
			CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END AS grantee
		FROM pg_depend d
		JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid
		CROSS JOIN LATERAL (
			SELECT CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, c.oid::regclass::text,
				c.relowner, c.relacl
			FROM pg_class c
			WHERE d.classid = 'pg_class'::regclass AND c.oid = d.objid AND c.relkind IN ('r', 'v', 'S')
			UNION ALL
			SELECT 'ROUTINE', p.oid::regprocedure::text, p.proowner,
				coalesce(p.proacl, acldefault('f', p.proowner))
			FROM pg_proc p WHERE d.classid = 'pg_proc'::regclass AND p.oid = d.objid
			UNION ALL
			SELECT 'TYPE', t.oid::regtype::text, t.typowner,
				coalesce(t.typacl, acldefault('T', t.typowner))
			FROM pg_type t
			LEFT JOIN pg_class c ON c.oid = t.typrelid
			-- not those that come with a table or another type
			WHERE d.classid = 'pg_type'::regclass AND t.oid = d.objid
			AND t.typcategory <> 'A' AND coalesce(c.relkind, 'c') = 'c'
			UNION ALL
			SELECT 'SCHEMA', quote_ident(n.nspname), n.nspowner, n.nspacl
			FROM pg_namespace n WHERE d.classid = 'pg_namespace'::regclass AND n.oid = d.objid
		) AS o(kind, name, owner, acl)
		CROSS JOIN LATERAL aclexplode(o.acl) a
		WHERE e.extname = 'contacts_push' AND d.deptype = 'e' AND a.grantee <> o.owner
	LOOP
		EXECUTE format('REVOKE ALL ON %s %s FROM %s', granted.kind, granted.name, granted.grantee);
	END LOOP;
END
$$;

-- But for numbers, which are for whoever monitors the server: no external_id, no contact, and
-- no words, which may quote one.  A view calls its functions as its reader: these tell nobody
-- what an error said who may not read the outbox.
GRANT USAGE ON SCHEMA contacts_push TO pg_monitor;
GRANT EXECUTE ON FUNCTION contacts_push_internal.count_pending(), contacts_push_internal.key_state(text[]),
	contacts_push_internal.worker_report(), contacts_push_internal.worker_trouble() TO pg_monitor;
GRANT SELECT (chatbot_id, pending, created, present, updated, deleted, conflict, rejected, failed,
	enqueue_failures, percent, per_second, eta, oldest_pending, bar) ON contacts_push.progress TO pg_monitor;
GRANT SELECT (pid, started_at, last_activity_at, requests_in_flight, requests, contacts,
	last_error_chatbot_id, last_error_at, requests_per_second, held_until, busy_with, busy_since)
	ON contacts_push.worker TO pg_monitor;
GRANT SELECT (chatbot_id, updates, deletes, paused_until, pause_kind, backoff_until, held_deletes, released_deletes,
	created, present, updated, deleted, conflict, rejected, failed, enqueue_failures) ON contacts_push.chatbot TO pg_monitor;
GRANT SELECT (id, chatbot_id, call, contacts, seqs, started_at, finished_at, http_status, outcome,
	duration_ms) ON contacts_push.request TO pg_monitor;
GRANT SELECT (seq, chatbot_id, relation, status, attempts, next_attempt_at, unconfirmed, http_status,
	enqueued_at, settled_at) ON contacts_push.outbox TO pg_monitor;
GRANT SELECT (chatbot_id, status, seq, attempts, next_attempt_at, unconfirmed, http_status,
	enqueued_at, settled_at) ON contacts_push.contact_status TO pg_monitor;

SELECT contacts_push_internal.announce_installation();
SELECT contacts_push_internal.warn_of_publications();
