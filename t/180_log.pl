# The lines that the launcher and the workers write to the server's log: one a change of
# state, with an SQLSTATE where it is a warning, and no others, however many requests and
# contacts there are meanwhile.
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

# Tries that fail before the trouble is over.
use constant TRIES => 5;

my $fake = FakeChatbase->start;
my $node = new_cluster('log', $fake, extra => "log_line_prefix = '%b|%e|'\ncontacts_push.max_pending_deletes = 5\n");

# What each line began with, and what is left of it when all times are N; also what the
# postmaster says of the end of a worker.
sub lines
{
	my $log = slurp_file($node->logfile);
	my @lines = $log =~ /^(contacts_push .*|.*"contacts_push worker.*)$/gm;
	s/\d+(?:\.\d+)? s\b/N s/, s/until \d[-0-9:. A-Z+]+: /until N: / for @lines;
	return @lines;
}

my $seen = 0;

# Waits for these lines, which are all that has been written since the last call.
sub writes_lines
{
	my ($what, @expected) = @_;
	wait_until(sub { lines() >= $seen + @expected });
	my @lines = lines();
	is_deeply([ @lines[ $seen .. $#lines ] ], [ map { "contacts_push worker|$_" } @expected ], "$what: lines of the log");
	$seen = @lines;
	return;
}

# Enqueues contacts that have their chatbot answered so, until that was tried often enough.
sub begin_trouble
{
	my ($chatbot, $tries, %action) = @_;
	my $before = requests_for($fake, $chatbot);
	$fake->faults({ match => { chatbot => $chatbot }, action => \%action });
	insert_users($node, $chatbot, "$before-", 1, 10);
	ok(wait_until(sub { requests_for($fake, $chatbot) >= $before + $tries }), "$chatbot: it was tried");
	return;
}

sub of_chatbot
{
	my ($chatbot) = @_;
	return qq{contacts_push: chatbot "$chatbot" in database "postgres"};
}

my $started = '00000|LOG:  contacts_push: worker for database "postgres" has started';
my $resumed = 'is no longer paused: somebody has called contacts_push.resume()';

writes_lines('start', $started);

# What becomes of contacts is nothing for the log.
$fake->preset('bot', { external_id => 'taken3' });
$fake->faults({ match => { external_id => '^bad' }, action => { status => 400, message => 'Validation failed' } });
insert_users($node, 'bot', $_, 1, 5) for 'good', 'bad', 'taken';
ok(chatbot_settled($node, 'bot'), 'contacts are settled');
is(outcomes($node, 'bot'), 'conflict 1, created 9, rejected 5', 'in several ways');

# An outage, of a server that answers and of one that cannot be reached.
begin_trouble('down', TRIES, status => 503, message => 'Service Unavailable');
$fake->faults;
ok(chatbot_settled($node, 'down'), 'the outage is over');
writes_lines('outage',
	'58030|WARNING:  ' . of_chatbot('down') . ' gives no usable answer: 503 Service Unavailable',
	'00000|LOG:  ' . of_chatbot('down') . ' answers again after N s');

set_conf($node, 'contacts_push.base_url' => 'http://127.0.0.1:1/api/v1');
insert_users($node, 'down', 'unreached', 1, 10);
ok($node->poll_query_until('postgres', "SELECT count(*) >= @{[TRIES]} FROM contacts_push.request WHERE outcome = 'network'"),
	'no server is there');
set_conf($node, 'contacts_push.base_url' => $fake->base_url);
ok(chatbot_settled($node, 'down'), 'it is again');
my ($reason) = (lines())[$seen] =~ /gives no usable answer: (.*)/;
like($reason, qr/onnect/, 'there was no connection, says the log');
writes_lines('no connection',
	'58030|WARNING:  ' . of_chatbot('down') . " gives no usable answer: $reason",
	'00000|LOG:  ' . of_chatbot('down') . ' answers again after N s');

# The key is refused, at each reload again, and to the next worker.
begin_trouble('denied', 1, status => 401, message => 'Invalid API key');
my $paused = '28000|WARNING:  ' . of_chatbot('denied') . ' is paused, next try in N s: 401 Invalid API key';
writes_lines('key', $paused);
for my $try (1 .. 3)
{
	my $before = requests_for($fake, 'denied');
	reload($node);
	ok(wait_until(sub { requests_for($fake, 'denied') > $before }), "reload $try: it was tried");
}
# who is told to end while it works is worth the server's own line, and none else
sub comes_to_rest
{
	my ($state) = @_;
	ok($node->poll_query_until('postgres',
		"SELECT state = 'idle' AND query LIKE 'contacts_push: $state%' FROM pg_stat_activity WHERE backend_type = 'contacts_push worker'"),
		"the worker is $state");
	return;
}
comes_to_rest('paused');
my $pid = worker_pid($node);
my $before = requests_for($fake, 'denied');
$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
ok(wait_until(sub { requests_for($fake, 'denied') > $before }), 'the next worker has tried it');
writes_lines('another worker', $started, $paused);
$fake->faults;
reload($node);
ok(chatbot_settled($node, 'denied'), 'the key is taken');
writes_lines('key, over', '00000|LOG:  ' . of_chatbot('denied') . ' is no longer paused: it has answered');

# There is no such chatbot; its limit is reached.
for my $kind ([ 'unknown', 42704, 404, 'Chatbot not found' ],
	[ 'full', 53400, 400, 'You have reached the contact limit of your plan' ])
{
	my ($chatbot, $code, $status, $message) = @$kind;
	begin_trouble($chatbot, 1, status => $status, message => $message);
	writes_lines($chatbot, "$code|WARNING:  " . of_chatbot($chatbot) . " is paused, next try in N s: $status $message");
	$fake->faults;
	$node->safe_psql('postgres', "SELECT contacts_push.resume('$chatbot')");
	ok(chatbot_settled($node, $chatbot), "$chatbot: over");
	writes_lines("$chatbot, over", '00000|LOG:  ' . of_chatbot($chatbot) . " $resumed");
}

# An operator's pause.
my $user = $node->safe_psql('postgres', 'SELECT session_user');
$node->safe_psql('postgres', q{SELECT contacts_push.pause('bot')});
writes_lines('pause()', '00000|LOG:  ' . of_chatbot('bot') . " is paused until contacts_push.resume(): paused by $user");
$node->safe_psql('postgres', q{SELECT contacts_push.resume('bot')});
writes_lines('resume()', '00000|LOG:  ' . of_chatbot('bot') . " $resumed");

# A 429 that lasts, and goes on when it is over.
begin_trouble('bot', 2, status => 429, message => 'Too many requests', headers => { 'Retry-After' => '11' });
ok($node->poll_query_until('postgres', 'SELECT count(*) >= 2 FROM contacts_push.request WHERE http_status = 429'), '429: twice');
writes_lines('429', '53400|WARNING:  contacts_push: no request with the API key of chatbot "bot" in database "postgres" until N: 429 Too many requests');
$fake->faults;
$node->safe_psql('postgres', 'SELECT contacts_push.resume()');
ok(chatbot_settled($node, 'bot'), '429: over');

# The brake, which holds deletions in two statements once.
$node->safe_psql('postgres', <<'END');
CREATE TABLE users (id int PRIMARY KEY);
SELECT contacts_push.watch('users', 'brake');
SELECT contacts_push.push_changes('brake', updates => true, deletes => true);
INSERT INTO users SELECT generate_series(1, 20);
END
ok(chatbot_settled($node, 'brake'), 'brake: all are created');
$node->safe_psql('postgres', 'DELETE FROM users WHERE id <= 10');
writes_lines('brake', '53400|WARNING:  contacts_push: 10 deletions of chatbot "brake" in database "postgres" are held, as more than contacts_push.max_pending_deletes wait',
	'53400|HINT:  If they are meant, call contacts_push.resume().');
comes_to_rest('holding deletions');
$node->safe_psql('postgres', 'DELETE FROM users WHERE id = 11');
ok($node->poll_query_until('postgres', q{SELECT held_deletes = 11 FROM contacts_push.chatbot WHERE chatbot_id = 'brake'}), 'brake: one more');
$node->safe_psql('postgres', q{SELECT contacts_push.resume('brake')});
ok(chatbot_settled($node, 'brake'), 'brake: released');
writes_lines('brake, released', '00000|LOG:  contacts_push: deletions of chatbot "brake" in database "postgres" are no longer held');

# Nothing came late, and what ends by SIGTERM is nothing to complain of.
is($node->safe_psql('postgres', 'SELECT contacts_push.flush()'), 't', 'all is settled');
comes_to_rest('idle');
$node->stop;
writes_lines('end');

done_testing();
