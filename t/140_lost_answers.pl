# What a lost answer costs: the contacts of the request are looked up at Chatbase, and those
# that are there are present with their ids.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use ContactsPushTest;
use EngineTest qw(:DEFAULT requests_for chatbot_settled);
use FakeChatbase;
use PostgreSQL::Test::Utils;
use Test::More;

my $true = FakeChatbase::true;
my $fake = FakeChatbase->start;
my $node = new_cluster('lost', $fake, extra => "contacts_push.max_concurrent_requests = 1\n");

# Contacts that a chatbot has already, which nobody here has sent.
sub preset
{
	my ($chatbot, $n) = @_;
	$fake->preset($chatbot, map { { external_id => "foreign$_" } } 1 .. $n);
	return;
}

# Has the answers to the first requests that create lost, once they are applied.
sub lose
{
	my ($chatbot, $times) = @_;
	$fake->faults({ match => { chatbot => $chatbot, method => 'POST' }, times => $times, when => 'after', action => { drop => $true } });
	return;
}

# Whether all are present, with what they are told by.
sub all_found
{
	my ($chatbot, $n, $what) = @_;
	ok(chatbot_settled($node, $chatbot), "$what: settled");
	is(outcomes($node, $chatbot), "present $n", "$what: all are present");
	is(count_rows($node, "chatbot_id = '$chatbot' AND contact_id <> '' AND http_status = 200 AND error IS NULL"),
		$n, "$what: with their ids");
	is(held_matches($node, $fake, $chatbot, known => [ map { "foreign$_" } 1 .. 5000 ]),
		'', "$what: as the stand-in holds them");
	return;
}

# 1000 contacts among 6000, whatever the order of the list
for my $order (qw(arrival newest scattered))
{
	$fake->config(list_order => $order);
	preset($order, 5000);
	lose($order, 1);
	insert_users($node, $order, 'u', 1, 1000);
	all_found($order, 1000, $order);
	cmp_ok(requests_for($fake, $order), '<=', 10, "$order: in at most 10 requests");
	note requests_for($fake, $order) . ' requests';
	is($node->safe_psql('postgres', <<"END"), 't', "$order: what they were is in contacts_push.request");
SELECT bool_and(contacts = 0 AND isempty(seqs) AND outcome = 'read' AND http_status = 200 AND finished_at IS NOT NULL)
FROM contacts_push.request WHERE chatbot_id = '$order' AND call = 'read'
END
}
$fake->config(list_order => 'arrival');

# One contact is asked for by itself.
preset('single', 5000);
lose('single', 1);
insert_users($node, 'single', 'u', 1, 1);
all_found('single', 1, 'one');
is(requests_for($fake, 'single'), 2, 'one: in two requests');
is($node->safe_psql('postgres', <<'END'), 't', 'one: the second one says whom it asked for');
SELECT q.contacts = 1 AND q.seqs @> o.seq FROM contacts_push.request q, contacts_push.outbox o
WHERE q.chatbot_id = 'single' AND q.call = 'read' AND o.chatbot_id = 'single'
END

# A few among many are asked for one by one, once it is known how many pages there are.
preset('few', 30000);
lose('few', 1);
insert_users($node, 'few', 'u', 1, 10);
ok(chatbot_settled($node, 'few'), 'a few: settled');
is(outcomes($node, 'few'), 'present 10', 'a few: all are present');
cmp_ok(requests_for($fake, 'few'), '<=', 1 + 1 + 10, 'a few: in no more requests than there are contacts');

# Nothing was applied: they are sent together again.
for my $n (1, 1000)
{
	my $chatbot = "not applied $n";
	$fake->faults({ match => { chatbot => $chatbot, method => 'POST' }, times => 1, action => { drop => $true } });
	preset($chatbot, 5000);
	insert_users($node, $chatbot, 'u', 1, $n);
	ok(chatbot_settled($node, $chatbot), "not applied, $n: settled");
	is(outcomes($node, $chatbot), "created $n", "not applied, $n: all are created");
	cmp_ok(requests_for($fake, $chatbot), '<=', 5 + 5 + 5, "not applied, $n: in few requests");
	note requests_for($fake, $chatbot) . ' requests';
}

# Five lost answers among twenty requests.
$node->append_conf('postgresql.conf', 'contacts_push.max_concurrent_requests = 4');
reload($node);
$fake->faults({ match => { chatbot => 'five', method => 'POST', every => 4 }, times => 5, when => 'after', action => { drop => $true } });
insert_users($node, 'five', 'u', 1, 20_000);
ok(chatbot_settled($node, 'five'), 'five among twenty: settled');
is(each_one_fate($node, $fake, 'five', 20_000), '', 'five among twenty: each is created or present');
cmp_ok(requests_for($fake, 'five'), '<=', 100, 'five among twenty: in few requests');
note requests_for($fake, 'five') . ' requests';
note $node->safe_psql('postgres', q{SELECT string_agg(format('%s %s %s %s %s %s', id, call, contacts, http_status, outcome, message), E'\n' ORDER BY id) FROM contacts_push.request WHERE chatbot_id = 'five'});

$node->stop;
done_testing();
