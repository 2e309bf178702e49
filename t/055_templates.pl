# A database that becomes a template loses its worker, and has it back when it ceases
# to be one, within moments; the server's log and the process list say whose a worker is.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use ContactsPushTest;
use FakeChatbase;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

# The launcher looks at the databases by itself once a minute: a change each time takes
# no less than this for all of the rounds but the first, seconds.
use constant ROUNDS => 3;
use constant LOOK => 60;

my $fake = FakeChatbase->start;
my $node = new_cluster('templates', $fake, extra => "log_min_messages = debug1\n");

add_database($node, 'shop');
ok(worker_runs($node, 'shop'), 'a database has a worker');
like(slurp_file($node->logfile), qr/background worker process "contacts_push worker for shop"/,
	'the log says for which database it was started');

my $start = time;
for my $round (1 .. ROUNDS)
{
	$node->safe_psql('postgres', 'ALTER DATABASE shop IS_TEMPLATE true');
	ok(wait_until(sub { worker_pid($node, 'shop') eq '' }), "IS_TEMPLATE on ends the worker, $round");
	# in a transaction, with another one that is not to be forgotten
	$node->safe_psql('postgres', 'BEGIN; ALTER DATABASE shop IS_TEMPLATE false; ALTER DATABASE postgres ALLOW_CONNECTIONS true; COMMIT');
	ok(worker_runs($node, 'shop'), "off brings it back, $round");
}
cmp_ok(time - $start, '<', (2 * ROUNDS - 1) * LOOK, 'without the launcher having to look by itself');

# What is rolled back changes nothing.
my $pid = worker_pid($node, 'shop');
$node->safe_psql('postgres', 'BEGIN; ALTER DATABASE shop IS_TEMPLATE true; ROLLBACK');
insert_users($node, 'bot', 'u', 1, 1, 'shop');
ok(settled($node, 'shop'), 'rolled back: it goes on');
is(worker_pid($node, 'shop'), $pid, 'rolled back: the same worker');

$node->stop;
done_testing();
