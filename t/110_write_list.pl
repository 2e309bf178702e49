# What an answer means for a contact outlives whatever happens while another session holds
# the contact's row locked: a request is finished when its last contact has been written.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use ContactsPushTest;
use EngineTest qw(:DEFAULT lock_row worker_passes);
use FakeChatbase;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $true = FakeChatbase::true;
my $fake = FakeChatbase->start;
my $node = new_cluster('write_list', $fake, extra => "contacts_push.request_timeout = 1h\n");

sub sql
{
	return $node->safe_psql('postgres', $_[0]);
}

# A chatbot's requests: outcomes, each with + if it is finished, - if not.
sub requests
{
	my ($chatbot) = @_;
	return sql(<<"END");
SELECT string_agg(coalesce(outcome, '') || CASE WHEN finished_at IS NULL THEN '-' ELSE '+' END, ' ' ORDER BY id)
FROM contacts_push.request WHERE chatbot_id = '$chatbot'
END
}

# Two contacts go in one request, and one's row is locked before the answer comes.
sub lock_one
{
	my ($chatbot, @fault) = @_;
	$fake->faults({ match => { chatbot => $chatbot }, times => 1, action => { delay_ms => FakeChatbase::HELD } }, @fault);
	insert_users($node, $chatbot, 'u', 1, 2);
	ok(wait_until(sub { $fake->in_flight == 1 }), "$chatbot: a request is under way");
	my $operator = lock_row($node, "chatbot_id = '$chatbot' AND external_id = 'u1'");
	$fake->release;
	return $operator;
}

# The one that can be written is; the request is finished with the other.
sub finished_with_the_last
{
	my $operator = lock_one('last');
	ok(wait_until(sub { outcomes($node, 'last') eq 'created 1, pending 1' }), 'last: one of two is written');
	ok(wait_until(sub { requests('last') eq 'created-' }), 'last: the request has its answer, and is not finished');
	$operator->query_safe('COMMIT');
	$operator->quit;
	ok(wait_until(sub { requests('last') eq 'created+' }), 'last: it is when the other can be written');
	is(outcomes($node, 'last'), 'created 2', 'last: both are created');
	is($fake->stats->{by_status}{409} // 0, 0, 'last: nobody was sent again');
	return;
}

# Whoever deletes the row has the last word, and the request is finished.
sub finished_with_a_deletion
{
	my $operator = lock_one('deleted');
	ok(wait_until(sub { requests('deleted') eq 'created-' }), 'deleted: the request is not finished');
	$operator->query_safe(q{DELETE FROM contacts_push.outbox WHERE chatbot_id = 'deleted' AND external_id = 'u1'});
	$operator->query_safe('COMMIT');
	$operator->quit;
	ok(wait_until(sub { requests('deleted') eq 'created+' }), 'deleted: it is when the row is gone');
	is(outcomes($node, 'deleted'), 'created 1', 'deleted: the other is created');
	return;
}

# A request without an answer and one that finds what it has created: the second outcome
# takes the place of the first, and neither request is finished before it is written.
sub doubt_outlives_the_worker
{
	$fake->faults({ match => { chatbot => 'doubt' }, times => 1, when => 'after', action => { delay_ms => FakeChatbase::HELD, drop => $true } });
	insert_users($node, 'doubt', 'u', 1, 1);
	ok(wait_until(sub { $fake->in_flight == 1 }), 'doubt: a request is under way');
	my $operator = lock_row($node, q{chatbot_id = 'doubt'});
	$fake->release;
	ok(wait_until(sub { requests('doubt') eq 'server- read-' }), 'doubt: it got no answer, the next one finds it')
	  or diag(requests('doubt'));
	my $worker = worker_pid($node);
	sql("SELECT pg_terminate_backend($worker)");
	ok(wait_until(sub { my $pid = worker_pid($node); $pid ne '' && $pid ne $worker }), 'doubt: another worker');
	ok(worker_passes($node), 'doubt: which has recovered');
	is(outcomes($node, 'doubt'), 'pending 1', 'doubt: the row could not be written');
	$operator->query_safe('COMMIT');
	$operator->quit;
	ok(settled($node), 'doubt: the operator is done, all is settled');
	is(outcomes($node, 'doubt'), 'present 1', 'doubt: it was created by the first request');
	ok(wait_until(sub { requests('doubt') !~ /-/ }), 'doubt: and all requests are finished');
	return;
}

ok(worker_passes($node), 'a worker runs');
finished_with_the_last();
finished_with_a_deletion();
doubt_outlives_the_worker();

$node->stop;
done_testing();
