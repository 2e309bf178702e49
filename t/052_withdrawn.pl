# Nobody whose newest intent is a withdrawal is ever sent: not after a restore, a crash or
# an outage either, when it is not known whether an earlier request has created the contact.
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

my $fake = FakeChatbase->start;
my $true = FakeChatbase::true;
my $node = new_cluster('withdrawn', $fake, extra => "restart_after_crash = on\n");

# What error says of somebody who may be there all the same.
use constant MAYBE => 'withdrawn before it was known what became of a request with it: Chatbase may have it';

sub append
{
	my ($chatbot, @values) = @_;
	$node->safe_psql('postgres', 'INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact) VALUES '
		  . join ', ', map { "('$chatbot', $_)" } @values);
	return;
}

sub sendings
{
	my ($chatbot, $external_id) = @_;
	return scalar grep { $_->{method} eq 'POST' && $_->{chatbot} eq $chatbot && grep { $_ eq $external_id } @{ $_->{external_ids} // [] } }
	  whole_log($fake);
}

# The errors of a contact's rows in the order of arrival.
sub errors_of
{
	my ($chatbot, $external_id) = @_;
	return $node->safe_psql('postgres', <<"END");
SELECT string_agg(coalesce(error, '-'), '|' ORDER BY seq) FROM contacts_push.outbox
WHERE chatbot_id = '$chatbot' AND external_id = '$external_id'
END
}

# A dump that was taken while somebody was pending and withdrawn, restored elsewhere: that
# this is another database its lineage tells.
append('restored', q{'known', '{}'});
ok(settled($node), 'restored: the chatbot is known');
$node->safe_psql('postgres', q{SELECT contacts_push.pause('restored')});
append('restored', q{'gone', '{}'}, q{'stays', '{}'}, q{'changed', '{"name": "old"}'});
append('restored', q{'gone', NULL}, q{'changed', '{"name": "new"}'});
$node->safe_psql('postgres', 'UPDATE contacts_push_internal.lineage SET system_identifier = 1');
ok(wait_until(sub { $node->safe_psql('postgres', 'SELECT system_identifier <> 1 FROM contacts_push_internal.lineage') eq 't' }),
	'restored: the worker has noticed');
$node->safe_psql('postgres', q{SELECT contacts_push.resume('restored')});
ok(settled($node), 'restored: resumed, all is settled');
is(status_of($node, 'restored', 'gone'), 'withdrawn withdrawn', 'restored: who is gone is withdrawn');
is(errors_of('restored', 'gone'), MAYBE . '|' . MAYBE, 'restored: error says that it may be there');
is(sendings('restored', 'gone'), 0, 'restored: it is not sent');
is(status_of($node, 'restored', 'stays'), 'created', 'restored: who stays is created');
is(sendings('restored', 'changed'), 1, 'restored: who has changed is sent');
is($node->safe_psql('postgres', q{SELECT conflict FROM contacts_push.progress WHERE chatbot_id = 'restored'}), 0,
	'restored: nobody counts as a conflict');

# A worker that is killed while a request is under way whose contacts are withdrawn
$fake->faults({ times => 1, match => { chatbot => 'killed' }, action => { hang => $true } });
append('killed', q{'gone', '{}'}, q{'stays', '{}'});
ok(wait_until(sub { $fake->in_flight == 1 }), 'killed: the request is under way');
append('killed', q{'gone', NULL});
kill 'KILL', worker_pid($node);
ok(wait_until(sub { slurp_file($node->logfile) =~ /all server processes terminated; reinitializing/ }), 'killed: the server starts anew');
ok(wait_until(sub { is_up($node) }), 'killed: and is there again');
ok(settled($node), 'killed: all is settled');
is(status_of($node, 'killed', 'gone'), 'withdrawn withdrawn', 'killed: who is gone is withdrawn');
is(errors_of('killed', 'gone'), MAYBE . '|' . MAYBE, 'killed: error says that it may be there');
is(sendings('killed', 'gone'), 1, 'killed: it is not sent again');
is(status_of($node, 'killed', 'stays'), 'created', 'killed: who stays is created');

# An outage, in which they wait in the worker's memory
$fake->faults({ match => { chatbot => 'outage' }, action => { status => 503 } });
append('outage', map { "'u$_', '{}'" } 1 .. 20);
ok(wait_until(sub { count_rows($node, q{chatbot_id = 'outage' AND unconfirmed}) == 20 }), 'outage: all are in doubt');
append('outage', map { "'u$_', NULL" } 1 .. 10);
ok(wait_until(sub { count_rows($node, q{chatbot_id = 'outage' AND status = 'withdrawn'}) == 20 }), 'outage: those who are gone are settled during it');
my $before = sendings('outage', 'u1');
$fake->faults;
ok(settled($node), 'outage: all is settled');
is(outcomes($node, 'outage'), 'created 10, withdrawn 20', 'outage: the others are created');
is(sendings('outage', 'u1'), $before, 'outage: none of those who are gone is sent again');
is(join(' ', sort keys %{ $fake->held('outage') }), join(' ', sort map { "u$_" } 11 .. 20), 'outage: as the stand-in holds it');

$node->stop;
done_testing();
