# A limit of the other side is made use of and hardly ever run into, however fast
# the setting would have it; and a 429 holds back whoever uses the key.
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

# Requests a second that the stand-in takes.
use constant LIMIT => 20;

# Contacts a request, so that the limit is what takes time.
use constant BATCH => 10;

# Seconds that a limit is to be kept for; and where it has to be found first, which
# no user sees again for as long as the server runs.
use constant KEEPING => 30;
use constant FINDING => 60;

my $second_key = KEY . '-2';
my $fake = FakeChatbase->start('--key', KEY, '--key', $second_key, '--limit', LIMIT, '--window', 1000);
my $node = new_cluster('rate_limit', $fake, extra => "contacts_push.batch_size = @{[BATCH]}\n");
add_database($node, 'other');

# Sends as many contacts as it takes, from these databases, and checks the pace.
sub check_pace
{
	my ($what, $setting, @databases) = @_;
	my $chatbot = $what =~ s/\W/_/gr;
	my $requests = LIMIT * ($setting > LIMIT ? FINDING : KEEPING);
	my $contacts = $requests * BATCH / @databases;

	# Forgets requests, statistics and what was learnt of the key's budget.
	$fake->reset;
	$node->append_conf('postgresql.conf', "contacts_push.requests_per_second = $setting");
	$node->restart;
	insert_users($node, $chatbot, $_, 1, $contacts, $_) for @databases;
	for my $database (@databases)
	{
		ok(settled($node, $database), "$what: all of $database is settled");
		is(outcomes($node, $chatbot, $database), "created $contacts", "$what: as created");
	}

	my @log = whole_log($fake);
	my @taken = grep { $_->{status} == 200 } @log;
	my $throttled = grep { $_->{status} == 429 } @log;
	my $seconds = ($taken[-1]{at_ms} - $taken[0]{at_ms}) / 1000;
	my $rate = (@taken - 1) / $seconds;
	is(@taken + $throttled, scalar @log, "$what: there are no other answers");
	cmp_ok($rate, '>=', 0.9 * LIMIT, "$what: at least 90 % of the limit is made use of");
	cmp_ok($throttled, '<=', 0.02 * @log, "$what: at most 2 % of the requests run into it");
	note sprintf('%s: %d requests, %.2f/s, %d of them 429', $what, scalar @log, $rate, $throttled);
	is($node->safe_psql($_, 'SELECT count(*) FROM contacts_push.outbox WHERE attempts <> 0 OR unconfirmed'), 0,
		"$what: nobody in $_ is charged or in doubt")
	  for @databases;
	return;
}

check_pace('setting = limit', LIMIT, 'postgres');
check_pace('setting = 1000', 1000, 'postgres');
check_pace('two databases', LIMIT, 'postgres', 'other');
check_pace('two databases, 1000', 1000, 'postgres', 'other');

$node->stop;
done_testing();
