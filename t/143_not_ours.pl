# Doubt and changes: what is not ours is not touched, no outcome is given that was not observed, and
# what was in doubt before a crash is in doubt after it.
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
my $node = new_cluster('not_ours', $fake);

sub sql { return $node->safe_psql('postgres', $_[0]); }

# A chatbot with a table that has one user, who is created; returns its name.
sub chatbot
{
	my ($chatbot, %switches) = @_;
	my $deletes = $switches{deletes} // 'true';
	sql(<<"END");
CREATE TABLE $chatbot (id text PRIMARY KEY, email text, name text);
SELECT contacts_push.watch('$chatbot', '$chatbot', external_id => 'id', email => 'email', name => 'name',
	updates => true, deletes => $deletes);
INSERT INTO $chatbot VALUES ('a', 'a\@$chatbot.com', 'First');
END
	chatbot_settled($node, $chatbot) or die 'never created';
	return $chatbot;
}

# Somebody deletes a contact at Chatbase.
sub delete_there
{
	my ($chatbot, $external_id) = @_;
	sql("SET contacts_push.base_url = '" . $fake->base_url . "'; SELECT chatbase_delete_contact('$chatbot', '$external_id')");
	return;
}

# The first request of that method is answered 503, and nothing is sent for long.
sub silence
{
	my ($chatbot, $method, $when) = @_;
	$fake->faults({ match => { chatbot => $chatbot, method => $method }, times => 1, when => $when,
			action => { status => 503, headers => { 'Retry-After' => '3600' } } });
	return;
}

sub backs_off
{
	my ($chatbot) = @_;
	return wait_until(sub { sql("SELECT backoff_until > now() + interval '5 minutes' FROM contacts_push.chatbot WHERE chatbot_id = '$chatbot'") eq 't' });
}

# Who has which name at Chatbase.
sub names
{
	my ($chatbot) = @_;
	my %names = map { ($_->{external_id} => $_->{name}) } @{ $fake->admin("contacts?chatbot=$chatbot") };
	return join ', ', map { "$_ $names{$_}" } sort keys %names;
}

# The worker ends as if it had crashed, and another one takes over.
sub crash
{
	my $pid = sql("SELECT pid FROM contacts_push.worker");
	sql("SELECT pg_terminate_backend($pid)");
	wait_until(sub { (try_psql($node, 'postgres', 'SELECT pid FROM contacts_push.worker'))[1] !~ /^($pid)?$/ }) or die 'no other worker';
	return;
}

# ---- a key that was changed, where the old contact has gone and the new one is somebody else's ----

my $t = chatbot('renamed');
delete_there($t, 'a');
$fake->preset($t, { external_id => 'b', email => 'b@elsewhere.com', name => 'Foreign' });
sql("UPDATE $t SET id = 'b' WHERE id = 'a'");
ok(chatbot_settled($node, $t), 'renamed: settled');
is(names($t), 'b Foreign', 'renamed: the contact under the new key is as it was');
is(status_of($node, $t, 'b'), 'conflict', 'renamed: and the row says that it is not ours');
sql("DELETE FROM $t WHERE id = 'b'");
ok(chatbot_settled($node, $t), 'renamed: settled again');
is(names($t), 'b Foreign', 'renamed: nor is it deleted');

# ---- an update in doubt, and then what was there before is wanted again ----

$t = chatbot('back');
silence($t, 'PATCH', 'after');
sql("UPDATE $t SET name = 'Second'");
ok(backs_off($t), 'back: the answer to an update is lost');
is(names($t), 'a Second', 'back: which was applied');
sql("UPDATE $t SET name = 'First'");
ok(wait_until(sub { status_of($node, $t, 'a') eq 'created superseded pending' }), 'back: a newer one takes its place');
crash();
ok(chatbot_settled($node, $t), 'back: settled');
is(names($t), 'a First', 'back: Chatbase has what the table has');

# The same where the update was refused in the end.
$t = chatbot('refused');
sql("INSERT INTO $t VALUES ('z', 'z\@refused.com', 'Z')");
ok(chatbot_settled($node, $t), 'refused: there is another user');
$fake->faults(
	{ match => { chatbot => $t, method => 'PATCH' }, times => 1, when => 'after', action => { status => 503 } },
	{ match => { chatbot => $t, method => 'PATCH' }, times => 1, action => { status => 422, message => 'No' } },
	{ match => { chatbot => $t, method => 'PATCH' }, times => 1, action => { status => 503, headers => { 'Retry-After' => '3600' } } });
sql("UPDATE $t SET name = 'Second' WHERE id = 'a'");
ok(wait_until(sub { status_of($node, $t, 'a') eq 'created rejected' }), 'refused: an update is refused after a lost answer');
is(names($t), 'a Second, z Z', 'refused: though it was applied');
sql("UPDATE $t SET name = 'Z2' WHERE id = 'z'");
ok(backs_off($t), 'refused: nothing is sent for a while');
sql("UPDATE $t SET name = 'First' WHERE id = 'a'");
ok(wait_until(sub { status_of($node, $t, 'a') eq 'created superseded pending' }), 'refused: a newer one takes its place');
crash();
ok(chatbot_settled($node, $t), 'refused: settled');
is(names($t), 'a First, z Z2', 'refused: Chatbase has what the table has');

# ---- an update in doubt of a contact that has gone, and whose e-mail somebody else has ----

$t = chatbot('mail');
delete_there($t, 'a');
$fake->preset($t, { external_id => 'x', email => 'x@elsewhere.com', name => 'Foreign' });
$fake->faults({ match => { chatbot => $t, method => 'PATCH' }, times => 1, action => { status => 503 } });
sql("UPDATE $t SET email = 'x\@elsewhere.com'");
ok(chatbot_settled($node, $t), 'mail: settled');
is(names($t), 'x Foreign', 'mail: it is not there');
is(status_of($node, $t, 'a'), 'created conflict', 'mail: and not said to be');

# ---- an update in doubt of a user who is deleted, where deletions are not pushed, and comes again ----

$t = chatbot('again', deletes => 'false');
silence($t, 'PATCH', 'after');
sql("UPDATE $t SET name = 'Second'");
ok(backs_off($t), 'again: the answer to an update is lost');
sql("DELETE FROM $t");
ok(wait_until(sub { status_of($node, $t, 'a') eq 'created skipped withdrawn' }), 'again: the user has gone');
sql("INSERT INTO $t VALUES ('a', 'a\@again.com', 'First')");
sql("SELECT contacts_push.resume('$t')");
ok(chatbot_settled($node, $t), 'again: settled');
is(names($t), 'a First', 'again: Chatbase has what the table has');

# ---- who is found, but not as it is to be ----

$t = chatbot('found', deletes => 'false');
silence($t, 'POST', 'after');
sql("INSERT INTO $t VALUES ('b', 'b\@found.com', 'Early')");
ok(backs_off($t), 'found: the answer to a request that creates is lost');
sql("DELETE FROM $t WHERE id = 'b'");
ok(wait_until(sub { status_of($node, $t, 'b') eq 'withdrawn withdrawn' }), 'found: the user has gone');
sql("INSERT INTO $t VALUES ('b', 'b\@found.com', 'Late')");
$fake->faults;
sql("SELECT contacts_push.resume('$t')");
ok(chatbot_settled($node, $t), 'found: settled');
is(names($t), 'a First, b Late', 'found: who is found is changed to what is wanted');
is(status_of($node, $t, 'b'), 'withdrawn withdrawn updated', 'found: and the row says so');

# Who is found and has changed meanwhile is changed to the newest.
$t = chatbot('newer');
silence($t, 'POST', 'after');
sql("INSERT INTO $t VALUES ('b', 'b\@newer.com', 'Early')");
ok(backs_off($t), 'newer: the answer to a request that creates is lost');
sql("SET contacts_push.base_url = '" . $fake->base_url . "'; SELECT chatbase_update_contact('$t', 'b', '{\"name\": \"Other\"}')");
sql("UPDATE $t SET name = 'Late' WHERE id = 'b'; SELECT contacts_push.resume('$t')");
ok(chatbot_settled($node, $t), 'newer: settled');
is(names($t), 'a First, b Late', 'newer: it is as the table has it');
is(scalar(grep { $_->{chatbot} eq $t && $_->{method} eq 'GET' } whole_log($fake)), 1, 'newer: it was looked up once');

# A thousand that are as they are to be cost no request each, and are known to be so.
$t = chatbot('same');
silence($t, 'POST', 'after');
sql("INSERT INTO $t SELECT 'u' || i, 'u' || i || '\@same.com', 'User ' || i FROM generate_series(1, 1000) i");
ok(backs_off($t), 'same: an answer is lost');
sql("SELECT contacts_push.resume('$t')");
ok(chatbot_settled($node, $t), 'same: settled');
is(outcomes($node, $t), 'created 1, present 1000', 'same: all are found');
is(scalar(grep { $_->{chatbot} eq $t && $_->{method} eq 'PATCH' } whole_log($fake)), 0, 'same: and none is changed');
sql("UPDATE $t SET name = 'X' WHERE id IN ('u1', 'u2'); UPDATE $t SET name = 'User 1' WHERE id = 'u1'");
ok(chatbot_settled($node, $t), 'same: settled again');
like(status_of($node, $t, 'u1'), qr/^present (updated|superseded|skipped) (updated|skipped)$/, 'same: what is equal again');
sql("INSERT INTO contacts_push.outbox (chatbot_id, external_id, relation, contact) SELECT '$t', external_id, '$t'::regclass,"
	. " to_jsonb(v) FROM ${t}_contacts v WHERE external_id = 'u3'");
ok(chatbot_settled($node, $t), 'same: settled at last');
is(status_of($node, $t, 'u3'), 'present skipped', 'same: what was found is known to be as it was sent');

# What jsonb cannot have is no reason to fail: it is changed.
$t = chatbot('nul');
silence($t, 'POST', 'after');
sql("INSERT INTO $t VALUES ('b', 'b\@nul.com', 'B')");
ok(backs_off($t), 'nul: an answer is lost');
my ($b) = grep { $_->{external_id} eq 'b' } @{ $fake->admin("contacts?chatbot=$t") };
$fake->faults({ match => { chatbot => $t, method => 'GET' }, when => 'after', action => {
			status => 200, body => qq({"data": {"id": "$b->{id}", "external_id": "b", "custom_attributes": {"x": "\\u0000"}}}) } });
sql("SELECT contacts_push.resume('$t')");
ok(chatbot_settled($node, $t), 'nul: settled');
is(status_of($node, $t, 'b'), 'updated', 'nul: it is changed');

# A page that has everybody twice, as another one and as it is.
$t = chatbot('twice');
silence($t, 'POST', 'after');
sql("INSERT INTO $t SELECT 'u' || i, 'u' || i || '\@twice.com', 'User ' || i FROM generate_series(1, 5) i");
ok(backs_off($t), 'twice: an answer is lost');
my $all = join ', ', map { my $u = $_; map { qq({"id": "i$u", "external_id": "u$u", "name": "$_"}) } "Other", "User $u" } 1 .. 5;
$fake->faults({ match => { chatbot => $t, method => 'GET' }, when => 'after', action => { status => 200, body => qq({"data": [$all]}) } });
sql("SELECT contacts_push.resume('$t')");
ok(chatbot_settled($node, $t), 'twice: settled');
is(count_rows($node, "chatbot_id = '$t' AND status = 'updated'"), 5, 'twice: each is changed once');
$fake->faults;

$node->stop;
done_testing();
