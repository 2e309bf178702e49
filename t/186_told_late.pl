# CREATE EXTENSION brings a worker whenever it comes: also while the launcher has yet to notice that
# one, which looked just before, has found nothing.
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
my $node = new_cluster('told_late', $fake);
ok(worker_runs($node), 'a worker runs');
my $launcher = $node->safe_psql('postgres', q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'contacts_push launcher'});

# The launcher is stopped when the worker is about to look.
$node->safe_psql('postgres', 'CREATE DATABASE late');
my $session = open_session($node, 'late');
$session->query_safe('BEGIN; LOCK pg_extension');
$node->safe_psql('postgres', 'ALTER DATABASE late IS_TEMPLATE false');
ok($node->poll_query_until('postgres',
	q{SELECT count(*) = 1 FROM pg_stat_activity WHERE datname = 'late' AND backend_type = 'contacts_push worker' AND wait_event_type = 'Lock'}),
	'a worker is about to look for the extension');
kill 'STOP', $launcher;
$session->query_safe('ROLLBACK');
$session->quit;
ok(wait_until(sub { worker_pid($node, 'late') eq '' }), 'it finds none, and ends');
$node->safe_psql('late', 'CREATE EXTENSION contacts_push');
kill 'CONT', $launcher;
ok(worker_runs($node, 'late'), 'the launcher, which learns of both at once, starts another one');

$node->stop;
done_testing();
