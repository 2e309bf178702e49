# A row that may have created its contact tells so until the newer row that takes its place
# does, whatever keeps that one from being written.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use ContactsPushTest;
use EngineTest qw(:DEFAULT chatbot_settled lock_row worker_passes);
use FakeChatbase;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $fake = FakeChatbase->start;
my $node = new_cluster('doubt_first', $fake, extra => <<'END_OF_CONF');
contacts_push.max_concurrent_requests = 1
contacts_push.request_timeout = 1h
END_OF_CONF

# It has failed after it was created, and is enqueued again behind a request of others.
$fake->preset('bot', { external_id => 'u1' });
$node->safe_psql('postgres', <<'SQL');
INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact, status, unconfirmed, settled_at)
VALUES ('bot', 'u1', '{}', 'failed', true, now())
SQL
$fake->faults({ match => { chatbot => 'others' }, times => 1, action => { delay_ms => FakeChatbase::HELD } });
insert_users($node, 'others', 'u', 1, 1);
ok(wait_until(sub { $fake->in_flight == 1 }), 'a request is under way');
set_conf($node, 'contacts_push.enabled' => 'off');
insert_users($node, 'bot', 'u', 1, 1);
my $operator = lock_row($node, q{chatbot_id = 'bot' AND status = 'pending'});
set_conf($node, 'contacts_push.enabled' => 'on');
# the worker has looked when it is idle again
my $now = $node->safe_psql('postgres', 'SELECT clock_timestamp()');
reload($node);
ok($node->poll_query_until('postgres', <<"SQL"), 'the worker has looked at it');
SELECT state = 'idle' AND query_start > '$now' FROM pg_stat_activity WHERE backend_type = 'contacts_push worker'
SQL
$node->safe_psql('postgres', 'SELECT pg_terminate_backend(pid, 60000) FROM contacts_push.worker');
$operator->query_safe('COMMIT');
$operator->quit;
$fake->release;
ok(chatbot_settled($node, 'bot'), 'another worker sends it');
like(status_of($node, 'bot', 'u1'), qr/ present$/, 'and recognises it');

$node->stop;
done_testing();
