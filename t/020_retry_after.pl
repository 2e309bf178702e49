# A 429 holds back whoever uses the key, for as long as it says, and charges
# nobody.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use ContactsPushTest;
use EngineTest;
use FakeChatbase;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use POSIX qw(strftime);
use Test::More;
use Time::HiRes qw(time);

use constant CONTACTS => 10;

my $other_key = KEY . '-2';
my $fake = FakeChatbase->start('--key', KEY, '--key', $other_key);
my $node = new_cluster('retry_after', $fake);
add_database($node, 'other');

# The pauses between a 429 and the next request, milliseconds.
sub waits
{
	my ($chatbot) = @_;
	my @log = grep { $_->{chatbot} eq $chatbot } whole_log($fake);
	return map { $log[$_]{at_ms} - $log[ $_ - 1 ]{at_ms} } grep { $log[ $_ - 1 ]{status} == 429 } 1 .. $#log;
}

# Has the first requests of a chatbot answered 429 with these headers, and checks that
# everything is created afterwards.
sub throttle
{
	my ($chatbot, $times, %headers) = @_;

	# What was learnt of the key is forgotten.
	$fake->reset;
	$node->restart;
	$fake->faults({ times => $times, action => { status => 429, headers => \%headers } });
	insert_users($node, $chatbot, 'u', 1, CONTACTS);
	ok(settled($node), "$chatbot: all is settled");
	is(outcomes($node, $chatbot), 'created ' . CONTACTS, "$chatbot: as created");
	is(count_rows($node, "chatbot_id = '$chatbot' AND attempts <> 0"), 0, "$chatbot: nobody is charged");
	is($fake->stats->{by_status}{429}, $times, "$chatbot: after so many 429");
	note "$chatbot: waits of " . join(', ', waits($chatbot)) . ' ms';
	return;
}

throttle('seconds', 2, 'Retry-After' => '2');
is(scalar(grep { $_ < 1990 } waits('seconds')), 0, 'seconds: it waits for as long as it is told');

# A date has no part of a second: what is meant may be up to one earlier or later.
my $date = time + 4;
throttle('date', 1, 'Retry-After' => strftime('%a, %d %b %Y %H:%M:%S GMT', gmtime $date));
my ($settled_at) = $node->safe_psql('postgres',
	q{SELECT extract(epoch FROM min(settled_at)) FROM contacts_push.outbox WHERE chatbot_id = 'date'});
cmp_ok($settled_at, '>', $date - 2, 'date: it waits until then');

throttle('reset', 1, 'X-RateLimit-Reset' => sprintf('%.0f', (time + 4) * 1000));
is(scalar(grep { $_ < 1000 } waits('reset')), 0, 'reset: it waits until then');

throttle('silent', 3);
is(scalar(grep { $_ < 400 } waits('silent')), 0, 'silent: it waits of its own accord');
my @waits = waits('silent');
cmp_ok($waits[2], '>', $waits[0], 'silent: longer each time');

throttle('absurd', 2, 'Retry-After' => '-17');
is(scalar(grep { $_ < 400 } waits('absurd')), 0, 'absurd: as if nothing had been said');

# An hour
$fake->reset;
$node->restart;
$fake->faults({ times => 1, action => { status => 429, message => 'Come back in an hour', headers => { 'Retry-After' => '3600' } } });
insert_users($node, 'hour', 'u', 1, CONTACTS);
ok(wait_until(sub { ($fake->stats->{by_status}{429} // 0) == 1 }), 'an hour: told so');
ok( $node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM contacts_push.request
	WHERE chatbot_id = 'hour' AND http_status = 429 AND outcome = 'rate' AND message = 'Come back in an hour'}),
	'an hour: the log of requests tells it');
is($node->safe_psql('postgres', 'SELECT last_error FROM contacts_push.worker'), '429 Come back in an hour',
	'an hour: and so does the worker');
like($node->safe_psql('postgres', q{SELECT state FROM contacts_push.progress WHERE chatbot_id = 'hour'}),
	qr/^waiting for the key's limit until \d\d:\d\d:\d\d$/, 'an hour: and the state');

# Whatever happens meanwhile, nothing leaves with that key.
insert_users($node, 'hour', 'v', 1, CONTACTS);
insert_users($node, 'another', 'u', 1, CONTACTS);
insert_users($node, 'hour', 'u', 1, CONTACTS, 'other');
reload($node);
is($node->safe_psql('postgres', q{SELECT contacts_push.flush('3 seconds')}), 'f', 'an hour: flush() gives up waiting');
is($node->safe_psql('other', q{SELECT contacts_push.flush('3 seconds')}), 'f', 'an hour: in another database, too');
is($fake->stats->{requests}, 1, 'an hour: no request leaves, for no chatbot and from no database');
is(count_rows($node, q{chatbot_id IN ('hour', 'another') AND (status <> 'pending' OR attempts <> 0 OR unconfirmed)}), 0,
	'an hour: all is pending, and nobody is charged');
is($node->safe_psql('postgres', q{SELECT count(*) FROM contacts_push.chatbot WHERE paused_until > now()}), 0,
	'an hour: it is the key that waits, no chatbot');

# The SQL function draws on the budget without waiting for it.
is($node->safe_psql('postgres', q{SELECT external_id FROM chatbase_create_contacts('direct', '{"external_id": "d"}')}), 'd',
	'an hour: a call does not wait');
is($fake->stats->{requests}, 2, 'an hour: and is the only request');

# Another key has a budget of its own.
set_conf($node, 'contacts_push.api_key' => $other_key);
ok(settled($node), 'another key: all is settled');
ok(settled($node, 'other'), 'another key: in the other database, too');
is(outcomes($node, 'another'), 'created ' . CONTACTS, 'another key: as created');
is(held_matches($node, $fake, 'another'), '', 'another key: as the stand-in holds it');
is($fake->stats->{by_status}{429}, 1, 'another key: with no further 429');

$node->stop;
done_testing();
