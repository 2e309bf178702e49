# What somebody has put on a table of the extension gains nothing by what the worker
# does there, and stops nothing: neither with TRIGGER on them nor as their owner.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use ContactsPushTest;
use FakeChatbase;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# Tells what a test's session has run from what the worker has.
$ENV{PGOPTIONS} = '-c test.session=yes';

my $fake = FakeChatbase->start;
my $node = new_cluster('nobody', $fake, extension => 0, extra => "contacts_push.request_retention = 0\n");

# Who installs it is no role of the system's, so that REASSIGN OWNED may take it away.
# What gets to run says in a table as whom, and tries to do what only superusers may.
my $set_up = <<'END';
CREATE EXTENSION contacts_push;
GRANT USAGE ON SCHEMA contacts_push, contacts_push_internal TO evil;
GRANT ALL ON ALL TABLES IN SCHEMA contacts_push, contacts_push_internal TO evil;
CREATE TABLE ran (place bigserial, what text, who text, climbed text, session text);
GRANT ALL ON ran, ran_place_seq TO PUBLIC;
CREATE FUNCTION spring(what text) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
	climbed text := '';
BEGIN
	BEGIN
		PERFORM pg_read_file('PG_VERSION');
		climbed := 'at once';
	EXCEPTION WHEN OTHERS THEN NULL;
	END;
	BEGIN
		EXECUTE 'RESET ROLE; RESET SESSION AUTHORIZATION';
		PERFORM pg_read_file('PG_VERSION');
		climbed := climbed || ' by RESET';
	EXCEPTION WHEN OTHERS THEN NULL;
	END;
	BEGIN
		EXECUTE 'SET ROLE installer';
		PERFORM pg_read_file('PG_VERSION');
		climbed := climbed || ' by SET ROLE';
	EXCEPTION WHEN OTHERS THEN NULL;
	END;
	INSERT INTO public.ran (what, who, climbed, session)
	VALUES (what, current_user, climbed, current_setting('test.session', true));
	RETURN true;
END$$;
CREATE FUNCTION spring_immutable(what text) RETURNS text IMMUTABLE LANGUAGE plpgsql AS
	$$BEGIN PERFORM public.spring(what); RETURN what; END$$;
CREATE FUNCTION spring_as_trigger() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	PERFORM public.spring(TG_OP || ' of ' || TG_TABLE_NAME);
	IF TG_OP = 'DELETE' THEN RETURN OLD; END IF;
	RETURN NEW;
END$$;
CREATE VIEW ours AS
	SELECT c.oid::regclass AS relation, c.relname AS name
	FROM pg_class c
	JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'
	JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND e.oid = d.refobjid AND e.extname = 'contacts_push'
	WHERE c.relkind = 'r';
GRANT SELECT ON ours TO PUBLIC;
CREATE PROCEDURE add_triggers(prefix text, enabled text DEFAULT '') LANGUAGE plpgsql AS $$
DECLARE
	our record;
	event text;
	timing text;
BEGIN
	FOR our IN SELECT * FROM ours LOOP
		FOREACH event IN ARRAY '{INSERT,UPDATE,DELETE}'::text[] LOOP
			FOREACH timing IN ARRAY '{BEFORE,AFTER}'::text[] LOOP
				EXECUTE format('CREATE TRIGGER %I %s %s ON %s FOR EACH ROW EXECUTE FUNCTION spring_as_trigger()',
					prefix || timing || event, timing, event, our.relation);
				IF enabled <> '' THEN
					EXECUTE format('ALTER TABLE %s %s TRIGGER %I', our.relation, enabled, prefix || timing || event);
				END IF;
			END LOOP;
		END LOOP;
	END LOOP;
END$$;
END

# In a session of the role's own, in which there is no way back.
sub as
{
	my ($role, $sql) = @_;
	return $node->safe_psql('postgres', $sql, extra_params => [ '--username', $role ]);
}

sub next_worker
{
	my ($what) = @_;
	my $pid = worker_pid($node);
	$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)") if $pid ne '';
	ok(wait_until(sub { my $now = worker_pid($node); $now ne '' && $now ne $pid }), $what);
	return;
}

# Everything that the worker does with its tables: it sends, is answered well and ill,
# ends and comes back, counts and deletes.
sub push_through
{
	my ($what, $who) = @_;
	$fake->faults({ match => { chatbot => 'gone' }, action => { status => 404, message => 'Chatbot not found' } });
	as($who, <<'END');
INSERT INTO contacts_push_internal.enqueue_failure (chatbot_id, relation, rows, reason)
VALUES ('bot', 'public.users', 1, 'for the test');
INSERT INTO contacts_push_internal.tally VALUES ('bot', 0, 0, 0, 0, 0, 0, 0);
INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact) VALUES ('gone', gen_random_uuid(), '{"name": "a"}');
INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact) VALUES ('bot', gen_random_uuid(), '{"email": "b"}');
INSERT INTO contacts_push.outbox (chatbot_id, external_id) VALUES ('bot', gen_random_uuid());
INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact)
SELECT 'bot', gen_random_uuid(), '{"name": "c"}' FROM generate_series(1, 20);
END
	next_worker("$what: another worker comes");
	ok($node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM contacts_push.outbox WHERE status = 'pending' AND chatbot_id = 'bot'}),
		"$what: and settles");
	ok($node->poll_query_until('postgres',
			q{SELECT count(*) = 1 FROM contacts_push.chatbot WHERE chatbot_id = 'gone' AND pause_reason ~ '404'}),
		"$what: and pauses");
	# what is over is deleted once a minute, and by each worker at first
	next_worker("$what: and another");
	ok($node->poll_query_until('postgres', <<'END'), "$what: which cleans up");
SELECT (SELECT count(*) = 0 FROM contacts_push_internal.enqueue_failure)
	AND (SELECT count(*) = 0 FROM contacts_push_internal.tally)
	AND (SELECT count(*) = 0 FROM contacts_push.outbox WHERE status = 'withdrawn')
END
	$fake->faults();
	return;
}

# What has run since the last time, and as whom.
sub took_place
{
	return $node->safe_psql('postgres', <<'END');
SELECT DISTINCT who, climbed FROM ran WHERE session IS NULL ORDER BY 1
END
}

$node->safe_psql('postgres', 'CREATE ROLE installer SUPERUSER LOGIN; CREATE ROLE evil LOGIN; CREATE ROLE other LOGIN');
as('installer', $set_up);
ok(worker_runs($node), 'a worker runs');
push_through('nothing there', 'installer');

# the trap can catch: a superuser who writes there himself springs it
as('evil', q{CALL add_triggers('granted ')});
$node->safe_psql('postgres', q{INSERT INTO contacts_push.chatbot VALUES ('sprung')});
like($node->safe_psql('postgres', 'SELECT climbed FROM ran'), qr/by RESET/, 'a trigger runs as whoever writes');
$node->safe_psql('postgres', 'TRUNCATE ran');

push_through('triggers by GRANT', 'evil');
is(took_place(), '', 'triggers by GRANT: none has run');

# a table that refers to the outbox keeps no row there
$node->safe_psql('postgres', 'GRANT CREATE ON SCHEMA public TO evil; GRANT CREATE ON SCHEMA contacts_push, contacts_push_internal TO evil');
as('evil', <<'END');
CREATE TABLE refers (seq bigint REFERENCES contacts_push.outbox ON DELETE CASCADE, request bigint REFERENCES contacts_push.request);
END
as('evil', <<'END');
INSERT INTO contacts_push.outbox (chatbot_id, external_id) VALUES ('bot', 'referred to');
INSERT INTO refers SELECT max(seq), (SELECT max(id) FROM contacts_push.request) FROM contacts_push.outbox;
END
push_through('foreign keys', 'evil');
is(took_place(), '', 'foreign keys: nothing has run');
as('evil', 'DROP TABLE refers');

# all of it given to a plain role, which does as it likes with its tables
$node->safe_psql('postgres', 'REASSIGN OWNED BY installer TO evil');
as('evil', <<'END');
CALL add_triggers('owned ', 'ENABLE ALWAYS');
DO $$
DECLARE
	our record;
BEGIN
	FOR our IN SELECT * FROM ours LOOP
		EXECUTE format('ALTER TABLE %s ADD CHECK (spring(%L))', our.relation, 'CHECK of ' || our.name);
		EXECUTE format('CREATE INDEX ON %s (spring_immutable(%L))', our.relation, 'index of ' || our.name);
		EXECUTE format('ALTER TABLE %s ADD extra boolean DEFAULT spring(%L)', our.relation, 'DEFAULT of ' || our.name);
		EXECUTE format('CREATE POLICY %I ON %s USING (spring(%L))', 'spring', our.relation, 'POLICY of ' || our.name);
		EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', our.relation);
	END LOOP;
END$$;
END
$node->safe_psql('postgres', 'TRUNCATE ran');
push_through('owned', 'evil');
is(took_place(), 'evil|', 'owned: what has run did as its owner');

# tables of different owners: one's code is not run as the other
$node->safe_psql('postgres', 'REASSIGN OWNED BY evil TO installer; ALTER TABLE contacts_push.request OWNER TO evil; GRANT USAGE ON SCHEMA contacts_push TO evil; GRANT INSERT ON contacts_push.outbox TO evil');
as('evil', 'ALTER TABLE contacts_push.request DISABLE TRIGGER ALL');
$node->safe_psql('postgres', <<'END');
DO $$
DECLARE
	their record;
BEGIN
	FOR their IN SELECT tgrelid::regclass AS relation, tgname FROM pg_trigger WHERE tgname ~ '^(granted|owned) ' LOOP
		EXECUTE format('DROP TRIGGER %I ON %s', their.tgname, their.relation);
	END LOOP;
	FOR their IN SELECT conrelid::regclass AS relation, conname FROM pg_constraint WHERE pg_get_constraintdef(oid) ~ 'spring' LOOP
		EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', their.relation, their.conname);
	END LOOP;
	FOR their IN SELECT indexrelid::regclass AS relation FROM pg_index WHERE pg_get_indexdef(indexrelid) ~ 'spring' LOOP
		EXECUTE format('DROP INDEX %s', their.relation);
	END LOOP;
	FOR their IN SELECT * FROM ours LOOP
		EXECUTE format('ALTER TABLE %s DROP extra', their.relation);
		EXECUTE format('DROP POLICY spring ON %s', their.relation);
		EXECUTE format('ALTER TABLE %s DISABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY', their.relation);
	END LOOP;
END$$;
END
as('evil', <<'END');
CREATE TRIGGER mixed BEFORE INSERT OR UPDATE ON contacts_push.request FOR EACH ROW EXECUTE FUNCTION spring_as_trigger();
ALTER TABLE contacts_push.request ENABLE ALWAYS TRIGGER mixed;
END
$node->safe_psql('postgres', 'TRUNCATE ran');
as('evil', <<'END');
INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact)
SELECT 'bot', 'mixed' || i, '{"name": "d"}' FROM generate_series(1, 5) i
END
ok(wait_until(sub { $node->log_contains('contacts_push.outbox belongs to role "installer", but "request" to role "evil"') }),
	'different owners: the log says so');
is(took_place(), '', 'different owners: nothing has run');
is(outcomes($node, 'bot') =~ /pending 5/ ? 'pending' : outcomes($node, 'bot'), 'pending', 'different owners: nothing was sent');
$node->safe_psql('postgres', 'ALTER TABLE contacts_push.request OWNER TO installer');
ok($node->poll_query_until('postgres', q{SELECT count(*) = 5 FROM contacts_push.outbox WHERE external_id ~ '^mixed' AND status = 'created'}),
	'with one owner it goes on');

$node->stop;
done_testing();
