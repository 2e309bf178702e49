# Calls of chatbase_create_contacts() and the worker share a key's budget.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use ContactsPushTest;
use EngineTest qw(:DEFAULT worker_passes);
use FakeChatbase;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $fake = FakeChatbase->start;
my $node = new_cluster('calls', $fake);

# Calls don't wait for the budget that they share with the worker; the worker must not
# have to pay for all of them.
sub calls_before_worker
{
	my $calls = 100;
	my $per_second = 10;

	set_conf($node, 'contacts_push.requests_per_second' => $per_second);
	# the first request at the new rate
	ok(worker_passes($node), 'calls: the worker knows the budget');
	is($node->safe_psql('postgres', <<"END"), $calls, 'calls: they are answered');
SELECT count(*) FROM generate_series(1, $calls) i,
	LATERAL chatbase_create_contacts('calls', jsonb_build_object('external_id', i::text))
END
	insert_users($node, 'after', 'u', 1, 1);
	ok(settled($node), 'calls: a contact is settled afterwards');
	is(outcomes($node, 'after'), 'created 1', 'calls: as created');
	my $seconds = $node->safe_psql('postgres', <<'END');
SELECT extract(epoch FROM min(r.started_at) - min(o.enqueued_at))
FROM contacts_push.request r JOIN contacts_push.outbox o USING (chatbot_id) WHERE chatbot_id = 'after'
END
	cmp_ok($seconds, '<', $calls / $per_second / 2, 'calls: without having waited for what they took of the budget');
	note "calls: $seconds s";
	return;
}

ok(worker_passes($node), 'a worker runs');
calls_before_worker();

$node->stop;
done_testing();
