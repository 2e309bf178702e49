# What others do with rows while their contacts are under way: they are locked, moved,
# changed, deleted, and their places given to other rows.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use ContactsPushTest;
use EngineTest qw(:DEFAULT chatbot_settled lock_row requests_for worker_passes);
use FakeChatbase;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $fake = FakeChatbase->start;
my $node = new_cluster('meanwhile', $fake, extra => "autovacuum = off\ncontacts_push.request_timeout = 1h\n");

# Has contacts under way while something is done.
sub meanwhile
{
	my ($chatbot, $n, $work) = @_;
	$fake->faults({ match => { chatbot => $chatbot }, times => 1, action => { delay_ms => FakeChatbase::HELD } });
	insert_users($node, $chatbot, 'u', 1, $n);
	ok(wait_until(sub { $fake->in_flight == 1 }), "$chatbot: under way");
	$work->();
	is($fake->in_flight, 1, "$chatbot: still");
	$fake->faults;
	$fake->release;
	return;
}

# A contact's status and error, whether its contact is gone and whether it has an id.
sub row
{
	my ($chatbot, $external_id) = @_;
	return $node->safe_psql('postgres', <<"END");
SELECT status, coalesce(error, '-'), contact IS NULL, contact_id IS NOT NULL
FROM contacts_push.outbox WHERE chatbot_id = '$chatbot' AND external_id = '$external_id'
END
}

sub locked
{
	my ($operator, $reader);
	meanwhile('locked', 20, sub {
		$operator = lock_row($node, q{chatbot_id = 'locked' AND external_id = 'u1'});
		$reader = open_session($node);
		$reader->query_safe('BEGIN');
		$reader->query_safe(q{SELECT FROM contacts_push.outbox WHERE chatbot_id = 'locked' AND external_id = 'u2' FOR KEY SHARE});
		$node->safe_psql('postgres', <<'END');
BEGIN; SELECT FROM contacts_push.outbox WHERE chatbot_id = 'locked' AND external_id = 'u3' FOR UPDATE; COMMIT;
BEGIN; UPDATE contacts_push.outbox SET error = 'for nothing' WHERE chatbot_id = 'locked' AND external_id = 'u4'; ROLLBACK;
END
	});
	ok(wait_until(sub { count_rows($node, q{chatbot_id = 'locked' AND status = 'pending'}) == 1 }),
		'locked: all but one are settled');
	is(row('locked', 'u1'), 'pending|-|f|f', 'locked: the one that is locked is as it was');
	is(row('locked', 'u2'), 'created|-|t|t', 'locked: one whose key somebody relies on is created');
	is(row('locked', 'u3'), 'created|-|t|t', 'locked: and so is one that was locked');
	is(row('locked', 'u4'), 'created|-|t|t', 'locked: and one that was nearly changed');
	ok(worker_passes($node), 'locked: the worker waits for nobody');
	$operator->query_safe('COMMIT');
	$operator->quit;
	ok(chatbot_settled($node, 'locked'), 'locked: the operator is done, all are settled');
	is(row('locked', 'u1'), 'created|-|t|t', 'locked: with what was answered');
	is(requests_for($fake, 'locked'), 1, 'locked: to one request');
	$reader->query_safe('COMMIT');
	$reader->quit;
	return;
}

# A worker that is told to end tries once more what it has found locked.
sub ended
{
	my $operator;
	meanwhile('ended', 5, sub { $operator = lock_row($node, q{chatbot_id = 'ended' AND external_id = 'u1'}) });
	ok(wait_until(sub { count_rows($node, q{chatbot_id = 'ended' AND status = 'pending'}) == 1 }),
		'ended: all but one are settled');
	my $worker = worker_pid($node);
	$operator->query_safe('COMMIT');
	$node->safe_psql('postgres', "SELECT pg_terminate_backend($worker)");
	$operator->quit;
	ok(wait_until(sub { my $pid = worker_pid($node); $pid ne '' && $pid ne $worker }), 'ended: another worker');
	ok(chatbot_settled($node, 'ended'), 'ended: all are settled');
	is(row('ended', 'u1'), 'created|-|t|t', 'ended: with what was answered');
	is(requests_for($fake, 'ended'), 1, 'ended: to one request');
	return;
}

sub changed
{
	meanwhile('changed', 10, sub {
		$node->safe_psql('postgres', <<'END');
UPDATE contacts_push.outbox SET error = 'an operator was here' WHERE chatbot_id = 'changed' AND external_id = 'u1';
UPDATE contacts_push.outbox SET status = 'skipped', error = 'not wanted' WHERE chatbot_id = 'changed' AND external_id = 'u2';
DELETE FROM contacts_push.outbox WHERE chatbot_id = 'changed' AND external_id = 'u3';
END
		$node->safe_psql('postgres', 'VACUUM contacts_push.outbox');
	});
	ok(chatbot_settled($node, 'changed'), 'changed: all are settled');
	is(outcomes($node, 'changed'), 'created 8, skipped 1', 'changed: but for what was taken from the worker');
	is(row('changed', 'u1'), 'created|-|t|t', 'changed: so is one that has moved');
	is(row('changed', 'u2'), 'skipped|not wanted|f|f', 'changed: one that was settled by hand stays so');
	return;
}

# All rows get other places.
sub rewritten
{
	meanwhile('rewritten', 50, sub {
		$node->safe_psql('postgres', q{DELETE FROM contacts_push.outbox WHERE chatbot_id = 'changed'});
		$node->safe_psql('postgres', 'VACUUM FULL contacts_push.outbox');
	});
	ok(chatbot_settled($node, 'rewritten'), 'rewritten: all are settled');
	is(outcomes($node, 'rewritten'), 'created 50', 'rewritten: as created');
	is(held_matches($node, $fake, 'rewritten'), '', 'rewritten: each with its own id');
	return;
}

sub place_of
{
	my ($condition) = @_;
	return $node->safe_psql('postgres', "SELECT ctid FROM contacts_push.outbox WHERE $condition");
}

# A row is deleted, and its place taken by somebody else's.
sub replaced
{
	my ($before, $after);
	insert_users($node, 'other', 'first', 1, 1);
	ok(chatbot_settled($node, 'other'), 'replaced: another chatbot is known');
	$node->safe_psql('postgres', q{SELECT contacts_push.pause('other')});
	meanwhile('replaced', 1, sub {
		$before = place_of(q{chatbot_id = 'replaced'});
		$node->safe_psql('postgres', q{DELETE FROM contacts_push.outbox WHERE chatbot_id = 'replaced'});
		$node->safe_psql('postgres', 'VACUUM (TRUNCATE off) contacts_push.outbox');
		for (1 .. 300)
		{
			insert_users($node, 'other', 'u', $_, $_);
			$after = place_of(q{chatbot_id = 'other' ORDER BY seq DESC LIMIT 1});
			last if $after eq $before;
		}
	});
	is($after, $before, 'replaced: the other row is where the first one was');
	ok(worker_passes($node), 'replaced: the worker has gone on');
	is(count_rows($node, q{chatbot_id = 'other' AND status <> 'pending'}), 1, 'replaced: and has written nothing there');
	$node->safe_psql('postgres', q{SELECT contacts_push.resume('other')});
	ok(chatbot_settled($node, 'other'), 'replaced: until it is sent itself');
	return;
}

# The table ends before the place where the row was.
sub truncated
{
	my $blocks = q{SELECT pg_relation_size('contacts_push.outbox') / current_setting('block_size')::int};
	my ($before, $after);
	meanwhile('truncated', 1000, sub {
		$before = $node->safe_psql('postgres', $blocks);
		$node->safe_psql('postgres', q{DELETE FROM contacts_push.outbox WHERE chatbot_id = 'truncated'});
		$node->safe_psql('postgres', 'VACUUM contacts_push.outbox');
		$after = $node->safe_psql('postgres', $blocks);
	});
	cmp_ok($after, '<', $before, 'truncated: the table is shorter');
	ok(worker_passes($node), 'truncated: the worker has gone on');
	return;
}

ok(worker_passes($node), 'a worker runs');
ended();
my $pid = worker_pid($node);
locked();
changed();
rewritten();
replaced();
truncated();
is(worker_pid($node), $pid, 'nothing of that has ended the worker');

$node->stop;
done_testing();
