# Where there are fewer processes than databases, these take turns: nobody who has something
# to send waits for those who have nothing.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use ContactsPushTest;
use FakeChatbase;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# The launcher has one of four, so three are left for nine databases.
use constant COPIES => 8;

my $fake = FakeChatbase->start;
my $node = new_cluster('slots', $fake, extension => 0, extra => <<'END');
max_worker_processes = 4
max_logical_replication_workers = 0
max_parallel_workers = 0
contacts_push.request_timeout = 1h
END
my @databases = ('app', map { "copy$_" } 1 .. COPIES);

$node->safe_psql('postgres', 'CREATE DATABASE shop IS_TEMPLATE true');
$node->safe_psql('shop', 'CREATE EXTENSION contacts_push');
$node->safe_psql('postgres', "CREATE DATABASE $_ TEMPLATE shop") for reverse @databases;
$node->restart;

sub all_settled
{
	my ($what, @of) = @_;
	my @left = grep { !settled($node, $_) } @of;
	return is("@left", '', $what);
}

# after a restart, whoever has something to send gets its turn, over and over
for my $round (1 .. 3)
{
	insert_users($node, 'bot', "r$round-", 1, 3, 'app');
	all_settled("round $round: the application's database sends", 'app');
	insert_users($node, 'bot', "r$round-", 1, 3, $_) for @databases[ 1 .. COPIES ];
	all_settled("round $round: so does each of the others", @databases);
}

# flush() and resume() bring a worker, too
is($node->safe_psql($_, "SELECT contacts_push.flush('1 hour')"), 't', "flush() in $_") for @databases;
$node->safe_psql('app', 'SELECT contacts_push.pause()');
insert_users($node, 'bot', 'paused', 1, 3, 'app');
insert_users($node, 'bot', 'other', 1, 3, $_) for @databases[ 1 .. COPIES ];
all_settled('what is paused in one database keeps nobody waiting', @databases[ 1 .. COPIES ]);
$node->safe_psql('app', 'SELECT contacts_push.resume()');
all_settled('resume() finds its worker', 'app');

# those who are busy keep theirs, and who waits says so
$fake->always(hang => FakeChatbase::true);
my @busy = @databases[ 1 .. 3 ];
for my $n (1 .. 3)
{
	insert_users($node, 'bot', 'busy', 1, 3, $busy[ $n - 1 ]);
	ok(wait_until(sub { $fake->in_flight == $n }), "$n requests are under way");
}
my %pids = map { $_ => worker_pid($node, $_) } @busy;
insert_users($node, 'bot', 'waits', 1, 3, 'app');
ok($node->poll_query_until('app', q{SELECT state LIKE 'worker not running: %max_worker_processes' FROM contacts_push.progress WHERE chatbot_id = 'bot'}),
	'without a process the state says what is missing');
ok(wait_until(sub { $node->log_contains('no background worker is free for contacts_push in database') }),
	'the log tells of the shortage');
is(worker_pid($node, $_), $pids{$_}, "$_: a worker with a request under way stays") for @busy;
$fake->faults();
$fake->reset;
all_settled('in the end all is settled', @databases);
my $log = slurp_file($node->logfile);
is(scalar(() = $log =~ /no background worker is free/g), 1, 'of the shortage the log has told once');

unlike(slurp_file($node->logfile), qr/PANIC:|TRAP:|terminated by signal (4|6|7|8|11)\b/, 'no process has crashed');
$node->stop;
done_testing();
