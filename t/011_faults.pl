# With faults in a fifth of the requests, nothing is lost, doubled or given an
# outcome that it hasn't.
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

use constant CONTACTS => 20_000;

my $fake = FakeChatbase->start;

# Batches of 100: enough requests for every fault to meet many.  A contact that is
# alone and meets a fault is charged: 20 attempts at 20 % are too many for chance.
my $node = new_cluster('faults', $fake, extra => <<'END');
contacts_push.batch_size = 100
contacts_push.max_attempts = 20
END

my @faults = (
	[ before => status => 500 ],
	[ before => status => 503 ],
	[ after => status => 500 ],
	[ after => status => 502, body => '<html>Bad gateway</html>' ],
	[ before => drop => FakeChatbase::true ],
	[ after => drop => FakeChatbase::true ],
	[ after => cut_body => 500 ],
	[ after => status => 200, body => '<html>Welcome</html>' ],
	[ before => status => 200, body => '<html>Welcome</html>' ],
	[ after => omit => 13 ]);

# Each meets the same share of all requests: a rule sees what those before it left.
my $share = 20 / @faults;
my @rules;
for my $i (0 .. $#faults)
{
	my ($when, @action) = @{ $faults[$i] };
	push @rules,
	  { match => { percent => $share / (1 - $i * $share / 100), seed => $i + 1 }, when => $when, action => {@action} };
}
$fake->faults(@rules);

insert_users($node, 'faults', 'u', 1, CONTACTS);
ok(settled($node), 'all is settled');
is(each_one_fate($node, $fake, 'faults', CONTACTS), '',
	'each is created or present, held once, with the id that is held');
is(count_rows($node, 'unconfirmed OR next_attempt_at IS NOT NULL'), 0, 'nothing of the trouble stays behind');
is($node->safe_psql('postgres', 'SELECT count(*) FROM contacts_push.request WHERE finished_at IS NULL'),
	0, 'no request is open');
is( $node->safe_psql('postgres', <<'END'), '', 'what is present was sent before');
SELECT string_agg(o.external_id, ', ') FROM contacts_push.outbox o
WHERE o.status = 'present' AND NOT EXISTS (
	SELECT FROM contacts_push.request r
	WHERE r.seqs @> o.seq AND r.outcome IN ('server', 'partial'))
END

# The faults were there: of all requests a fifth, give or take.
my @log = whole_log($fake);
my $requests = $fake->stats->{requests};
my $troubled = $node->safe_psql('postgres',
	q{SELECT count(*) FROM contacts_push.request WHERE outcome IN ('server', 'partial')});
cmp_ok($troubled, '>=', $requests / 10, 'faults were met');
cmp_ok($requests, '<=', 3 * CONTACTS, 'in a number of requests that is bounded');
note outcomes($node, 'faults') . "; $requests requests, $troubled of them troubled";

$node->stop;
done_testing();
