# However many intents contacts have, the worker needs the same memory for them.
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

# As many contacts as are read at once, and intents of each.
use constant CONTACTS => 8000;
use constant INTENTS => 60;

# Kilobytes that the worker may need beyond what it starts with: the contract's, and what
# it sees of the shared buffers.
use constant ROOM => 64 * 1024;
use constant BUFFERS => 16 * 1024;

plan skip_all => 'no /proc' unless -r "/proc/$$/status";

my $fake = FakeChatbase->start;
my $node = new_cluster('many_intents', $fake, extra => <<"END_OF_CONF");
contacts_push.enabled = off
shared_buffers = @{[BUFFERS]}kB
max_wal_size = 4GB
END_OF_CONF

# The most memory that a process has had, kB.
sub most_memory
{
	my ($pid) = @_;
	my ($kilobytes) = slurp_file("/proc/$pid/status") =~ /^VmHWM:\s+(\d+) kB$/m or die "no VmHWM of $pid";
	return $kilobytes;
}

$node->safe_psql('postgres', <<"SQL");
INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact)
SELECT 'bot', 'u' || i % @{[CONTACTS]}, '{}' FROM generate_series(1, @{[CONTACTS * INTENTS]}) i
SQL
ok(worker_runs($node), 'a worker runs');
my $pid = worker_pid($node);
my $start = most_memory($pid);
set_conf($node, 'contacts_push.enabled' => 'on');
ok(settled($node), 'all is settled');
is(outcomes($node, 'bot'), 'created ' . CONTACTS . ', superseded ' . CONTACTS * (INTENTS - 1), 'the newest of each contact is sent');
is(worker_pid($node), $pid, 'by the worker that began');
cmp_ok(most_memory($pid) - $start, '<', ROOM + BUFFERS, 'in little memory');

$node->stop;
done_testing();
