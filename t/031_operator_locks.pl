# An operator's transaction that stays open with locks on rows of the outbox and of
# contacts_push.chatbot: the application doesn't notice, and the worker goes on with
# all others.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use ContactsPushTest;
use FakeChatbase;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use UsersTest;

my $fake = FakeChatbase->start;
my $node = new_cluster('locks', $fake, extra => <<'END');
deadlock_timeout = 10ms
log_lock_waits = on
contacts_push.request_timeout = 1h
END
make_users($node, 'users', 'bot');
make_users($node, 'members', 'other');
ok(worker_runs($node), 'a worker runs');
my @workers = worker_pid($node);

sub count_rows
{
	my ($condition) = @_;
	return $node->safe_psql('postgres', "SELECT count(*) FROM contacts_push.outbox WHERE $condition");
}

sub add_users
{
	my ($table, $from, $to, $kind) = @_;
	return "INSERT INTO $table (id, kind) SELECT n, '" . ($kind // 'good') . "' FROM generate_series($from, $to) n;\n";
}

# Everything that the application does, with the rows that are locked.
sub application_goes_on
{
	my ($base, $what) = @_;
	my $last = $base + 49;
	is(write_as_application($node, add_users('users', $base, $last) . add_users('members', $base, $last)), '', "$what: INSERT");
	is(write_as_application($node, "UPDATE users SET name = 'changed $base' WHERE id <= 10;"), '', "$what: UPDATE of what is locked");
	is(write_as_application($node, "DELETE FROM users WHERE id = $base;"), '', "$what: DELETE");
	is(write_as_application($node, "COPY users (id, kind) FROM STDIN;\n$base\tgood\n\\.\n"), '', "$what: COPY");
	is(write_as_application($node, <<"END"), '', "$what: MERGE");
MERGE INTO users u USING (VALUES (1), ($base), (@{[$base + 50]})) AS m (id) ON u.id = m.id
WHEN MATCHED THEN UPDATE SET name = 'merged $base' WHEN NOT MATCHED THEN INSERT (id, kind) VALUES (m.id, 'good');
END
	is(write_as_application($node, add_users('users', $base + 60, $base + 62, 'raises')), '', "$what: INSERT with a mapping that raises");
	return;
}

# The worker gives every other contact an outcome, without waiting for a lock.
sub worker_goes_on
{
	my ($what) = @_;
	ok( wait_until(sub { count_rows("status = 'pending' AND external_id::int > 10") == 0 }), "$what: all others are settled");
	is($node->safe_psql('postgres', <<'END'), '0', "$what: the worker waits for no lock");
SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid)
WHERE a.backend_type = 'contacts_push worker' AND NOT l.granted
END
	return;
}

# A session that has begun a transaction with these statements.
sub operator
{
	my (@statements) = @_;
	my $session = open_session($node);
	$session->query_safe($_) for 'BEGIN', @statements;
	return $session;
}

# Rows that are locked before the worker sees them, and chatbots that it knows.
$node->safe_psql('postgres', q{SELECT contacts_push.enqueue(c, '{"external_id": "0"}') FROM unnest(ARRAY['bot', 'other']) c});
ok( wait_until(sub { $node->safe_psql('postgres', 'SELECT sum(created) FROM contacts_push.progress') eq '2' }),
	'two chatbots are known');
set_conf($node, 'contacts_push.enabled' => 'off');
is(write_as_application($node, add_users('users', 1, 500) . add_users('members', 1, 500)), '', 'users are there');
my $operator = operator(
	"SELECT count(*) FROM (SELECT FROM contacts_push.outbox WHERE chatbot_id = 'bot' AND external_id::int <= 10 FOR UPDATE) s",
	'SELECT count(*) FROM (SELECT FROM contacts_push.chatbot FOR UPDATE) s');
set_conf($node, 'contacts_push.enabled' => 'on');
application_goes_on(1000, 'rows are locked before they are sent');
worker_goes_on('rows are locked before they are sent');
cmp_ok(count_rows("status = 'pending'"), '>=', 10, 'the locked ones are pending');
$operator->query_safe('COMMIT');
ok(settled($node), 'when the operator is done, they are settled');

# Locked while their request is under way, so that their outcome can't be written.
$fake->always(delay_ms => FakeChatbase::HELD);
is(write_as_application($node, add_users('users', 2000, 2100)), '', 'more users');
ok(wait_until(sub { $fake->in_flight > 0 }), 'a request is under way');
$operator->query_safe($_) for 'BEGIN',
  "SELECT count(*) FROM (SELECT FROM contacts_push.outbox WHERE status = 'pending' AND external_id::int < 2005 FOR UPDATE) s",
  'SELECT count(*) FROM (SELECT FROM contacts_push.chatbot FOR UPDATE) s';
$fake->faults;
$fake->release;
application_goes_on(3000, 'rows are locked while they are sent');
ok( wait_until(sub { count_rows("status = 'pending' AND external_id::int NOT BETWEEN 2000 AND 2004 AND external_id::int > 10") == 0 }),
	'all others are settled');
is(count_rows("status = 'pending' AND external_id::int BETWEEN 2000 AND 2004"), 5, 'the locked ones are pending');
$operator->query_safe('COMMIT');
ok(settled($node), 'when the operator is done, they are settled');
is($fake->stats->{by_status}{409} // 0, 0, 'and none of them was sent again');

# Refused rows that are being retried, fixed and deleted, in transactions that end in any way.
$node->safe_psql('postgres', q{SELECT contacts_push.enqueue('bot', jsonb_agg(jsonb_build_object('external_id', n::text, 'email', 'nobody'))) FROM generate_series(5001, 5010) n});
ok(settled($node), 'some are refused');
is(count_rows("status = 'rejected'"), 10, 'as they should be');
$operator->query_safe($_) for 'BEGIN', 'SELECT contacts_push.retry()',
  q{UPDATE contacts_push.outbox SET contact = contact || '{"email": "a@example.com"}' WHERE external_id = '5001'},
  q{SELECT contacts_push.pause('bot')}, q{SELECT contacts_push.resume('bot')};
application_goes_on(6000, 'refused rows are being retried');
is(write_as_application($node, q{INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact) VALUES ('bot', '5002', '{"email": "b@example.com"}');}),
	'', 'a newer intent of such a contact');
ok(wait_until(sub { count_rows("status = 'pending' AND external_id::int >= 6000") == 0 }), 'the worker goes on with others');
$operator->query_safe('ROLLBACK');
ok(settled($node), 'when it is rolled back, all is settled');
is(count_rows("external_id = '5001' AND status = 'rejected'"), 1, 'what was rolled back is as it was');
is(count_rows("external_id = '5002' AND status = 'created'"), 1, 'what was enqueued meanwhile is created');

# What is settled while somebody holds the chatbot's row is counted all the same, and not
# lost with the worker.
$operator->query_safe($_) for 'BEGIN', q{SELECT count(*) FROM (SELECT FROM contacts_push.chatbot FOR UPDATE) s};
application_goes_on(6500, 'the chatbots are held');
ok(wait_until(sub { count_rows("status = 'pending' AND external_id::int >= 6500") == 0 }), 'the worker settles');
ok(wait_until(sub { disagreement($node, 'bot') eq '' }), 'progress has it')
  or diag(disagreement($node, 'bot'));
my $worker = worker_pid($node);
$node->safe_psql('postgres', "SELECT pg_terminate_backend($worker)");
ok(wait_until(sub { my $pid = worker_pid($node); $pid ne '' && $pid ne $worker }), 'another worker');
push @workers, worker_pid($node);
is(disagreement($node, 'bot'), '', 'and still has it');
$operator->query_safe('COMMIT');
ok(settled($node), 'the other worker goes on');
is(disagreement($node, 'bot'), '', 'progress agrees');

# Two operators and the worker take rows in different orders: none is told of a deadlock but by his own fault.
my $second = operator(q{SELECT count(*) FROM (SELECT FROM contacts_push.outbox WHERE external_id = '1' FOR UPDATE) s});
$operator->query_safe($_) for 'BEGIN', q{SELECT count(*) FROM (SELECT FROM contacts_push.outbox WHERE external_id = '2' FOR UPDATE) s};
is(write_as_application($node, "UPDATE users SET name = 'twice' WHERE id IN (1, 2);"), '', 'what two operators hold is updated');
$_->query_safe('COMMIT') for $operator, $second;

# A chatbot that is being made known by an operator, who hasn't committed, is no reason
# to keep the others waiting, or its own contacts.
$operator->query_safe($_) for 'BEGIN', q{INSERT INTO contacts_push.chatbot (chatbot_id) VALUES ('new')}, q{SELECT contacts_push.pause('new')};
is(write_as_application($node, <<"END"), '', 'a chatbot is not known yet: it may be written for');
INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact) VALUES ('new', '1', '{}'), ('bot', '7001', '{}');
END
ok(wait_until(sub { count_rows("external_id = '7001' AND status = 'created'") == 1 }), 'the others\' are sent');
is(write_as_application($node, <<"END"), '', 'again');
INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact) VALUES ('new', '2', '{}'), ('bot', '7002', '{}');
END
ok(wait_until(sub { count_rows("external_id = '7002' AND status = 'created'") == 1 }), 'and again');
$operator->query_safe('ROLLBACK');
$_->quit for $operator, $second;

ok(settled($node), 'all is settled in the end');
for my $chatbot ('bot', 'other', 'new')
{
	ok(wait_until(sub { disagreement($node, $chatbot) eq '' }), "$chatbot: progress agrees with the outbox")
	  or diag(disagreement($node, $chatbot));
	is(held_matches($node, $fake, $chatbot), '', "$chatbot: as the stand-in holds it");
}
is($node->safe_psql('postgres', "SELECT sum(enqueue_failures) FROM contacts_push.progress"), '12', 'and with what was left out');
unlike(slurp_file($node->logfile), qr/deadlock detected|could not serialize/, 'nobody was told of a deadlock');
is($workers[0], $worker, 'there were two workers');
unlike(slurp_file($node->logfile), qr/process $_ still waiting for/, 'it has never waited') for @workers;

$node->stop;
done_testing();
