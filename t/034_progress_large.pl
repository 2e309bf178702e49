# contacts_push.progress costs the same with ten million settled rows: below 50 ms with
# 100,000 pending ones.  Only where PG_TEST_EXTRA has contacts_push_large: it takes
# minutes and 5 GB.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use ContactsPushTest;
use FakeChatbase;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

plan skip_all => 'contacts_push_large is not in PG_TEST_EXTRA'
  unless ($ENV{PG_TEST_EXTRA} // '') =~ /\bcontacts_push_large\b/;

use constant SETTLED => 10_000_000;
use constant PENDING => 100_000;
use constant STEPS => 20;

# The contract's, milliseconds.
use constant LIMIT => 50;

my $fake = FakeChatbase->start;
my $node = new_cluster('large', $fake, extra => <<'END');
contacts_push.enabled = off
max_wal_size = 8GB
shared_buffers = 1GB
log_statement = none
END

for my $step (0 .. STEPS - 1)
{
	my ($from, $to) = ($step * SETTLED / STEPS + 1, ($step + 1) * SETTLED / STEPS);
	$node->safe_psql('postgres', <<"END");
INSERT INTO contacts_push.outbox (seq, chatbot_id, external_id, status, http_status, contact_id, settled_at) OVERRIDING SYSTEM VALUE
SELECT n, 'bot', n::text, 'created', 200, 'cont_' || n, now() FROM generate_series($from, $to) n
END
}
$node->safe_psql('postgres', "SELECT setval('contacts_push.outbox_seq_seq', @{[SETTLED]})");
$node->safe_psql('postgres', "INSERT INTO contacts_push.chatbot (chatbot_id, created, paused_until) VALUES ('bot', @{[SETTLED]}, 'infinity')");
set_conf($node, 'contacts_push.enabled' => 'on');
$node->restart;
$node->safe_psql('postgres', <<"END");
INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact)
SELECT 'bot', 'new' || n, jsonb_build_object('name', 'User ' || n, 'email', 'user' || n || '\@example.com') FROM generate_series(1, @{[PENDING]}) n
END
# so that the worker has looked at all of it and written down where it is
is($node->safe_psql('postgres', "SELECT contacts_push.flush('3 minutes')"), 't', 'the worker has looked');
is($node->safe_psql('postgres', 'SELECT pending, created, percent FROM contacts_push.progress'),
	PENDING . '|' . SETTLED . '|99.0', 'the numbers are right');

sub median_ms
{
	my @ms = sort { $a <=> $b } map {
		$node->safe_psql('postgres', 'EXPLAIN (ANALYZE, TIMING OFF) SELECT * FROM contacts_push.progress') =~ /Execution Time: ([\d.]+) ms/;
		$1
	} 1 .. 11;
	note("milliseconds: @ms");
	return $ms[5];
}

my $ms = median_ms();
diag("progress with @{[SETTLED]} settled and @{[PENDING]} pending rows: $ms ms");
cmp_ok($ms, '<', LIMIT, 'progress is quick');
note($node->safe_psql('postgres', 'EXPLAIN (ANALYZE, BUFFERS) SELECT * FROM contacts_push.progress'));
note($node->safe_psql('postgres', 'SELECT unsettled FROM contacts_push.worker_state'));

# While it sends, too.
$fake->always(delay_ms => 2000);
$node->safe_psql('postgres', "SELECT contacts_push.resume('bot')");
ok(wait_until(sub { $fake->in_flight > 0 }), 'it is sending');
$ms = median_ms();
diag("the same while it sends: $ms ms");
cmp_ok($ms, '<', LIMIT, 'progress is quick while it sends');
$fake->faults;
ok(settled($node), 'all is settled');
is($node->safe_psql('postgres', 'SELECT pending, created, percent FROM contacts_push.progress'),
	'0|' . (SETTLED + PENDING) . '|100.0', 'the numbers are right');
$ms = median_ms();
diag("the same when nothing is pending: $ms ms");
cmp_ok($ms, '<', LIMIT, 'progress is quick when nothing is pending');

$node->stop;
done_testing();
