# What takes a number that another contact had in a request under way, after TRUNCATE with
# RESTART IDENTITY, was not in that request.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use ContactsPushTest;
use EngineTest qw(:DEFAULT chatbot_settled);
use FakeChatbase;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $fake = FakeChatbase->start;
my $node = new_cluster('numbers_again', $fake);

# The answer does not come before the worker has gone.
$fake->preset('bot', { external_id => 'other1' });
$fake->faults({ match => { chatbot => 'bot' }, times => 1, action => { delay_ms => FakeChatbase::HELD } });
insert_users($node, 'bot', 'u', 1, 1);
ok(wait_until(sub { $fake->in_flight == 1 }), 'a request is under way');
set_conf($node, 'contacts_push.enabled' => 'off');
$node->safe_psql('postgres', 'TRUNCATE contacts_push.outbox RESTART IDENTITY');
insert_users($node, 'bot', 'other', 1, 1);
is($node->safe_psql('postgres', <<'END_OF_SQL'), 't', 'another contact has its number');
SELECT q.seqs @> o.seq FROM contacts_push.request q, contacts_push.outbox o
WHERE q.finished_at IS NULL AND o.external_id = 'other1'
END_OF_SQL
kill_and_start($node);
$fake->release;
set_conf($node, 'contacts_push.enabled' => 'on');
ok(chatbot_settled($node, 'bot'), 'it is settled');
is(status_of($node, 'bot', 'other1'), 'conflict', 'and not taken for one that may have been created before');
is(count_rows($node, 'unconfirmed'), 0, 'nor called unconfirmed');

$node->stop;
done_testing();
