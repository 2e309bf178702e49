# flush() waits for what is deferred, and not for what is paused.
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
my $node = new_cluster('flush', $fake);

# What is paused is not waited for, put off or not.
sub flush_of_put_off
{
	$node->safe_psql('postgres', <<'END');
INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact, attempts, next_attempt_at)
VALUES ('later', 'x', '{}', 1, now() + interval '1 day')
END
	ok(worker_passes($node), 'put off: the worker has seen it');
	is($node->safe_psql('postgres', q{SELECT contacts_push.flush('1 s')}), 'f', 'put off: flush() waits for it');
	$node->safe_psql('postgres', q{SELECT contacts_push.pause('later')});
	my $before = time;
	is($node->safe_psql('postgres', "SELECT contacts_push.flush('@{[PATIENCE]} s')"), 'f', 'put off: it is not settled either while its chatbot is paused');
	cmp_ok(time - $before, '<', PATIENCE, 'put off: but not waited for');
	is(count_rows($node, q{status = 'pending'}), 1, 'put off: it alone is pending');
	$node->safe_psql('postgres', q{SELECT contacts_push.resume('later')});
	is($node->safe_psql('postgres', q{SELECT contacts_push.flush('1 s')}), 'f', 'put off: resumed, flush() waits again');
	$node->safe_psql('postgres', q{DELETE FROM contacts_push.outbox WHERE chatbot_id = 'later'});
	return;
}

ok(worker_runs($node), 'a worker runs');
flush_of_put_off();

$node->stop;
done_testing();
