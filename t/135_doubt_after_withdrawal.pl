# Who was withdrawn before it was known whether Chatbase has the contact, and is enqueued
# again, is in no conflict with itself.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use ContactsPushTest;
use EngineTest qw(:DEFAULT chatbot_settled lock_row);
use FakeChatbase;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $fake = FakeChatbase->start;
my $node = new_cluster('doubt_withdrawn', $fake, extra => "contacts_push.max_backoff = 1s\n");

# Two contacts are created by a request without a usable answer.
sub leave_in_doubt
{
	my ($chatbot) = @_;
	$fake->faults({ match => { chatbot => $chatbot }, when => 'after', action => { status => 503 } });
	insert_users($node, $chatbot, 'u', 1, 2);
	ok(wait_until(sub { count_rows($node, "chatbot_id = '$chatbot' AND unconfirmed") == 2 }), "$chatbot: they are in doubt");
	return;
}

sub withdraw
{
	my ($chatbot) = @_;
	$node->safe_psql('postgres', <<"END_OF_SQL");
INSERT INTO contacts_push.outbox (chatbot_id, external_id) VALUES ('$chatbot', 'u1'), ('$chatbot', 'u2')
END_OF_SQL
	return;
}

sub is_recognised
{
	my ($chatbot, $before) = @_;
	$fake->faults;
	insert_users($node, $chatbot, 'u', 1, 2);
	ok(chatbot_settled($node, $chatbot), "$chatbot: enqueued again, they are settled");
	is(status_of($node, $chatbot, $_), "$before present", "$chatbot: $_ is recognised") for qw(u1 u2);
	return;
}

# By their intents
leave_in_doubt('withdrawn');
withdraw('withdrawn');
ok(chatbot_settled($node, 'withdrawn'), 'withdrawn: they are withdrawn');
is(count_rows($node, q{chatbot_id = 'withdrawn' AND unconfirmed}), 4, 'withdrawn: their rows keep the doubt');
is_recognised('withdrawn', 'withdrawn withdrawn');

# A worker later, and withdrawn twice
leave_in_doubt('later');
withdraw('later');
ok(chatbot_settled($node, 'later'), 'later: they are withdrawn');
kill_and_start($node);
withdraw('later');
ok(chatbot_settled($node, 'later'), 'later: and once more');
is_recognised('later', 'withdrawn withdrawn withdrawn');

# By an operator, while nobody knows of an answer
$fake->faults({ match => { chatbot => 'discarded' }, times => 1, when => 'after', action => { delay_ms => FakeChatbase::HELD } });
insert_users($node, 'discarded', 'u', 1, 2);
ok(wait_until(sub { $fake->in_flight == 1 }), 'discarded: their request is under way');
is($node->safe_psql('postgres', q{SELECT contacts_push.discard('discarded')}), 2, 'discarded: they are withdrawn');
is(count_rows($node, q{chatbot_id = 'discarded' AND unconfirmed}), 2, 'discarded: their rows keep the doubt');
$node->safe_psql('postgres', 'SELECT pg_terminate_backend(pid, 60000) FROM contacts_push.worker');
$fake->release;
is_recognised('discarded', 'withdrawn');

# While a row that is withdrawn is locked
leave_in_doubt('locked');
my $operator = lock_row($node, q{chatbot_id = 'locked' AND external_id = 'u1'});
withdraw('locked');
ok(wait_until(sub { count_rows($node, q{chatbot_id = 'locked' AND status = 'withdrawn'}) == 3 }), 'locked: the others are withdrawn');
$fake->faults;
insert_users($node, 'locked', 'u', 1, 1);
ok(wait_until(sub { count_rows($node, q{chatbot_id = 'locked' AND status = 'present'}) == 1 }), 'locked: enqueued again, it is recognised');
$operator->query_safe('COMMIT');
$operator->quit;
ok(chatbot_settled($node, 'locked'), 'locked: all are settled');
is(status_of($node, 'locked', 'u1'), 'withdrawn withdrawn present', 'locked: as they are to be');

# No doubt, no recognition: others have it.
$fake->preset('others', { external_id => 'u1' });
$node->safe_psql('postgres', q{INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact) VALUES ('others', 'u1', '{}'), ('others', 'u1', NULL)});
ok(chatbot_settled($node, 'others'), 'others: withdrawn without having been sent');
insert_users($node, 'others', 'u', 1, 1);
ok(chatbot_settled($node, 'others'), 'others: enqueued again, it is settled');
is(status_of($node, 'others', 'u1'), 'withdrawn withdrawn conflict', 'others: and a conflict');

$node->stop;
done_testing();
