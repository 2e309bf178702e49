# A worker that waits, for an answer or for work, is in nobody's way: it holds
# no snapshot, no transaction and no lock on a table.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use ContactsPushTest;
use FakeChatbase;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $fake = FakeChatbase->start;
my $node = new_cluster('nothing_held', $fake, extra => <<'END');
autovacuum = off
contacts_push.request_timeout = 1h
END
ok(worker_runs($node), 'the worker runs');

# What the worker has open, as text; '' is nothing.
sub open_things
{
	return $node->safe_psql('postgres', <<'END');
SELECT concat_ws(' ', 'xid ' || backend_xid, 'xmin ' || backend_xmin, 'transaction ' || xact_start,
	(SELECT 'lock on ' || string_agg(l.relation::regclass::text, ', ') FROM pg_locks l
		WHERE l.pid = a.pid AND l.locktype = 'relation'),
	(SELECT 'lock ' || string_agg(l.locktype, ', ') FROM pg_locks l
		WHERE l.pid = a.pid AND l.locktype NOT IN ('relation', 'virtualxid', 'advisory')))
FROM pg_stat_activity a WHERE a.backend_type = 'contacts_push worker'
END
}

# What administrators do goes through: none of it waits longer than it may wait
# for a lock, so a worker in the way would be an error.  What a transaction of
# the worker's own may hold for a moment is over long before.
sub check_administration
{
	my ($when) = @_;
	my $timeout = $PostgreSQL::Test::Utils::timeout_default;

	is(open_things(), '', "$when: nothing is open");
	$node->safe_psql('postgres', <<'END');
CREATE TABLE garbage AS SELECT generate_series(1, 1000) i;
DELETE FROM garbage;
END
	my ($status, $stdout, $stderr) = $node->psql('postgres', 'VACUUM (VERBOSE) garbage');
	like($stderr, qr/tuples: 1000 removed, 0 remain, 0 are dead but not yet removable/,
		"$when: VACUUM removes what was deleted just now");
	$node->safe_psql('postgres', 'DROP TABLE garbage');
	for my $statement (
		'VACUUM contacts_push.outbox',
		'VACUUM FULL contacts_push.outbox',
		'ALTER TABLE contacts_push.outbox ADD COLUMN note text',
		'ALTER TABLE contacts_push.outbox DROP COLUMN note',
		'REINDEX TABLE contacts_push.outbox',
		'CREATE INDEX CONCURRENTLY extra ON contacts_push.outbox (settled_at)',
		'DROP INDEX CONCURRENTLY contacts_push.extra',
		'ALTER TABLE contacts_push.request ALTER COLUMN message SET STATISTICS 0')
	{
		($status, $stdout, $stderr) =
		  $node->psql('postgres', "SET lock_timeout = '${timeout}s';\n$statement");
		is($stderr, '', "$when: $statement");
	}
	is(open_things(), '', "$when: and still nothing is open");
	return;
}

ok(wait_until(sub { open_things() eq '' }), 'an idle worker comes to rest');
check_administration('idle');

$fake->always(hang => FakeChatbase::true);
insert_users($node, 'c', 'u', 1, 1500);
insert_users($node, 'd', 'u', 1, 10);
ok(wait_until(sub { $fake->in_flight == 3 }), 'three requests are under way');
ok(wait_until(sub { open_things() eq '' }), 'the worker comes to rest');
is($node->safe_psql('postgres', 'SELECT count(*) FROM contacts_push.request WHERE finished_at IS NULL'),
	'3', 'what it has sent is committed');
my $pid = worker_pid($node);
check_administration('requests under way');
is($fake->in_flight, 3, 'and they still are');
is(worker_pid($node), $pid, 'with the same worker');

# A worker that somebody waits for would be found out by these.
insert_users($node, 'c', 'late', 1, 10);
$node->safe_psql('postgres', 'LOCK TABLE contacts_push.outbox, contacts_push.request, contacts_push.chatbot NOWAIT')
  if wait_until(sub { open_things() eq '' });
is($fake->in_flight >= 3, 1, 'requests are under way after a lock on all tables');

$fake->reset;
ok(settled($node), 'all is settled in the end');
is(outcomes($node, 'c'), 'created 1510', 'as created');
is(outcomes($node, 'd'), 'created 10', 'for each chatbot');
is(held_matches($node, $fake, $_), '', "as the stand-in holds it: $_") for qw(c d);
ok(wait_until(sub { open_things() eq '' }), 'the worker comes to rest again');

# The worker takes no notice of who holds what: a lock on the table keeps it
# waiting, and nobody waits for it meanwhile.
my $session = $node->background_psql('postgres');
$session->query_safe('BEGIN; LOCK TABLE contacts_push.outbox IN ACCESS EXCLUSIVE MODE');
$session->query_safe('COMMIT');
$session->quit;
insert_users($node, 'c', 'after', 1, 10);
ok(settled($node), 'after all that it works on');
is(outcomes($node, 'c'), 'created 1520', 'as before');

$node->stop;
done_testing();
