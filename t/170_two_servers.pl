# Two servers that use one key, each as if it were alone, make use of the key's limit,
# hardly ever run into it, and share it; and 429s that come by chance slow nobody down.
#
# Takes long: a limit has to be kept for a while.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use ContactsPushTest;
use EngineTest qw(:DEFAULT chatbot_settled);
use FakeChatbase;
use List::Util qw(max min sum);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

# Requests a second that the stand-in takes of the key, and each server is configured for.
use constant LIMIT => 20;

# Contacts a request: so few that the limit is what takes time, and that the stand-in's log
# has their names.
use constant BATCH => 5;

# Requests of the first server alone, those in which the two find their shares, those that count,
# and some after these, by when all that count have been answered.
use constant { ALONE => 10 * LIMIT, FINDING => 15 * LIMIT, COUNTED => 60 * LIMIT, REST => 2 * LIMIT };
use constant TOTAL => ALONE + FINDING + COUNTED + REST;

# By chance one in a hundred, of so many.
use constant STRAYS_AMONG => 1000;

my %servers = (a => 'first', b => 'second');

# A 429 tells when the window ends by X-RateLimit-Reset, in milliseconds.
my $fake = FakeChatbase->start('--limit', LIMIT, '--window', 1000);
$fake->config(retry_after => 'none');
$_ = new_cluster($_, $fake, extra => "contacts_push.batch_size = @{[BATCH]}\n"
	  . "contacts_push.requests_per_second = @{[LIMIT]}\n")
  for values %servers;

# Neither may run out of contacts, not even if the other sent nothing.  One has had all of the
# limit until the other comes.
insert_users($servers{a}, 'shared', 'a', 1, TOTAL * BATCH);
ok(comes_to_zero(sub { max(0, ALONE - $fake->stats->{requests}) }), 'shared: the first one is at it');
insert_users($servers{b}, 'shared', 'b', 1, TOTAL * BATCH);

# Waits until so many requests have arrived, and finds out meanwhile how late on this machine,
# now, who wants to wake up for half of the limit is: seconds on the average.
my @late;
ok( comes_to_zero(
		sub {
			for (1 .. LIMIT)
			{
				my $due = time + 2 / LIMIT;
				sleep 2 / LIMIT;
				push @late, time - $due;
			}
			return max(0, TOTAL - $fake->stats->{requests});
		}),
	'shared: requests go on');
my @log = splice @{ [ whole_log($fake) ] }, ALONE + FINDING, COUNTED;
$servers{$_}->stop for sort keys %servers;

my @taken = grep { $_->{status} == 200 } @log;
my @throttled = grep { $_->{status} == 429 } @log;
is(@taken + @throttled, scalar @log, 'shared: there are no other answers');

# What each could do if a timer was all that kept it, of half of the limit.
my $possible = 2 / (2 / LIMIT + sum(@late) / @late);
my $rate = (@taken - 1) / (($taken[-1]{at_ms} - $taken[0]{at_ms}) / 1000);
cmp_ok($rate, '>=', 0.85 * $possible,
	'shared: at least 85 % of the limit is made use of, as far as the machine lets anyone');
cmp_ok(scalar @throttled, '<=', 0.03 * @log, 'shared: at most 3 % of the requests run into it');
my %accepted = map {
	my $server = $_;
	($server => scalar grep { $_->{external_ids}[0] =~ /^$server/ } @taken)
} keys %servers;
# A third in the long run (test_pacing_shares.c); this is a minute of a machine that others use, too.
cmp_ok(min(values %accepted), '>=', 0.3 * @taken, 'shared: neither has less than three tenths');
note sprintf('%d requests, %.2f/s of %.2f/s that were possible, %d of them 429, of the others %s',
	scalar @log, $rate, $possible, scalar @throttled,
	join ' and ', map { "$accepted{$_} of the $servers{$_}{_name}" } sort keys %accepted);

# 429s by chance: what counts is what the budget allows after them, not how fast the machine is.
my $node = $servers{a};
$fake->config(limit => 0);
$fake->reset;
$fake->faults({ match => { chatbot => 'strays', percent => 1, seed => 1 }, action => { status => 429 } });
$node->append_conf('postgresql.conf',
	"contacts_push.batch_size = 1\ncontacts_push.requests_per_second = 1000");
$node->start;
$node->safe_psql('postgres', q{SELECT contacts_push.discard('shared')});
insert_users($node, 'strays', 'u', 1, STRAYS_AMONG);
ok(chatbot_settled($node, 'strays'), 'by chance: all is settled');
is(outcomes($node, 'strays'), 'created ' . STRAYS_AMONG, 'by chance: as created');
my $refused = $fake->stats->{by_status}{429} // 0;
cmp_ok($refused, '>=', STRAYS_AMONG / 200, 'by chance: some were refused before');
my $allowed = $node->safe_psql('postgres', 'SELECT requests_per_second FROM contacts_push.worker');
cmp_ok($allowed, '>=', 900, 'by chance: 900 of 1000 requests a second are allowed all the same');
note "$allowed requests a second after $refused of " . $fake->stats->{requests} . ' were refused';

$node->stop;
done_testing();
