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

# What is discarded is let go of at once: not sent any more, and not waited for.
sub flush_of_discarded
{
	$fake->faults({ match => { chatbot => 'gone' }, action => { status => 503, headers => { 'Retry-After' => '3000' } } });
	insert_users($node, 'gone', 'g', 1, 3);
	ok($node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM contacts_push.progress WHERE chatbot_id = 'gone' AND state LIKE 'backing off%'}),
		'discarded: it waits for its next try');
	is($node->safe_psql('postgres', q{SELECT contacts_push.discard('gone')}), 3, 'discarded: all of it');
	is($node->safe_psql('postgres', "SELECT contacts_push.flush('@{[PATIENCE]} s')"), 't', 'discarded: all is settled');
	my $requests = scalar(whole_log($fake));

	# one is under way, and the others are taken up for what comes after it
	$fake->faults({ match => { chatbot => 'flying' }, action => { delay_ms => FakeChatbase::HELD } });
	set_conf($node, 'contacts_push.batch_size' => 1, 'contacts_push.max_concurrent_requests' => 1);
	insert_users($node, 'flying', 'f', 1, 5);
	ok(wait_until(sub { $fake->in_flight == 1 }), 'discarded: one is under way');
	is($node->safe_psql('postgres', q{SELECT contacts_push.discard('flying')}), 5, 'discarded: it and the others');
	$fake->faults;
	$fake->release;
	ok(wait_until(sub { $fake->in_flight == 0 }), 'discarded: its request is over');
	is($node->safe_psql('postgres', "SELECT contacts_push.flush('@{[PATIENCE]} s')"), 't', 'discarded: all is settled again');
	is(outcomes($node, 'flying'), 'withdrawn 5', 'discarded: they stay so');
	is(count_rows($node, q{chatbot_id = 'flying' AND error LIKE '%Chatbase may have it'}), 1, 'discarded: the one that was sent says so');
	is(scalar(whole_log($fake)), $requests + 1, 'discarded: and no other was sent');
	return;
}

ok(worker_runs($node), 'a worker runs');
flush_of_put_off();
flush_of_discarded();

$node->stop;
done_testing();
