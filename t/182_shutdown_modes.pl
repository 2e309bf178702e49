# A server that is stopped in any mode does not wait for a request, a smart shutdown lets the
# worker send as long as somebody is connected; and where no process can be had, workers and
# launcher come when one can.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use ContactsPushTest;
use EngineTest qw(:DEFAULT chatbot_settled requests_for);
use FakeChatbase;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use constant CONTACTS => 10;

my $fake = FakeChatbase->start;
my $node = new_cluster('modes', $fake, extra => "contacts_push.request_timeout = 1h\n");

# Holds back requests of a chatbot, and waits until one is.
sub begin_request
{
	my ($chatbot) = @_;
	$fake->faults({ match => { chatbot => $chatbot }, action => { delay_ms => FakeChatbase::HELD } });
	insert_users($node, $chatbot, 'u', 1, CONTACTS);
	ok(wait_until(sub { requests_for($fake, $chatbot) == 1 }), "$chatbot: a request is under way");
	return;
}

# Has it answered, and those that come.
sub one_fate
{
	my ($chatbot, $n) = @_;
	$fake->faults();
	$fake->release;
	ok(chatbot_settled($node, $chatbot), "$chatbot: all is settled");
	is(each_one_fate($node, $fake, $chatbot, $n), '', "$chatbot: each contact has one fate");
	return;
}

for my $mode ('smart', 'fast', 'immediate')
{
	ok(worker_runs($node), "$mode: a worker runs");
	ok($node->safe_psql('postgres', 'SELECT contacts_push.flush()'), "$mode: it is idle");
	$node->stop($mode);
	pass("$mode: ends an idle server");
	$node->start;
	begin_request($mode);
	$node->stop($mode);
	pass("$mode: ends one with a request under way");
	$node->start;
	one_fate($mode, CONTACTS);
}

# A smart shutdown waits for a session, which is served until it goes.
my $session = open_session($node);
begin_request('waits');
system_or_bail('pg_ctl', '-D', $node->data_dir, '-m', 'smart', '-W', 'stop');
ok(wait_until(sub { !is_up($node) }), 'smart: nobody is let in any more');
$session->query_safe(q{INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact) VALUES ('served', 'last', '{"name": "A"}')});
ok(wait_until(sub { keys %{ $fake->held('served') } == 1 }), 'smart: who is there is still served');
$session->quit;
ok(wait_until(sub { !-e $node->data_dir . '/postmaster.pid' }), 'smart: it ends with the session, request or not');
$node->_update_pid(0);
$node->start;
one_fate('waits', CONTACTS);
one_fate('served', 1);

# No process can be had, for either of them or for both.
my ($postmaster) = split /\n/, slurp_file($node->data_dir . '/postmaster.pid');
my ($limit) = `prlimit --pid $postmaster --nproc --output SOFT --noheadings --raw` =~ /^(\S+)/;
ok(worker_runs($node), 'a worker runs');
$session = open_session($node);
for my $who ('worker', 'launcher', '')
{
	my $what = 'no process for ' . ($who || 'both');
	my $failures = qr/could not fork (?:background )?worker process/;
	my $before = () = slurp_file($node->logfile) =~ /$failures/g;
	system_or_bail('prlimit', '--pid', $postmaster, '--nproc=1:');
	$session->query_safe("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE backend_type LIKE 'contacts_push %$who'");
	ok(wait_until(sub { (() = slurp_file($node->logfile) =~ /$failures/g) > $before }), "$what: none is to be had");
	$session->query_safe("INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact) VALUES ('fork', '$_', '{}')")
	  for "$who 1", "$who 2";
	system_or_bail('prlimit', '--pid', $postmaster, "--nproc=$limit:");
	ok($node->poll_query_until('postgres',
		q{SELECT count(*) = 2 FROM pg_stat_activity WHERE backend_type LIKE 'contacts_push %'}), "$what: both run again");
	ok(chatbot_settled($node, 'fork'), "$what: all is settled");
}
is(outcomes($node, 'fork'), 'created 6', 'nobody was lost');
$session->quit;

unlike(slurp_file($node->logfile), qr/PANIC:|TRAP:|terminated by signal (4|6|7|8|11)\b/, 'no process has crashed');
$node->stop;
done_testing();
