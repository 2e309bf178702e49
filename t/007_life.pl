# A worker is there when it is needed and only then, and whatever ends one, the
# next one makes good what was under way.
#
# Takes long: crashes, and what they leave in doubt.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use ContactsPushTest;
use FakeChatbase;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

# What is told to a worker takes effect long before it would look by itself,
# which is once a minute; seconds.
use constant WELL_BELOW_THE_POLL => 30;

my $fake = FakeChatbase->start;
my $node = new_cluster('life', $fake, extension => 0, extra => <<'END');
restart_after_crash = on
log_min_messages = debug1
contacts_push.request_timeout = 1h
contacts_push.batch_size = 200
END

# Seconds until the code returns true.
sub seconds_until
{
	my ($code) = @_;
	my $start = time;
	return wait_until($code) ? time - $start : 'for ever';
}

# How often a worker was started for a database so far.
sub starts
{
	my ($database) = @_;
	my $log = slurp_file($node->logfile);
	return scalar(() = $log =~ /starting background worker process "contacts_push worker for $database"/g);
}

# A worker other than this one runs; also while the server recovers.
sub another_worker
{
	my ($pid) = @_;
	return $node->poll_query_until('postgres',
		"SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'contacts_push worker' AND datname = 'postgres' AND pid <> $pid");
}

# CREATE EXTENSION, committed or not
ok($node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'contacts_push launcher'}),
	'the launcher runs');
ok(wait_until(sub { worker_pid($node) eq '' && starts('postgres') > 0 }),
	'a database without the extension is looked at and left');
my $starts = starts('postgres');
$node->safe_psql('postgres', 'BEGIN; CREATE EXTENSION contacts_push; ROLLBACK');
for my $database ('one', 'two')
{
	# what the launcher was told before these is done when these are
	add_database($node, $database);
	ok(worker_runs($node, $database), "CREATE EXTENSION starts a worker: database $database");
}
is(starts('postgres'), $starts, 'CREATE EXTENSION, rolled back, starts none');
$node->safe_psql('postgres', 'CREATE EXTENSION contacts_push');
cmp_ok(seconds_until(sub { worker_pid($node) ne '' }), '<', WELL_BELOW_THE_POLL, 'committed, it does');

# a commit wakes it
for my $try (1 .. 5)
{
	insert_users($node, 'wake', "w$try-", 1, 1);
	cmp_ok(seconds_until(sub { outcomes($node, 'wake') eq "created $try" }), '<', WELL_BELOW_THE_POLL,
		"a commit wakes the worker, $try");
}

# DROP EXTENSION, rolled back or not, idle or not
my $pid = worker_pid($node);
$node->safe_psql('postgres', 'BEGIN; DROP EXTENSION contacts_push; ROLLBACK');
insert_users($node, 'wake', 'w', 1, 10);
ok(settled($node), 'DROP EXTENSION, rolled back: the worker goes on');
is(worker_pid($node), $pid, 'as the same process');
$node->safe_psql('postgres', 'DROP EXTENSION contacts_push');
cmp_ok(seconds_until(sub { worker_pid($node) eq '' }), '<', WELL_BELOW_THE_POLL, 'DROP EXTENSION ends an idle worker');

$fake->always(hang => FakeChatbase::true);
$node->safe_psql('postgres', 'CREATE EXTENSION contacts_push');
insert_users($node, 'dropped', 'd', 1, 10);
ok(wait_until(sub { $fake->in_flight == 1 }), 'a request is under way');
$node->safe_psql('postgres', 'DROP EXTENSION contacts_push');
cmp_ok(seconds_until(sub { worker_pid($node) eq '' }), '<', WELL_BELOW_THE_POLL, 'DROP EXTENSION ends a waiting worker');
ok(wait_until(sub { $fake->in_flight == 0 }), 'and its request');
$fake->reset;
for my $try (1 .. 5)
{
	$node->safe_psql('postgres', 'CREATE EXTENSION contacts_push');
	insert_users($node, 'busy', 'b', 1, 20000);
	ok(wait_until(sub { $fake->stats->{contacts} > 0 }), "try $try: the worker is busy");
	my ($status, $stdout, $stderr) = $node->psql('postgres', 'DROP EXTENSION contacts_push');
	is($stderr, '', "try $try: DROP EXTENSION meanwhile succeeds");
	cmp_ok(seconds_until(sub { worker_pid($node) eq '' }), '<', WELL_BELOW_THE_POLL, "try $try: and ends the worker");
	$fake->reset;
}

# Requests under way for contacts that are not created yet, that are, and that
# will be when nobody waits for it any more.
sub begin_requests
{
	my ($round) = @_;
	$fake->faults(
		{ match => { chatbot => "before$round" }, action => { hang => FakeChatbase::true } },
		{ match => { chatbot => "after$round" }, when => 'after', action => { hang => FakeChatbase::true } },
		{ match => { chatbot => "late$round" }, action => { delay_ms => 1000 } });
	insert_users($node, "$_$round", 'x', 1, 20) for qw(before after late);
	ok(wait_until(sub { my $n = grep { $_->{chatbot} =~ /$round$/ } $fake->requests; $n == 3 }),
		"$round: requests are under way");
	ok(wait_until(sub { keys %{ $fake->held("after$round") } == 20 }), "$round: one has been applied");
	return;
}

# All of these come out right once another worker is there.
sub check_requests
{
	my ($round) = @_;
	ok(settled($node), "$round: all is settled");
	is(outcomes($node, "before$round"), 'created 20', "$round: what had not been applied is created");
	is(outcomes($node, "after$round"), 'present 20', "$round: what had been applied is present");
	is($node->safe_psql('postgres',
			"SELECT count(*) FROM contacts_push.outbox WHERE chatbot_id = 'late$round' AND status IN ('created', 'present')"),
		'20', "$round: what was applied at some time is one of these");
	is(held_matches($node, $fake, "$_$round"), '', "$round: as the stand-in holds it, $_") for qw(before after late);
	is($node->safe_psql('postgres', 'SELECT count(*) FROM contacts_push.request WHERE finished_at IS NULL'),
		'0', "$round: no request is open");
	return;
}

$node->safe_psql('postgres', 'CREATE EXTENSION contacts_push');
ok(worker_runs($node), 'a worker runs');

$pid = worker_pid($node);
begin_requests('terminate');
$fake->faults();
is($node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)"), 't', 'pg_terminate_backend');
ok(another_worker($pid), 'another worker runs');
check_requests('terminate');

$pid = worker_pid($node);
begin_requests('restart');
$fake->faults();
$node->restart;
ok(another_worker($pid), 'after a restart, a worker runs');
check_requests('restart');

$pid = worker_pid($node);
begin_requests('immediate');
$fake->faults();
$node->stop('immediate');
$node->start;
ok(another_worker($pid), 'after an immediate shutdown, a worker runs');
check_requests('immediate');

$pid = worker_pid($node);
begin_requests('kill');
$fake->faults();
kill 'KILL', $pid;
ok(another_worker($pid), 'after kill -9 and crash recovery, a worker runs');
check_requests('kill');

# killed while it is busy, at a different point each time
for my $round (1 .. 4)
{
	my $requests = $fake->stats->{requests};
	$pid = worker_pid($node);
	$fake->always(delay_ms => 10, when => $round % 2 ? 'before' : 'after');
	insert_users($node, "crash$round", 'c', 1, 2000);
	ok(wait_until(sub { $fake->stats->{requests} >= $requests + 2 * $round }), "round $round: the worker is busy");
	kill 'KILL', $pid;
	$fake->faults();
	ok(another_worker($pid), "round $round: after a crash, a worker runs");
	ok(settled($node), "round $round: all is settled");
	like(outcomes($node, "crash$round"), qr/^created \d+(, present \d+)?$/, "round $round: as it should be");
	is(held_matches($node, $fake, "crash$round"), '', "round $round: as the stand-in holds it");
}

# a database with a worker can go and can be copied from
ok(worker_runs($node, 'two'), 'the other databases\' workers are there again');
$node->safe_psql('two', 'DROP EXTENSION contacts_push');
ok(wait_until(sub { worker_pid($node, 'two') eq '' }), 'DROP EXTENSION ends the worker of its database');
$node->safe_psql('postgres', 'DROP DATABASE two');
ok(worker_runs($node, 'one'), 'and that of no other');

unlike(slurp_file($node->logfile), qr/PANIC:|TRAP:|terminated by signal (4|6|7|8|11)\b/, 'no process has crashed');
$node->stop;
done_testing();
