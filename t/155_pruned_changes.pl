# Rows of contacts that change are deleted once newer ones tell the same: nothing is forgotten
# about whether Chatbase has a contact, under which key, with which members, and whose it is.
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
my $node = new_cluster('pruned', $fake);

sub sql { return $node->safe_psql('postgres', $_[0]); }

# Each statement is settled before the next one.
sub play
{
	for my $statement (@_)
	{
		sql($statement);
		chatbot_settled($node, 'bot') or die "never settled: $statement";
	}
	return;
}

# The rows of a user, oldest first.
sub rows
{
	my (@ids) = @_;
	my $ids = join ',', map { "'$_'" } @ids;
	return sql("SELECT string_agg(external_id || ' ' || status, ', ' ORDER BY seq) FROM contacts_push.outbox WHERE external_id IN ($ids)");
}

# Has all that is settled be older than a day but what is excluded, and a worker that starts,
# which looks at all rows, once it has done so.
sub prune
{
	my ($young) = @_;
	sql(<<"END");
UPDATE contacts_push.outbox SET settled_at = settled_at - interval '25 hours', enqueued_at = enqueued_at - interval '25 hours'
WHERE NOT ($young);
INSERT INTO contacts_push.outbox (chatbot_id, external_id, status, settled_at)
VALUES ('bot', 'last of all', 'superseded', now() - interval '25 hours');
SELECT contacts_push.enqueue('bot', '{"external_id": "behind that"}')
END
	ok(chatbot_settled($node, 'bot'), 'all is settled');
	$node->restart;
	ok(wait_until(sub { count_rows($node, q{external_id = 'last of all'}) == 0 }), 'what is old is deleted');
	return;
}

my $status = q{SELECT string_agg(concat_ws(' ', external_id, status, contact_id), E'\n' ORDER BY external_id) FROM contacts_push.contact_status WHERE external_id ~ '^[0-9]+$'};
my $progress = q{SELECT created, present, updated, deleted, conflict, rejected, failed FROM contacts_push.progress};

sql(<<'END');
CREATE TABLE users (id int PRIMARY KEY DEFERRABLE, email text, phone text);
SELECT contacts_push.watch('users', 'bot', external_id => 'id', email => 'email', phonenumber => 'phone', updates => true, deletes => true);
SELECT contacts_push.enqueue('bot', '{"external_id": "6", "email": "first@example.com"}')
END
play('INSERT INTO users SELECT i, i || \'@example.com\', \'+49 \' || i FROM generate_series(1, 9) i',
	(map { "UPDATE users SET email = id || '\@$_.example.org'" } 1 .. 4),
	'UPDATE users SET id = 20 WHERE id = 2', q{UPDATE users SET email = 'twenty@example.org' WHERE id = 20},
	'DELETE FROM users WHERE id = 3', q{INSERT INTO users VALUES (3, 'three@example.org', '+49 3')},
	# without an e-mail, which the other one would have to give away first
	'UPDATE users SET email = NULL WHERE id IN (4, 5)', 'UPDATE users SET id = 9 - id WHERE id IN (4, 5)',
	'DELETE FROM users WHERE id = 7',
	q{UPDATE users SET email = 'x@example.org' WHERE id = 8}, q{UPDATE users SET email = '9@example.org' WHERE id = 9});
is(rows(1), '1 created, ' . join(', ', ('1 updated') x 4), 'a user has a row for each change');
my $before = sql($status);
my $was = sql($progress);
prune(q{external_id = '9' AND seq = (SELECT max(seq) FROM contacts_push.outbox WHERE external_id = '9')});
is(rows(1), '1 updated', 'the newest row stays');
is(rows(2, 20), '20 updated, 20 updated', 'what changed the key stays beside it');
is(rows(3), '3 deleted, 3 created', 'a deletion stays as long as it may be needed');
is(rows(4, 5), '5 updated, 4 updated', 'of users who swapped their keys one row each');
is(rows(6), '6 created, 6 updated', 'what was not from the table tells that it was not');
is(rows(7), '7 deleted', 'of a user who was deleted that');
is(rows(8), '8 updated', 'the newest row stays');
is(rows(9), '9 updated, 9 updated', 'what is newer than that makes nothing pointless');
is(sql($status), $before, 'each contact has the status and the id that it had');
is(sql($progress) =~ s/^(\d+)/$1 - 1/er, $was, 'and progress counts what it did, and the one behind that');
prune('false');
is(rows(2, 20), '20 updated', 'what changed the key goes when nothing is left of the old one');
is(rows(9), '9 updated', 'what is old by now is pointless');
is(sql($status) =~ s/^2 .*\n//mr, $before =~ s/^2 .*\n//mr, 'each contact has the status and the id that it had');

# What is left is all that is needed.
sub requests
{
	my @statements = @_;
	my $from = whole_log($fake);
	play(@statements);
	my @log = whole_log($fake);
	return join ' ', sort map { "$_->{method} " . $_->{path} =~ s{.*/}{}r } @log[ $from .. $#log ];
}
is(requests(q{UPDATE users SET email = email || '', phone = phone || '.' WHERE id = 1}, q{UPDATE users SET phone = rtrim(phone, '.') WHERE id = 1}),
	'PATCH 1 PATCH 1', 'changes are sent');
is(requests(q{SELECT contacts_push.enqueue('bot', '{"external_id": "6", "email": "another@example.org"}')}), 'PATCH 6', 'the contact of no table is still of none');
is(requests(q{SELECT contacts_push.enqueue('bot', '{"external_id": "1", "email": "not@example.org"}')}), '', 'and one of the table is its');
like(rows(1), qr/1 conflict$/, 'for all others a conflict');
is(requests('UPDATE users SET phone = NULL WHERE id = 20'), 'PATCH 20', 'what has gone');
is(sql('SELECT count(*) FROM contacts_push.missing(\'users\', \'bot\')'), 0, 'nobody is missing');
is(requests('UPDATE users SET id = 2 WHERE id = 20'), 'PATCH 20', 'a key changes back');
is(requests('UPDATE users SET id = 9 - id WHERE id IN (4, 5)'), 'PATCH 4 PATCH 5', 'keys are swapped again');
is(requests('DELETE FROM users WHERE id IN (3, 5)', q{INSERT INTO users VALUES (7, 'seven@example.org', NULL)}), 'DELETE 3 DELETE 5 POST contacts',
	'users are deleted, and one comes again');
my %held = map { $_->{external_id} => $_ } @{ $fake->admin('contacts?chatbot=bot') };
delete @held{ 'behind that', '6' };
is(join("\n", map { join ' ', $_, $held{$_}{email} // (), $held{$_}{phonenumber} // () } sort keys %held),
	sql(q{SELECT string_agg(concat_ws(' ', id, email, phone), E'\n' ORDER BY id::text) FROM users WHERE id <> 6}), 'Chatbase has what the view says');

$node->stop;
done_testing();
