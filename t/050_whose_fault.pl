# What is the chatbot's fault and what a contact's, where the answer alone does not tell:
# a pause ends by an operator's word or by its time, whatever the wall clock says.
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
my $node = new_cluster('whose_fault', $fake);
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
VALUES ('clock', clock_timestamp() - interval '1 hour', 'by hand');
END
	ok(worker_passes(), 'clock: the worker has seen the row');
	$node->safe_psql('postgres', q{SELECT contacts_push.resume('clock')});
	ok(settled($node), 'clock: resumed, all is settled');
	is(outcomes($node, 'clock'), 'rejected ' . CONTACTS, 'clock: as refused');
	return;
}

wall_clock_ahead();

$node->stop;
done_testing();
