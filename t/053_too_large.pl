# A request that is too large makes the next ones smaller, and not for ever: the limit
# may have been a moment's.
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

use constant BATCH => 20;

my $fake = FakeChatbase->start;
my $node = new_cluster('too_large', $fake, extra => <<"END");
contacts_push.batch_size = @{[BATCH]}
contacts_push.max_concurrent_requests = 1
END

# The sizes of the requests for a chatbot, in their order.
sub sizes
{
	my ($chatbot) = @_;
	return map { $_->{contacts} } grep { $_->{chatbot} eq $chatbot } whole_log($fake);
}

# Twice in a row: a quarter of what is allowed, and a contact less for what is around them.
$fake->faults({ match => { chatbot => 'once' }, times => 2, action => { status => 413 } });
$node->safe_psql('postgres', <<'END');
INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact)
SELECT 'once', 'u' || i, jsonb_build_object('name', repeat('x', 200)) FROM generate_series(10001, 12000) i
END
ok(settled($node), 'once: all is settled');
is(outcomes($node, 'once'), 'created 2000', 'once: as created');
my @sizes = sizes('once');
is($sizes[0], BATCH, 'once: the first is as large as may be');
cmp_ok($sizes[1], '<=', BATCH / 2, 'once: the next half as large');
cmp_ok($sizes[2], '<=', BATCH / 4, 'once: and half of that');
my ($again) = grep { $sizes[$_] == BATCH } 3 .. $#sizes;
ok(defined $again, 'once: in the end they are as large as before');
cmp_ok($again, '>', 40, 'once: but that takes its time');
ok(!(grep { $sizes[$_] > $sizes[ $_ + 1 ] } 2 .. $again - 1), 'once: step by step');

# One that is too large by itself is its own fault, and leaves no trace.
$fake->faults({ match => { external_id => '^large$' }, action => { status => 413 } });
$node->safe_psql('postgres', <<'END');
INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact)
SELECT 'alone', CASE i WHEN 1500 THEN 'large' ELSE 'u' || i END, jsonb_build_object('name', repeat('x', 200))
FROM generate_series(1, 3000) i
END
ok(settled($node), 'alone: all is settled');
is(outcomes($node, 'alone'), 'created 2999, rejected 1', 'alone: one is rejected');
is($node->safe_psql('postgres', q{SELECT status, http_status FROM contacts_push.outbox WHERE external_id = 'large'}),
	'rejected|413', 'alone: the one that is too large');

$node->stop;
done_testing();
