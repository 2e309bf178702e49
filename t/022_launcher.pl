# Launchers and workers come and go independently of each other: a database has
# one worker whatever ends, commits and commands find it, and what a session
# waits for outlives it.
#
# Takes long: the launcher looks by itself once a minute.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use ContactsPushTest;
use FakeChatbase;
use List::Util qw(any);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

# What is told to a worker takes effect long before it would look by itself,
# which is once a minute; seconds.
use constant WELL_BELOW_THE_POLL => 30;

# A worker that is to end waits at most a second for answers.  These come within
# that, one after the other, unless the machine is too busy: then it is tried again.
use constant EARLIER_MS => 300;
use constant LATER_MS => 600;
use constant TRIES => 20;

# Five restarts with a back-off take 1 + 2 + 4 + 8 + 16 s, three the first two of it.
use constant BELOW_FIVE_BACKOFFS => 20;
use constant TWO_BACKOFFS => 3;

my $fake = FakeChatbase->start;
my $node = new_cluster('launcher', $fake, extra => <<'END');
log_min_messages = debug1
contacts_push.request_timeout = 1h
END

sub launcher_pid
{
	return $node->safe_psql('postgres', q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'contacts_push launcher'});
}

# The name of a wait event of ours, which pg_stat_activity has from PostgreSQL 17 on.
my $has_names = $node->safe_psql('postgres', q{SELECT current_setting('server_version_num')::int >= 170000}) eq 't';
sub event
{
	my ($name) = @_;
	return $has_names ? "ContactsPush$name" : 'Extension';
}

# Waits until pg_stat_activity says of a process of ours that it is idle, with this text
# and this wait event.
sub shows
{
	my ($type, $text, $name) = @_;
	my $expected = join '|', 'idle', "contacts_push: $text", 'Extension', event($name);
	my $seen = '';
	ok(wait_until(sub {
		$seen = $node->safe_psql('postgres', <<"END");
SELECT state, query, wait_event_type, wait_event FROM pg_stat_activity
WHERE backend_type = 'contacts_push $type' AND coalesce(datname, 'postgres') = 'postgres'
END
		return $seen eq $expected;
	}), "pg_stat_activity: $text") or diag("it shows: $seen");
	return;
}

# The worker that reports itself; '' if none does.
sub reported_pid
{
	my ($database) = @_;
	return $node->safe_psql($database // 'postgres', 'SELECT pid FROM contacts_push.worker');
}

# How often a worker was started for a database so far.
sub starts
{
	my ($database) = @_;
	my $log = slurp_file($node->logfile);
	return scalar(() = $log =~ /starting background worker process "contacts_push worker for $database"/g);
}

# Ends the launcher, and waits until another one has been through all databases:
# it has when it has started a worker in one that was made after it had come.
sub next_launcher
{
	my ($round) = @_;
	my $pid = launcher_pid();
	$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
	ok($node->poll_query_until('postgres',
			"SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'contacts_push launcher' AND pid <> $pid"),
		"$round: another launcher comes");
	add_database($node, "made_$round");
	ok(worker_runs($node, "made_$round"), "$round: and starts workers");
	return;
}

# Ends a database's worker, and waits for the next one.
sub next_worker
{
	my ($what, $database) = @_;
	my $pid = worker_pid($node, $database);
	$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
	ok(wait_until(sub { my $now = reported_pid($database); $now ne '' && $now ne $pid }), "$what: another worker comes");
	return;
}

# Ends a worker several times in a row; the launcher takes none of it for a failure.
# The first one need not be in a pass, where the others are if somebody holds a lock.
sub terminations
{
	my ($what, $in_pass) = @_;
	my $start = time;
	for my $round (1 .. ($in_pass ? 6 : 5))
	{
		next_worker("$what, $round", 'postgres');
		next unless $in_pass;
		ok($node->poll_query_until('postgres',
				q{SELECT count(*) = 1 FROM pg_stat_activity WHERE datname = 'postgres' AND backend_type = 'contacts_push worker' AND wait_event_type = 'Lock'}),
			"$what, $round: which waits in a pass");
	}
	cmp_ok(time - $start, '<', BELOW_FIVE_BACKOFFS, "$what: each at once");
	return;
}

# A commit wakes the worker; each time, as it may be awake for another reason.
sub commits_wake
{
	my ($chatbot) = @_;
	for my $try (1 .. 5)
	{
		insert_users($node, $chatbot, "w$try-", 1, 1);
		my $start = time;
		ok(wait_until(sub { outcomes($node, $chatbot) eq "created $try" }), "$chatbot: a commit is served, $try");
		cmp_ok(time - $start, '<', WELL_BELOW_THE_POLL, "$chatbot: because it wakes the worker, $try");
	}
	return;
}

# Begins flush() in a session of its own; what it returned comes into a table.
sub begin_flush
{
	my ($what, $database) = @_;
	my $session = open_session($node, $database);
	$session->query_until(qr/^begun$/m,
		"\\echo begun\nINSERT INTO flushed SELECT '$what', contacts_push.flush('1 hour');\n");
	ok($node->poll_query_until($database,
			"SELECT count(*) = 1 FROM pg_stat_activity WHERE datname = current_database() AND query ~ '^INSERT INTO flushed' AND wait_event = '@{[event('Flush')]}'"),
		"$what: flush() waits");
	return $session;
}

# what each waits for is told by pg_stat_activity
ok(worker_runs($node), 'a worker runs');
shows('launcher', 'starting workers where they are needed', 'LauncherMain');
shows('worker', 'idle', 'WorkerMain');
$fake->faults({ match => { chatbot => 'held' }, action => { delay_ms => FakeChatbase::HELD } });
insert_users($node, 'held', 'h', 1, 1);
shows('worker', 'waiting for 1 answer', 'Answer');
$fake->faults();
$fake->release;
ok(settled($node), 'answered');
set_conf($node, 'contacts_push.max_backoff' => '1h');
for my $trouble ([ 503, 'backing off, chatbots: 1', 'Backoff' ], [ 429, q{waiting for the key's limit}, 'Budget' ])
{
	my ($status, $text, $name) = @$trouble;
	$fake->faults({ match => { chatbot => "a$status" }, action => { status => $status, headers => { 'Retry-After' => '3000' } } });
	insert_users($node, "a$status", 'a', 1, 1);
	shows('worker', $text, $name);
	$fake->faults();
	$node->safe_psql('postgres', 'SELECT contacts_push.resume()');
	ok(settled($node), "$status: over");
}
set_conf($node, 'contacts_push.max_backoff' => '50ms', 'contacts_push.enabled' => 'off');
shows('worker', 'stopped, contacts_push.enabled is off', 'WorkerMain');
set_conf($node, 'contacts_push.enabled' => 'on');
$node->safe_psql('postgres', q{SELECT contacts_push.pause('held')});
insert_users($node, 'held', 'p', 1, 1);
shows('worker', 'paused, chatbots: 1', 'WorkerMain');
$node->safe_psql('postgres', q{SELECT contacts_push.resume('held')});
ok(settled($node), 'resumed');
shows('worker', 'idle', 'WorkerMain');

add_database($node, 'dropped');
ok(worker_runs($node, 'dropped'), 'and one in another database');

# the launcher ends, twice: the workers stay, and stay the only ones
my $pid = worker_pid($node);
my $starts = starts('postgres');
for my $round ('first', 'second')
{
	next_launcher($round);
	is(worker_pid($node), $pid, "$round: the worker goes on");
	is(starts('postgres'), $starts, "$round: no other one was started");
	is(reported_pid(), $pid, "$round: it is the one that is reported");
	commits_wake($round);
}

# those that were adopted are restarted, found and ended like any other
next_worker('adopted', 'postgres');
is(worker_pid($node), reported_pid(), 'adopted: and is the only one');
commits_wake('restarted');
$node->safe_psql('postgres', 'DROP DATABASE dropped');
pass('DROP DATABASE finds a worker that was adopted');
$pid = worker_pid($node, 'made_first');
$node->safe_psql('made_first', 'DROP EXTENSION contacts_push');
ok(wait_until(sub { worker_pid($node, 'made_first') eq '' }), 'DROP EXTENSION ends it');
$node->safe_psql('made_first', 'CREATE EXTENSION contacts_push');
ok(worker_runs($node, 'made_first'), 'CREATE EXTENSION brings another one');

# flush() waits through the worker's end, and for its own database's rows; the
# slot of another, who has answered more often, is free when the worker restarts
for my $database ('postgres', 'made_second')
{
	$node->safe_psql($database, 'CREATE TABLE flushed (what text, done boolean)');
}
is($node->safe_psql('postgres', 'SELECT contacts_push.flush()'), 't', "flush(), $_") for 1 .. 3;
$fake->always(hang => FakeChatbase::true);
insert_users($node, 'flush', 'f', 1, 10, 'made_second');
ok(wait_until(sub { $fake->in_flight == 1 }), 'a request is under way');
my $session = begin_flush('restart', 'made_second');
$node->safe_psql('postgres', 'DROP EXTENSION contacts_push CASCADE');
ok(wait_until(sub { worker_pid($node) eq '' }), 'the other database has no worker any more');
next_worker('flush', 'made_second');
ok(wait_until(sub { $fake->in_flight == 1 }), 'the next worker sends again');
is($node->safe_psql('made_second', 'SELECT count(*) FROM flushed'), '0', 'and flush() waits on');
is($node->safe_psql('made_second', q{SELECT contacts_push.flush('50 ms')}), 'f', 'as another one does');
$fake->faults();
$node->safe_psql('postgres', 'CREATE EXTENSION contacts_push');
next_worker('answered', 'made_second');
ok(settled($node, 'made_second'), 'all is settled');
ok($node->poll_query_until('made_second', 'SELECT count(*) = 1 FROM flushed WHERE done'), 'and flush() says so');
$session->quit;

# the last error is there after a restart: it may be its reason
ok(worker_runs($node), 'a worker runs');
$fake->faults({ match => { chatbot => 'refused' }, action => { status => 401, message => 'Invalid API key' } });
insert_users($node, 'refused', 'r', 1, 1);
ok($node->poll_query_until('postgres', q{SELECT last_error ~ 'Invalid API key' FROM contacts_push.worker}),
	'the last error is reported');
next_worker('error', 'postgres');
like($node->safe_psql('postgres', 'SELECT last_error FROM contacts_push.worker'), qr/Invalid API key/,
	'and is by the next worker');
$fake->faults();

# SIGTERM: what is nearly done is recorded, not only the first of it
sub both_recorded
{
	my ($try) = @_;
	my $worker = worker_pid($node);
	$fake->faults(
		{ match => { chatbot => "earlier$try" }, action => { delay_ms => EARLIER_MS } },
		{ match => { chatbot => "later$try" }, action => { delay_ms => LATER_MS } });
	insert_users($node, "$_$try", 'x', 1, 5) for qw(earlier later);
	wait_until(sub { $fake->in_flight == 2 || outcomes($node, "later$try") =~ /created/ });
	kill 'TERM', $worker;
	wait_until(sub { my $now = reported_pid(); $now ne '' && $now ne $worker });
	return $node->safe_psql('postgres',
		"SELECT string_agg(outcome, ',') FROM contacts_push.request WHERE chatbot_id IN ('earlier$try', 'later$try')") eq 'created,created';
}
ok((any { both_recorded($_) } 1 .. TRIES),
	'SIGTERM: two requests that are nearly done are recorded');

# but a lock does not keep it
# (the contact that was refused above may be sent again just now)
$fake->faults({ match => { chatbot => 'locked' }, action => { delay_ms => FakeChatbase::HELD } });
$pid = worker_pid($node);
insert_users($node, 'locked', 'l', 1, 5);
ok(wait_until(sub { $fake->in_flight == 1 }), 'a request is under way');
$session = open_session($node);
$session->query_safe('BEGIN; LOCK contacts_push.outbox, contacts_push.request');
$fake->faults();
$fake->release;
is($node->safe_psql('postgres', "SELECT pg_terminate_backend($pid, " . PATIENCE . ' * 1000)'), 't',
	'SIGTERM ends it in spite of a lock');
$session->query_safe('ROLLBACK');
$session->quit;
ok($node->poll_query_until('postgres',
		q{SELECT count(*) = 5 FROM contacts_push.outbox WHERE chatbot_id = 'locked' AND status IN ('created', 'present')}),
	'and nothing is lost');

# who is terminated has not failed, and who fails has
terminations('terminated between passes', 0);
$session = open_session($node);
$session->query_safe('BEGIN; LOCK contacts_push.outbox, contacts_push.request');
terminations('terminated in a pass', 1);
$session->query_safe('ROLLBACK');
$session->quit;
$node->safe_psql('postgres', 'ALTER TABLE contacts_push.request RENAME TO hidden');
$starts = starts('postgres');
my $start = time;
$node->safe_psql('postgres', 'SELECT pg_terminate_backend(' . worker_pid($node) . ')');
ok(wait_until(sub { starts('postgres') >= $starts + 3 }), 'a worker that fails is started again');
cmp_ok(time - $start, '>=', TWO_BACKOFFS, 'with a back-off');
$node->safe_psql('postgres', 'ALTER TABLE contacts_push.hidden RENAME TO request');
commits_wake('failed');

# no worker in a template, so that it can be copied, and the copy has one
$node->safe_psql('template1', 'CREATE EXTENSION contacts_push');
$node->safe_psql('made_first', 'DROP EXTENSION contacts_push');
$node->safe_psql('made_first', 'CREATE EXTENSION contacts_push');
ok(worker_runs($node, 'made_first'), 'the launcher has done what it was told');
is(starts('template1'), 0, 'CREATE EXTENSION in a template starts no worker');
is($node->psql('postgres', 'CREATE DATABASE copied'), 0, 'CREATE DATABASE copies it');

# who may not own a template may copy it, also before the launcher has looked
$node->safe_psql('postgres', 'CREATE ROLE maker CREATEDB');
ok(worker_runs($node, 'made_first'), 'a database that will be a template has a worker');
$node->safe_psql('postgres', "ALTER DATABASE $_ IS_TEMPLATE true") for 'made_first', 'made_second';
is($node->psql('postgres', "SET ROLE maker;\nCREATE DATABASE copied_by_maker TEMPLATE made_first"),
	0, 'CREATE DATABASE by another role copies it');

ok(wait_until(sub { worker_pid($node, 'made_second') eq '' }), 'a database that becomes a template loses its worker');
ok(worker_runs($node, $_), "$_ has a worker") for 'copied', 'copied_by_maker';
for my $database ('template1', 'made_first', 'made_second')
{
	is(worker_pid($node, $database), '', "$database has none");
	ok($node->poll_query_until($database, q{SELECT contacts_push_internal.worker_trouble() = 'this database is a template'}),
		"$database: and no slot");
}
$node->safe_psql('template1', 'DROP EXTENSION contacts_push');
$starts = starts('made_first');

# the next launcher finds what has become of databases, and an earlier one's worker
$node->safe_psql('postgres', 'ALTER DATABASE copied IS_TEMPLATE true');
$node->safe_psql('postgres', 'ALTER DATABASE made_second IS_TEMPLATE false');
next_launcher('template');
ok(wait_until(sub { worker_pid($node, 'copied') eq '' }), 'a worker in what is a template by now ends');
ok(worker_runs($node, 'made_second'), 'what is no template any more has a worker again');
is(starts('made_first'), $starts, 'and what still is one has none');

unlike(slurp_file($node->logfile), qr/PANIC:|TRAP:|terminated by signal (4|6|7|8|11)\b/, 'no process has crashed');
$node->stop;
done_testing();
