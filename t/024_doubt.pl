# Who is in doubt, and who isn't: whatever is lost, killed, refused or locked
# meanwhile, a contact that was never sent or whose answer is known is not taken for
# one that was created, and one whose answer was lost stays in doubt until an answer
# ends that.
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

my $true = FakeChatbase::true;
my $fake = FakeChatbase->start;
my $node = new_cluster('doubt', $fake, extra => "restart_after_crash = on\n");

# How long a request takes in which something else is to happen, milliseconds.
use constant SLOW => 5000;

# What a chatbot's contacts are refused with where the words matter.
use constant WORDS => 'Validation failed';

# Requests for a chatbot that have arrived.
sub requests_for
{
	my ($chatbot) = @_;
	return scalar grep { $_->{chatbot} eq $chatbot } whole_log($fake);
}

# Waits until a chatbot has nothing pending; false if it always does.
sub chatbot_settled
{
	my ($chatbot, $on) = @_;
	return wait_until(sub { count_rows($on // $node, "chatbot_id = '$chatbot' AND status = 'pending'") == 0 });
}

# Waits until the worker has done what it could: what one gives it now is created
# when all that it knew before has been looked at.
my $passes = 0;
sub worker_passes
{
	my ($on) = @_;
	$on //= $node;
	$passes++;
	insert_users($on, 'passes', 'u', $passes, $passes);
	return wait_until(sub { count_rows($on, "chatbot_id = 'passes' AND external_id = 'u$passes' AND status = 'created'") == 1 });
}

# Waits for the pause that a run of equal refusals ends in.
sub paused_for_refusals
{
	my ($chatbot) = @_;
	return wait_until(sub { $node->safe_psql('postgres', <<"END") eq 't' });
SELECT paused_until > clock_timestamp() AND pause_reason = '20 contacts in a row were refused with: @{[WORDS]}'
FROM contacts_push.chatbot WHERE chatbot_id = '$chatbot'
END
}

# Has a session of its own lock rows of the outbox.
sub lock_rows
{
	my ($condition) = @_;
	my $session = $node->background_psql('postgres');
	$session->query_safe('BEGIN');
	is($session->query_safe("SELECT count(*) FROM (SELECT FROM contacts_push.outbox WHERE $condition FOR UPDATE) s"),
		1, "a row is locked: $condition");
	return $session;
}

# Two chatbots' rows lie between each other; one's are under way when the worker is
# killed, the other's were never sent.
sub crash_beside_paused
{
	my $preset = 60;
	my $each = 400;

	$fake->preset('b', map { { external_id => 'b' . 5 * $_ } } 1 .. $preset);
	$fake->faults({ match => { chatbot => 'a' }, times => 1, action => { hang => $true } });
	$node->safe_psql('postgres', <<"END");
INSERT INTO contacts_push.chatbot (chatbot_id) VALUES ('b');
SELECT contacts_push.pause('b');
INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact)
SELECT c, c || i, '{}' FROM generate_series(1, $each) i, unnest('{a,b}'::text[]) c ORDER BY i, c
END
	ok(wait_until(sub { $fake->in_flight > 0 }), 'neighbours: a request is under way');
	ok( $node->safe_psql('postgres', q{SELECT count(*) > 0 FROM contacts_push.request WHERE chatbot_id = 'a' AND contacts > 1 AND finished_at IS NULL}),
		'neighbours: with several contacts');
	kill 'KILL', worker_pid($node);
	# until the server has noticed, there are connections that are cut; and then none
	ok(wait_until(sub { slurp_file($node->logfile) =~ /all server processes terminated; reinitializing/ }),
		'neighbours: the server starts anew');
	ok(wait_until(sub { $node->psql('postgres', 'SELECT 1') == 0 }), 'neighbours: and is there again');
	$fake->faults;
	ok(chatbot_settled('a'), 'neighbours: those that were under way are settled');
	is(outcomes($node, 'a'), "created $each", 'neighbours: as created, since none had been');
	is(count_rows($node, q{chatbot_id = 'b' AND unconfirmed}), 0, 'neighbours: what lies between is not in doubt');
	$node->safe_psql('postgres', q{SELECT contacts_push.resume('b')});
	ok(settled($node), 'neighbours: resumed, all is settled');
	is(outcomes($node, 'b'), 'conflict ' . $preset . ', created ' . ($each - $preset),
		'neighbours: who was never sent is created or in conflict');
	return;
}

# A refusal says that this request has not created a contact, and nothing of the one
# before.
sub refused_after_doubt
{
	$fake->faults(
		{ match => { chatbot => 'refused' }, times => 1, when => 'after', action => { drop => $true } },
		{ match => { chatbot => 'refused' }, action => { status => 400, message => WORDS } });
	insert_users($node, 'refused', 'u', 1, 1);
	ok(settled($node), 'refused later: settled');
	is(outcomes($node, 'refused'), 'rejected 1', 'refused later: as rejected');
	is(keys %{ $fake->held('refused') }, 1, 'refused later: though it was created');
	$fake->faults;
	is($node->safe_psql('postgres', q{SELECT contacts_push.retry('refused')}), 1, 'refused later: retried');
	ok(settled($node), 'refused later: settled again');
	is($node->safe_psql('postgres', q{SELECT status, http_status FROM contacts_push.outbox WHERE chatbot_id = 'refused'}),
		'present|409', 'refused later: it is present');
	return;
}

# The same for those whose refusals are taken back.
sub refused_in_run_after_doubt
{
	my $contacts = 25;

	$fake->faults(
		{ match => { chatbot => 'run' }, times => 1, when => 'after', action => { drop => $true } },
		{ match => { chatbot => 'run' }, action => { status => 400, message => WORDS } });
	insert_users($node, 'run', 'u', 1, $contacts);
	ok(paused_for_refusals('run'), 'refused in a run: paused');
	my $held = keys %{ $fake->held('run') };
	cmp_ok($held, '>', 0, 'refused in a run: some were created before');
	$fake->faults;
	$node->safe_psql('postgres', q{SELECT contacts_push.resume('run')});
	ok(settled($node), 'refused in a run: resumed, all is settled');
	my $created = $contacts - $held;
	is(outcomes($node, 'run'), ($created > 0 ? "created $created, " : '') . "present $held",
		'refused in a run: who was created is present');
	is(held_matches($node, $fake, 'run'), '', 'refused in a run: as the stand-in holds it');
	return;
}

# An answer that has come is known for good, even while it can't be written down.
sub answered_while_locked
{
	my $answered = q{FROM contacts_push.request WHERE chatbot_id = 'locked' AND http_status = 409};

	$fake->preset('locked', { external_id => 'x' });
	$fake->faults({ match => { chatbot => 'locked' }, times => 1, action => { delay_ms => SLOW } });
	$node->safe_psql('postgres', <<'END');
INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact) VALUES ('locked', 'x', '{}')
END
	ok(wait_until(sub { $fake->in_flight == 1 }), 'locked: the request is under way');
	my $operator = lock_rows(q{chatbot_id = 'locked'});
	is($fake->in_flight, 1, 'locked: while it is');
	ok(wait_until(sub { $node->safe_psql('postgres', "SELECT count(*) $answered") eq '1' }), 'locked: the answer is logged');
	my $request = $node->safe_psql('postgres', "SELECT id $answered");
	is(outcomes($node, 'locked'), 'pending 1', 'locked: and the contact is pending');

	my $worker = worker_pid($node);
	$node->safe_psql('postgres', "SELECT pg_terminate_backend($worker)");
	ok(wait_until(sub { my $pid = worker_pid($node); $pid ne '' && $pid ne $worker }), 'locked: another worker');
	ok(worker_passes(), 'locked: which has recovered');
	$operator->query_safe('COMMIT');
	$operator->quit;
	ok(settled($node), 'locked: the operator is done, all is settled');
	is(outcomes($node, 'locked'), 'conflict 1', 'locked: as a conflict, nobody has created it');
	is($node->safe_psql('postgres', "SELECT http_status, outcome, finished_at IS NULL FROM contacts_push.request WHERE id = $request"),
		'409|contact|f', 'locked: the log has what was answered');
	return;
}

# A refusal that belongs to a run is taken back even if it can't be written down yet.
sub refused_while_locked
{
	my $contacts = 30;

	$fake->faults({ match => { chatbot => 'hold' }, action => { status => 400, message => WORDS } });
	# not by a pause: who resumes says that refusals are meant
	set_conf($node, 'contacts_push.enabled' => 'off');
	insert_users($node, 'hold', 'u', 1, $contacts);
	my $operator = lock_rows(q{chatbot_id = 'hold' AND external_id = 'u5'});
	set_conf($node, 'contacts_push.enabled' => 'on');
	ok(paused_for_refusals('hold'), 'refused while locked: paused');
	ok((grep { $_->{chatbot} eq 'hold' && $_->{contacts} == 1 && $_->{external_ids}[0] eq 'u5' } whole_log($fake)),
		'refused while locked: the locked one was refused, too');
	$operator->query_safe('COMMIT');
	$operator->quit;
	ok(worker_passes(), 'refused while locked: the operator is done, the worker goes on');
	ok(wait_until(sub { outcomes($node, 'hold') eq "pending $contacts" }), 'refused while locked: all are pending')
	  or diag(outcomes($node, 'hold'));
	is($node->safe_psql('postgres', q{SELECT rejected FROM contacts_push.progress WHERE chatbot_id = 'hold'}), 0,
		'refused while locked: nobody counts as rejected');
	$fake->faults;
	$node->safe_psql('postgres', q{SELECT contacts_push.resume('hold')});
	ok(settled($node), 'refused while locked: mended and resumed, all is settled');
	is(outcomes($node, 'hold'), "created $contacts", 'refused while locked: as created');
	return;
}

# Too large whatever their number: in the end each is by itself, and it takes no more
# than two or three requests a contact to find that out.
sub always_too_large
{
	my $contacts = 200;
	my $most = 3 * $contacts;

	$fake->faults({ match => { chatbot => 'large' }, action => { status => 413 } });
	$node->safe_psql('postgres', <<"END");
INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact)
SELECT 'large', i::text, '{}' FROM generate_series(1, $contacts) i
END
	# without an end there would be nothing to wait for
	wait_until(sub { requests_for('large') > $most
		  || count_rows($node, q{chatbot_id = 'large' AND status = 'pending'}) == 0 });
	is(outcomes($node, 'large'), "rejected $contacts", 'too large: all are rejected');
	cmp_ok(requests_for('large'), '<=', $most, 'too large: in a bounded number of requests');
	my %alone = map { $_->{external_ids}[0] => 1 } grep { $_->{chatbot} eq 'large' && $_->{contacts} == 1 } whole_log($fake);
	is(keys %alone, $contacts, 'too large: each having been sent alone');
	$fake->faults;
	# what is still pending where this fails is not to disturb others
	$node->safe_psql('postgres', q{DELETE FROM contacts_push.outbox WHERE chatbot_id = 'large'});
	return;
}

# A contact that has requests answered with what is no answer: it is found, like one
# that has them refused.
sub one_without_answer
{
	my $contacts = 500;
	my $most = 200;
	my $others = q{chatbot_id = 'html' AND external_id <> 'odd'};
	my $odd = q{chatbot_id = 'html' AND external_id = 'odd'};

	set_conf($node, 'contacts_push.max_attempts' => 3);
	$fake->faults({ match => { chatbot => 'html', external_id => '^odd$' },
		action => { status => 200, headers => { 'Content-Type' => 'text/html' }, body => '<html><body>Welcome</body></html>' } });
	$node->safe_psql('postgres', <<"END");
INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact)
SELECT 'html', CASE WHEN i = $contacts / 2 THEN 'odd' ELSE 'u' || i END, '{}' FROM generate_series(0, $contacts) i
END
	wait_until(sub { requests_for('html') > $most || count_rows($node, "$others AND status = 'created'") == $contacts });
	is(count_rows($node, "$others AND status = 'created'"), $contacts, 'no answer: all others are created');
	cmp_ok(requests_for('html'), '<=', $most, 'no answer: in a bounded number of requests');
	# alone there is no other to show that the chatbot is well, so it may stay as it is
	ok(wait_until(sub { count_rows($node, "$odd AND (status = 'failed' OR (status = 'pending' AND attempts > 0))") == 1 }),
		'no answer: it is failed, or charged')
	  or diag($node->safe_psql('postgres', "SELECT status, attempts, unconfirmed, error FROM contacts_push.outbox WHERE $odd"));
	ok(!exists $fake->held('html')->{odd}, 'no answer: nobody holds it');
	is(count_rows($node, "$odd AND status IN ('created', 'present')"), 0, 'no answer: and nobody says so');
	$fake->faults;
	$node->safe_psql('postgres', "DELETE FROM contacts_push.outbox WHERE $odd");
	set_conf($node, 'contacts_push.max_attempts' => 1000);
	return;
}

# What is paused is not waited for, put off or not.
sub flush_of_put_off
{
	$node->safe_psql('postgres', <<'END');
INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact, attempts, next_attempt_at)
VALUES ('later', 'x', '{}', 1, now() + interval '1 day')
END
	ok(worker_passes(), 'put off: the worker has seen it');
	is($node->safe_psql('postgres', q{SELECT contacts_push.flush('1 s')}), 'f', 'put off: flush() waits for it');
	$node->safe_psql('postgres', q{SELECT contacts_push.pause('later')});
	is($node->safe_psql('postgres', "SELECT contacts_push.flush('@{[PATIENCE]} s')"), 't', 'put off: but not while its chatbot is paused');
	is(count_rows($node, q{status = 'pending'}), 1, 'put off: it alone is pending');
	$node->safe_psql('postgres', q{SELECT contacts_push.resume('later')});
	is($node->safe_psql('postgres', q{SELECT contacts_push.flush('1 s')}), 'f', 'put off: resumed, flush() waits again');
	$node->safe_psql('postgres', q{DELETE FROM contacts_push.outbox WHERE chatbot_id = 'later'});
	return;
}

# Calls don't wait for the budget that they share with the worker; the worker must not
# have to pay for all of them.
sub calls_before_worker
{
	my $calls = 100;
	my $per_second = 10;

	set_conf($node, 'contacts_push.requests_per_second' => $per_second);
	# the first request at the new rate
	ok(worker_passes(), 'calls: the worker knows the budget');
	is($node->safe_psql('postgres', <<"END"), $calls, 'calls: they are answered');
SELECT count(*) FROM generate_series(1, $calls) i,
	LATERAL chatbase_create_contacts('calls', jsonb_build_object('external_id', i::text))
END
	insert_users($node, 'after', 'u', 1, 1);
	ok(settled($node), 'calls: a contact is settled afterwards');
	is(outcomes($node, 'after'), 'created 1', 'calls: as created');
	my $seconds = $node->safe_psql('postgres', <<'END');
SELECT extract(epoch FROM min(r.started_at) - min(o.enqueued_at))
FROM contacts_push.request r JOIN contacts_push.outbox o USING (chatbot_id) WHERE chatbot_id = 'after'
END
	cmp_ok($seconds, '<', $calls / $per_second / 2, 'calls: without having waited for what they took of the budget');
	note "calls: $seconds s";
	return;
}

# Who was pending when a standby was promoted is in doubt: nobody knows what the other
# server has sent since.  Who comes afterwards is not.
sub doubt_ends_after_promotion
{
	my $primary = new_cluster('primary', $fake, init => { allows_streaming => 1 });

	$primary->backup('backup');
	my $standby = PostgreSQL::Test::Cluster->new('standby');
	$standby->init_from_backup($primary, 'backup', has_streaming => 1);
	$standby->start;

	$fake->preset($_, { external_id => 'x' }) for qw(pending fresh);
	my $insert = q{INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact) VALUES ('%s', 'x', '{}')};
	$primary->safe_psql('postgres', q{INSERT INTO contacts_push.chatbot (chatbot_id) VALUES ('pending'); SELECT contacts_push.pause('pending')});
	$primary->safe_psql('postgres', sprintf $insert, 'pending');
	$primary->wait_for_catchup($standby);
	$primary->stop('immediate');
	$standby->promote;
	ok($standby->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()'), 'promoted');
	ok(worker_passes($standby), 'promoted: a worker has recovered');

	$standby->safe_psql('postgres', sprintf $insert, 'fresh');
	ok(chatbot_settled('fresh', $standby), 'promoted: what comes afterwards is settled');
	is(outcomes($standby, 'fresh'), 'conflict 1', 'promoted: as a conflict, nobody here can have sent it');
	is(outcomes($standby, 'pending'), 'pending 1', 'promoted: what was pending still is');
	$standby->safe_psql('postgres', q{SELECT contacts_push.resume('pending')});
	ok(chatbot_settled('pending', $standby), 'promoted: resumed, it is settled');
	is(outcomes($standby, 'pending'), 'present 1', 'promoted: as present, the other server may have sent it');
	$standby->stop;
	return;
}

ok(worker_passes(), 'a worker runs');
crash_beside_paused();
refused_after_doubt();
refused_in_run_after_doubt();
answered_while_locked();
refused_while_locked();
always_too_large();
one_without_answer();
flush_of_put_off();
calls_before_worker();
$node->stop;
doubt_ends_after_promotion();

done_testing();
