# What the mapping as a view has to do with the server as a whole: prepared transactions, a
# restored dump, a crash, and rows written at every isolation level with the view replaced
# under the writers' hands.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use ContactsPushTest;
use FakeChatbase;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use UsersTest;

my $fake = FakeChatbase->start;
my $node = new_cluster('view', $fake, extra => "max_prepared_transactions = 5\ncontacts_push.enabled = off\n");

# What is enqueued of users, and what of them the view has.
my $newest = <<'END';
SELECT coalesce(string_agg(external_id || ' ' || coalesce(contact ->> 'name', '-'), ', ' ORDER BY external_id), '')
FROM (SELECT DISTINCT ON (external_id) * FROM contacts_push.outbox ORDER BY external_id, seq DESC) n
END

$node->safe_psql('postgres', <<'END');
CREATE TABLE users (id integer PRIMARY KEY, name text, born text, active boolean NOT NULL DEFAULT true);
CREATE VIEW members AS SELECT 'u' || id AS external_id, name, jsonb_build_object('born', born::date) AS custom_attributes
FROM users WHERE active;
SELECT contacts_push.watch('members', 'bot');
END

# A prepared transaction: rows, a failure and a withdrawal are there when it is committed.
sub prepare
{
	my ($id, $base) = @_;
	$node->safe_psql('postgres', <<"END");
BEGIN;
INSERT INTO users VALUES ($base + 1, 'one', NULL), ($base + 2, 'two', 'never'), ($base + 3, 'three', NULL);
UPDATE users SET name = 'changed' WHERE id = $base + 1;
SAVEPOINT s;
UPDATE users SET name = 'lost' WHERE id = $base + 1;
ROLLBACK TO s;
UPDATE users SET active = false WHERE id = $base + 3;
PREPARE TRANSACTION '$id';
END
	return;
}
prepare('kept', 10);
prepare('dropped', 20);
is($node->safe_psql('postgres', $newest), '', 'nothing is seen of prepared transactions');
$node->stop('immediate');
$node->start;
$node->safe_psql('postgres', $_) for "COMMIT PREPARED 'kept'", "ROLLBACK PREPARED 'dropped'";
is($node->safe_psql('postgres', $newest), 'u11 changed, u13 -', 'of a committed one everything, also after a crash');
is($node->safe_psql('postgres', 'SELECT sum(enqueue_failures) FROM contacts_push.progress'), '1', 'and its failure is counted');

# A restored dump: the triggers take the view by its name.
my $dump = PostgreSQL::Test::Utils::tempdir() . '/dump.sql';
$node->command_ok([ 'pg_dump', '-d', $node->connstr('postgres'), '-f', $dump ], 'pg_dump');
$node->safe_psql('postgres', 'CREATE DATABASE restored');
$node->command_ok([ 'psql', '-X', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('restored'), '-f', $dump ], 'restore');
my $watched = 'SELECT DISTINCT relation, view, chatbot_id FROM contacts_push_internal.watched_trigger';
is($node->safe_psql('restored', $watched), 'users|members|bot', 'restored: the table is watched by its view');
$node->safe_psql('restored', q{INSERT INTO users VALUES (31, 'restored'); UPDATE users SET active = false WHERE id = 11});
is($node->safe_psql('restored', $newest), 'u11 -, u13 -, u31 restored', 'restored: what is written is enqueued');
my ($status, $out, $err) = $node->psql('restored', <<'END');
ALTER VIEW members RENAME TO elsewhere;
INSERT INTO users VALUES (32, 'no view');
CALL contacts_push.backfill('users');
END
is($status, 0, 'restored: statements succeed when the view has been renamed');
like($err, qr/WARNING:  1 row of "users" was not enqueued for chatbot "bot"\nDETAIL:  view public.members does not exist\n/,
	'restored: and say that it is not to be found');
like($err, qr/WARNING:  \d rows of "users" were not enqueued for chatbot "bot"\nDETAIL:  view public.members does not exist\n/,
	'restored: so does backfill');
$node->safe_psql('restored', q{SELECT contacts_push.unwatch('users'); SELECT contacts_push.watch('elsewhere', 'bot'); CALL contacts_push.backfill('users')});
is($node->safe_psql('restored', $newest), 'u11 -, u13 -, u31 restored, u32 no view', 'restored: watched anew, nobody is missing');
($status, $out, $err) = $node->psql('restored', 'ALTER VIEW elsewhere RENAME TO again; DROP VIEW again');
like($err, qr/cannot drop view again because other objects depend on it/, 'restored: and the view is depended on');
is($node->safe_psql('restored', q{INSERT INTO users VALUES (33, 'renamed'); SELECT contacts_push.missing('again', 'bot')}),
	'u12', 'restored: and found wherever it goes; whoever cannot be mapped is still missing');
$node->safe_psql('postgres', 'DROP DATABASE restored');

# The view, its function and the table change all the time while others write, in sessions
# that have compiled them: no statement fails, and nobody is forgotten.
$node->safe_psql('postgres', <<'END');
CREATE TABLE storm (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text, part integer) PARTITION BY HASH (id);
CREATE TABLE storm_0 PARTITION OF storm FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE storm_1 (part integer, gone text, name text, id bigint NOT NULL);
ALTER TABLE storm_1 DROP COLUMN gone;
ALTER TABLE storm ATTACH PARTITION storm_1 FOR VALUES WITH (MODULUS 2, REMAINDER 1);
CREATE TABLE calm (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text);
CREATE FUNCTION label(name text) RETURNS text LANGUAGE sql RETURN name;
CREATE VIEW storm_view AS SELECT 's' || id AS external_id, label(name) AS name FROM storm;
CREATE VIEW calm_view AS SELECT 'c' || id AS external_id, label(name) AS name FROM calm;
SELECT contacts_push.watch('storm_view', 'storm'), contacts_push.watch('calm_view', 'storm');
END
$node->pgbench(
	'-n -c 4 -j 2 -t 150', 0,
	[qr{processed: 600/600}, qr{number of failed transactions: 0 }],
	[qr/^(?!.*(ERROR|WARNING|abort))/s],
	'a storm of changes',
	{
		'060_write@6' => <<'END',
BEGIN;
INSERT INTO storm (name) SELECT 'w' || n FROM generate_series(1, 20) n;
INSERT INTO calm (name) SELECT 'w' || n FROM generate_series(1, 20) n;
UPDATE calm SET name = name || '!' WHERE id = (SELECT max(id) FROM calm WHERE name = 'w7');
DELETE FROM storm WHERE id IN (SELECT id FROM storm WHERE name = 'w9' ORDER BY id DESC LIMIT 1);
COMMIT;
END
		'060_view@2' => <<'END',
\set n random(1, 1000000)
SELECT pg_advisory_lock(1);
CREATE OR REPLACE VIEW storm_view AS SELECT 's' || id AS external_id, label(name) || :n AS name FROM storm;
CREATE OR REPLACE VIEW calm_view AS SELECT 'c' || id AS external_id, :n || label(name) AS name FROM calm;
SELECT pg_advisory_unlock(1);
END
		'060_function@2' => <<'END',
\set n random(1, 1000000)
SELECT pg_advisory_lock(1);
CREATE OR REPLACE FUNCTION label(name text) RETURNS text LANGUAGE plpgsql AS $$BEGIN RETURN name || ' ' || :n; END$$;
CREATE OR REPLACE FUNCTION label(name text) RETURNS text LANGUAGE sql RETURN name || :n;
SELECT pg_advisory_unlock(1);
END
		'060_table@1' => <<'END',
\set n random(1, 1000000)
SELECT pg_advisory_lock(1);
ALTER VIEW calm_view RENAME TO calm_view_2;
ALTER TABLE calm ALTER COLUMN name SET STATISTICS 10;
ALTER VIEW calm_view_2 RENAME TO calm_view;
SELECT pg_advisory_unlock(1);
ANALYZE calm;
END
	});
is($node->safe_psql('postgres', <<'END'), '', 'everybody is enqueued as written last, and nobody else');
WITH newest AS (SELECT DISTINCT ON (external_id) external_id, contact FROM contacts_push.outbox WHERE chatbot_id = 'storm' ORDER BY external_id, seq DESC),
written AS (SELECT 's' || id AS external_id, name FROM storm UNION ALL SELECT 'c' || id, name FROM calm)
SELECT coalesce(external_id, ''), w.name, n.contact FROM written w FULL JOIN (SELECT * FROM newest WHERE contact IS NOT NULL) n USING (external_id)
WHERE w.name IS NULL OR n.contact IS NULL OR position(w.name in n.contact ->> 'name') = 0 LIMIT 5
END
is($node->safe_psql('postgres', q{SELECT count(*) FROM contacts_push_internal.enqueue_failure WHERE chatbot_id = 'storm'}), '0', 'no row was left out');
$node->stop;

done_testing();
