# A chatbot that has gone is paused, and what waits for it goes on waiting, whatever its 404 says.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use ContactsPushTest;
use EngineTest qw(:DEFAULT chatbot_settled);
use FakeChatbase;
use PostgreSQL::Test::Utils;
use Test::More;

my $fake = FakeChatbase->start;
my $node = new_cluster('gone', $fake);

# Its list has been read.
$fake->faults({ match => { chatbot => 'gone', method => 'POST' }, times => 1, when => 'after', action => { status => 503 } });
insert_users($node, 'gone', 'u', 1, 5);
ok(chatbot_settled($node, 'gone'), 'settled');
is(outcomes($node, 'gone'), 'present 5', 'who was in doubt was found');

$fake->faults({ match => { chatbot => 'gone' }, action => { status => 404, message => 'Resource not found' } });
$node->safe_psql('postgres', <<'END');
SELECT contacts_push.push_changes('gone');
INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact) VALUES ('gone', 'u1', '{"name": "New"}'), ('gone', 'u2', NULL);
END
ok(wait_until(sub { $node->safe_psql('postgres', "SELECT pause_kind FROM contacts_push.chatbot WHERE chatbot_id = 'gone'") eq 'chatbot' }),
	'it is paused');
is(status_of($node, 'gone', 'u1') . ', ' . status_of($node, 'gone', 'u2'), 'present pending, present pending',
	'an update and a deletion go on waiting');

$fake->faults;
$node->safe_psql('postgres', "SELECT contacts_push.resume('gone')");
ok(chatbot_settled($node, 'gone'), 'settled when it is back');
is(status_of($node, 'gone', 'u1') . ', ' . status_of($node, 'gone', 'u2'), 'present updated, present deleted', 'and they are made');

$node->stop;
done_testing();
