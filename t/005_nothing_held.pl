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

# What the worker has open, as text; '' is nothing.  Or what others have, by a
# condition on pg_stat_activity.
sub open_things
{
	my ($whose) = @_;
	$whose //= q{a.backend_type = 'contacts_push worker'};
	return $node->safe_psql('postgres', <<"END");
SELECT concat_ws(' ', 'xid ' || backend_xid, 'xmin ' || backend_xmin, 'transaction ' || xact_start,
	(SELECT 'lock on ' || string_agg(l.relation::regclass::text, ', ') FROM pg_locks l
		WHERE l.pid = a.pid AND l.locktype = 'relation'),
	(SELECT 'lock ' || string_agg(l.locktype, ', ') FROM pg_locks l
		WHERE l.pid = a.pid AND l.locktype NOT IN ('relation', 'virtualxid', 'advisory')))
FROM pg_stat_activity a WHERE $whose
END
}

# First, that these would be seen
my $session = open_session($node);
my $pid = $session->query_safe('SELECT pg_backend_pid()');
is(open_things("a.pid = $pid"), '', 'an idle session has nothing open');
$session->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM contacts_push.outbox');
like(open_things("a.pid = $pid"), qr/^xmin \d+ transaction .* lock on .*contacts_push\.outbox/,
	'one with a transaction has a snapshot and a lock');
$session->query_safe('COMMIT');

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
		'CLUSTER contacts_push.outbox USING outbox_pkey',
		'REINDEX TABLE contacts_push.outbox',
		'REINDEX TABLE CONCURRENTLY contacts_push.outbox',
		'REINDEX SCHEMA contacts_push_internal',
		'VACUUM FULL contacts_push.request, contacts_push.chatbot',
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
$pid = worker_pid($node);
check_administration('requests under way');
is($fake->in_flight, 3, 'and they still are');
is(worker_pid($node), $pid, 'with the same worker');

# all tables at once, in a transaction that goes on for as long as it likes
$session->query_safe(
	'BEGIN; LOCK TABLE contacts_push.outbox, contacts_push.request, contacts_push.chatbot IN ACCESS EXCLUSIVE MODE');
is($fake->in_flight, 3, 'requests are under way while all tables are locked');
$session->query_safe('COMMIT');

$fake->reset;
ok(settled($node), 'all is settled in the end');
is(outcomes($node, 'c'), 'created 1500', 'as created');
is(outcomes($node, 'd'), 'created 10', 'for each chatbot');
is(held_matches($node, $fake, $_), '', "as the stand-in holds it: $_") for qw(c d);
ok(wait_until(sub { open_things() eq '' }), 'the worker comes to rest again');

# An operator's transaction that holds rows keeps these from being settled, and
# nothing else.
set_conf($node, 'contacts_push.enabled' => 'off');
insert_users($node, 'rows', 'r', 1, 10);
$session->query_safe(q{BEGIN; SELECT FROM contacts_push.outbox WHERE chatbot_id = 'rows' AND external_id IN ('r3', 'r7') FOR UPDATE});
set_conf($node, 'contacts_push.enabled' => 'on');
ok(wait_until(sub { outcomes($node, 'rows') eq 'created 8, pending 2' }), 'rows that nobody holds are settled');
insert_users($node, 'rows', 'more', 1, 10);
ok(wait_until(sub { outcomes($node, 'rows') eq 'created 18, pending 2' }), 'and what comes after');
is($fake->held('rows')->{r3} ne '', 1, 'though those held are created at the other end');
$session->query_safe('COMMIT');
$session->quit;
ok(settled($node), 'once nobody holds them, all is settled');
is(outcomes($node, 'rows'), 'created 20', 'as created');
is(held_matches($node, $fake, 'rows'), '', 'with the ids that the stand-in holds');
is($fake->stats->{contacts}, 1500 + 10 + 20, 'and sent once');

$node->stop;
done_testing();
