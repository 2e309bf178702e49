# An end is an end: from SIGTERM on nothing new leaves, and the worker is gone within the
# second that it is granted, also while it waits for a standby that is not there.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use ContactsPushTest;
use FakeChatbase;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $fake = FakeChatbase->start;
my $node = new_cluster('end', $fake, init => { allows_streaming => 1 }, extra => "contacts_push.request_timeout = 1h\n");

# Rows that are committed without waiting for a standby.
sub enqueue
{
	my ($chatbot, $n) = @_;
	$node->safe_psql('postgres', <<"END");
SET synchronous_commit = local;
INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact)
SELECT '$chatbot', i, '{"name": "A"}' FROM generate_series(1, $n) i;
END
	return;
}

sub waits_for_standby
{
	my ($what) = @_;
	ok($node->poll_query_until('postgres',
			q{SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'contacts_push worker' AND wait_event = 'SyncRep'}),
		"$what: the worker waits for the standby");
	return;
}

# The answer to what is under way comes, and to all that is sent from now on.
sub answer
{
	$fake->faults();
	$fake->release;
	return;
}

# One SIGTERM, by which the process has to end; the code is for what comes after it, and
# within the second unless the machine is too busy.
sub terminate
{
	my ($what, $meanwhile) = @_;
	my $pid = worker_pid($node);
	is($node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)"), 't', "$what: one SIGTERM");
	$meanwhile->() if defined $meanwhile;
	ok($node->poll_query_until('postgres', "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $pid"), "$what: ends it");
	return;
}

# a standby is missing when the intent is committed
set_conf($node, synchronous_standby_names => 'missing');
enqueue('intent', 10);
waits_for_standby('intent');
my $pid = worker_pid($node);
$node->safe_psql('postgres', "SELECT pg_cancel_backend($pid)");
waits_for_standby('cancelled');
is(worker_pid($node), $pid, 'a cancel changes nothing');
terminate('intent');
ok(wait_until(sub { my $now = worker_pid($node); $now ne '' && $now ne $pid }), 'another worker comes');
is($fake->stats->{requests}, 0, 'no request has left whose intent is not on the standby');
waits_for_standby('the next one');
$node->stop('fast');
pass('a fast shutdown ends it, too');
$node->append_conf('postgresql.conf', "synchronous_standby_names = ''");
$node->start;
ok(settled($node), 'without the standby all is settled');
is(outcomes($node, 'intent'), 'created 10', 'what never left is created');

# it is missing when an answer is recorded, which came after the signal
$fake->always(delay_ms => FakeChatbase::HELD);
my $requests = $fake->stats->{requests};
enqueue('answer', 10);
ok(wait_until(sub { $fake->stats->{requests} > $requests && $fake->in_flight == 1 }), 'a request is under way');
set_conf($node, synchronous_standby_names => 'missing');
terminate('answer', \&answer);
set_conf($node, synchronous_standby_names => '');
ok(settled($node), 'all is settled');
like(outcomes($node, 'answer'), qr/^(created|present) 10$/, 'as it was answered');
is(held_matches($node, $fake, 'answer'), '', 'and is held');

# it is missing when an answer is recorded, and the signal comes while that waits
$fake->always(delay_ms => FakeChatbase::HELD);
$requests = $fake->stats->{requests};
enqueue('recorded', 10);
ok(wait_until(sub { $fake->stats->{requests} > $requests }), 'a request is under way');
set_conf($node, synchronous_standby_names => 'missing');
answer();
waits_for_standby('recorded');
$node->stop('fast');
pass('a fast shutdown ends it');
$node->append_conf('postgresql.conf', "synchronous_standby_names = ''");
$node->start;
ok(settled($node), 'all is settled');
like(outcomes($node, 'recorded'), qr/^(created|present) 10$/, 'as it was answered');

# the lock is taken when the answer has come, after the signal
$fake->always(delay_ms => FakeChatbase::HELD);
$requests = $fake->stats->{requests};
enqueue('locked', 10);
ok(wait_until(sub { $fake->stats->{requests} > $requests && $fake->in_flight == 1 }), 'a request is under way');
my $session = open_session($node);
$session->query_safe('BEGIN; LOCK contacts_push.outbox, contacts_push.request');
terminate('locked', \&answer);
$session->query_safe('ROLLBACK');
$session->quit;
ok(settled($node), 'all is settled');
like(outcomes($node, 'locked'), qr/^(created|present) 10$/, 'as it was answered');

$node->stop;
done_testing();
