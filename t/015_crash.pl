# Whatever is killed at whatever moment, every contact is created or present
# afterwards, and held once.
#
# Takes long: sixty crashes.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use ContactsPushTest;
use EngineTest;
use FakeChatbase;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

# Crashes of each kind, and contacts that are enqueued before each.
use constant CRASHES => 20;
use constant CONTACTS => 600;

# Within this time after a commit of theirs, microseconds: the requests that they
# make take that long.
use constant MOMENTS => 400_000;

my $fake = FakeChatbase->start;

# Slow answers: some before the contacts are applied, some after, so that a crash
# meets all that can be under way.
my $node = new_cluster('crash', $fake, extra => <<'END');
contacts_push.batch_size = 50
restart_after_crash = on
END
$fake->faults(
	{ match => { every => 3, phase => 0 }, action => { delay_ms => 40 } },
	{ match => { every => 3, phase => 1 }, when => 'after', action => { delay_ms => 60 } });
seed_random();

# Each of these finds out what to kill and returns what does it.
sub crash_worker
{
	my $pid;
	wait_until(sub { ($pid = worker_pid($node)) ne '' }) or die 'no worker';
	return sub {
		kill 'KILL', $pid;
		# crash recovery: sessions are refused in between
		wait_until(sub { is_up($node) }) or die 'no recovery';
	};
}

sub crash_postmaster
{
	return sub { kill_and_start($node) };
}

sub stop_immediately
{
	return sub { $node->stop('immediate'); $node->start; };
}

# Kills something under load, again and again, and checks what remains.
sub crash_often
{
	my ($chatbot, $what, $prepare) = @_;
	my $enqueued = 0;
	my $met = 0;

	for (1 .. CRASHES)
	{
		my $crash = $prepare->();
		insert_users($node, $chatbot, 'u', $enqueued + 1, $enqueued + CONTACTS);
		$enqueued += CONTACTS;
		usleep(rand MOMENTS);
		$crash->();
	}
	ok(wait_until(sub { is_up($node) }), "$what: the server is there");
	ok(settled($node), "$what: all is settled");
	is(each_one_fate($node, $fake, $chatbot, $enqueued), '', "$what: each is created or present, and held once");
	is($node->safe_psql('postgres', 'SELECT count(*) FROM contacts_push.request WHERE finished_at IS NULL'), 0,
		"$what: no request is open");
	is(count_rows($node, "chatbot_id = '$chatbot' AND (unconfirmed OR attempts <> 0 OR next_attempt_at IS NOT NULL)"),
		0, "$what: no contact is in doubt or charged");
	cmp_ok($node->safe_psql('postgres',
			"SELECT count(*) FROM contacts_push.request WHERE chatbot_id = '$chatbot' AND outcome = 'interrupted'"),
		'>', 0, "$what: requests were under way");
	note "$what: " . outcomes($node, $chatbot);
	return;
}

crash_often('worker', 'kill -9 of the worker', \&crash_worker);
crash_often('postmaster', 'kill -9 of the postmaster', \&crash_postmaster);
crash_often('immediate', 'immediate shutdown', \&stop_immediately);

$node->stop;
done_testing();
