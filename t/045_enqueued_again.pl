# Rows that are deleted by hand while the worker has them in memory, and their contacts
# enqueued again: what an operator does who wants to begin anew during an outage.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use ContactsPushTest;
use EngineTest;
use FakeChatbase;
use JSON::PP ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use constant CONTACTS => 200;

my $true = JSON::PP::true;
my $fake = FakeChatbase->start;
my $node = new_cluster('again', $fake, extra => "contacts_push.max_concurrent_requests = 1\n");

# Deletes what is pending, but for one contact, and enqueues it again under a new name, in
# one transaction.  Returns how many.
sub enqueue_again
{
	my ($chatbot, $but) = @_;
	return $node->safe_psql('postgres', <<"END");
BEGIN;
CREATE TEMPORARY TABLE gone AS SELECT * FROM contacts_push.outbox
WHERE chatbot_id = '$chatbot' AND status = 'pending' AND external_id <> '$but';
DELETE FROM contacts_push.outbox WHERE seq IN (SELECT seq FROM gone);
INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact)
SELECT chatbot_id, external_id, contact || '{"name": "new"}' FROM gone ORDER BY seq;
SELECT count(*) FROM gone;
COMMIT
END
}

# The names under which the stand-in holds a chatbot's contacts, with how many have each.
sub names
{
	my ($chatbot) = @_;
	my %names;
	$names{ ($_->{name} // '') eq 'new' ? 'new' : 'old' }++
	  for @{ $fake->admin("contacts?chatbot=$chatbot") };
	return join ', ', map { "$names{$_} $_" } sort keys %names;
}

sub request_arrived
{
	return wait_until(sub { $fake->in_flight == 1 });
}

# Until the worker has looked at the outbox once more: a reload makes it do so.
sub looked_at
{
	my $now = $node->safe_psql('postgres', 'SELECT clock_timestamp()');
	reload($node);
	return $node->poll_query_until('postgres', <<"END");
SELECT state = 'idle' AND query_start > '$now' FROM pg_stat_activity
WHERE backend_type = 'contacts_push worker'
END
}

# Contacts that wait in the worker's memory behind a request under way.
sub waiting
{
	$fake->faults({ match => { external_id => '^first' }, action => { hang => $true } });
	insert_users($node, 'waiting', 'first', 1, 1);
	ok(request_arrived(), 'waiting: a request is under way');
	insert_users($node, 'waiting', 'u', 1, CONTACTS);
	ok(looked_at(), 'waiting: the others have been read');
	is(enqueue_again('waiting', 'first1'), CONTACTS, 'waiting: they are deleted and enqueued again');
	ok(looked_at(), 'waiting: which has been read');
	$fake->faults;
	$fake->reset;
	ok(settled($node), 'waiting: all is settled');
	is(outcomes($node, 'waiting'), 'created ' . (CONTACTS + 1), 'waiting: as created');
	is(held_matches($node, $fake, 'waiting'), '', 'waiting: as the stand-in holds it');
	is(names('waiting'), CONTACTS . ' new, 1 old', 'waiting: as it was enqueued last');
	return;
}

# Contacts whose fate is open.
sub unconfirmed
{
	$fake->faults({ action => { status => 503 } });
	insert_users($node, 'unconfirmed', 'u', 1, CONTACTS);
	ok( $node->poll_query_until('postgres', q{SELECT bool_and(unconfirmed) FROM contacts_push.outbox WHERE chatbot_id = 'unconfirmed'}),
		'unconfirmed: all have gone without an answer');
	is(enqueue_again('unconfirmed', ''), CONTACTS, 'unconfirmed: they are deleted and enqueued again');
	ok(looked_at(), 'unconfirmed: which has been read');
	is(enqueue_again('unconfirmed', ''), CONTACTS, 'unconfirmed: and once more');
	ok(looked_at(), 'unconfirmed: which has been read');
	$fake->faults;
	ok(settled($node), 'unconfirmed: all is settled');
	is(outcomes($node, 'unconfirmed'), 'created ' . CONTACTS, 'unconfirmed: as created');
	is(held_matches($node, $fake, 'unconfirmed'), '', 'unconfirmed: as the stand-in holds it');
	is(names('unconfirmed'), CONTACTS . ' new', 'unconfirmed: as it was enqueued last');
	return;
}

# Contacts under way: they are created under rows that are gone, and the new rows are not
# in conflict with anybody else's contact, whether they are read before the answer or, as
# the worker is kept from reading, after it.
sub under_way
{
	my ($chatbot, $is_late) = @_;
	$fake->faults({ match => { chatbot => $chatbot }, times => 1, when => 'before', action => { delay_ms => FakeChatbase::HELD } });
	insert_users($node, $chatbot, 'u', 1, CONTACTS);
	ok(request_arrived(), "$chatbot: a request is");
	set_conf($node, 'contacts_push.enabled' => 'off') if $is_late;
	is(enqueue_again($chatbot, ''), CONTACTS, "$chatbot: they are deleted and enqueued again");
	ok(looked_at(), "$chatbot: which has been read") unless $is_late;
	$fake->release;
	ok(wait_until(sub { $node->safe_psql('postgres', <<"END") eq '0' }), "$chatbot: the answer is recorded");
SELECT count(*) FROM contacts_push.request WHERE chatbot_id = '$chatbot' AND outcome IS NULL
END
	set_conf($node, 'contacts_push.enabled' => 'on') if $is_late;
	ok(settled($node), "$chatbot: all is settled");
	is(outcomes($node, $chatbot), 'present ' . CONTACTS, "$chatbot: as present");
	is(held_matches($node, $fake, $chatbot), '', "$chatbot: as the stand-in holds it");
	return;
}

my $pid = worker_pid($node);
waiting();
unconfirmed();
under_way('under way', 0);
under_way('under way late', 1);
is(worker_pid($node), $pid, 'the worker has not ended meanwhile');

$node->stop;
done_testing();
