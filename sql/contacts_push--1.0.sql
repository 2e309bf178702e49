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
		-- A restored dump has no dependency.  The name is looked for in the catalogs: to_regclass()
		-- raises for whoever may not use its schema.
		coalesce((SELECT d.refobjid::regclass FROM pg_depend d
				  JOIN pg_class c ON c.oid = d.refobjid AND c.relkind = 'v'
				  WHERE d.classid = 'pg_trigger'::regclass AND d.objid = t.oid
				  AND d.refclassid = 'pg_class'::regclass AND d.deptype = 'n'),
			(SELECT c.oid::regclass FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
			 WHERE n.nspname = (parse_ident(a.arguments[2]))[1]
			 AND c.relname = (parse_ident(a.arguments[2]))[2])) AS view,
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
	updates boolean DEFAULT true, deletes boolean DEFAULT true)
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

-- With its owner's rights: a right to delete from the outbox is one to lock it, too.
CREATE FUNCTION contacts_push.forget(chatbot_id text, external_id text)
RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	own int8multirange;
	is_open boolean;
	is_there boolean;
	moved bigint;
	before text;
	forgotten bigint;
BEGIN
	PERFORM contacts_push_internal.check_chatbot_id(forget.chatbot_id);
	PERFORM contacts_push_internal.check_chatbot(forget.chatbot_id,
		ARRAY(SELECT k.chatbot_id FROM contacts_push_internal.known_chatbot k));
	IF forget.external_id IS NULL THEN
		RAISE EXCEPTION 'external_id must not be null'
			USING ERRCODE = 'null_value_not_allowed';
	END IF;
	WITH locked AS (
		SELECT o.* FROM contacts_push.outbox o
		WHERE o.chatbot_id = forget.chatbot_id
		AND (o.external_id = forget.external_id OR o.previous_external_id = forget.external_id)
		FOR UPDATE)
	SELECT range_agg(int8range(l.seq, l.seq, '[]')) FILTER (WHERE l.external_id = forget.external_id),
		string_agg(DISTINCT quote_literal(l.previous_external_id), ', ') FILTER (
			WHERE l.external_id = forget.external_id),
		-- what this transaction discards the worker may be sending
		bool_or(l.status = 'pending' OR (l.status = 'withdrawn' AND l.settled_at >= now()))
	INTO own, before, is_open
	FROM locked l;
	IF is_open THEN
		RAISE EXCEPTION 'contact "%" of chatbot "%" has rows that are not settled', forget.external_id, forget.chatbot_id
			USING ERRCODE = 'object_in_use',
				HINT = 'Wait until they are, as contacts_push.flush() does, or call contacts_push.discard() in a transaction of its own before.';
	END IF;
	IF EXISTS (SELECT FROM contacts_push.request q
			   WHERE q.finished_at IS NULL AND q.chatbot_id = forget.chatbot_id AND q.seqs && own) THEN
		RAISE EXCEPTION 'a request with contact "%" of chatbot "%" is under way', forget.external_id, forget.chatbot_id
			USING ERRCODE = 'object_in_use',
				HINT = 'Try again when its row in contacts_push.request is finished.';
	END IF;
	SELECT bool_or(i.status = 'withdrawn' AND i.unconfirmed)
		OR (array_agg(i.status ORDER BY i.seq DESC)
			FILTER (WHERE i.status IN ('created', 'present', 'updated', 'deleted')))[1] <> 'deleted'
	INTO is_there
	FROM contacts_push_internal.contact_intent i
	WHERE i.chatbot_id = forget.chatbot_id AND i.external_id = forget.external_id;
	-- the words may quote anything of any contact that was sent
	UPDATE contacts_push.request q SET seqs = q.seqs - own, message = NULL
	WHERE q.chatbot_id = forget.chatbot_id AND q.seqs && own;
	-- an external_id that this contact had before is one that Chatbase does not have any more
	UPDATE contacts_push.outbox o
	SET external_id = o.previous_external_id, previous_external_id = NULL, status = 'deleted',
		contact_id = NULL, contact_hash = NULL, contact_members = NULL, error = NULL
	FROM contacts_push_internal.contact_intent i
	WHERE o.chatbot_id = forget.chatbot_id AND o.external_id = forget.external_id
	AND i.chatbot_id = o.chatbot_id AND i.external_id = o.previous_external_id AND i.seq = o.seq;
	GET DIAGNOSTICS moved = ROW_COUNT;
	UPDATE contacts_push.outbox o SET previous_external_id = NULL
	WHERE o.chatbot_id = forget.chatbot_id AND o.previous_external_id = forget.external_id;
	-- of those who were refused its e-mail
	UPDATE contacts_push.outbox o
	SET error = replace(o.error, concat('"', forget.external_id, '"'), 'one that was forgotten')
	WHERE o.chatbot_id = forget.chatbot_id AND o.external_id <> forget.external_id
	AND strpos(o.error, concat('"', forget.external_id, '"')) > 0;
	DELETE FROM contacts_push.outbox o
	WHERE o.chatbot_id = forget.chatbot_id AND o.external_id = forget.external_id;
	GET DIAGNOSTICS forgotten = ROW_COUNT;
	PERFORM contacts_push_internal.wake(discarded => true);
	IF before IS NOT NULL THEN
		RAISE NOTICE 'contact "%" of chatbot "%" has had another external_id before: %',
			forget.external_id, forget.chatbot_id, before
			USING HINT = 'Forget that, too, unless it is somebody else''s by now.';
	END IF;
	IF is_there THEN
		RAISE NOTICE 'contact "%" may be in chatbot "%" all the same', forget.external_id, forget.chatbot_id
			USING DETAIL = 'As far as was known, Chatbase has not deleted it.',
				HINT = 'chatbase_delete_contact() deletes it there.';
	END IF;
	RETURN forgotten + moved;
END
$$;
COMMENT ON FUNCTION contacts_push.forget(text, text) IS 'erases a contact from the outbox and the request log; returns how many rows of the outbox; raises while anything of it is pending or under way';

-- What a contact is to have and Chatbase's lacks.  What it leaves out may be Chatbase's own, and
-- attributes that the chatbot does not know are none.  An e-mail is the same in any case, a phone
-- number in any format, and a value in any type: Chatbase has its own ways to write them.
CREATE FUNCTION contacts_push_internal.differences(wanted jsonb, held contacts_push.contact, stripped text[])
RETURNS text
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT string_agg(m.name, ', ' ORDER BY m.place, m.name)
	FROM (
		SELECT t.place, t.name, differences.wanted -> t.name, t.held
		FROM (VALUES (1, 'name', to_jsonb((differences.held).name)), (2, 'email', to_jsonb((differences.held).email)),
			(3, 'phonenumber', to_jsonb((differences.held).phonenumber)),
			(4, 'stripe_accounts', (differences.held).stripe_accounts)) AS t(place, name, held)
		UNION ALL
		SELECT 5, concat('custom_attributes.', a.key), a.value, (differences.held).custom_attributes -> a.key
		FROM jsonb_each(CASE jsonb_typeof(differences.wanted -> 'custom_attributes') WHEN 'object'
			THEN differences.wanted -> 'custom_attributes' END) AS a
		WHERE a.key <> ALL (differences.stripped)) AS m(place, name, wanted, held)
	WHERE m.wanted <> 'null' AND m.wanted IS DISTINCT FROM m.held
	AND CASE m.name
		WHEN 'email' THEN lower(m.wanted #>> '{}') IS DISTINCT FROM lower(m.held #>> '{}')
		WHEN 'phonenumber' THEN regexp_replace(m.wanted #>> '{}', '[^0-9]', '', 'g')
			IS DISTINCT FROM regexp_replace(m.held #>> '{}', '[^0-9]', '', 'g')
		ELSE m.wanted #>> '{}' IS DISTINCT FROM m.held #>> '{}' END
$$;
COMMENT ON FUNCTION contacts_push_internal.differences(jsonb, contacts_push.contact, text[]) IS 'names the members of a contact that are other ones at Chatbase; NULL: none';

CREATE FUNCTION contacts_push_internal.watched_contacts(relation regclass, chatbot_id text,
	OUT external_id text, OUT contact jsonb)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'contacts_push_watched_contacts'
LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION contacts_push_internal.watched_contacts(regclass, text) IS 'the contacts of a watched table, made as its owner, without the rows that the view fails for';

-- Asks for one contact, and waits for the key's budget if that is used up.
CREATE FUNCTION contacts_push_internal.is_at_chatbase(chatbot_id text, external_id text)
RETURNS boolean
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	LOOP
		BEGIN
			RETURN EXISTS (SELECT FROM @extschema@.chatbase_get_contact(is_at_chatbase.chatbot_id,
							   is_at_chatbase.external_id));
		EXCEPTION WHEN configuration_limit_exceeded THEN
			PERFORM pg_sleep(1);
		END;
	END LOOP;
END
$$;
COMMENT ON FUNCTION contacts_push_internal.is_at_chatbase(text, text) IS 'whether a chatbot has a contact';

-- What the outbox says of contacts is that of the statement that lists those of Chatbase, so of
-- whatever is to be said it is asked again, and nothing is said of what has changed meanwhile.
CREATE FUNCTION contacts_push.reconcile(chatbot_id text, fix boolean DEFAULT false)
RETURNS TABLE (external_id text, finding text, detail text)
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	chatbot contacts_push.chatbot;
	found record;
	different text;
BEGIN
	PERFORM contacts_push_internal.check_chatbot_id(reconcile.chatbot_id);
	PERFORM contacts_push_internal.check_chatbot(reconcile.chatbot_id,
		ARRAY(SELECT k.chatbot_id FROM contacts_push_internal.known_chatbot k));
	IF current_setting('transaction_isolation') <> 'read committed' THEN
		RAISE EXCEPTION 'contacts_push.reconcile() must see what is settled meanwhile'
			USING ERRCODE = 'active_sql_transaction',
				HINT = 'Call it in a transaction that is READ COMMITTED.';
	END IF;
	SELECT * INTO chatbot FROM contacts_push.chatbot c WHERE c.chatbot_id = reconcile.chatbot_id;
	FOR found IN
		WITH held AS MATERIALIZED (
			SELECT h.external_id COLLATE "C" AS external_id, h.id, h AS contact
			FROM @extschema@.chatbase_list_contacts(reconcile.chatbot_id) h
		), known AS MATERIALIZED (
			SELECT i.external_id COLLATE "C" AS external_id, max(i.seq) AS newest,
				bool_or(i.status = 'pending') AS is_pending,
				bool_or(i.status IN ('conflict', 'rejected', 'failed')) AS is_refused,
				bool_or(i.status = 'conflict' AND i.http_status IS NOT NULL) AS is_conflict,
				(array_agg(i.status <> 'deleted' ORDER BY i.seq DESC) FILTER (
					WHERE i.status IN ('created', 'present', 'updated', 'deleted')))[1] AS is_there,
				(array_agg(i.relation ORDER BY i.seq DESC) FILTER (
					WHERE i.status IN ('created', 'present', 'updated')
					OR (i.status = 'conflict' AND i.http_status IS NOT NULL)))[1] AS relation
			FROM contacts_push_internal.contact_intent i
			WHERE i.chatbot_id = reconcile.chatbot_id
			GROUP BY 1
		), watched AS MATERIALIZED (
			SELECT DISTINCT t.relation::oid AS relation
			FROM contacts_push_internal.watched_trigger t
			WHERE t.chatbot_id = reconcile.chatbot_id
		), wanted AS MATERIALIZED (
			SELECT DISTINCT ON (c.external_id COLLATE "C")
				c.external_id COLLATE "C" AS external_id, w.relation, c.contact
			FROM watched w
			CROSS JOIN LATERAL contacts_push_internal.watched_contacts(w.relation, reconcile.chatbot_id) c
			LEFT JOIN known k ON k.external_id = c.external_id COLLATE "C"
				AND k.relation IN (SELECT o.relation FROM watched o)
			-- it belongs to one table, whatever others have
			WHERE k.relation = w.relation IS NOT FALSE
			ORDER BY c.external_id COLLATE "C", w.relation, c.contact
		)
		SELECT external_id, k.newest, coalesce(k.is_there, false) AS is_there,
			coalesce(k.is_refused, false) AS is_refused, coalesce(k.is_conflict, false) AS is_conflict,
			h.id, h.contact AS held, w.contact AS wanted, coalesce(w.relation, k.relation) AS relation,
			-- nobody knows what a contact that came from no table is to be
			k.relation IS NULL OR k.relation NOT IN (SELECT o.relation FROM watched o) AS is_anybodys
		FROM known k FULL JOIN wanted w USING (external_id) FULL JOIN held h USING (external_id)
		WHERE k.is_pending IS NOT TRUE
		ORDER BY external_id
	LOOP
		different := contacts_push_internal.differences(found.wanted, found.held,
			coalesce(chatbot.stripped_attributes, '{}'));
		external_id := found.external_id;
		detail := NULL;
		finding := CASE
			WHEN found.is_there AND found.id IS NULL AND (found.wanted IS NOT NULL OR found.is_anybodys)
				THEN 'missing'
			WHEN found.id IS NULL AND found.wanted IS NOT NULL AND NOT found.is_refused THEN 'missing'
			WHEN found.id IS NULL THEN NULL
			WHEN found.is_there AND different IS NOT NULL THEN 'different'
			WHEN found.is_there THEN NULL
			WHEN found.is_conflict THEN 'adoptable'
			-- never refused: one e-mail, or all the same, and it is the same person
			WHEN lower((found.wanted ->> 'email') COLLATE "C") = lower((found.held).email COLLATE "C")
				OR (found.wanted IS NOT NULL AND different IS NULL) THEN 'adoptable'
			ELSE 'foreign' END;
		CONTINUE WHEN finding IS NULL OR external_id IN ('.', '..')
			OR (SELECT max(i.seq) FROM contacts_push_internal.contact_intent i
				WHERE i.chatbot_id = reconcile.chatbot_id AND i.external_id = found.external_id)
				IS DISTINCT FROM found.newest;
		CONTINUE WHEN finding = 'missing'
			AND contacts_push_internal.is_at_chatbase(reconcile.chatbot_id, found.external_id);
		detail := CASE finding
			WHEN 'missing' THEN CASE
				WHEN found.wanted IS NULL THEN 'it came from no table that is watched: enqueue it again'
				WHEN found.newest IS NULL THEN 'it was never pushed'
				WHEN NOT found.is_there THEN 'nothing of it is pending' END
			WHEN 'different' THEN different
			ELSE concat_ws(', ', found.id, 'differs in ' || different) END;
		IF fix AND finding <> 'foreign' THEN
			IF finding = 'different' AND chatbot.updates IS NOT TRUE THEN
				detail := detail || ' (not fixed: updates are off)';
			ELSE
				PERFORM contacts_push_internal.mend(reconcile.chatbot_id, found.external_id, finding,
					found.is_there, found.id, found.relation, found.wanted);
			END IF;
		END IF;
		RETURN NEXT;
	END LOOP;
END
$$;
COMMENT ON FUNCTION contacts_push.reconcile(text, boolean) IS 'compares a chatbot''s contacts with the views of its watched tables, and says which are missing, different, adoptable or foreign; fix: mends the first three through the outbox';

-- The worker does what there is to be done.  What is settled here is counted as it counts.
CREATE FUNCTION contacts_push_internal.mend(chatbot_id text, external_id text, finding text, is_there boolean,
	contact_id text, relation oid, contact jsonb)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
	IF mend.finding = 'adoptable' THEN
		WITH refused AS (
			SELECT o.seq, o.status FROM contacts_push.outbox o
			WHERE o.chatbot_id = mend.chatbot_id AND o.external_id = mend.external_id
			AND o.status IN ('conflict', 'rejected', 'failed')
			AND o.relation IS NOT DISTINCT FROM mend.relation
			FOR NO KEY UPDATE
		), superseded AS (
			UPDATE contacts_push.outbox o
			SET status = 'superseded', contact = NULL, error = NULL, settled_at = clock_timestamp()
			FROM refused r WHERE o.seq = r.seq
		)
		INSERT INTO contacts_push_internal.tally
		SELECT mend.chatbot_id, 0, 1, 0, 0, - count(*) FILTER (WHERE r.status = 'conflict'),
			- count(*) FILTER (WHERE r.status = 'rejected'), - count(*) FILTER (WHERE r.status = 'failed')
		FROM refused r;
		INSERT INTO contacts_push.outbox (chatbot_id, external_id, relation, status, contact_id, settled_at)
		VALUES (mend.chatbot_id, mend.external_id, mend.relation, 'present', mend.contact_id, clock_timestamp());
		RETURN;
	END IF;
	IF mend.finding = 'missing' AND mend.is_there THEN
		INSERT INTO contacts_push_internal.tally VALUES (mend.chatbot_id, 0, 0, 0, 1, 0, 0, 0);
		INSERT INTO contacts_push.outbox (chatbot_id, external_id, relation, status, error, settled_at)
		VALUES (mend.chatbot_id, mend.external_id, mend.relation, 'deleted',
			'contacts_push.reconcile() has not found it at Chatbase', clock_timestamp());
	ELSIF mend.finding = 'different' THEN
		UPDATE contacts_push.outbox o SET contact_hash = NULL
		WHERE o.chatbot_id = mend.chatbot_id AND o.external_id = mend.external_id
		AND o.status IN ('created', 'present', 'updated') AND o.contact_hash IS NOT NULL;
	END IF;
	INSERT INTO contacts_push.outbox (chatbot_id, external_id, relation, contact)
	SELECT mend.chatbot_id, mend.external_id, mend.relation, mend.contact
	WHERE mend.contact IS NOT NULL;
END
$$;
COMMENT ON FUNCTION contacts_push_internal.mend(text, text, text, boolean, text, oid, jsonb) IS 'has a finding of contacts_push.reconcile() mended';

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
				WHERE r.outcome IN ('created', 'partial', 'updated', 'deleted')
				OR (r.contacts = 1 AND r.outcome IN ('contact', 'rejected'))
				OR (r.call = 'delete' AND r.outcome = 'absent')), 0) AS contacts
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
-- Checking
--

CREATE FUNCTION contacts_push_internal.key_trouble(chatbot_id text)
RETURNS text
AS 'MODULE_PATHNAME', 'contacts_push_key_trouble'
LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED;
COMMENT ON FUNCTION contacts_push_internal.key_trouble(text) IS 'why there is no API key for a chatbot; NULL: there is one';

CREATE FUNCTION contacts_push_internal.probe(chatbot_id text,
	OUT reached integer, OUT address text, OUT http_status integer, OUT is_json boolean,
	OUT is_list boolean, OUT message text)
RETURNS record
AS 'MODULE_PATHNAME', 'contacts_push_probe'
LANGUAGE C VOLATILE PARALLEL UNSAFE COST 1000000;
COMMENT ON FUNCTION contacts_push_internal.probe(text) IS 'asks for the first contacts of a chatbot; how far that came (1: address, 2: connection, 3: TLS), and what was answered';

CREATE FUNCTION contacts_push_internal.list_attributes(chatbot_id text)
RETURNS jsonb
AS 'MODULE_PATHNAME', 'contacts_push_list_attributes'
LANGUAGE C VOLATILE PARALLEL UNSAFE COST 1000000;
COMMENT ON FUNCTION contacts_push_internal.list_attributes(text) IS 'the custom attributes of a chatbot''s schema, as the API lists them';

CREATE FUNCTION contacts_push_internal.view_attributes(view regclass, OUT name text, OUT type text)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'contacts_push_view_attributes'
LANGUAGE C STABLE STRICT PARALLEL UNSAFE ROWS 10;
COMMENT ON FUNCTION contacts_push_internal.view_attributes(regclass) IS 'the custom attributes that a view makes, as its expression tells; type NULL: it does not tell; name NULL: there may be others';

-- Called by sample_attributes(), which changes the user before.
CREATE FUNCTION contacts_push_internal.attributes_in(view regclass)
RETURNS jsonb
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	types jsonb;
BEGIN
	EXECUTE format($query$
		SELECT jsonb_object_agg(a.name, a.types)
		FROM (
			SELECT e.key AS name, jsonb_agg(DISTINCT v.type) FILTER (WHERE v.type <> 'null') AS types
			FROM (SELECT c.custom_attributes::jsonb AS object FROM %s c LIMIT 1000) AS c
			CROSS JOIN LATERAL jsonb_each(CASE jsonb_typeof(c.object) WHEN 'object' THEN c.object END) e
			CROSS JOIN LATERAL (SELECT CASE
				-- a date, or one with a time, as JSON has them
				WHEN jsonb_typeof(e.value) = 'string' AND e.value #>> '{}' ~
					'^\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d(:?\d\d)?)?)?$' THEN 'date'
				WHEN jsonb_typeof(e.value) = 'string' THEN 'text'
				ELSE jsonb_typeof(e.value) END) AS v(type)
			GROUP BY e.key) AS a
		$query$, attributes_in.view) INTO types;
	RETURN coalesce(types, '{}');
END
$$;
COMMENT ON FUNCTION contacts_push_internal.attributes_in(regclass) IS 'the custom attributes of a view''s first rows, with the types of their values';

CREATE FUNCTION contacts_push_internal.sample_attributes(view regclass)
RETURNS jsonb
AS 'MODULE_PATHNAME', 'contacts_push_sample_attributes'
LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION contacts_push_internal.sample_attributes(regclass) IS 'the same as the owner of the table, who is the one to call it';

CREATE FUNCTION contacts_push.create_attribute(chatbot_id text, name text, type text, label text DEFAULT NULL)
RETURNS void
AS 'MODULE_PATHNAME', 'contacts_push_create_attribute'
LANGUAGE C VOLATILE PARALLEL UNSAFE COST 1000000;
COMMENT ON FUNCTION contacts_push.create_attribute(text, text, text, text) IS 'creates a custom attribute in a chatbot''s schema, for good: text, number, boolean or date';

-- Chatbase converts to boolean and to date where it can.
CREATE FUNCTION contacts_push_internal.attribute_fits(wanted text, given text)
RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT CASE
		WHEN given = wanted OR (wanted = 'text' AND given = 'date') THEN true
		WHEN given IS NULL OR (wanted IN ('boolean', 'date') AND given IN ('text', 'number')) THEN NULL
		ELSE false END
$$;
COMMENT ON FUNCTION contacts_push_internal.attribute_fits(text, text) IS 'whether an attribute of one type takes values of another; NULL: it depends on the value';

CREATE FUNCTION contacts_push.register_attributes(chatbot_id text, relation regclass,
	dry_run boolean DEFAULT true, OUT name text, OUT type text, OUT outcome text, OUT detail text)
RETURNS SETOF record
LANGUAGE plpgsql COST 1000000 ROWS 10
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	views regclass[];
	known jsonb;
	made jsonb := '{}';
	others boolean := false;
	sampled jsonb;
	unsampled text;
	view regclass;
	attribute record;
	server record;
	more text;
	stopped boolean := coalesce(dry_run, true);
BEGIN
	IF relation IS NULL THEN
		RAISE EXCEPTION 'relation must not be null' USING ERRCODE = 'null_value_not_allowed';
	END IF;
	SELECT CASE c.relkind WHEN 'v' THEN ARRAY[relation]
		ELSE ARRAY(SELECT DISTINCT t.view FROM contacts_push_internal.watched_trigger t
				   WHERE t.relation = c.oid AND t.chatbot_id = register_attributes.chatbot_id
				   AND t.view IS NOT NULL ORDER BY 1) END
	INTO views FROM pg_class c WHERE c.oid = relation;
	IF coalesce(cardinality(views), 0) = 0 THEN
		RAISE EXCEPTION '"%" is not watched for chatbot "%"', relation, chatbot_id
			USING ERRCODE = 'undefined_object',
				HINT = 'Name the view that says what the contacts are, or call contacts_push.watch() first.';
	END IF;
	known := contacts_push_internal.list_attributes(chatbot_id);

	-- Of what the expressions do not tell, the rows are asked.
	FOREACH view IN ARRAY views LOOP
		sampled := NULL;
		FOR attribute IN SELECT a.name, a.type FROM contacts_push_internal.view_attributes(view) a LOOP
			IF sampled IS NULL AND (attribute.name IS NULL OR attribute.type IS NULL) THEN
				BEGIN
					sampled := contacts_push_internal.sample_attributes(view);
				EXCEPTION WHEN OTHERS THEN
					sampled := '{}';
					unsampled := format('the rows of %s cannot be read: %s', view, SQLERRM);
				END;
			END IF;
			others := others OR attribute.name IS NULL;
			IF attribute.name IS NOT NULL THEN
				made := jsonb_set(made, ARRAY[attribute.name], coalesce(made -> attribute.name, '[]')
					|| CASE WHEN attribute.type IS NOT NULL THEN jsonb_build_array(attribute.type)
						ELSE coalesce(nullif(sampled -> attribute.name, 'null'), '[]') END);
			END IF;
		END LOOP;
		IF others THEN
			SELECT coalesce(jsonb_object_agg(s.key, coalesce(nullif(s.value, 'null'), '[]')), '{}') || made
			INTO made FROM jsonb_each(sampled) s;
		END IF;
	END LOOP;

	FOR attribute IN
		SELECT m.key AS name, t.types,
			-- text that is a date now and then is text
			CASE WHEN cardinality(t.types) = 1 THEN t.types[1]
				WHEN t.types = ARRAY['date', 'text'] THEN 'text' END AS type
		FROM jsonb_each(made) m
		CROSS JOIN LATERAL (SELECT ARRAY(
			SELECT DISTINCT e.value COLLATE "C" FROM jsonb_array_elements_text(m.value) e ORDER BY 1)) AS t(types)
		ORDER BY m.key COLLATE "C"
	LOOP
		SELECT k.value ->> 'type' AS type, coalesce(k.value -> 'archived' = 'true', false) AS archived INTO server
		FROM jsonb_array_elements(known) k WHERE k.value ->> 'name' = attribute.name;
		name := attribute.name;
		type := coalesce(server.type, attribute.type);
		detail := NULL;
		IF server.archived THEN
			outcome := 'archived';
			detail := 'Chatbase refuses contacts that have it: restore it there, or leave it out of the view';
		ELSIF server.type IS NOT NULL THEN
			outcome := 'exists';
			IF NOT contacts_push_internal.attribute_fits(server.type, attribute.type) THEN
				outcome := 'other type';
				detail := format('%s makes %s of it: convert it in the view, or use another name', relation, attribute.type);
			ELSIF attribute.type <> server.type AND attribute.type <> 'date' THEN
				detail := format('%s makes %s of it, which Chatbase takes where it can convert it', relation, attribute.type);
			END IF;
		ELSIF name !~ '^[a-zA-Z][a-zA-Z0-9_-]*$' THEN
			outcome := 'not possible';
			detail := 'a name begins with a letter and goes on with letters, digits, underscores and hyphens';
		ELSIF type IS NULL OR type NOT IN ('text', 'number', 'boolean', 'date') THEN
			outcome := 'not known';
			detail := CASE
				WHEN type IS NOT NULL THEN format('Chatbase has no type for an %s', type)
				WHEN cardinality(attribute.types) > 1 THEN
					format('its values are of several types: %s', array_to_string(attribute.types, ', '))
				ELSE coalesce(unsampled, 'no row that was looked at has a value of it') END;
			IF type IS NULL THEN
				detail := format('%s; contacts_push.create_attribute(%L, %L, type) creates it', detail, chatbot_id, name);
			END IF;
			type := NULL;
		ELSE
			outcome := 'would be created';
			IF name !~ '^[a-z][a-z0-9_]*$' THEN
				detail := 'lower_snake_case is safer: Chatbase''s guide allows no capitals and no hyphens';
			END IF;
			IF stopped AND NOT coalesce(dry_run, true) THEN
				outcome := 'not tried';
			ELSIF NOT stopped THEN
				BEGIN
					PERFORM contacts_push.create_attribute(chatbot_id, name, type);
					outcome := 'created';
				EXCEPTION WHEN OTHERS THEN
					GET STACKED DIAGNOSTICS more = PG_EXCEPTION_DETAIL;
					outcome := 'failed';
					detail := concat_ws(': ', SQLERRM, nullif(more, ''));
					-- what is not about this one would have the others fail, too
					stopped := SQLSTATE NOT IN ('22023', '23505');
				END;
			END IF;
		END IF;
		RETURN NEXT;
	END LOOP;
	IF others THEN
		name := NULL;
		type := NULL;
		outcome := 'not known';
		detail := coalesce(unsampled, 'rows behind the first 1000 may have others');
		RETURN NEXT;
	END IF;
END
$$;
COMMENT ON FUNCTION contacts_push.register_attributes(text, regclass, boolean) IS 'creates the custom attributes that a watched table''s view makes and the chatbot''s schema lacks, or says what it would create; a row for each';

CREATE FUNCTION contacts_push_internal.check_server(
	OUT what text, OUT ok boolean, OUT detail text, OUT hint text)
RETURNS SETOF record
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	trouble text := contacts_push_internal.worker_trouble();
	preloaded boolean := trouble IS NULL OR trouble NOT LIKE '%shared_preload_libraries%';
	reads_file boolean := has_table_privilege('pg_file_settings', 'SELECT')
		AND has_function_privilege('pg_show_all_file_settings()', 'EXECUTE');
	used integer;
	most integer := current_setting('max_worker_processes');
	found record;
	problems integer := 0;
BEGIN
	what := 'preload';
	ok := preloaded;
	IF NOT preloaded THEN
		detail := trouble;
		hint := 'Add it to shared_preload_libraries in postgresql.conf, beside what stands there already, and restart the server.';
		IF reads_file AND (SELECT f.setting LIKE '%contacts_push%' FROM pg_file_settings f
						   WHERE f.name = 'shared_preload_libraries' ORDER BY f.seqno DESC LIMIT 1) THEN
			hint := 'It stands in the configuration file since the server was started: restart the server.';
		END IF;
	END IF;
	RETURN NEXT;

	what := 'worker';
	hint := NULL;
	IF NOT preloaded THEN
		ok := NULL;
		detail := 'not tried: there is none without preload';
	ELSIF trouble IS NULL THEN
		ok := true;
		SELECT concat('process ', r.pid, '; last trouble: ' || r.last_error) INTO detail
		FROM contacts_push_internal.worker_report() r;
	ELSE
		ok := CASE WHEN NOT pg_is_in_recovery() THEN false END;
		detail := trouble;
		hint := CASE
			WHEN pg_is_in_recovery() THEN 'It starts when the server is promoted. Until then, look at the primary.'
			WHEN trouble LIKE '%template%' THEN format('ALTER DATABASE %I IS_TEMPLATE false;', current_database())
			WHEN trouble LIKE '%max_worker_processes%' THEN
				'It takes up to a minute. If none comes, raise max_worker_processes, and restart the server.'
			WHEN trouble LIKE '%again and again%' THEN
				'Do what the error asks for; the worker is started again by itself, within a minute.'
			ELSE 'It is started again by itself: look again in a minute.' END;
	END IF;
	RETURN NEXT;

	-- What is neither the server's own nor a session is a background worker.
	what := 'worker processes';
	SELECT count(*), bool_or(a.backend_type IS NULL) AS hidden INTO found
	FROM pg_stat_activity a
	WHERE a.backend_type IS NULL OR a.backend_type NOT IN ('client backend', 'autovacuum launcher',
		'autovacuum worker', 'checkpointer', 'background writer', 'walwriter', 'walsender', 'walreceiver',
		'walsummarizer', 'startup', 'archiver', 'logger', 'io worker', 'slotsync worker', 'standalone backend');
	ok := CASE WHEN NOT preloaded OR pg_is_in_recovery() THEN NULL
		WHEN trouble IS NULL THEN true
		WHEN found.hidden THEN NULL
		ELSE found.count < most END;
	detail := CASE WHEN found.hidden THEN 'members of pg_read_all_stats are told how many are in use'
		ELSE format('%s of max_worker_processes = %s are in use', found.count, most) END;
	hint := CASE WHEN NOT ok THEN 'Raise max_worker_processes, and restart the server. The launcher takes one, and each database with the extension another.' END;
	RETURN NEXT;

	ok := false;
	IF preloaded AND NOT current_setting('contacts_push.enabled')::boolean THEN
		problems := problems + 1;
		what := 'setting contacts_push.enabled';
		detail := 'it is off: no worker sends anything';
		hint := 'ALTER SYSTEM RESET contacts_push.enabled, or take it out of postgresql.conf, then SELECT pg_reload_conf().';
		RETURN NEXT;
	END IF;
	IF reads_file THEN
		FOR found IN
			SELECT DISTINCT ON (f.name) f.name, f.sourcefile, f.sourceline, f.error,
				s.name IS NULL AS unknown,
				f.error IS NULL AND s.vartype = 'string' AND f.setting IS DISTINCT FROM s.setting
					AND s.source IN ('default', 'configuration file') AND f.name <> 'contacts_push.api_key' AS unread
			FROM pg_file_settings f
			LEFT JOIN pg_settings s ON s.name = f.name
			WHERE f.name LIKE 'contacts\_push.%'
			ORDER BY f.name, f.seqno DESC
		LOOP
			CONTINUE WHEN found.error IS NULL AND NOT found.unknown AND found.unread IS NOT TRUE;
			problems := problems + 1;
			what := format('setting %s', found.name);
			detail := format('%s, line %s: %s', found.sourcefile, found.sourceline,
				CASE WHEN found.unknown THEN 'there is no such setting'
					ELSE coalesce(found.error, 'changed, but the server has not read it yet') END);
			hint := CASE WHEN found.unknown THEN 'SELECT name FROM pg_settings WHERE name LIKE ''contacts_push.%'' shows those that there are.'
				WHEN found.error IS NULL THEN 'SELECT pg_reload_conf();'
				ELSE 'The server''s log says what is wrong with the value. Correct it, then SELECT pg_reload_conf().' END;
			RETURN NEXT;
		END LOOP;
	END IF;
	IF problems = 0 THEN
		what := 'settings';
		ok := CASE WHEN reads_file THEN true END;
		detail := CASE WHEN NOT reads_file THEN 'only superusers may read the configuration file' END;
		hint := NULL;
		RETURN NEXT;
	END IF;

	what := 'publications';
	SELECT string_agg(quote_ident(p.pubname), ', ' ORDER BY p.pubname) AS names INTO found
	FROM pg_publication p
	WHERE p.puballtables OR EXISTS (
		SELECT FROM pg_publication_namespace n JOIN pg_namespace s ON s.oid = n.pnnspid
		WHERE n.pnpubid = p.oid AND s.nspname IN ('contacts_push', 'contacts_push_internal'));
	ok := found.names IS NULL;
	detail := 'publishing the tables of contacts_push, too: ' || found.names;
	hint := CASE WHEN NOT ok THEN 'A subscriber that does not have these tables stops at the first change of one. Publish the tables that are meant by name or by schema.' END;
	RETURN NEXT;
END
$$;
COMMENT ON FUNCTION contacts_push_internal.check_server() IS 'the part of contacts_push.check() about the server';

-- One request tells of the network, the key and the chatbot; what comes behind the step that
-- failed was not tried.
CREATE FUNCTION contacts_push_internal.check_api(chatbot_id text,
	OUT what text, OUT ok boolean, OUT detail text, OUT hint text)
RETURNS SETOF record
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	base_url text;
	host text;
	why text;
	advice text;
	reached integer;
	address text;
	status integer;
	message text;
	is_list boolean;
	answers boolean;
	accepted boolean;
	found boolean;
BEGIN
	BEGIN
		why := contacts_push_internal.key_trouble(check_api.chatbot_id);
		advice := CASE
			WHEN why LIKE 'neither %' THEN 'Put the key into a file of mode 0600 that belongs to the server''s user, name it in contacts_push.api_key_file in postgresql.conf, then SELECT pg_reload_conf().'
			WHEN why LIKE 'there is none;%' THEN 'Have one of them call contacts_push.check().'
			WHEN why LIKE '%group or world access%' THEN 'chmod 0600 that file.'
			WHEN why LIKE '%must be owned%' THEN 'chown that file to the user that the server runs as.'
			WHEN why LIKE 'could not open%' THEN 'The server itself opens that file: look whether it is there, and whether the server''s user may read it and enter its directories.'
			WHEN why LIKE '%is empty' THEN 'Write the key into that file, as one line.'
			WHEN why LIKE '%has no line%' THEN 'Add a line chatbot_id:key, or *:key for all others, or look whether the chatbot_id is right.'
			ELSE 'Write the key into that file as Chatbase shows it: one line, without spaces or quotes.' END;
	EXCEPTION WHEN insufficient_privilege THEN
		GET STACKED DIAGNOSTICS advice = PG_EXCEPTION_HINT;
		why := SQLERRM;
	END;
	RETURN QUERY SELECT 'key', why IS NULL, why, CASE WHEN why IS NOT NULL THEN advice END;

	-- known only when the library is loaded, which it is by now
	base_url := current_setting('contacts_push.base_url');
	host := substring(base_url FROM '^\w+://(\[[^]]*\]|[^:/]*)');
	IF why IS NULL THEN
		BEGIN
			SELECT p.reached, p.address, p.http_status, p.is_list, p.message,
				-- a refusal of the key is one in whatever words
				CASE WHEN p.http_status = 200 THEN p.is_list
					ELSE p.http_status IN (401, 403, 405, 501) OR (p.is_json AND p.http_status BETWEEN 400 AND 499) END
			INTO reached, address, status, is_list, message, answers
			FROM contacts_push_internal.probe(check_api.chatbot_id) p;
			IF reached < 3 THEN
				answers := NULL;
			ELSE
				answers := coalesce(answers, false);
			END IF;
		EXCEPTION WHEN OTHERS THEN
			GET STACKED DIAGNOSTICS advice = PG_EXCEPTION_HINT;
			why := 'not tried: ' || SQLERRM;
		END;
	ELSE
		why := 'not tried: there is no key';
		advice := NULL;
	END IF;
	accepted := CASE WHEN answers THEN
		CASE WHEN status IN (401, 403) THEN false WHEN status <> 429 THEN true END END;
	found := CASE WHEN accepted THEN
		CASE WHEN status = 404 THEN false WHEN status = 200 THEN true END END;

	RETURN QUERY SELECT s.what,
		s.ok,
		CASE WHEN s.ok THEN s.good
			WHEN NOT s.ok THEN concat('HTTP status ' || CASE WHEN message NOT LIKE 'HTTP status %' THEN status END || ': ', message)
			ELSE coalesce(s.unknown, why, 'not tried') END,
		CASE WHEN NOT s.ok THEN s.hint WHEN s.ok IS NULL AND why IS NOT NULL AND s.place = 1 THEN nullif(advice, '') END
	FROM (VALUES
		(1, 'name resolution',
			reached > 0,
			concat(host, ' is ' || nullif(nullif(address, host), '')), NULL,
			format('The server''s machine cannot resolve %s, the host in contacts_push.base_url. Is the name right? Else look at its /etc/resolv.conf, or at https_proxy in the server''s environment.', host)),
		(2, 'connection',
			CASE WHEN reached > 0 THEN reached > 1 END,
			address, NULL,
			format('Nothing takes connections there, or a firewall is between: try curl %s on the server''s machine. If only a proxy leads out, https_proxy has to name it in the server''s environment.', base_url)),
		(3, 'TLS',
			CASE WHEN reached > 1 AND base_url !~* '^http:' THEN reached > 2 END,
			'the certificate is good',
			CASE WHEN reached > 1 AND base_url ~* '^http:' THEN 'not used: plain http to this machine' END,
			'The certificate is not one that is trusted for that name: install the package ca-certificates, or name the file of your own authority in contacts_push.ca_file.'),
		(4, 'answer',
			answers,
			concat('HTTP status ', status), NULL,
			CASE WHEN status IS NULL THEN 'The API did not answer. If it goes on, raise contacts_push.request_timeout.'
				WHEN status >= 500 THEN 'The API has trouble of its own. The worker tries again by itself.'
				ELSE format('That is not the API: contacts_push.base_url is %s, and as a rule it is https://www.chatbase.co/api/v1.', base_url) END),
		(5, 'key accepted',
			accepted,
			NULL, CASE WHEN status = 429 THEN concat('the key''s limit is used up: ', message) END,
			'Chatbase does not know the key: make one there in the settings of the workspace that the chatbot belongs to, and put it into the key file.'),
		(6, 'chatbot found',
			found,
			NULL, CASE WHEN status IN (405, 501) THEN 'the server cannot list contacts' END,
			'There is no such chatbot, or the key is of another workspace: compare the chatbot_id with the one in the chatbot''s settings at Chatbase.')
	) AS s(place, what, ok, good, unknown, hint)
	ORDER BY s.place;

	RETURN QUERY SELECT 'pauses', p.reason IS NULL, p.reason,
		CASE WHEN p.until = 'infinity' THEN format('SELECT contacts_push.resume(%L);', check_api.chatbot_id)
			WHEN p.reason IS NOT NULL THEN format('It is tried again by itself. When the reason is gone, SELECT contacts_push.resume(%L) does so at once.', check_api.chatbot_id) END
	FROM (SELECT max(c.pause_reason), max(c.paused_until) FROM contacts_push.chatbot c
		  WHERE c.chatbot_id = check_api.chatbot_id AND c.paused_until > now()) AS p(reason, until);

	IF found THEN
		RETURN QUERY SELECT * FROM contacts_push_internal.check_attributes(check_api.chatbot_id);
	ELSE
		RETURN QUERY SELECT 'custom attributes', NULL::boolean, 'not tried', NULL;
	END IF;
END
$$;
COMMENT ON FUNCTION contacts_push_internal.check_api(text) IS 'the part of contacts_push.check() about the API';

CREATE FUNCTION contacts_push_internal.check_attributes(chatbot_id text,
	OUT what text, OUT ok boolean, OUT detail text, OUT hint text)
RETURNS SETOF record
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	known jsonb;
	advice text;
	mapping regclass;
	views regclass[] := '{}';
	problems integer;
BEGIN
	BEGIN
		known := contacts_push_internal.list_attributes(check_attributes.chatbot_id);
	EXCEPTION WHEN OTHERS THEN
		GET STACKED DIAGNOSTICS advice = PG_EXCEPTION_HINT;
		RETURN QUERY SELECT 'custom attributes', NULL::boolean, SQLERRM, nullif(advice, '');
		RETURN;
	END;
	-- What is wrong with a view is said of its table.
	FOR mapping IN
		SELECT DISTINCT t.view FROM contacts_push_internal.watched_trigger t
		WHERE t.chatbot_id = check_attributes.chatbot_id AND t.view IS NOT NULL ORDER BY 1
	LOOP
		BEGIN
			PERFORM contacts_push_internal.view_attributes(mapping);
			views := views || mapping;
		EXCEPTION WHEN OTHERS THEN
			NULL;
		END;
	END LOOP;
	RETURN QUERY
	WITH used AS (
		SELECT v.view, a.name, a.type
		FROM unnest(views) AS v(view) CROSS JOIN LATERAL contacts_push_internal.view_attributes(v.view) a
		UNION ALL
		SELECT NULL, s.name, NULL
		FROM contacts_push.chatbot c CROSS JOIN LATERAL unnest(c.stripped_attributes) AS s(name)
		WHERE c.chatbot_id = check_attributes.chatbot_id
		AND NOT EXISTS (SELECT FROM unnest(views) AS v(view)
						CROSS JOIN LATERAL contacts_push_internal.view_attributes(v.view) a
						WHERE a.name = s.name)
	), schema AS (
		SELECT k.value ->> 'name' AS name, k.value ->> 'type' AS type,
			coalesce(k.value -> 'archived' = 'true', false) AS archived
		FROM jsonb_array_elements(known) k
	)
	SELECT concat('custom attribute ' || u.name, CASE WHEN u.name IS NULL THEN 'custom attributes' END),
		CASE WHEN u.name IS NULL THEN NULL WHEN s.name IS NULL OR s.archived THEN false
			ELSE contacts_push_internal.attribute_fits(s.type, u.type) END,
		CASE
			WHEN u.name IS NULL THEN format('%s may make some that only its rows tell', u.view)
			WHEN s.name IS NULL THEN concat(coalesce(u.view::text, 'a contact that was sent'),
				' has it, and the chatbot''s schema does not: Chatbase drops it')
			WHEN s.archived THEN format('%s has it, and it is archived: Chatbase refuses contacts that have it',
				coalesce(u.view::text, 'a contact that was sent'))
			ELSE format('%s makes %s of it, and in the chatbot''s schema it is %s', u.view, u.type, s.type) END,
		CASE
			WHEN u.name IS NULL OR (s.name IS NULL AND u.view IS NOT NULL) THEN
				format('SELECT * FROM contacts_push.register_attributes(%L, %L) shows what it would create.',
					check_attributes.chatbot_id, u.view)
			WHEN s.name IS NULL THEN format('SELECT contacts_push.create_attribute(%L, %L, type) creates it, as text, number, boolean or date. Or leave it out of the contacts.',
				check_attributes.chatbot_id, u.name)
			WHEN s.archived THEN 'Restore it at Chatbase, or leave it out of the view.'
			ELSE 'A type cannot be changed there: convert the value in the view, or use another name.' END
	FROM used u
	LEFT JOIN schema s ON s.name = u.name
	WHERE u.name IS NULL OR s.name IS NULL OR s.archived
	OR (u.type IS NOT NULL AND contacts_push_internal.attribute_fits(s.type, u.type) IS NOT TRUE)
	ORDER BY u.name COLLATE "C", u.view;
	GET DIAGNOSTICS problems = ROW_COUNT;
	IF problems = 0 THEN
		RETURN QUERY SELECT 'custom attributes', true, NULL::text, NULL::text;
	END IF;
END
$$;
COMMENT ON FUNCTION contacts_push_internal.check_attributes(text) IS 'the part of contacts_push.check() about custom attributes: what is sent beside what the chatbot''s schema has';

CREATE FUNCTION contacts_push_internal.check_table(relation regclass, chatbot_id text,
	OUT what text, OUT ok boolean, OUT detail text, OUT hint text)
RETURNS SETOF record
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	backfill text := format('then CALL contacts_push.backfill(%L).', check_table.relation);
	again text;
	parts regclass[];
	mapping regclass;
	mapping_name text;
	problem text;
	advice text;
	grantee record;
BEGIN
	SELECT array_agg(p.relid) INTO parts FROM (
		SELECT check_table.relation AS relid
		UNION SELECT p.relid FROM pg_partition_tree(check_table.relation) p) AS p
	JOIN pg_class c ON c.oid = p.relid AND c.relkind IN ('r', 'p');
	-- The trigger's arguments end with the name that the view had then.
	SELECT w.view, convert_from(rtrim(substring(t.tgargs FROM position('\x00'::bytea IN t.tgargs) + 1),
			'\x00'::bytea), getdatabaseencoding())
	INTO mapping, mapping_name
	FROM contacts_push_internal.watched_trigger w
	JOIN pg_trigger t ON t.tgrelid = w.relation AND t.tgname = w.trigger_name
	WHERE w.relation = check_table.relation AND w.chatbot_id = check_table.chatbot_id
	ORDER BY w.trigger_name LIMIT 1;

	-- Without the comment the view is nobody's but the user's, and unwatch() leaves it.
	again := concat(
		CASE WHEN obj_description(mapping, 'pg_class') LIKE '%contacts_push.watch() makes%' THEN
			format('COMMENT ON VIEW %s IS NULL; ', mapping) END,
		format('SELECT contacts_push.unwatch(%L, %L), contacts_push.watch(%L, %2$L', check_table.relation,
			check_table.chatbot_id, mapping),
		(SELECT DISTINCT ', replicated => true' FROM contacts_push_internal.watched_trigger w
		 JOIN pg_trigger t ON t.tgrelid = w.relation AND t.tgname = w.trigger_name AND t.tgenabled IN ('A', 'R')
		 WHERE w.relation = check_table.relation AND w.chatbot_id = check_table.chatbot_id));

	SELECT string_agg(format('%s on %s', e.event, e.relid), ', ' ORDER BY e.relid::text, e.event),
		string_agg(DISTINCT format('ALTER TABLE %s ENABLE TRIGGER ', e.relid) || quote_ident(e.disabled) || ';', ' ')
	INTO problem, advice
	FROM (
		SELECT p.relid, e.event, min(t.tgname) FILTER (WHERE t.tgenabled = 'D') AS disabled
		FROM unnest(parts) AS p(relid)
		CROSS JOIN (VALUES ('INSERT', 4), ('UPDATE', 16), ('DELETE', 8)) AS e(event, bit)
		LEFT JOIN contacts_push_internal.watched_trigger w
			ON w.relation = check_table.relation AND w.chatbot_id = check_table.chatbot_id
		LEFT JOIN pg_trigger o ON o.tgrelid = w.relation AND o.tgname = w.trigger_name
		LEFT JOIN pg_trigger t ON t.tgrelid = p.relid AND t.tgfoid = o.tgfoid AND t.tgargs = o.tgargs
			AND t.tgtype::integer & e.bit <> 0
		GROUP BY p.relid, e.event
		HAVING count(*) FILTER (WHERE t.tgenabled IN ('O', 'A')) = 0) AS e;
	RETURN QUERY SELECT 'triggers', problem IS NULL,
		'disabled, or not there: ' || problem,
		CASE WHEN problem IS NOT NULL THEN concat(coalesce(advice, again || ');'), ' ', backfill) END;

	problem := NULL;
	advice := NULL;
	IF mapping IS NULL THEN
		problem := format('%s does not exist: rows are left out', mapping_name);
		advice := format('If it has another name now: SELECT contacts_push.unwatch(%L, %L), contacts_push.watch(view, %2$L); ',
			check_table.relation, check_table.chatbot_id) || backfill;
	ELSE
		BEGIN
			PERFORM contacts_push_internal.view_attributes(mapping);
			SELECT format('%s belongs to %s, and not to the owner of the table: rows are left out',
					mapping, quote_ident(pg_get_userbyid(v.relowner))),
				format('ALTER VIEW %s OWNER TO %I; ', mapping, pg_get_userbyid(c.relowner)) || backfill
			INTO problem, advice
			FROM pg_class v
			JOIN pg_roles o ON o.oid = v.relowner
			JOIN pg_class c ON c.oid = check_table.relation
			WHERE v.oid = mapping AND v.relowner <> c.relowner AND NOT o.rolsuper;
		EXCEPTION WHEN OTHERS THEN
			GET STACKED DIAGNOSTICS advice = PG_EXCEPTION_HINT;
			problem := format('%s cannot be used, and rows are left out: %s', mapping, SQLERRM);
		END;
		IF problem IS NULL AND NOT EXISTS (
			SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
			WHERE c.oid = mapping AND ARRAY[n.nspname::text, c.relname::text] = parse_ident(mapping_name)) THEN
			problem := format('%s was %s when the table was watched: in a dump it would be looked for by that name',
				mapping, mapping_name);
			advice := concat(again, '); ', backfill);
		END IF;
	END IF;
	RETURN QUERY SELECT 'view', problem IS NULL, coalesce(problem, mapping::text), nullif(advice, '');

	-- Whoever writes runs what the view calls.
	problem := NULL;
	advice := NULL;
	FOR grantee IN
		SELECT w.role, w.name, f.oid::regprocedure AS function
		FROM (
			SELECT a.grantee, CASE a.grantee WHEN 0 THEN 'public' ELSE pg_get_userbyid(a.grantee) END
			FROM (
				SELECT coalesce(c.relacl, acldefault('r', c.relowner)) AS acl FROM pg_class c WHERE c.oid = ANY (parts)
				UNION ALL
				SELECT a.attacl FROM pg_attribute a WHERE a.attrelid = ANY (parts)) AS g
			CROSS JOIN LATERAL aclexplode(g.acl) a
			WHERE a.privilege_type IN ('INSERT', 'UPDATE', 'DELETE')
			GROUP BY 1) AS w(role, name)
		CROSS JOIN (
			SELECT DISTINCT CASE WHEN d.refclassid = 'pg_proc'::regclass THEN d.refobjid ELSE o.oprcode::oid END
			FROM pg_rewrite r
			JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
			LEFT JOIN pg_operator o ON d.refclassid = 'pg_operator'::regclass AND o.oid = d.refobjid
			WHERE r.ev_class = mapping
			AND (d.refclassid = 'pg_proc'::regclass OR o.oid IS NOT NULL)) AS f(oid)
		WHERE NOT has_function_privilege(w.name, f.oid, 'EXECUTE')
		ORDER BY w.name COLLATE "C", f.oid::regprocedure::text COLLATE "C"
	LOOP
		problem := concat(problem || '; ', grantee.name, ' may write the table and not execute ', grantee.function);
		advice := concat(advice || ' ', format('GRANT EXECUTE ON FUNCTION %s TO %s;', grantee.function,
			CASE grantee.role WHEN 0 THEN 'PUBLIC' ELSE quote_ident(grantee.name) END));
	END LOOP;
	RETURN QUERY SELECT 'rights of those who write', problem IS NULL, problem, advice || ' ' || backfill;

	-- The rest is said of tables that it concerns.
	RETURN QUERY
	SELECT 'replication', false,
		format('subscription %s writes it, and what it writes is not enqueued', string_agg(DISTINCT quote_ident(s.subname), ', ')),
		concat(replace(again, ', replicated => true', ''), ', replicated => true); ', backfill)
	FROM pg_subscription_rel r
	JOIN pg_subscription s ON s.oid = r.srsubid
	WHERE r.srrelid = ANY (parts)
	AND EXISTS (
		SELECT FROM (VALUES (4), (16), (8)) AS e(bit)
		WHERE NOT EXISTS (
			SELECT FROM contacts_push_internal.watched_trigger w
			JOIN pg_trigger o ON o.tgrelid = w.relation AND o.tgname = w.trigger_name
			JOIN pg_trigger t ON t.tgrelid = r.srrelid AND t.tgfoid = o.tgfoid AND t.tgargs = o.tgargs
			WHERE w.relation = check_table.relation AND w.chatbot_id = check_table.chatbot_id
			AND t.tgtype::integer & e.bit <> 0 AND t.tgenabled IN ('R', 'A')))
	HAVING count(*) > 0;

	RETURN QUERY
	SELECT 'children', CASE WHEN NOT bool_or(t.tgnewtable IS NOT NULL OR t.tgoldtable IS NOT NULL) THEN NULL ELSE false END,
		CASE WHEN bool_or(t.tgnewtable IS NOT NULL OR t.tgoldtable IS NOT NULL)
			THEN format('it has got children since it was watched (%s): its own rows are left out', c.names)
			ELSE format('rows of its children are not watched: %s', c.names) END,
		CASE WHEN bool_or(t.tgnewtable IS NOT NULL OR t.tgoldtable IS NOT NULL)
			THEN concat(again, '); ', backfill)
			ELSE 'Watch them, too, if their rows are to be contacts.' END
	FROM (
		SELECT string_agg(i.inhrelid::regclass::text, ', ' ORDER BY i.inhrelid::regclass::text)
		FROM pg_inherits i JOIN pg_class p ON p.oid = i.inhparent
		WHERE i.inhparent = check_table.relation AND p.relkind = 'r') AS c(names)
	JOIN contacts_push_internal.watched_trigger w
		ON w.relation = check_table.relation AND w.chatbot_id = check_table.chatbot_id
	JOIN pg_trigger t ON t.tgrelid = w.relation AND t.tgname = w.trigger_name
	WHERE c.names IS NOT NULL
	GROUP BY c.names;

	RETURN QUERY
	SELECT 'row security', NULL::boolean, 'policies hide no row from the push: all rows that the view takes are pushed',
		'If some are not to be, say so in a WHERE of the view.'
	FROM pg_class c WHERE c.oid = check_table.relation AND c.relrowsecurity;

	RETURN QUERY
	SELECT 'rows left out', false,
		format('%s lately, %s at last: %s', sum(f.rows), to_char(max(f.failed_at), 'YYYY-MM-DD HH24:MI:SS'),
			(array_agg(f.reason ORDER BY f.failed_at DESC))[1]),
		'Fix the rows or the view, ' || backfill
	FROM contacts_push_internal.enqueue_failure f
	WHERE f.chatbot_id = check_table.chatbot_id AND f.relation = (
		SELECT n.nspname || '.' || c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE c.oid = check_table.relation)
	HAVING count(*) > 0;
END
$$;
COMMENT ON FUNCTION contacts_push_internal.check_table(regclass, text) IS 'the part of contacts_push.check() about a watched table';

-- In the order in which a contact goes the way from the server to the chatbot.
CREATE FUNCTION contacts_push.check(chatbot_id text DEFAULT NULL,
	OUT what text, OUT ok boolean, OUT detail text, OUT hint text)
RETURNS SETOF record
LANGUAGE plpgsql COST 1000000 ROWS 20
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	wanted text[] := CASE WHEN "check".chatbot_id IS NOT NULL THEN ARRAY["check".chatbot_id]
		ELSE ARRAY(SELECT k.chatbot_id FROM contacts_push_internal.known_chatbot k ORDER BY k.chatbot_id) END;
	chatbot text;
	watched regclass;
	any_watched boolean;
BEGIN
	RETURN QUERY SELECT * FROM contacts_push_internal.check_server();
	IF cardinality(wanted) = 0 THEN
		RETURN QUERY SELECT 'chatbots', NULL::boolean, 'none is known yet: no table is watched, and nothing was enqueued',
			'SELECT * FROM contacts_push.check(''chatbot_id'') tries the key and the network before.';
	END IF;
	FOREACH chatbot IN ARRAY wanted LOOP
		RETURN QUERY SELECT format('chatbot %s: %s', chatbot, a.what), a.ok, a.detail, a.hint
		FROM contacts_push_internal.check_api(chatbot) a;
		any_watched := false;
		FOR watched IN
			SELECT DISTINCT t.relation FROM contacts_push_internal.watched_trigger t
			WHERE t.chatbot_id = chatbot ORDER BY 1
		LOOP
			any_watched := true;
			RETURN QUERY SELECT format('chatbot %s: table %s: %s', chatbot, watched, t.what), t.ok, t.detail, t.hint
			FROM contacts_push_internal.check_table(watched, chatbot) t;
		END LOOP;
		IF NOT any_watched THEN
			RETURN QUERY SELECT format('chatbot %s: tables', chatbot), NULL::boolean, 'no table is watched for it',
				format('SELECT contacts_push.watch(''users'', %L) watches one.', chatbot);
		END IF;
	END LOOP;
END
$$;
COMMENT ON FUNCTION contacts_push.check(text) IS 'looks for what keeps contacts from arriving, in all of the way or for one chatbot: ok is null where it cannot be told or was not tried; creates nothing';

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
