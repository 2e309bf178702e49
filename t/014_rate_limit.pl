# A limit of the other side is made use of and hardly ever run into, however fast
# the setting would have it; and a 429 holds back whoever uses the key.
#
# Takes long: a limit has to be kept for a while.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use ContactsPushTest;
use EngineTest;
use FakeChatbase;
use List::Util qw(sum);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

# Requests a second that the stand-in takes.
use constant LIMIT => 20;

# Contacts a request, so that the limit is what takes time.
use constant BATCH => 10;

# Seconds that a limit is to be kept for; and for which it is looked for before, where the
# setting is fifty times as much.  That is not counted: 429s may come by chance, too, and
# what they mean takes a while to tell.  No user sees it again for as long as the server runs.
use constant KEEPING => 30;
use constant FINDING => 30;

# Requests before it is found, at this setting.
sub finding { my ($setting) = @_; return $setting > LIMIT ? LIMIT * FINDING : 0; }

# A server with its stand-in, of which these databases send.
sub new_sender
{
	my ($name, @databases) = @_;
	my $fake = FakeChatbase->start('--limit', LIMIT, '--window', 1000);
	my $node = new_cluster($name, $fake, extra => "contacts_push.batch_size = @{[BATCH]}\n");

	add_database($node, $_) for grep { $_ ne 'postgres' } @databases;
	return { what => $name =~ s/_/ /gr, fake => $fake, node => $node, databases => \@databases };
}

# Begins with as many contacts as it takes at this setting.
sub begin_sending
{
	my ($sender, $setting) = @_;
	my ($fake, $node, @databases) = (@$sender{qw(fake node)}, @{ $sender->{databases} });
	my $requests = LIMIT * KEEPING + finding($setting);

	$sender->{contacts} = $requests * BATCH / @databases;
	# Forgets requests, statistics and what was learnt of the key's budget.
	$fake->reset;
	$node->append_conf('postgresql.conf', "contacts_push.requests_per_second = $setting");
	$node->restart;
	insert_users($node, "at$setting", $_, 1, $sender->{contacts}, $_) for @databases;
	return;
}

# Waits until all have ended, and finds out meanwhile how late on this machine, now, who
# wants to wake up every 1/LIMIT seconds is: seconds on the average.
sub wait_and_be_late
{
	my (@senders) = @_;
	my @late;

	ok( comes_to_zero(
			sub {
				for (1 .. 2 * LIMIT)
				{
					my $due = time + 1 / LIMIT;
					sleep 1 / LIMIT;
					push @late, time - $due;
				}
				return sum map { my $node = $_->{node};
					map { count_rows($node, q{status = 'pending'}, $_) } @{ $_->{databases} } } @senders;
			}),
		'all is settled');
	return sum(@late) / @late;
}

# What must have come of it.
sub check_pace
{
	my ($sender, $setting, $late) = @_;
	my ($fake, $node, @databases) = (@$sender{qw(fake node)}, @{ $sender->{databases} });
	my $what = "$sender->{what}, setting = $setting";

	is(outcomes($node, "at$setting", $_), "created $sender->{contacts}", "$what: all of $_ is created") for @databases;

	my @log = whole_log($fake);
	splice @log, 0, finding($setting);
	my @taken = grep { $_->{status} == 200 } @log;
	my $throttled = grep { $_->{status} == 429 } @log;
	my $seconds = ($taken[-1]{at_ms} - $taken[0]{at_ms}) / 1000;
	my $rate = (@taken - 1) / $seconds;
	my $possible = 1 / (1 / LIMIT + $late);
	is(@taken + $throttled, scalar @log, "$what: there are no other answers");
	cmp_ok($rate, '>=', 0.9 * $possible, "$what: at least 90 % of the limit is made use of, as far as the machine lets anyone");
	cmp_ok($throttled, '<=', 0.02 * @log, "$what: at most 2 % of the requests run into it");
	note sprintf('%s: %d requests, %.2f/s of %.2f/s that were possible, %d of them 429',
		$what, scalar @log, $rate, $possible, $throttled);
	is(count_rows($node, 'attempts <> 0 OR unconfirmed', $_), 0, "$what: nobody in $_ is charged or in doubt")
	  for @databases;
	return;
}

# Both at a time, which have nothing to do with each other.
my @senders = (new_sender('one_database', 'postgres'), new_sender('two_databases', 'postgres', 'other'));
for my $setting (LIMIT, 1000)
{
	begin_sending($_, $setting) for @senders;
	my $late = wait_and_be_late(@senders);
	check_pace($_, $setting, $late) for @senders;
}

$_->{node}->stop for @senders;
done_testing();
