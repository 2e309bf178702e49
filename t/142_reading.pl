# Looking contacts up when the server has no such call, refuses it, or cannot answer it; and
# while others pause, withdraw, delete and kill.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use ContactsPushTest;
use EngineTest qw(:DEFAULT requests_for chatbot_settled);
use FakeChatbase;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $true = FakeChatbase::true;
my $fake = FakeChatbase->start;
my $node = new_cluster('reading', $fake, extra => "restart_after_crash = on\n");

# A rule for the requests of a chatbot with this method.
sub rule
{
	my ($chatbot, $method, $times, %action) = @_;
	my $when = delete $action{when} // 'before';
	return { match => { chatbot => $chatbot, method => $method }, when => $when, action => \%action,
		$times > 0 ? (times => $times) : () };
}

# The first request that creates is applied, and its answer is lost.
sub lost
{
	my ($chatbot) = @_;
	return rule($chatbot, 'POST', 1, when => 'after', drop => $true);
}

# What the worker has asked for, as 'create read'.
sub calls
{
	my ($chatbot) = @_;
	return $node->safe_psql('postgres',
		"SELECT string_agg(call, ' ' ORDER BY id) FROM contacts_push.request WHERE chatbot_id = '$chatbot'");
}

sub count_reads
{
	my ($chatbot) = @_;
	return $node->safe_psql('postgres',
		"SELECT count(*) FROM contacts_push.request WHERE chatbot_id = '$chatbot' AND call = 'read'");
}

sub count_posts
{
	my ($chatbot) = @_;
	return scalar grep { $_->{chatbot} eq $chatbot && $_->{method} eq 'POST' } whole_log($fake);
}

sub pause_reason
{
	my ($chatbot) = @_;
	return $node->safe_psql('postgres',
		"SELECT pause_reason FROM contacts_push.chatbot WHERE chatbot_id = '$chatbot' AND paused_until > clock_timestamp()");
}

# As many as $n were applied without an answer: they are present, told by this status.
sub all_present
{
	my ($chatbot, $n, $http_status, $what) = @_;
	ok(chatbot_settled($node, $chatbot), "$what: settled");
	is(outcomes($node, $chatbot), "present $n", "$what: all are present");
	is(count_rows($node, "chatbot_id = '$chatbot' AND http_status = $http_status"), $n, "$what: told by $http_status");
	is(held_matches($node, $fake, $chatbot), '', "$what: as the stand-in holds them");
	return;
}

# A server without the calls: found out with one request, and remembered until a reload.
sub no_such_call
{
	my ($chatbot, $status, @rules) = @_;
	my $what = "answered $status";

	$fake->config(other_calls => $status) unless @rules;
	$fake->faults(lost($chatbot), @rules);
	insert_users($node, $chatbot, 'u', 1, 30);
	all_present($chatbot, 30, 409, $what);
	is(count_reads($chatbot), 1, "$what: it is asked once");
	$fake->faults(lost($chatbot), @rules);
	insert_users($node, $chatbot, 'v', 1, 30);
	# of so many refusals later requests are small
	ok(chatbot_settled($node, $chatbot), "$what, again: settled");
	is(each_one_fate($node, $fake, $chatbot, 60), '', "$what, again: each is created or present");
	cmp_ok(count_rows($node, "chatbot_id = '$chatbot' AND external_id LIKE 'v%' AND status = 'present' AND http_status = 409"),
		'>', 0, "$what, again: some are present, told by 409");
	is(count_reads($chatbot), 1, "$what: and not again");
	like(slurp_file($node->logfile), qr/contacts of chatbot "\Q$chatbot\E" in database "postgres" cannot be looked up/,
		"$what: the log says so");
	$fake->config(other_calls => 0);
	reload($node);
	$fake->faults(lost($chatbot));
	insert_users($node, $chatbot, 'w', 1, 30);
	ok(chatbot_settled($node, $chatbot), "$what: after a reload, settled");
	is(each_one_fate($node, $fake, $chatbot, 90), '', "$what: after a reload, each is created or present");
	like($node->safe_psql('postgres', <<"END"), qr/^200$/, "$what: after a reload they are looked up");
SELECT string_agg(DISTINCT http_status::text, ' ') FROM contacts_push.outbox
WHERE chatbot_id = '$chatbot' AND external_id LIKE 'w%' AND status = 'present'
END
	return;
}

# Switched off, nobody is looked up.
sub switched_off
{
	set_conf($node, 'contacts_push.reading' => 'off');
	$fake->faults(lost('off'));
	insert_users($node, 'off', 'u', 1, 30);
	all_present('off', 30, 409, 'off');
	is(count_reads('off'), 0, 'off: nothing is read');

	# while they are in doubt
	set_conf($node, 'contacts_push.reading' => 'on');
	$fake->faults(lost('off later'), rule('off later', 'GET', 0, status => 500));
	insert_users($node, 'off later', 'u', 1, 30);
	ok(wait_until(sub { count_reads('off later') > 0 }), 'off later: they are looked up in vain');
	set_conf($node, 'contacts_push.reading' => 'off');
	all_present('off later', 30, 409, 'off later');
	set_conf($node, 'contacts_push.reading' => 'on');
	return;
}

# Refusals of the read that are the key's or the chatbot's.
sub paused
{
	for ([ 401, 'Unauthorized' ], [ 404, 'Chatbot not found' ])
	{
		my ($status, $message) = @$_;
		for my $n (1, 30)
		{
			my $chatbot = "paused $status $n";
			$fake->faults(lost($chatbot), rule($chatbot, 'GET', 1, status => $status, message => $message));
			insert_users($node, $chatbot, 'u', 1, $n);
			ok(wait_until(sub { pause_reason($chatbot) eq "$status $message" }), "$chatbot: it is paused");
			is(count_reads($chatbot), 1, "$chatbot: after one read");
			$node->safe_psql('postgres', "SELECT contacts_push.resume('$chatbot')");
			all_present($chatbot, $n, 200, $chatbot);
		}
	}
	return;
}

# Reads that fail are repeated, however they do, and nobody is sent meanwhile.
sub fail_for_a_while
{
	my @ways = (
		[ status => 500 ], [ status => 429, headers => { 'Retry-After' => '0' } ], [ drop => $true ],
		[ when => 'after', cut_body => 100 ], [ when => 'after', body => 'no JSON' ]);

	for my $n (1, 30)
	{
		my $chatbot = "fails for a while $n";
		$fake->faults(lost($chatbot), map { rule($chatbot, 'GET', 1, @$_) } @ways);
		insert_users($node, $chatbot, 'u', 1, $n);
		all_present($chatbot, $n, 200, $chatbot);
		is(calls($chatbot) =~ s/ read//gr, 'create', "$chatbot: nobody is sent again");
		is($node->safe_psql('postgres', "SELECT backoff_until IS NULL FROM contacts_push.chatbot WHERE chatbot_id = '$chatbot'"),
			't', "$chatbot: the trouble is over");
	}
	return;
}

# Where all reads fail and nothing else does, they are done without.
sub only_reads_fail
{
	for my $n (1, 30)
	{
		my $chatbot = "only reads $n";
		$fake->faults(lost($chatbot), rule($chatbot, 'GET', 0, status => 500));
		insert_users($node, $chatbot, 'u', 1, $n);
		all_present($chatbot, $n, 409, $chatbot);
	}
	return;
}

# "Resource not found" may be said of the contact or of the chatbot.
sub ambiguous
{
	$fake->config(contact_not_found => 'Resource not found', chatbot_not_found => 'Resource not found');
	$fake->faults(rule('ambiguous', 'POST', 1, drop => $true));
	insert_users($node, 'ambiguous', 'u', 1, 1);
	ok(chatbot_settled($node, 'ambiguous'), 'ambiguous: settled');
	is(outcomes($node, 'ambiguous'), 'created 1', 'ambiguous: it is created');
	is(calls('ambiguous'), 'create read read read create', 'ambiguous: a list has told, once');
	ok((grep { $_->{chatbot} eq 'ambiguous' && $_->{path} =~ /per_page=10$/ } whole_log($fake)), 'ambiguous: a short one');
	$fake->faults(rule('ambiguous', 'POST', 1, drop => $true));
	insert_users($node, 'ambiguous', 'v', 1, 1);
	ok(chatbot_settled($node, 'ambiguous'), 'ambiguous, again: settled');
	is(calls('ambiguous'), 'create read read read create create read create', 'ambiguous, again: it is known');
	$fake->config(contact_not_found => 'Contact not found', chatbot_not_found => 'Chatbot not found');
	return;
}

# A contact that fails alone: with nobody else there, a read tells whether the chatbot answers.
sub fails_alone
{
	set_conf($node, 'contacts_push.max_attempts' => 3);
	# the reads answer; those for the contact do not
	for my $method ('POST', undef)
	{
		my $chatbot = $method ? 'lonely' : 'lonely, read or sent';
		$fake->faults({ match => { chatbot => $chatbot, external_id => '^u1$', $method ? (method => $method) : () },
			action => { status => 500 } });
		insert_users($node, $chatbot, 'u', 1, 1);
		ok(chatbot_settled($node, $chatbot), "$chatbot: settled");
		is($node->safe_psql('postgres', "SELECT status, http_status, attempts FROM contacts_push.outbox WHERE chatbot_id = '$chatbot'"),
			'failed|500|3', "$chatbot: it has failed for good");
		insert_users($node, $chatbot, 'v', 1, 1);
		ok(wait_until(sub { status_of($node, $chatbot, 'v1') eq 'created' }), "$chatbot: others are created");
	}
	# nothing answers
	$fake->faults({ match => { chatbot => 'silent' }, action => { status => 500 } });
	insert_users($node, 'silent', 'u', 1, 1);
	ok(wait_until(sub { requests_for($fake, 'silent') > 30 }), 'silent: it is tried again and again');
	is($node->safe_psql('postgres', q{SELECT status, attempts FROM contacts_push.outbox WHERE chatbot_id = 'silent'}),
		'pending|0', 'silent: it is not charged for an outage');
	$fake->faults;
	ok(chatbot_settled($node, 'silent'), 'silent: once it answers, settled');
	is(outcomes($node, 'silent'), 'created 1', 'silent: as created');

	# reads answer, and nobody can be created: while there are several, none is charged
	$fake->faults(rule('read only', 'POST', 0, status => 503));
	insert_users($node, 'read only', 'u', 1, 20);
	ok(wait_until(sub { requests_for($fake, 'read only') > 100 }), 'read only: they are tried again and again');
	is(count_rows($node, q{chatbot_id = 'read only' AND status = 'pending' AND attempts = 0}), 20, 'read only: nobody is charged for it');
	$fake->faults;
	ok(chatbot_settled($node, 'read only'), 'read only: once it takes them, settled');
	is(outcomes($node, 'read only'), 'created 20', 'read only: as created');
	set_conf($node, 'contacts_push.max_attempts' => 1000);
	return;
}

# One of them fails whatever request it is in: it is found among many.
sub one_poisons
{
	set_conf($node, 'contacts_push.max_attempts' => 2);
	$fake->faults({ match => { chatbot => 'poisoned', method => 'POST', external_id => '^u77$' }, action => { status => 500 } });
	insert_users($node, 'poisoned', 'u', 1, 1000);
	ok(chatbot_settled($node, 'poisoned'), 'poisoned: settled');
	is(outcomes($node, 'poisoned'), 'created 999, failed 1', 'poisoned: one has failed');
	is(status_of($node, 'poisoned', 'u77'), 'failed', 'poisoned: the one that does');
	cmp_ok(requests_for($fake, 'poisoned'), '<=', 100, 'poisoned: in few requests');
	note requests_for($fake, 'poisoned') . ' requests';
	set_conf($node, 'contacts_push.max_attempts' => 1000);
	return;
}

# A request that is applied after it was given up, and after its contacts were looked up.
sub applied_late
{
	my @held = (rule('late', 'POST', 1, delay_ms => FakeChatbase::HELD));

	set_conf($node, 'contacts_push.request_timeout' => '600s');
	$fake->faults(@held);
	insert_users($node, 'late', 'u', 1, 500);
	ok(wait_until(sub { count_posts('late') == 1 }), 'late: the first request is under way');
	$node->safe_psql('postgres', q{SELECT contacts_push.pause('late')});
	$node->safe_psql('postgres', 'SELECT pg_terminate_backend(' . worker_pid($node) . ')');
	ok(wait_until(sub { count_rows($node, q{chatbot_id = 'late' AND unconfirmed}) == 500 }), 'late: it is given up');
	$fake->faults(@held);
	$node->safe_psql('postgres', q{SELECT contacts_push.resume('late')});
	ok(wait_until(sub { count_posts('late') == 2 }), 'late: nobody is found, and all are sent again');
	$fake->release;
	ok(chatbot_settled($node, 'late'), 'late: settled');
	is(each_one_fate($node, $fake, 'late', 500), '', 'late: each is created or present');
	cmp_ok(requests_for($fake, 'late'), '<=', 30, 'late: in few requests');
	note requests_for($fake, 'late') . ' requests, ' . outcomes($node, 'late');
	return;
}

# What others do while a page is being read.
sub meanwhile
{
	for my $n (1, 30)
	{
		my $chatbot = "meanwhile $n";
		$fake->faults(lost($chatbot), rule($chatbot, 'GET', 1, delay_ms => FakeChatbase::HELD));
		insert_users($node, $chatbot, 'u', 1, $n);
		insert_users($node, $chatbot, 'u', 1000, 1002);
		ok(wait_until(sub { count_reads($chatbot) == 1 }), "$chatbot: they are looked up");
		$node->safe_psql('postgres', "SELECT contacts_push.pause('$chatbot')");
		$node->safe_psql('postgres', "DELETE FROM contacts_push.outbox WHERE chatbot_id = '$chatbot' AND external_id = 'u2'");
		$node->safe_psql('postgres', "SELECT contacts_push.discard('$chatbot', 'u3')");
		$node->safe_psql('postgres', "INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact) VALUES ('$chatbot', 'u1', '{}')");
		reload($node);
		$fake->release;
		$node->safe_psql('postgres', "SELECT contacts_push.resume('$chatbot')");
		ok(chatbot_settled($node, $chatbot), "$chatbot: settled");
		is(status_of($node, $chatbot, 'u1'), 'present skipped', "$chatbot: enqueued anew, it is present");
		is(status_of($node, $chatbot, 'u3') // '', $n > 1 ? 'withdrawn' : '', "$chatbot: discarded, it is withdrawn");
		is($node->safe_psql('postgres', "SELECT count(*) FROM contacts_push.request WHERE chatbot_id = '$chatbot' AND finished_at IS NULL"),
			0, "$chatbot: no request is left open");
		$fake->faults;
	}
	return;
}

# A worker that is killed while it reads.
sub killed
{
	for my $n (1, 30)
	{
		my $chatbot = "killed $n";
		$fake->faults(lost($chatbot), rule($chatbot, 'GET', 1, hang => $true));
		insert_users($node, $chatbot, 'u', 1, $n);
		ok(wait_until(sub { count_reads($chatbot) == 1 }), "$chatbot: they are looked up");
		my $pid = worker_pid($node);
		kill 'KILL', $pid;
		ok(wait_until(sub { is_up($node) && worker_pid($node) !~ /^(\Q$pid\E)?$/ }), "$chatbot: there is another worker");
		all_present($chatbot, $n, 200, $chatbot);
		is($node->safe_psql('postgres', <<"END"), 'interrupted|t', "$chatbot: the read that was cut has its end");
SELECT outcome, finished_at IS NOT NULL FROM contacts_push.request
WHERE chatbot_id = '$chatbot' AND call = 'read' ORDER BY id LIMIT 1
END
	}
	# one that asks for a contact that is in no doubt leaves it so
	$node->safe_psql('postgres', <<'END');
INSERT INTO contacts_push.chatbot (chatbot_id) VALUES ('reads only');
SELECT contacts_push.pause('reads only');
INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact) VALUES ('reads only', 'u1', '{}');
INSERT INTO contacts_push.request (chatbot_id, call, contacts, seqs)
SELECT chatbot_id, 'read', 1, int8multirange(int8range(seq, seq, '[]')) FROM contacts_push.outbox WHERE chatbot_id = 'reads only';
END
	$node->restart;
	ok(wait_until(sub { $node->safe_psql('postgres', <<'END') eq 't' }), 'a read without an end has one');
SELECT finished_at IS NOT NULL FROM contacts_push.request WHERE chatbot_id = 'reads only'
END
	is(count_rows($node, q{chatbot_id = 'reads only' AND NOT unconfirmed}), 1, 'and leaves nobody in doubt');
	$node->safe_psql('postgres', q{SELECT contacts_push.resume('reads only')});
	return;
}

# What no path can name is not asked for alone.
sub no_path
{
	$fake->faults(rule('dots', 'POST', 1, drop => $true));
	$node->safe_psql('postgres', q{INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact) VALUES ('dots', '.', '{}'), ('dots', '..', '{}')});
	ok(chatbot_settled($node, 'dots'), 'no path: settled');
	is(outcomes($node, 'dots'), 'created 2', 'no path: they are created');
	is(count_reads('dots'), 0, 'no path: nobody is asked for');

	my $odd = q{'a/b?c#d%e é ' || chr(8364)};
	$fake->faults(lost('odd'));
	$node->safe_psql('postgres', "INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact) VALUES ('odd', $odd, '{}')");
	ok(chatbot_settled($node, 'odd'), 'an odd path: settled');
	is($node->safe_psql('postgres', q{SELECT status, http_status FROM contacts_push.outbox WHERE chatbot_id = 'odd'}),
		'present|200', 'an odd path: it is found');
	return;
}

no_such_call("none $_", $_) for 404, 405, 501;
no_such_call('no list', 'without a list', rule('no list', 'GET', 0, status => 200, body => '{"message": "welcome"}'));
switched_off();
paused();
fail_for_a_while();
only_reads_fail();
ambiguous();
fails_alone();
one_poisons();
applied_late();
meanwhile();
killed();
no_path();

$node->stop;
done_testing();
