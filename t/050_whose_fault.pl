# What is the chatbot's fault and what a contact's, where the answer alone does not tell:
# a pause ends by an operator's word or by its time, whatever the wall clock says; and
# nobody is rejected while it is open whose fault a refusal is.
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

use constant CONTACTS => 30;

my $fake = FakeChatbase->start;
my $node = new_cluster('whose_fault', $fake, extra => "restart_after_crash = on\n");
my $true = FakeChatbase::true;

sub requests_for
{
	my ($chatbot) = @_;
	return grep { $_->{chatbot} eq $chatbot } whole_log($fake);
}

# The reason that a chatbot is paused for; '' if it isn't.
sub pause_of
{
	my ($chatbot) = @_;
	return $node->safe_psql('postgres', <<"END");
SELECT pause_reason FROM contacts_push.chatbot
WHERE chatbot_id = '$chatbot' AND paused_until > clock_timestamp()
END
}

# What one gives the worker now is created when it has looked at all that it knew before.
my $passes = 0;
sub worker_passes
{
	$passes++;
	insert_users($node, 'passes', 'u', $passes, $passes);
	return wait_until(sub { count_rows($node, "chatbot_id = 'passes' AND external_id = 'u$passes' AND status = 'created'") == 1 });
}

# A pause that the wall clock has left behind, as when that is set or the machine was
# suspended, is no resume().
sub wall_clock_ahead
{
	$fake->faults({ match => { chatbot => 'clock' }, action => { status => 400, message => 'Validation failed' } });
	insert_users($node, 'clock', 'u', 1, CONTACTS);
	ok(wait_until(sub { pause_of('clock') ne '' }), 'clock: paused for refusals');
	ok($node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM contacts_push.request WHERE finished_at IS NULL}),
		'clock: and nothing is under way');
	my $requests = requests_for('clock');
	$node->safe_psql('postgres', <<'END');
UPDATE contacts_push.chatbot SET paused_until = clock_timestamp() - interval '1 hour' WHERE chatbot_id = 'clock'
END
	ok(worker_passes(), 'clock: the worker has seen that the time is past');
	is(requests_for('clock'), $requests, 'clock: its own clock says that it is not');
	is(outcomes($node, 'clock'), 'pending ' . CONTACTS, 'clock: nobody has said that the refusals are meant');

	# without its row there is nothing that somebody has said either
	$node->safe_psql('postgres', q{DELETE FROM contacts_push.chatbot WHERE chatbot_id = 'clock'});
	ok(worker_passes(), 'clock: the worker has seen that the row is gone');
	is(requests_for('clock'), $requests, 'clock: the pause goes on');

	# an operator's word counts, also when the time is past
	$node->safe_psql('postgres', <<'END');
INSERT INTO contacts_push.chatbot (chatbot_id, paused_until, pause_reason)
VALUES ('clock', clock_timestamp() - interval '1 hour', 'by hand')
ON CONFLICT (chatbot_id) DO UPDATE SET paused_until = EXCLUDED.paused_until, pause_reason = EXCLUDED.pause_reason;
END
	ok(worker_passes(), 'clock: the worker has seen the row');
	$node->safe_psql('postgres', q{SELECT contacts_push.resume('clock')});
	ok(settled($node), 'clock: resumed, all is settled');
	is(outcomes($node, 'clock'), 'rejected ' . CONTACTS, 'clock: as refused');
	return;
}

# A worker that ends amid a run of equal refusals takes what it knows of the run with
# it, and no more: nobody has been rejected for it.
sub end_amid_run
{
	my ($how, $end) = @_;
	my $chatbot = "run $how";
	my @refused = map { "u$_" } 1 .. 14;
	my $refuse = { match => { chatbot => $chatbot }, action => { status => 400, message => 'Validation failed' } };

	# one by one, until one gets no answer
	set_conf($node, 'contacts_push.batch_size' => 1, 'contacts_push.max_concurrent_requests' => 1);
	$fake->faults({ match => { chatbot => $chatbot, external_id => '^u15$' }, action => { hang => $true } }, $refuse);
	insert_users($node, $chatbot, 'u', 1, CONTACTS);
	ok(wait_until(sub { $fake->in_flight == 1 && requests_for($chatbot) == 1 + @refused }), "$how: the run is under way");
	is(outcomes($node, $chatbot), 'pending ' . CONTACTS, "$how: nobody is rejected meanwhile");
	my $worker = worker_pid($node);
	$fake->faults($refuse);
	$end->($worker);
	ok(wait_until(sub { (try_psql($node, 'postgres', q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'contacts_push worker'}))[1] =~ /^(?!$worker$)\d+$/ }),
		"$how: another worker");
	ok(wait_until(sub { pause_of($chatbot) =~ /^20 contacts in a row were refused with: Validation failed$/ }),
		"$how: it finds out that it is the chatbot's fault");
	is(outcomes($node, $chatbot), 'pending ' . CONTACTS, "$how: all are pending");
	is($node->safe_psql('postgres', "SELECT rejected FROM contacts_push.progress WHERE chatbot_id = '$chatbot'"), 0,
		"$how: nobody counts as rejected");
	$fake->faults;
	$node->safe_psql('postgres', "SELECT contacts_push.resume('$chatbot')");
	ok(settled($node), "$how: fixed and resumed, all is settled");
	like(outcomes($node, $chatbot), qr/^created \d+(, present \d+)?$/, "$how: as Chatbase has it");
	set_conf($node, 'contacts_push.batch_size' => 1000, 'contacts_push.max_concurrent_requests' => 4);
	return;
}

# Who has nobody else to wait for is told at once, and so is who is refused before others
# are taken.
sub end_of_run
{
	$fake->faults({ match => { external_id => '^bad' }, action => { status => 400, message => 'Validation failed' } });
	insert_users($node, 'few', 'bad', 1, 5);
	ok(settled($node), 'few: settled');
	is(outcomes($node, 'few'), 'rejected 5', 'few: with nobody else to be sent, the refusals are theirs');

	# the one that is taken comes when the run has begun
	$fake->faults({ match => { external_id => '^bad' }, action => { status => 400, message => 'Validation failed' } },
		{ match => { external_id => '^good' }, times => 1, action => { delay_ms => FakeChatbase::HELD } });
	set_conf($node, 'contacts_push.batch_size' => 1, 'contacts_push.max_concurrent_requests' => 2);
	insert_users($node, 'broken', 'first', 1, 1);
	ok(settled($node), 'broken: the chatbot has answered once');
	insert_users($node, 'broken', 'good', 1, 1);
	insert_users($node, 'broken', 'bad', 1, 10);
	ok(wait_until(sub { requests_for('broken') == 12 }), 'broken: all are refused but one that is under way');
	is($fake->in_flight, 1, 'broken: which it still is');
	$fake->release;
	ok(settled($node), 'broken: settled');
	is(outcomes($node, 'broken'), 'created 2, rejected 10', 'broken: when it is taken, the refusals are theirs');
	set_conf($node, 'contacts_push.batch_size' => 1000, 'contacts_push.max_concurrent_requests' => 4);
	return;
}

# A refusal that repeats what was sent speaks of no quota, whatever the words.
sub repeated_words
{
	$fake->faults({ match => { external_id => '^acme$' }, action => { status => 400, message => 'Not a company: Acme Limited' } });
	$node->safe_psql('postgres', <<"END");
INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact)
SELECT 'company', CASE i WHEN 5 THEN 'acme' ELSE 'u' || i END,
	jsonb_build_object('name', CASE i WHEN 5 THEN 'ACME Limited' ELSE 'User ' || i END)
FROM generate_series(1, @{[CONTACTS]}) i
END
	ok(settled($node), 'company: all is settled');
	is(outcomes($node, 'company'), 'created ' . (CONTACTS - 1) . ', rejected 1', 'company: the others are created');
	is(status_of($node, 'company', 'acme'), 'rejected', 'company: the one that is refused is rejected');
	is(pause_of('company'), '', 'company: and there is no pause');
	return;
}

# Whether it is the plan's limit one contact tells, sent alone.
sub quota
{
	my $message = 'A limit was exceeded';

	$fake->faults({ match => { chatbot => 'full' }, action => { status => 400, message => $message } });
	insert_users($node, 'full', 'u', 1, CONTACTS);
	ok(wait_until(sub { pause_of('full') eq "400 $message" }), 'a quota: paused');
	is(join(' ', map { $_->{contacts} } requests_for('full')), CONTACTS . ' 1', 'a quota: a contact alone was answered so, too');
	is(outcomes($node, 'full'), 'pending ' . CONTACTS, 'a quota: nobody is refused for it');
	$fake->faults;
	$node->safe_psql('postgres', q{SELECT contacts_push.resume('full')});
	ok(settled($node), 'a quota: resumed, all is settled');
	is(outcomes($node, 'full'), 'created ' . CONTACTS, 'a quota: as created');
	return;
}

wall_clock_ahead();
repeated_words();
quota();
end_amid_run('killed', sub { kill 'KILL', $_[0]; });
end_amid_run('terminated', sub { $node->safe_psql('postgres', "SELECT pg_terminate_backend($_[0])"); });
end_of_run();

$node->stop;
done_testing();
