# What becomes of contacts that change, get another key or go, request by request.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use ContactsPushTest;
use EngineTest qw(:DEFAULT chatbot_settled);
use FakeChatbase;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $fake = FakeChatbase->start;
my $node = new_cluster('changes', $fake);

sub sql { return $node->safe_psql('postgres', $_[0]); }

# A chatbot with a table of users a to e, who are created; returns their table.
sub chatbot
{
	my ($chatbot, %switches) = @_;
	my ($updates, $deletes) = map { $switches{$_} // 'true' } qw(updates deletes);
	sql(<<"END");
CREATE TABLE $chatbot (id text PRIMARY KEY DEFERRABLE, email text, name text);
SELECT contacts_push.watch('$chatbot', '$chatbot', external_id => 'id', email => 'email', name => 'name');
SELECT contacts_push.push_changes('$chatbot', updates => $updates, deletes => $deletes);
INSERT INTO $chatbot SELECT chr(96 + i), chr(96 + i) || '\@$chatbot.com', 'User ' || chr(96 + i) FROM generate_series(1, 5) i;
END
	chatbot_settled($node, $chatbot) or die 'never created';
	return $chatbot;
}

# What the statements lead to: requests other than POST, as 'PATCH a 200'; and those.
sub requests_of
{
	my ($chatbot, $sql) = @_;
	my $before = whole_log($fake);
	sql($sql);
	ok(chatbot_settled($node, $chatbot), "settled: $sql");
	my @log = whole_log($fake);
	return join ', ', map { my ($id) = $_->{path} =~ m{/contacts/?([^?]*)}; $_->{method} . ($id ne '' ? " $id" : '') . " $_->{status}" }
	  grep { $_->{chatbot} eq $chatbot } @log[ $before .. $#log ];
}

# Who has which name at Chatbase, without those who are as at first.
sub names
{
	my ($chatbot) = @_;
	my %names = map { ($_->{external_id} => $_->{name}) } @{ $fake->admin("contacts?chatbot=$chatbot") };
	return join ', ', map { "$_ $names{$_}" } grep { $names{$_} ne "User $_" } sort keys %names;
}

# ---- what is sent, and what is not ----

my $t = chatbot('plain');
is(requests_of('plain', "UPDATE $t SET name = 'New' WHERE id = 'a'"), 'PATCH a 200', 'a change is sent');
is(names('plain'), 'a New', 'and is there');
is(requests_of('plain', "BEGIN; UPDATE $t SET name = 'X' WHERE id = 'a'; UPDATE $t SET name = 'New' WHERE id = 'a'; COMMIT"),
	'', 'what is equal to what was sent last is not sent');
is(status_of($node, 'plain', 'a'), 'created updated superseded skipped', 'it is skipped');
is(requests_of('plain', "BEGIN; UPDATE $t SET name = 'X' WHERE id = 'a'; UPDATE $t SET name = 'Y' WHERE id = 'a'; COMMIT"),
	'PATCH a 200', 'the newest of several is sent');
is(names('plain'), 'a Y', 'and is there');
is(requests_of('plain', "DELETE FROM $t WHERE id = 'b'"), 'DELETE b 200', 'a deletion is sent');
is(requests_of('plain', "INSERT INTO $t VALUES ('b', 'b\@plain.com', 'Back')"), 'POST 200', 'who comes again is created');
is(status_of($node, 'plain', 'b'), 'created deleted created', 'with a row for each');
is(requests_of('plain', "BEGIN; DELETE FROM $t WHERE id = 'c'; INSERT INTO $t VALUES ('c', 'c\@plain.com', 'Again'); COMMIT"),
	'PATCH c 200', 'who comes again before the deletion is sent is changed');

$t = chatbot('off', updates => 'false', deletes => 'false');
is(requests_of('off', "UPDATE $t SET name = 'New' WHERE id = 'a'; DELETE FROM $t WHERE id = 'b'"), '', 'nothing is sent unless it is asked for');

# ---- keys ----

$t = chatbot('keys');
is(requests_of('keys', "UPDATE $t SET id = 'z' WHERE id = 'a'"), 'PATCH a 200', 'a changed key changes the contact');
is(requests_of('keys', "UPDATE $t SET name = 'Z' WHERE id = 'z'"), 'PATCH z 200', 'which has the new one then');
is(requests_of('keys', "INSERT INTO $t VALUES ('a', 'other\@keys.com', 'Other')"), 'POST 200', 'the old key can be given to another');
is(requests_of('keys', "UPDATE $t SET id = chr(ascii(id) + 1) WHERE id IN ('b', 'c', 'd', 'e')"),
	'PATCH e 200, PATCH d 200, PATCH c 200, PATCH b 200', 'a chain of keys is changed from its end');
is(names('keys'), 'a Other, c User b, d User c, e User d, f User e, z Z', 'and is right');

$t = chatbot('swap');
sql("SELECT contacts_push.pause('swap')");
sql("UPDATE $t SET id = 't' WHERE id = 'a'; UPDATE $t SET id = 'a' WHERE id = 'b'; UPDATE $t SET id = 'b' WHERE id = 't'");
is(requests_of('swap', "SELECT contacts_push.resume('swap')"), 'PATCH a 200, PATCH b 200, PATCH t 200', 'keys are swapped one after the other');
is(names('swap'), 'a User b, b User a', 'and are right');

# A key that was changed and is given away before anything of that is sent.
$t = chatbot('moved');
sql("SELECT contacts_push.pause('moved')");
sql("UPDATE $t SET id = 'x' WHERE id = 'a'; UPDATE $t SET name = 'X' WHERE id = 'x'; INSERT INTO $t VALUES ('a', 'new\@moved.com', 'New a')");
sql("UPDATE $t SET id = 'y' WHERE id = 'b'; DELETE FROM $t WHERE id = 'y'");
my $moved = requests_of('moved', "SELECT contacts_push.resume('moved')");
like($moved, qr/PATCH a 200.*PATCH x 200/, 'who is changed after the key was gets both');
like($moved, qr/DELETE b 200/, 'who is deleted after the key was is deleted');
is(names('moved'), 'a New a, x X', 'and all is right');

$t = chatbot('deletes_only', updates => 'false');
is(requests_of('deletes_only', "UPDATE $t SET id = 'z' WHERE id = 'a'"), 'DELETE a 200, POST 200', 'without updates the old one is deleted first');

# ---- e-mails that go from one to another ----

$t = chatbot('mails');
sql("SELECT contacts_push.pause('mails')");
sql("UPDATE $t SET email = 'gone\@mails.com' WHERE id = 'b'; UPDATE $t SET email = 'b\@mails.com' WHERE id = 'a'; UPDATE $t SET email = 'late\@mails.com' WHERE id = 'b'");
like(requests_of('mails', "SELECT contacts_push.resume('mails')"), qr/^PATCH a 409, PATCH b 200, PATCH a 200$|^PATCH a 409.*PATCH b 200.*PATCH a 200$|^PATCH b 200.*PATCH a 200$/,
	'an e-mail is free after the one who had it has changed');
is(count_rows($node, "chatbot_id = 'mails' AND status = 'conflict'"), 0, 'there is no conflict');
like(requests_of('mails', "UPDATE $t SET email = 'c\@mails.com' WHERE id = 'd'"), qr/^PATCH d 409$/, 'an e-mail that somebody keeps is a conflict');
is(status_of($node, 'mails', 'd'), 'created conflict', 'which the row says');
is(requests_of('mails', "UPDATE $t SET email = 'd2\@mails.com' WHERE id = 'd'"), 'PATCH d 200', 'the next change is a change again');
is(status_of($node, 'mails', 'd'), 'created superseded updated', 'and makes the refusal a thing of the past');

# ---- answers ----

$t = chatbot('answers');
$fake->faults({ match => { chatbot => 'answers', method => 'PATCH' }, when => 'after', times => 1, action => { drop => FakeChatbase::true } });
is(requests_of('answers', "UPDATE $t SET id = 'z' WHERE id = 'a'"), 'PATCH a 0, PATCH a 404, PATCH z 200', 'a changed key whose answer is lost');
$fake->faults({ match => { chatbot => 'answers', method => 'DELETE' }, when => 'after', times => 1, action => { drop => FakeChatbase::true } });
is(requests_of('answers', "DELETE FROM $t WHERE id = 'b'"), 'DELETE b 0, DELETE b 404', 'a deletion whose answer is lost');
is(status_of($node, 'answers', 'b'), 'created deleted', 'it is deleted');
$fake->faults({ match => { chatbot => 'answers', method => 'PATCH' }, times => 1, action => { status => 503 } });
is(requests_of('answers', "UPDATE $t SET name = 'C' WHERE id = 'c'"), 'PATCH c 503, PATCH c 200', 'a server in trouble');
$fake->faults({ match => { chatbot => 'answers', method => 'PATCH' }, times => 1, action => { status => 413 } });
is(requests_of('answers', "UPDATE $t SET name = 'C2' WHERE id = 'c'"), 'PATCH c 413', 'too large is refused');
is(status_of($node, 'answers', 'c'), 'created updated rejected', 'and the row says so');
$fake->faults;
is(requests_of('answers', "UPDATE $t SET name = 'C3' WHERE id = 'c'"), 'PATCH c 200', 'what follows is a change again');

# Somebody has deleted them at Chatbase.
for my $words ('Contact not found', 'Resource not found')
{
	$fake->config(contact_not_found => $words);
	my ($said) = lc($words) =~ /^(\w+)/;
	$t = chatbot("gone_$said");
	$node->safe_psql('postgres', "SET contacts_push.base_url = '" . $fake->base_url . "'; SELECT chatbase_delete_contact('$t', 'a'), chatbase_delete_contact('$t', 'b')");
	like(requests_of($t, "UPDATE $t SET name = 'New' WHERE id = 'a'"), qr/^PATCH a 404, (GET 200, )?POST 200$/, "$words: a contact that is not there is created");
	like(requests_of($t, "DELETE FROM $t WHERE id = 'b'"), qr/^DELETE b 404(, GET 200)?$/, "$words: nothing is there to be deleted");
	is(status_of($node, $t, 'b'), 'created deleted', "$words: that is well");
}

# A server without these calls.
for my $status (404, 405, 501)
{
	$fake->config(other_calls => 0);
	$t = chatbot("without_$status");
	$fake->config(other_calls => $status);
	like(requests_of($t, "UPDATE $t SET name = 'New' WHERE id = 'a'; DELETE FROM $t WHERE id = 'b'; INSERT INTO $t VALUES ('n', NULL, 'New')"),
		qr/POST 200/, "$status: new contacts are created all the same");
	is(status_of($node, $t, 'a'), 'created rejected', "$status: a change is rejected");
	is(status_of($node, $t, 'b'), 'created rejected', "$status: a deletion is, too");
	is(status_of($node, $t, 'n'), 'created', "$status: a new contact is created");
}
$fake->config(other_calls => 0);

$node->stop;
done_testing();
