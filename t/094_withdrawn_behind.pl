# A contact that waits in the worker's memory while its chatbot has as much as it can take
# up is not sent once it is withdrawn, however long the rows behind it are not read.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use ContactsPushTest;
use EngineTest qw(:DEFAULT worker_passes chatbot_settled);
use FakeChatbase;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# A request at a time, of one contact: two are taken up in advance.
my $fake = FakeChatbase->start;
my $node = new_cluster('withdrawn_behind', $fake, extra => <<'END');
contacts_push.batch_size = 1
contacts_push.max_concurrent_requests = 1
contacts_push.request_timeout = 1h
END

# Those that the stand-in was sent, in order.
sub sent
{
	my ($chatbot) = @_;
	return join ' ', map { @{ $_->{external_ids} // [] } } grep { $_->{chatbot} eq $chatbot } whole_log($fake);
}

sub enqueue
{
	my ($chatbot, $contact, @external_ids) = @_;
	$node->safe_psql('postgres', join '', map {
		"INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact) VALUES ('$chatbot', '$_', $contact);\n"
	} @external_ids);
	return;
}

ok(worker_runs($node), 'a worker runs');

# The first is under way and the second waits behind it; there is room for no other.
$fake->faults({ match => { chatbot => 'full' }, action => { delay_ms => FakeChatbase::HELD } });
enqueue('full', q('{}'), 'a', 'b', 'c');
ok(wait_until(sub { $fake->in_flight == 1 }), 'under way: one is');
enqueue('full', 'NULL', 'b');
$fake->faults;
$fake->release;
ok(chatbot_settled($node, 'full'), 'under way: all is settled');
is(sent('full'), 'a c', 'under way: the one that was withdrawn is not sent');

# All wait for the same next try.
$fake->faults({ match => { chatbot => 'down' }, action => { status => 401 } });
enqueue('down', q('{}'), 'a', 'b', 'c');
ok($node->poll_query_until('postgres', q{SELECT state LIKE 'paused: %' FROM contacts_push.progress WHERE chatbot_id = 'down'}),
	'paused: it is');
enqueue('down', 'NULL', 'a', 'b');
ok(worker_passes($node), 'paused: the worker has been told of the withdrawals');
$fake->faults;
$node->safe_psql('postgres', q{SELECT contacts_push.resume('down')});
ok(chatbot_settled($node, 'down'), 'paused: all is settled');
is(sent('down') =~ s/^a //r, 'c', 'paused: those that were withdrawn are not sent again');

# Where more is read than can be taken up, withdrawals are not read, but looked at.
$fake->faults({ match => { chatbot => 'behind' }, action => { status => 503, headers => { 'Retry-After' => '3000' } } });
enqueue('behind', q('{}'), 'a', 'b');
ok($node->poll_query_until('postgres', q{SELECT state LIKE 'backing off%' FROM contacts_push.progress WHERE chatbot_id = 'behind'}),
	'not read: it backs off');
insert_users($node, 'behind', 'u', 1, 3000);
ok(worker_passes($node), 'not read: the worker has passed over those that came behind');
enqueue('behind', 'NULL', 'a', 'b');
ok(worker_passes($node), 'not read: and over the withdrawals');
my $before = sent('behind');
$fake->faults;
set_conf($node, 'contacts_push.batch_size' => 1000);
$node->safe_psql('postgres', q{SELECT contacts_push.resume('behind')});
ok(chatbot_settled($node, 'behind'), 'not read: all is settled');
is(join(' ', grep { /^[ab]$/ } split / /, sent('behind')), $before, 'not read: those that were withdrawn are not sent again');

$node->stop;
done_testing();
