# Numbers are drawn in one order and transactions commit in another: no row is
# missed because others with higher numbers were there before it.
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

# The worker looks by itself once a minute; what a commit tells it must not
# take so long.  Seconds.
use constant WELL_BELOW_THE_POLL => 30;

my $fake = FakeChatbase->start;
my $node = new_cluster('late_commit', $fake, extra => "max_prepared_transactions = 2\n");

sub insert_of
{
	my ($external_id) = @_;
	return "INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact) VALUES ('c', '$external_id', '{}')";
}

sub status_of
{
	my ($external_id) = @_;
	return $node->safe_psql('postgres',
		"SELECT status FROM contacts_push.outbox WHERE external_id = '$external_id'");
}

# A writer that draws its number before others and commits when the worker, having
# passed that number, has gone back to sleep.
my $slowest = 0;
for my $level ('READ COMMITTED', 'REPEATABLE READ')
{
	my $writer = open_session($node);
	my $settled = 0;
	my $rounds = 25;
	for my $round (1 .. $rounds)
	{
		my $id = ($level =~ s/ .*//r) . $round;
		$writer->query_safe("BEGIN ISOLATION LEVEL $level");
		$writer->query_safe(insert_of("late$id"));
		# much to tell others at commit, between being visible and giving up locks
		$writer->query_safe("CREATE TABLE invalidating$_ (@{[join ', ', map { qq(c$_ int) } 1 .. 50]})")
		  for 1 .. 10;
		$writer->query_safe("DROP TABLE invalidating$_") for 1 .. 10;
		$node->safe_psql('postgres', insert_of("early$id"));
		$settled += wait_until(sub { status_of("early$id") eq 'created' });
		my $start = time;
		$writer->query_safe('COMMIT');
		$settled += wait_until(sub { status_of("late$id") eq 'created' });
		my $seconds = time - $start;
		$slowest = $seconds if $seconds > $slowest;
		last if $seconds > WELL_BELOW_THE_POLL;
	}
	is($settled, 2 * $rounds, "$level: early and late ones are all settled");
	$writer->quit;
}
cmp_ok($slowest, '<', WELL_BELOW_THE_POLL, 'none was left until the worker looked by itself');

# Numbers that never appear keep nobody, and those in savepoints do
my $writer = open_session($node);
$writer->query_safe('BEGIN');
$writer->query_safe(insert_of('undone'));
$writer->query_safe('SAVEPOINT s');
$writer->query_safe(insert_of('undone2'));
$node->safe_psql('postgres', insert_of('between'));
ok(wait_until(sub { status_of('between') eq 'created' }), 'one between others that are not committed');
$writer->query_safe('ROLLBACK TO s');
$writer->query_safe(insert_of('kept'));
is($node->safe_psql('postgres', 'SELECT contacts_push.flush()'), 't', 'nobody waits for an open transaction');
$writer->query_safe('ROLLBACK');
$writer->query_safe('BEGIN; SAVEPOINT s; ' . insert_of('sub') . '; RELEASE s; COMMIT');
$writer->quit;
is($node->safe_psql('postgres', 'SELECT contacts_push.flush()'), 't', 'nor for one that was rolled back');
is(status_of($_), '', "$_ is not there") for qw(undone undone2 kept);
is(status_of('sub'), 'created', 'one of a subtransaction is created');

# Many open at once, ended in the reverse order, some not at all
my @writers = map { open_session($node) } 1 .. 8;
for my $i (0 .. $#writers)
{
	$writers[$i]->query_safe('BEGIN');
	for my $n (1 .. 20)
	{
		$writers[$i]->query_safe(insert_of("many$i-$n")) if $n % 5 == $i % 5;
	}
	$node->safe_psql('postgres', insert_of("many-$i"));
}
is($node->safe_psql('postgres', 'SELECT contacts_push.flush()'), 't', 'many writers are open');
$writers[$_]->query_safe($_ % 4 == 3 ? 'ROLLBACK' : 'COMMIT') for reverse 0 .. $#writers;
$_->quit for @writers;
ok(settled($node), 'when they have ended, all is settled');

# a prepared transaction: nobody who commits it runs anything of ours
$node->safe_psql('postgres', 'BEGIN; ' . insert_of('prepared') . q{; PREPARE TRANSACTION 'p'});
$node->safe_psql('postgres', insert_of('meanwhile'));
ok(wait_until(sub { status_of('meanwhile') eq 'created' }), 'one after a prepared transaction');
$node->safe_psql('postgres', q{COMMIT PREPARED 'p'});
is($node->safe_psql('postgres', 'SELECT contacts_push.flush()'), 't', 'flush() after COMMIT PREPARED');
is(status_of('prepared'), 'created', 'finds what it has committed');

is($node->safe_psql('postgres', q{SELECT count(*) FROM contacts_push.outbox WHERE status <> 'created'}), '0', 'all is created');
is(held_matches($node, $fake, 'c'), '', 'as the stand-in holds it');

$node->stop;
done_testing();
