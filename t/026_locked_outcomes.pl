# An answer that has come is known for good, also where what it settles can't be written
# down because another session holds the contact's row locked.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use ContactsPushTest;
use EngineTest qw(:DEFAULT lock_row paused_for_refusals worker_passes);
use FakeChatbase;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $fake = FakeChatbase->start;
my $node = new_cluster('locked', $fake, extra => "contacts_push.request_timeout = 1h\n");

# What a chatbot's contacts are refused with where the words matter.
use constant WORDS => 'Validation failed';

# An answer that has come is known for good, even while it can't be written down.
sub answered_while_locked
{
	my $answered = q{FROM contacts_push.request WHERE chatbot_id = 'locked' AND http_status = 409};

	$fake->preset('locked', { external_id => 'x' });
	$fake->faults({ match => { chatbot => 'locked' }, times => 1, action => { delay_ms => FakeChatbase::HELD } });
	$node->safe_psql('postgres', <<'END');
INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact) VALUES ('locked', 'x', '{}')
END
	ok(wait_until(sub { $fake->in_flight == 1 }), 'locked: the request is under way');
	my $operator = lock_row($node, q{chatbot_id = 'locked'});
	is($fake->in_flight, 1, 'locked: while it is');
	$fake->release;
	ok(wait_until(sub { $node->safe_psql('postgres', "SELECT count(*) $answered") eq '1' }), 'locked: the answer is logged');
	my $request = $node->safe_psql('postgres', "SELECT id $answered");
	is(outcomes($node, 'locked'), 'pending 1', 'locked: and the contact is pending');

	my $worker = worker_pid($node);
	$node->safe_psql('postgres', "SELECT pg_terminate_backend($worker)");
	ok(wait_until(sub { my $pid = worker_pid($node); $pid ne '' && $pid ne $worker }), 'locked: another worker');
	ok(worker_passes($node), 'locked: which has recovered');
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
	my $operator = lock_row($node, q{chatbot_id = 'hold' AND external_id = 'u5'});
	set_conf($node, 'contacts_push.enabled' => 'on');
	ok(paused_for_refusals($node, 'hold', WORDS), 'refused while locked: paused');
	ok((grep { $_->{chatbot} eq 'hold' && $_->{contacts} == 1 && $_->{external_ids}[0] eq 'u5' } whole_log($fake)),
		'refused while locked: the locked one was refused, too');
	$operator->query_safe('COMMIT');
	$operator->quit;
	ok(worker_passes($node), 'refused while locked: the operator is done, the worker goes on');
	ok(wait_until(sub { outcomes($node, 'hold') eq "pending $contacts" }), 'refused while locked: all are pending')
	  or diag(outcomes($node, 'hold'));
	is($node->safe_psql('postgres', q{SELECT rejected FROM contacts_push.progress WHERE chatbot_id = 'hold'}), 0,
		'refused while locked: nobody counts as rejected');
	$fake->faults;
	$node->safe_psql('postgres', q{SELECT contacts_push.resume('hold')});
	ok(settled($node), 'refused while locked: fixed and resumed, all is settled');
	is(outcomes($node, 'hold'), "created $contacts", 'refused while locked: as created');
	return;
}

ok(worker_passes($node), 'a worker runs');
answered_while_locked();
refused_while_locked();

$node->stop;
done_testing();
