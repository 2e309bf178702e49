# What has gone from a contact is cleared at Chatbase, however that takes an update.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use ContactsPushTest;
use EngineTest qw(:DEFAULT chatbot_settled);
use FakeChatbase;
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $json = JSON::PP->new->canonical;
my $fake = FakeChatbase->start;
my $node = new_cluster('cleared', $fake);

sub sql { return $node->safe_psql('postgres', $_[0]); }

# What Chatbase has of user 1.
sub at_chatbase
{
	my ($chatbot) = @_;
	my ($contact) = grep { $_->{external_id} eq '1' } @{ $fake->admin("contacts?chatbot=$chatbot") };
	delete @$contact{qw(id external_id created_at updated_at)};
	return $json->encode($contact);
}

# Settles, and returns how many updates that took.
sub updates
{
	my ($chatbot, $sql) = @_;
	my $before = whole_log($fake);
	sql($sql);
	ok(chatbot_settled($node, $chatbot), "settled: $sql");
	my @log = whole_log($fake);
	return scalar grep { $_->{chatbot} eq $chatbot && $_->{method} eq 'PATCH' } @log[ $before .. $#log ];
}

sub chatbot
{
	my ($chatbot) = @_;
	sql(<<"END");
CREATE TABLE $chatbot (id int PRIMARY KEY, email text, name text, phone text, plan text, city text);
SELECT contacts_push.watch('$chatbot', '$chatbot', external_id => 'id', email => 'email', name => 'name', phonenumber => 'phone',
	custom_attributes => 'jsonb_strip_nulls(jsonb_build_object(''plan'', plan, ''city'', city))');
SELECT contacts_push.push_changes('$chatbot', deletes => false);
INSERT INTO $chatbot VALUES (1, '1\@$chatbot.com', 'One', '+49 1', 'pro', 'Ulm'), (2, '2\@$chatbot.com', 'Two', '+49 2', 'pro', 'Ulm');
END
	chatbot_settled($node, $chatbot) or die 'never created';
	return;
}

for my $attributes ('merge', 'replace')
{
	$fake->config(attributes => $attributes);
	chatbot($attributes);
	is(updates($attributes, "UPDATE $attributes SET phone = NULL, city = NULL WHERE id = 1"), 1, "$attributes: one update");
	is(at_chatbase($attributes), qq({"custom_attributes":{"plan":"pro"},"email":"1\@$attributes.com","name":"One"}),
		"$attributes: what has gone is cleared, and nothing else");
	is(updates($attributes, "UPDATE $attributes SET city = 'Bonn', name = NULL WHERE id = 1"), 1, "$attributes: one update");
	is(at_chatbase($attributes), qq({"custom_attributes":{"city":"Bonn","plan":"pro"},"email":"1\@$attributes.com"}),
		"$attributes: what has come again is there");

	# What members were sent is in the rows, not in the worker.
	$node->restart;
	is(updates($attributes, "UPDATE $attributes SET email = NULL, plan = NULL WHERE id = 1"), 1, "$attributes: one update after a restart");
	is(at_chatbase($attributes), '{"custom_attributes":{"city":"Bonn"}}', "$attributes: cleared, too");
}

# A server that takes no null.
$fake->config(attributes => 'merge', nulls => 'refused');
chatbot('refused');
is(updates('refused', "UPDATE refused SET phone = NULL, name = 'Uno' WHERE id = 1"), 2, 'a null that is refused is left out');
is(at_chatbase('refused'), '{"custom_attributes":{"city":"Ulm","plan":"pro"},"email":"1@refused.com","name":"Uno","phonenumber":"+49 1"}',
	'the rest is changed');
is(sql("SELECT status || ': ' || error FROM contacts_push.outbox WHERE chatbot_id = 'refused' AND status = 'updated'"),
	'updated: Chatbase still has phonenumber: it takes no null to clear it', 'and the row says what could not be cleared');
is(updates('refused', "UPDATE refused SET city = NULL, plan = NULL WHERE id = 2"), 1, 'the next one is sent without nulls at once');
is(sql("SELECT error FROM contacts_push.outbox WHERE chatbot_id = 'refused' AND external_id = '2' AND status = 'updated'"),
	'Chatbase still has custom_attributes.city, custom_attributes.plan: it takes no null to clear it', 'and says so');
$fake->config(nulls => 'clear');
$node->restart;
is(updates('refused', "UPDATE refused SET name = 'Eins' WHERE id = 1"), 1, 'once it takes them');
is(at_chatbase('refused'), '{"custom_attributes":{"city":"Ulm","plan":"pro"},"email":"1@refused.com","name":"Eins"}',
	'what was kept is cleared with the next change');

$node->stop;
done_testing();
