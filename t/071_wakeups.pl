# A commit wakes the worker only if the worker could do something: one that sends nothing,
# or that waits for its budget, is left asleep, and still loses no row.
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

# The worker looks by itself once a minute; what a commit tells it must not take so long.
# Seconds.
use constant WELL_BELOW_THE_POLL => 30;

# Commits in a burst.
use constant COMMITS => 2000;

my $fake = FakeChatbase->start;
my $node = new_cluster('wakeups', $fake, extra => "contacts_push.enabled = off\ncontacts_push.request_timeout = 1h\n");
ok(worker_runs($node), 'a worker runs');

# How often the worker has gone to sleep.
sub sleeps
{
	my $pid = worker_pid($node);
	return slurp_file("/proc/$pid/status") =~ /^voluntary_ctxt_switches:\s*(\d+)/m ? $1 : undef;
}

# COMMITS transactions, each with one contact, by as many sessions.
sub burst
{
	my ($prefix, $clients) = @_;
	my $script = $node->basedir . "/$prefix.sql";
	append_to_file($script, <<"END");
SELECT contacts_push.enqueue('bot', jsonb_build_object('external_id', '$prefix' || gen_random_uuid()));
END
	$node->command_ok([ 'pgbench', '-n', '-c', $clients, '-t', COMMITS / $clients, '-f', $script, 'postgres' ],
		"$prefix: " . COMMITS . ' commits');
	return;
}

SKIP:
{
	skip 'there is no /proc', 2 unless -r "/proc/$$/status";

	# a first pass, if it is still to come
	$node->safe_psql('postgres', 'SELECT contacts_push.flush(interval \'10 ms\')');
	my $before = sleeps();
	burst('disabled', 4);
	my $woken = sleeps() - $before;
	cmp_ok($woken, '<', COMMITS / 20, 'a worker that is switched off is not woken by them');
}

# Switched on, it finds them all; and with a budget that it waits for nearly always no
# commit is left to the slow poll, however it falls into the worker's sleep.
set_conf($node, 'contacts_push.enabled' => 'on', 'contacts_push.requests_per_second' => '40');
ok(settled($node), 'what was committed before it was switched on is settled');
my $slowest = 0;
for my $round (1 .. 3)
{
	burst("throttled$round", 4);
	my $start = time;
	ok(settled($node), "round $round: all is settled");
	$slowest = time - $start if time - $start > $slowest;
}
cmp_ok($slowest, '<', WELL_BELOW_THE_POLL, 'none was left until the worker looked by itself');

# The same for single ones: each is there while the one before keeps the budget busy.
my $waited = 0;
$slowest = 0;
for my $i (1 .. 60)
{
	my $start = time;
	$node->safe_psql('postgres', "SELECT contacts_push.enqueue('bot', '{\"external_id\": \"single$i\"}')");
	$waited += settled($node);
	$slowest = time - $start if time - $start > $slowest;
	last if $slowest > WELL_BELOW_THE_POLL;
}
is($waited, 60, 'single ones, one after the other');
cmp_ok($slowest, '<', WELL_BELOW_THE_POLL, 'and none waited for the slow poll');

# With every slot taken, what is committed goes when an answer comes.
set_conf($node, 'contacts_push.max_concurrent_requests' => '1', 'contacts_push.requests_per_second' => '100000');
$fake->always(delay_ms => FakeChatbase::HELD);
$node->safe_psql('postgres', q(SELECT contacts_push.enqueue('bot', '{"external_id": "first"}')));
ok(wait_until(sub { $fake->in_flight > 0 }), 'the one slot is taken');
burst('meanwhile', 2);
is($fake->in_flight, 1, 'all the time');
$fake->faults;
$fake->release;
my $start = time;
ok(settled($node), 'what was committed meanwhile is settled');
cmp_ok(time - $start, '<', WELL_BELOW_THE_POLL, 'soon');
is(held_matches($node, $fake, 'bot'), '', 'and is what the stand-in holds');
$node->stop;
done_testing();
