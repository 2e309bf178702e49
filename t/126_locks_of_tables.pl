# The worker takes no lock on a table that it would have to make stronger later: whoever
# locks the table and then its indexes, as REINDEX does, is never in a deadlock with it.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use ContactsPushTest;
use EngineTest qw(:DEFAULT chatbot_settled worker_passes);
use FakeChatbase;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $fake = FakeChatbase->start;
my $node = new_cluster('table_locks', $fake);

ok(worker_passes($node), 'a worker runs');
my $pid = worker_pid($node);

# Two intents of a contact: the worker reads them, and then has one of them written.
insert_users($node, 'bot', 'known', 1, 1);
ok(chatbot_settled($node, 'bot'), 'the chatbot is known');
$node->safe_psql('postgres', q{SELECT contacts_push.pause('bot')});
insert_users($node, 'bot', 'u', 1, 1) for 1 .. 2;
ok(worker_passes($node), 'they are read');

my $operator = open_session($node, 'postgres', on_error_stop => 0);
$operator->query_safe('BEGIN; LOCK contacts_push.outbox IN SHARE MODE');
$node->safe_psql('postgres', q{SELECT contacts_push.resume('bot')});
ok(wait_until(sub { $node->safe_psql('postgres', <<"SQL") eq '1' }), 'the worker waits for the lock');
SELECT count(*) FROM pg_locks WHERE pid = $pid AND NOT granted AND relation = 'contacts_push.outbox'::regclass
SQL
my ($output, $failed) = $operator->query('REINDEX TABLE contacts_push.outbox; COMMIT');
ok(!$failed, 'the indexes are rebuilt meanwhile');
$operator->quit;
ok(chatbot_settled($node, 'bot'), 'and the worker goes on');
is(status_of($node, 'bot', 'u1'), 'superseded created', 'with what it was about to write');
is(worker_pid($node), $pid, 'without having ended');
unlike(slurp_file($node->logfile), qr/deadlock detected/, 'there was no deadlock');

$node->stop;
done_testing();
