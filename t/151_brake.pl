# More deletions than are expected are held until somebody says that they are meant.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use ContactsPushTest;
use EngineTest qw(:DEFAULT worker_passes);
use FakeChatbase;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use constant USERS => 2500;

my $fake = FakeChatbase->start;
my $node = new_cluster('brake', $fake);

# How many requests to delete a contact of a chatbot have arrived.
sub deletions
{
	my ($chatbot) = @_;
	return scalar grep { $_->{chatbot} eq $chatbot && $_->{method} eq 'DELETE' } whole_log($fake);
}

# Waits until so many are held; NULL as ''.
sub held
{
	my ($chatbot, $number) = @_;
	return wait_until(sub {
		return $node->safe_psql('postgres',
			"SELECT coalesce(held_deletes::text, '') FROM contacts_push.chatbot WHERE chatbot_id = '$chatbot'") eq $number;
	});
}

sub pending
{
	my ($chatbot) = @_;
	return count_rows($node, "chatbot_id = '$chatbot' AND status = 'pending'");
}

$node->safe_psql('postgres', <<"END");
CREATE TABLE users (id int PRIMARY KEY, name text);
SELECT contacts_push.watch('users', 'bot', external_id => 'id', name => 'name');
SELECT contacts_push.push_changes('bot', updates => true, deletes => true);
INSERT INTO users SELECT i, 'User ' || i FROM generate_series(1, @{[USERS]}) i;
END
ok(settled($node), 'users are created');

# What is not too much goes on its way.
$node->safe_psql('postgres', 'DELETE FROM users WHERE id <= 10');
ok(settled($node), 'a few deletions are not held');
is(deletions('bot'), 10, 'they are deleted');

my $logged = -s $node->logfile;
$node->safe_psql('postgres', 'DELETE FROM users WHERE id BETWEEN 11 AND 2010');
ok(held('bot', 2000), '2,000 deletions in one statement are held');
like(slurp_file($node->logfile, $logged), qr/WARNING:  53400: contacts_push: 2000 deletions of chatbot "bot" in database "postgres" are held|WARNING:  contacts_push: 2000 deletions of chatbot "bot" in database "postgres" are held/,
	'the log says so');
ok(wait_until(sub { $node->safe_psql('postgres', "SELECT state LIKE '%2000%' FROM contacts_push.progress WHERE chatbot_id = 'bot'") eq 't' }),
	'and so does progress');

# Nothing else is held.
$node->safe_psql('postgres', "INSERT INTO users VALUES (3001, 'New'); UPDATE users SET name = 'Changed' WHERE id = 2500");
ok(wait_until(sub { pending('bot') == 2000 }), 'creations and changes go on');
is(status_of($node, 'bot', 3001), 'created', 'a new user is created');
is(status_of($node, 'bot', 2500), 'created updated', 'a changed one is updated');
is($node->safe_psql('postgres', "SELECT contacts_push.flush('1 min')"), 'f', 'flush() does not wait for what is held');

# Whoever comes again is held no more.
$node->safe_psql('postgres', "INSERT INTO users VALUES (11, 'Back')");
ok(held('bot', 1999), 'a deletion that is taken back is held no more');

# A restart releases nothing.
$node->restart;
ok(worker_runs($node), 'the worker is there again');
ok(worker_passes($node), 'and works');
is(deletions('bot'), 10, 'nothing was deleted meanwhile');
ok(held('bot', 1999), 'as many are held');

# resume() lets those through that are there, also if the worker ends before the last of them.
$fake->faults({ match => { chatbot => 'bot', method => 'DELETE', from => 1, every => 100 },
		action => { delay_ms => FakeChatbase::HELD }, times => 1 });
$node->safe_psql('postgres', "SELECT contacts_push.resume('bot')");
ok(wait_until(sub { deletions('bot') > 100 }), 'after resume() they go on');
$node->restart;
$fake->faults;
ok(settled($node), 'also after a restart');
ok(held('bot', ''), 'nothing is held any more');
is(count_rows($node, "chatbot_id = 'bot' AND status = 'deleted'"), 2009, 'all of them are deleted');
is(keys %{ $fake->held('bot') }, USERS - 2010 + 2, 'and no others');
like(slurp_file($node->logfile, $logged), qr/deletions of chatbot "bot" in database "postgres" are no longer held/, 'the log says that, too');

# What comes later counts anew, and what is meant to be is not held.
set_conf($node, 'contacts_push.max_pending_deletes' => 50);
$node->safe_psql('postgres', 'DELETE FROM users WHERE id BETWEEN 2100 AND 2199');
ok(held('bot', 100), 'what comes later is held again');
set_conf($node, 'contacts_push.max_pending_deletes' => -1);
ok(settled($node), '-1: no brake');
ok(held('bot', ''), 'nothing is held');

$node->stop;
done_testing();
