# reconcile() finds what differs between the views and Chatbase, nothing else, and mends it.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use ContactsPushTest;
use FakeChatbase;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use UsersTest;

my $fake = FakeChatbase->start;
my $node = new_cluster('reconcile', $fake);
$fake->config(strip_attributes => ['unknown']);

sub sql
{
	return $node->safe_psql('postgres', $_[0]);
}

sub findings
{
	my ($arguments) = @_;
	return sql("SELECT external_id, finding, detail FROM contacts_push.reconcile('bot'" . ($arguments // '') . ')');
}

sub contact
{
	my ($external_id) = @_;
	return sql("SELECT name || ' ' || email FROM chatbase_get_contact('bot', '$external_id')");
}

# What Chatbase had before: some of the users, with the e-mail or without, and others.
$fake->preset('bot',
	{ external_id => '101', email => 'user101@example.com', name => 'Another name' },
	{ external_id => '102', email => 'somebody@example.com', name => 'User 102' },
	{ external_id => '103', email => 'somebody.else@example.com', name => 'User 103' },
	{ external_id => 'stranger', email => 'stranger@example.com' });
sql(<<'END');
CREATE TABLE users (id integer PRIMARY KEY, name text, email text);
CREATE TABLE guests (id integer PRIMARY KEY, name text);
CREATE VIEW users_to_push AS SELECT id AS external_id, name, email,
	jsonb_build_object('since', id, 'unknown', 'x', 'none', NULL) AS custom_attributes FROM users;
SELECT contacts_push.watch('users_to_push', 'bot', updates => true), contacts_push.watch('guests', 'bot', external_id => '''g'' || id');
INSERT INTO users SELECT n, 'User ' || n, 'user' || n || '@example.com' FROM generate_series(1, 20) n;
INSERT INTO users SELECT n, 'User ' || n, 'user' || n || '@example.com' FROM generate_series(101, 102) n;
SET session_replication_role = replica;
INSERT INTO users VALUES (103, 'User 103', 'user103@example.com');
RESET session_replication_role;
INSERT INTO guests VALUES (1, ' One '), (2, NULL), (3, '');
SELECT contacts_push.enqueue('bot', '[{"external_id": "lead-1", "name": "Lead"}, {"external_id": "lead-2", "name": "Lead"}]');
END
ok(settled($node), 'all is settled');
is(findings(), <<'END' =~ s/\n$//r =~ s/ID_(\w+)/held_id($1)/ger, 'what was there before is adoptable or foreign, and all else as it should be');
101|adoptable|ID_101, differs in name, custom_attributes.since
102|adoptable|ID_102, differs in email, custom_attributes.since
103|foreign|ID_103, differs in email, custom_attributes.since
stranger|foreign|ID_stranger
END

sub held_id
{
	my ($external_id) = @_;
	return sql(qq{SELECT id FROM chatbase_list_contacts('bot') WHERE coalesce(external_id, '') = '$external_id'});
}

# What others do at Chatbase, and what no trigger has seen.
sql(<<'END');
SELECT chatbase_delete_contact('bot', '1'), chatbase_delete_contact('bot', 'g1'), chatbase_delete_contact('bot', 'lead-1'),
	chatbase_delete_contact('bot', '9');
SELECT chatbase_update_contact('bot', '2', '{"name": "Changed"}'), chatbase_update_contact('bot', '3', '{"custom_attributes": {"since": 0}}');
SET session_replication_role = replica;
UPDATE users SET email = 'new4@example.com' WHERE id = 4;
INSERT INTO users VALUES (21, 'User 21', 'user21@example.com');
DELETE FROM users WHERE id = 9;
END
# One that waits is not looked at, whatever it is to become.
$fake->faults({ match => { external_id => '^5$' }, when => 'before', action => { status => 503 } });
sql(q{UPDATE users SET name = 'Waits' WHERE id = 5});
my $expected = <<'END';
1|missing|
2|different|name
21|missing|it was never pushed
3|different|custom_attributes.since
4|different|email
g1|missing|
lead-1|missing|it came from no table that is watched: enqueue it again
END
is((join "\n", grep { !/\|(adoptable|foreign)\|/ } split /\n/, findings()) . "\n", $expected, 'what is missing or different is found');
is((join "\n", grep { !/\|(adoptable|foreign)\|/ } split /\n/, findings()) . "\n", $expected, 'and looking changes nothing');

# Without updates the different ones stay.
my $before = sql('SELECT count(*) FROM contacts_push.outbox');
sql(q{SELECT contacts_push.push_changes('bot', updates => false, deletes => false)});
like(sql(q{BEGIN; SELECT string_agg(external_id || ' ' || detail, '; ') FROM contacts_push.reconcile('bot', true) WHERE finding = 'different'; ROLLBACK}),
	qr/^2 name \(not fixed: .*; 4 email \(not fixed: updates are off\)$/, 'without updates the different ones are not mended');
sql(q{SELECT contacts_push.push_changes('bot', updates => true, deletes => false)});

findings(', fix => true');
$fake->faults;
ok(settled($node), 'what is to be mended is settled');
is(contact('1'), 'User 1 user1@example.com', 'a missing one is created again');
is(sql(q{SELECT name FROM chatbase_get_contact('bot', 'g1')}), 'One', 'of each table');
is(contact('21'), 'User 21 user21@example.com', 'and one that was never pushed is created');
is(sql(q{SELECT status, contact_id FROM contacts_push.contact_status WHERE external_id = '101'}), 'present|' . held_id('101'), 'an adoptable one is present');
is(sql(q{SELECT status FROM contacts_push.contact_status WHERE external_id = 'lead-1'}), 'deleted', 'what is not known any more is known to be gone');
is(sql(q{SELECT status, contact_id FROM contacts_push.contact_status WHERE external_id = '102'}), 'present|' . held_id('102'), 'so is one with another e-mail');
is(contact('103'), 'User 103 somebody.else@example.com', 'a foreign one is as it was');
is(contact('stranger'), '', 'and has no name still');
is(disagreement($node, 'bot'), '', 'what is mended is counted');
is(contact('2'), 'User 2 user2@example.com', 'a different one is patched');
is(sql(q{SELECT custom_attributes FROM chatbase_get_contact('bot', '3')}), '{"since": 3}', 'and its attributes');
is(contact('4'), 'User 4 new4@example.com', 'and what no trigger has seen');
# what was adopted is in step from now on
is(findings(), <<'END' =~ s/\n$//r =~ s/ID_(\w+)/held_id($1)/ger, 'then only what is another one\'s is left, and what was adopted differs');
101|different|name, custom_attributes.since
102|different|email, custom_attributes.since
103|foreign|ID_103, differs in email, custom_attributes.since
stranger|foreign|ID_stranger
END
findings(', fix => true');
ok(settled($node), 'that is settled');
is(contact('101'), 'User 101 user101@example.com', 'and as it should be');

# More pages than one, while contacts come and pages shift.
$fake->config(list_order => 'newest');
sql(q{INSERT INTO guests SELECT n, 'Guest' FROM generate_series(1001, 4000) n});
my $all_findings = sql(q{SELECT count(*) FROM contacts_push.reconcile('bot') WHERE finding IN ('missing', 'different', 'adoptable')});
ok(settled($node), 'many more are settled');
is($all_findings, '0', 'nothing was said of those that came meanwhile');
is(sql(q{SELECT count(*) FROM contacts_push.reconcile('bot') WHERE finding <> 'foreign'}), '0', 'nor of those that are there');

# What it can't be asked.
my ($status, $stdout, $stderr) = $node->psql('postgres', q{BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT * FROM contacts_push.reconcile('bot')});
like($stderr, qr/ERROR:  contacts_push\.reconcile\(\) must see what is settled meanwhile/, 'a snapshot that stays is refused');
($status, $stdout, $stderr) = $node->psql('postgres', q{SELECT * FROM contacts_push.reconcile('bott')});
like($stderr, qr/ERROR:  chatbot "bott" is not known/, 'and so is a chatbot that nobody knows');

$node->stop;
done_testing();
