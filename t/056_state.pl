# What contacts_push.progress and contacts_push.worker say while something is wrong,
# and that nothing of it looks healthy while nothing moves; and the lines that the
# server's log has of it, one a change of state.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use ContactsPushTest;
use FakeChatbase;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# Longer than any test takes: what waits for it waits until it is told otherwise.
use constant FAR => '3000';

my $other_key = KEY . '-2';
my $fake = FakeChatbase->start('--key', KEY, '--key', $other_key);
my $node = new_cluster('state', $fake, extra => <<'END');
contacts_push.max_backoff = 1h
contacts_push.batch_size = 10
END

# A column of a chatbot's progress, or more than one with | between.
sub progress
{
	my ($columns, $chatbot) = @_;
	return $node->safe_psql('postgres', "SELECT $columns FROM contacts_push.progress WHERE chatbot_id = '$chatbot'");
}

# Waits until a chatbot's state is like this; the state, for is().
sub state_like
{
	my ($chatbot, $pattern, $what) = @_;
	my $state = '';
	ok(wait_until(sub { ($state = progress('state', $chatbot)) =~ $pattern }), "$what: state") or diag("it is: $state");
	is(progress('eta IS NULL AND pending > 0', $chatbot), 't', "$what: and no eta beside it");
	return $state;
}

# How often the log has had a line like this.
sub lines_like
{
	my ($pattern) = @_;
	return scalar(() = slurp_file($node->logfile) =~ /(?:LOG|WARNING): +contacts_push: $pattern$/gm);
}

sub logged_once
{
	my ($pattern, $what) = @_;
	ok(wait_until(sub { lines_like($pattern) > 0 }), "$what: logged");
	is(lines_like($pattern), 1, "$what: once");
	return;
}

# What the worker shows of its last error.
sub last_error
{
	return $node->safe_psql('postgres', 'SELECT last_error, last_error_chatbot_id, last_error_at > now() - interval \'1 hour\' FROM contacts_push.worker');
}

ok(worker_runs($node), 'a worker runs');
logged_once('worker for database "postgres" has started', 'start');
is(last_error(), '||', 'all is well at first');

# The server fails: status, words and the next try, for as long as it lasts.
my $away = { status => 503, message => 'Service Unavailable', headers => { 'Retry-After' => FAR } };
$fake->faults({ match => { chatbot => 'down' }, action => $away });
insert_users($node, 'down', 'd', 1, 3);
state_like('down', qr/^backing off: 503 Service Unavailable, next try in \d{4} s$/, 'outage');
ok(wait_until(sub { last_error() eq '503 Service Unavailable|down|t' }), 'outage: the last error, its chatbot and time');
logged_once('chatbot "down" in database "postgres" gives no usable answer: 503 Service Unavailable', 'outage begins');
insert_users($node, 'well', 'w', 1, 3);
ok(wait_until(sub { outcomes($node, 'well') eq 'created 3' }), 'outage: another chatbot goes on');
is(last_error(), '503 Service Unavailable|down|t', 'outage: and the last error stays, as all is not well yet');
is(lines_like('chatbot "down" .* answers again .*'), 0, 'outage: not over');
$fake->faults;
$node->safe_psql('postgres', q{SELECT contacts_push.resume('down')});
ok(wait_until(sub { outcomes($node, 'down') eq 'created 3' }), 'outage: over');
ok(wait_until(sub { last_error() eq '||' }), 'outage: no error is left');
is(progress('state', 'down'), 'idle', 'outage: nor any word');
is($node->safe_psql('postgres', 'SELECT count(*) FROM contacts_push.chatbot WHERE backoff_until IS NOT NULL OR backoff_reason IS NOT NULL'),
	0, 'outage: nor a time');
logged_once('chatbot "down" in database "postgres" answers again after \d+\.\d s', 'outage ends');

# A worker that begins anew does not know of an earlier one's back-off.
$fake->faults({ match => { chatbot => 'down' }, action => $away });
insert_users($node, 'down', 'e', 1, 3);
state_like('down', qr/^backing off/, 'restart');
$fake->faults;
my $pid = worker_pid($node);
$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
ok(wait_until(sub { outcomes($node, 'down') eq 'created 6' || outcomes($node, 'down') eq 'created 3, present 3' }),
	'restart: it is tried at once');
is(progress('state', 'down'), 'idle', 'restart: no word of the earlier back-off');
ok(wait_until(sub { last_error() eq '||' }), 'restart: nor of its error');

# The key is refused, the chatbot is paused by an operator, and both are over.
$fake->faults({ match => { chatbot => 'denied' }, action => { status => 401, message => "Invalid\nAPI key" } });
insert_users($node, 'denied', 'd', 1, 3);
state_like('denied', qr/^paused: 401 Invalid API key, next try in \d+ s$/, '401');
logged_once('chatbot "denied" in database "postgres" is paused, next try in \d+ s: 401 Invalid API key', '401');
ok(wait_until(sub { last_error() eq '401 Invalid API key|denied|t' }), '401: the last error');
$fake->faults;
$node->safe_psql('postgres', q{SELECT contacts_push.resume('denied')});
ok(settled($node), '401: resumed');
logged_once('chatbot "denied" in database "postgres" is no longer paused: somebody has called contacts_push.resume\(\)', 'resume');
ok(wait_until(sub { last_error() eq '||' }), '401: no error is left');
$node->safe_psql('postgres', q{SELECT contacts_push.pause('denied')});
insert_users($node, 'denied', 'e', 1, 3);
state_like('denied', qr/^paused by \S+, until contacts_push\.resume\(\)$/, 'pause()');
logged_once('chatbot "denied" in database "postgres" is paused until contacts_push.resume\(\): paused by \S+', 'pause()');
$node->safe_psql('postgres', q{SELECT contacts_push.resume('denied')});
ok(settled($node), 'pause(): over');

# A contact that waits for another attempt is all that is left.
$node->safe_psql('postgres', <<'END');
INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact, attempts, next_attempt_at)
VALUES ('later', 'x', '{}', 1, now() + interval '1 hour')
END
state_like('later', qr/^deferred: next attempt in \d+ s$/, 'deferred');
$node->safe_psql('postgres', q{SELECT contacts_push.discard('later')});

# An answer that does not come.
$fake->faults({ match => { chatbot => 'hanging' }, action => { delay_ms => FakeChatbase::HELD } });
insert_users($node, 'hanging', 'h', 1, 3);
state_like('hanging', qr/^waiting for an answer for \d\d s$/, 'no answer');
$fake->faults;
$fake->release;
ok(wait_until(sub { outcomes($node, 'hanging') eq 'created 3' }), 'no answer: it comes');

# Two chatbots share the rate of their key: each takes as long as it and what goes
# between its requests.
set_conf($node, 'contacts_push.requests_per_second' => 10);
insert_users($node, 'large', 'l', 1, 2000);
insert_users($node, 'small', 's', 1, 300);
ok($node->poll_query_until('postgres', <<'END'), 'rate: both are pushed');
SELECT count(*) = 2 FROM contacts_push.progress WHERE chatbot_id IN ('large', 'small') AND eta IS NOT NULL AND created > 20
END
is($node->safe_psql('postgres', <<'END'), 'large:t:t,small:t:t', 'rate: the time that is left counts the other one');
WITH pair AS (SELECT * FROM contacts_push.progress WHERE chatbot_id IN ('large', 'small'))
SELECT string_agg(concat_ws(':', b.chatbot_id, b.state = 'pushing',
	abs(extract(epoch FROM b.eta) - (SELECT sum(least(o.pending, b.pending)) / sum(k.per_second)
		FROM pair o JOIN contacts_push.progress k USING (chatbot_id))) < 60), ',' ORDER BY b.chatbot_id)
FROM pair b
END
is($node->safe_psql('postgres', q{SELECT bool_and(a.eta < b.eta) FROM contacts_push.progress a, contacts_push.progress b WHERE a.chatbot_id = 'small' AND b.chatbot_id = 'large'}),
	't', 'rate: the smaller is through first');

# A 429 holds the key, and with it every chatbot of the key.
$fake->always(status => 429, message => 'Too many requests', headers => { 'Retry-After' => FAR });
state_like($_, qr/^waiting for the key's limit until \d\d:\d\d:\d\d$/, "429, $_") for 'large', 'small';
insert_users($node, 'well', 'v', 1, 3);
my $state = state_like('well', qr/^waiting for the key's limit until/, '429, one that was never answered so');
is($node->safe_psql('postgres', q{SELECT to_char(held_until, '"waiting for the key''s limit until "HH24:MI:SS'), requests_per_second FROM contacts_push.worker}),
	"$state|0", '429: the worker says the same');
logged_once('no request with the API key of chatbot "(?:large|small)" in database "postgres" until [-+0-9:. A-Z]+: 429 Too many requests', '429');
$fake->faults;
set_conf($node, 'contacts_push.api_key' => $other_key, 'contacts_push.requests_per_second' => 100000);
ok(settled($node), '429: another key goes on');
ok(wait_until(sub { $node->safe_psql('postgres', 'SELECT held_until IS NULL AND requests_per_second > 0 AND last_error IS NULL FROM contacts_push.worker') eq 't' }),
	'429: nothing is held, and all is well');

# What ends the worker again and again is said in words, whether one runs just now or not.
$node->safe_psql('postgres', 'ALTER TABLE contacts_push.request RENAME TO hidden');
insert_users($node, 'well', 'x', 1, 3);
state_like('well', qr/^worker not running: it ends again and again, [23] times by now, with "relation "contacts_push\.request" does not exist"; see the server log$/,
	'an error ends the worker');
like($node->safe_psql('postgres', q{SELECT detail || ' ' || hint FROM contacts_push.check('well') WHERE what = 'worker' AND NOT ok}),
	qr/again and again.* with "relation.*Do what the error asks for/, 'and check() says what to do');
$node->safe_psql('postgres', 'ALTER TABLE contacts_push.hidden RENAME TO request');
ok(settled($node), 'the cause has gone: it goes on');
ok(wait_until(sub { progress('state', 'well') eq 'idle' }), 'and nothing is said of it any more');

my $log = slurp_file($node->logfile);
unlike($log, qr/\Q$other_key\E|\Q@{[KEY]}\E/, 'the key is nowhere in the log');
unlike($log, qr/contacts_push: .*(?:[uwdelsvx]\d+)\@example/, 'nor is a contact');

$node->stop;
done_testing();
