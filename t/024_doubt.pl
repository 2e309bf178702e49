# Who is in doubt, and who isn't: whatever is lost, killed or refused
# meanwhile, a contact that was never sent or whose answer is known is not taken for
# one that was created, and one whose answer was lost stays in doubt until an answer
# ends that.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use ContactsPushTest;
use EngineTest qw(:DEFAULT chatbot_settled paused_for_refusals worker_passes);
use FakeChatbase;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $true = FakeChatbase::true;
my $fake = FakeChatbase->start;
my $node = new_cluster('doubt', $fake, extra => "restart_after_crash = on\n");

# What a chatbot's contacts are refused with where the words matter.
use constant WORDS => 'Validation failed';

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
	ok(wait_until(sub { is_up($node) }), 'neighbours: and is there again');
	$fake->faults;
	ok(chatbot_settled($node, 'a'), 'neighbours: those that were under way are settled');
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
		'present|200', 'refused later: it is found, and present');
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
	ok(paused_for_refusals($node, 'run', WORDS), 'refused in a run: paused');
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
	ok(chatbot_settled($standby, 'fresh'), 'promoted: what comes afterwards is settled');
	is(outcomes($standby, 'fresh'), 'conflict 1', 'promoted: as a conflict, nobody here can have sent it');
	is(outcomes($standby, 'pending'), 'pending 1', 'promoted: what was pending still is');
	$standby->safe_psql('postgres', q{SELECT contacts_push.resume('pending')});
	ok(chatbot_settled($standby, 'pending'), 'promoted: resumed, it is settled');
	is(outcomes($standby, 'pending'), 'present 1', 'promoted: as present, the other server may have sent it');
	$standby->stop;
	return;
}

ok(worker_passes($node), 'a worker runs');
crash_beside_paused();
refused_after_doubt();
refused_in_run_after_doubt();
$node->stop;
doubt_ends_after_promotion();

done_testing();
