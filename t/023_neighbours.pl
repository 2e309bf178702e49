# A contact whose answer cannot be read, or only at great cost, takes that from nobody
# that could have shared a request with it.
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

use constant ORDINARY => 300;

my $fake = FakeChatbase->start;
my $node = new_cluster('neighbours', $fake);

# In one transaction, in between others: one that nests deeper than an answer is read,
# one just not so deep, and three each of which is half of what can be read at once.
$node->safe_psql('postgres', <<"END");
INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact)
SELECT 'bot', n::text, CASE n
	WHEN 50 THEN jsonb_build_object('custom_attributes', (repeat('{"a":', 1100) || '1' || repeat('}', 1100))::jsonb)
	WHEN 100 THEN jsonb_build_object('custom_attributes', (repeat('{"a":', 900) || '1' || repeat('}', 900))::jsonb)
	WHEN 150 THEN wide
	WHEN 200 THEN wide
	WHEN 250 THEN wide
	ELSE jsonb_build_object('name', 'User ' || n) END
FROM generate_series(1, @{[ORDINARY]}) n,
	(SELECT jsonb_build_object('custom_attributes',
		jsonb_build_object('a', ('[{}' || repeat(',{}', 150000) || ']')::jsonb)) AS wide) w
END
ok(settled($node), 'all is settled');
is($node->safe_psql('postgres', q{SELECT string_agg(external_id, ',') FROM contacts_push.outbox WHERE status <> 'created'}),
	'50', 'one is not created as far as can be told');
is($node->safe_psql('postgres', q{SELECT status, http_status FROM contacts_push.outbox WHERE external_id = '50'}),
	'present|409', 'which Chatbase has');
is($node->safe_psql('postgres', q{SELECT count(*) FROM contacts_push.outbox WHERE status = 'created' AND contact_id IS NULL}),
	'0', 'all others have their ids');
is(scalar(keys %{ $fake->held('bot') }), ORDINARY, 'and are held once');
# The one that is not legible looks like an outage for a while; one by one it would be 300.
cmp_ok($fake->stats->{requests}, '<=', 60, 'in few requests')
  or diag(outcomes($node, 'bot'));

$node->stop;
done_testing();
