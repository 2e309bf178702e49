# However much there is to push, the worker needs the same memory for it.
#
# Takes long: a million contacts.
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

use constant CONTACTS => 1_000_000;
use constant PART => 100_000;

# Kilobytes that the worker may need beyond what it starts with (the contract's).
use constant ROOM => 64 * 1024;

# Kilobytes by which the last part may need more than the first: malloc's own way
# of growing, but no list of what has been pushed (a pointer for each contact
# would be 7 MB).
use constant FLAT => 4 * 1024;

plan skip_all => 'no /proc' unless -r "/proc/$$/status";

my $fake = FakeChatbase->start;
my $node = new_cluster('memory', $fake, extra => <<'END');
shared_buffers = 256MB
max_wal_size = 4GB
contacts_push.enabled = off
END

# Memory that is the worker's own, in kB: shared buffers are everybody's.
sub private_memory
{
	my ($pid) = @_;
	my ($kilobytes) = slurp_file("/proc/$pid/status") =~ /^RssAnon:\s+(\d+) kB$/m
	  or die "no RssAnon of $pid";
	return $kilobytes;
}

$node->safe_psql('postgres', <<"END");
INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact)
SELECT 'memory', 'user' || i, jsonb_build_object('name', 'User ' || i, 'email', 'user' || i || '\@example.com',
	'phonenumber', '+1' || i, 'custom_attributes', jsonb_build_object('plan', 'pro', 'seats', i))
FROM generate_series(1, @{[CONTACTS]}) i
END
worker_runs($node) or die 'no worker';
my $pid = worker_pid($node);
my $start = private_memory($pid);

# The most that was seen in each part, by what was settled then.
my @most;
my $settled = 0;
set_conf($node, 'contacts_push.enabled' => 'on');
ok( comes_to_zero(
		sub {
			my $memory = private_memory($pid);
			my $part = int($settled / PART);
			$most[$part] = $memory if !defined $most[$part] || $memory > $most[$part];
			$settled = $node->safe_psql('postgres', 'SELECT coalesce(max(contacts), 0) FROM contacts_push.worker');
			return CONTACTS - $settled;
		}),
	'all is settled');
is(worker_pid($node), $pid, 'by one worker');
is(outcomes($node, 'memory'), 'created ' . CONTACTS, 'as created');
is($fake->stats->{contacts}, CONTACTS, 'and held');
my ($first) = grep { defined } @most;
my $last = private_memory($pid);
my ($highest) = sort { $b <=> $a } $last, grep { defined } @most;
cmp_ok($highest - $start, '<=', ROOM, 'the worker needs at most 64 MB');
cmp_ok($last - $first, '<=', FLAT, 'and no more for the last 100,000 than for the first');
note "start $start kB; then " . join(', ', map { $_ // '-' } @most) . "; at the end $last";

$node->stop;
done_testing();
