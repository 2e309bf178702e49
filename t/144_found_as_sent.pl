# Contacts whose answer was lost are compared with what is found at Chatbase: where that is what
# was to be sent nothing is sent, and where it is not they are updated, if updates are pushed.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use ContactsPushTest;
use EngineTest qw(:DEFAULT requests_for chatbot_settled);
use FakeChatbase;
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $json = JSON::PP->new->canonical;
my $fake = FakeChatbase->start;
my $node = new_cluster('found', $fake, extra => "contacts_push.max_concurrent_requests = 1\n");

sub sql { return $node->safe_psql('postgres', $_[0]); }

sub chatbot
{
	my ($chatbot, $updates) = @_;
	sql("INSERT INTO contacts_push.chatbot (chatbot_id) VALUES ('$chatbot'); SELECT contacts_push.push_changes('$chatbot', updates => $updates, deletes => false)");
	return;
}

sub enqueue
{
	my ($chatbot, @contacts) = @_;
	my $array = $json->encode(\@contacts) =~ s/'/''/gr;
	sql("SELECT contacts_push.enqueue('$chatbot', '$array')");
	return;
}

# Loses the first answer to a request that creates: before it is applied, or after.
sub lose
{
	my ($chatbot, $when) = @_;
	$fake->faults({ match => { chatbot => $chatbot, method => 'POST' }, times => 1, when => $when, action => { drop => FakeChatbase::true } });
	return;
}

sub at_chatbase
{
	my ($chatbot, $external_id) = @_;
	my ($contact) = grep { $_->{external_id} eq $external_id } @{ $fake->admin("contacts?chatbot=$chatbot") };
	delete @$contact{qw(id external_id created_at updated_at)};
	return $json->encode($contact);
}

sub count_patches
{
	my ($chatbot) = @_;
	return scalar grep { $_->{chatbot} eq $chatbot && $_->{method} eq 'PATCH' } whole_log($fake);
}

sub is_settled
{
	my ($chatbot, $outcomes, $what) = @_;
	ok(chatbot_settled($node, $chatbot), "$what: settled");
	is(outcomes($node, $chatbot), $outcomes, "$what: $outcomes");
	return;
}

# What is sent, in every kind of value; two attributes are unknown to the chatbot.
sub contact
{
	my ($i) = @_;
	return qq({"external_id": "u$i", "name": "Zoë \\"$i\\" \\\\ \\u2603", "email": "U$i\@example.com", "phonenumber": "+49 30 $i",
		"stripe_accounts": [{"label": "a", "stripe_id": "cus_$i"}],
		"custom_attributes": {"one": 1.0, "half": 0.50, "big": 12345678901234, "yes": true, "none": null, "text": "é\\n", "lost": "x", "gone $i": 1}});
}

# Nothing differs.
$fake->config(strip_attributes => [ 'lost', 'gone 7' ]);
chatbot('same', 'true');
$fake->preset('same', map { { external_id => "foreign$_" } } 1 .. 2000);
lose('same', 'after');
sql(q{SELECT contacts_push.enqueue('same', '[} . join(',', map { contact($_) } 1 .. 20) . q{]')});
is_settled('same', 'present 20', 'as sent');
is(count_rows($node, q{chatbot_id = 'same' AND contact_hash IS NOT NULL AND contact_members IS NOT NULL}), 20, 'as sent: that is known of each');
cmp_ok(requests_for($fake, 'same'), '<=', 5 + 3, 'as sent: in no more requests than it takes to look them up');
is(count_patches('same'), 0, 'as sent: nobody is updated');
like(sql(q{SELECT stripped_attributes FROM contacts_push.chatbot WHERE chatbot_id = 'same'}), qr/^(?=.*gone 7).*lost/, 'as sent: but for what the chatbot does not know');
sql(q{SELECT contacts_push.enqueue('same', '[} . contact(1) . q{]')});
is_settled('same', 'present 20, skipped 1', 'the same again');
enqueue('same', { external_id => 'u1', name => 'One' });
ok(chatbot_settled($node, 'same'), 'what has gone: settled');
is(at_chatbase('same', 'u1'), '{"custom_attributes":{},"name":"One"}', 'what has gone is cleared');
$fake->config(strip_attributes => []);

# A thousand, and a server that is killed while they are looked up.
chatbot('killed', 'true');
$fake->faults({ match => { chatbot => 'killed', method => 'POST' }, times => 1, when => 'after', action => { drop => FakeChatbase::true } },
	{ match => { chatbot => 'killed', method => 'GET' }, times => 1, action => { hang => FakeChatbase::true } });
insert_users($node, 'killed', 'u', 1, 1000);
ok(wait_until(sub { sql(q{SELECT count(*) FROM contacts_push.request WHERE chatbot_id = 'killed' AND call = 'read'}) == 1 }), 'killed: they are looked up');
kill_and_start($node);
is_settled('killed', 'present 1000', 'killed');
is(count_patches('killed'), 0, 'killed: nobody is updated');

# Others are there under these external_ids.
sub differing
{
	my ($chatbot, $updates, $n) = @_;
	chatbot($chatbot, $updates);
	enqueue($chatbot, { external_id => 'first', phonenumber => '+49 1', custom_attributes => { plan => 'pro', city => 'Ulm' } });
	ok(chatbot_settled($node, $chatbot), "$chatbot: another contact is settled");
	$fake->preset($chatbot, map { { external_id => "u$_", email => "u$_\@example.com", name => 'Old', phonenumber => "+49 9 $_",
		custom_attributes => { plan => 'free', city => 'Bonn', own => 'kept' } } } 1 .. $n);
	lose($chatbot, 'before');
	enqueue($chatbot, map { { external_id => "u$_", email => "u$_\@example.com", name => $_ == 2 ? 'Old' : 'New', custom_attributes => { plan => 'free' } } } 1 .. $n);
	return;
}

for my $n (1, 30)
{
	my $chatbot = "differs $n";
	differing($chatbot, 'true', $n);
	is_settled($chatbot, "created 1, updated $n", $chatbot);
	is(count_patches($chatbot), $n, "$chatbot: by one update each");
	is(at_chatbase($chatbot, "u$n"), qq({"custom_attributes":{"own":"kept","plan":"free"},"email":"u$n\@example.com","name":"New"}),
		"$chatbot: what others of the chatbot were sent with is cleared, and nothing else");
	is(count_rows($node, "chatbot_id = '$chatbot' AND contact_id IS NOT NULL AND contact_hash IS NOT NULL AND NOT unconfirmed"), $n + 1,
		"$chatbot: its version is known");
}

# Without updates they stay as they are, and the next intent is not taken for the same.
differing('off', 'false', 30);
is_settled('off', 'created 1, present 30', 'off');
is(count_rows($node, q{chatbot_id = 'off' AND status = 'present' AND contact_hash IS NULL}), 30, 'off: no version is known');
is(count_patches('off'), 0, 'off: nobody is updated');
sql(q{SELECT contacts_push.push_changes('off', updates => true)});
enqueue('off', { external_id => 'u1', email => 'u1@example.com', name => 'New', custom_attributes => { plan => 'free' } });
is_settled('off', 'created 1, present 30, updated 1', 'off, then on');

# The update is refused: it is known for all that that it is there.
chatbot('refused', 'true');
$fake->preset('refused', { external_id => 'u1', email => 'old@example.com' }, { external_id => 'other', email => 'new@example.com' });
lose('refused', 'before');
enqueue('refused', { external_id => 'u1', email => 'new@example.com' });
is_settled('refused', 'conflict 1', 'refused');
enqueue('refused', { external_id => 'u1', email => 'free@example.com' });
is_settled('refused', 'superseded 1, updated 1', 'refused, then mended');
is(at_chatbase('refused', 'u1'), '{"email":"free@example.com"}', 'refused, then mended: Chatbase has it');

# Where nobody can be looked up, 409 says that some version is there.
set_conf($node, 'contacts_push.reading' => 'off');
chatbot('unread', 'true');
enqueue('unread', { external_id => 'first', phonenumber => '+49 1' });
ok(chatbot_settled($node, 'unread'), 'unread: another contact is settled');
$fake->preset('unread', { external_id => 'u1', email => 'u1@example.com', phonenumber => '+49 2' });
sql(<<'END');
INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact, status, unconfirmed, settled_at)
VALUES ('unread', 'u1', '{"phonenumber": "+49 2"}', 'failed', true, now());
INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact) VALUES ('unread', 'u1', '{"email": "u1@example.com"}');
END
is_settled('unread', 'created 1, superseded 1, updated 1', 'unread');
is(at_chatbase('unread', 'u1'), '{"email":"u1@example.com"}', 'unread: Chatbase has the new one');
is(count_patches('unread'), 1, 'unread: by one update');

$node->stop;
done_testing();
