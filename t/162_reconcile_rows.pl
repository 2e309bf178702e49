# reconcile(): rows that the view fails for, whose code runs, tables that share a chatbot, and
# what Chatbase writes in its own way.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use ContactsPushTest;
use FakeChatbase;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $fake = FakeChatbase->start;
my $node = new_cluster('reconcile_rows', $fake);

sub sql
{
	return $node->safe_psql('postgres', $_[0]);
}

sub findings
{
	my ($chatbot, $arguments) = @_;
	return sql("SELECT external_id, finding, detail FROM contacts_push.reconcile('$chatbot'" . ($arguments // '') . ')');
}

# A row that the view fails for is left out, and the others are compared.
sql(<<'SQL');
CREATE TABLE guests (id integer PRIMARY KEY, name text, born text);
SELECT contacts_push.watch('guests', 'bot', custom_attributes => 'jsonb_build_object(''born'', born::date)');
INSERT INTO guests VALUES (1, 'One', '1990-01-01'), (2, 'Two', 'unknown'), (3, 'Three', NULL);
SQL
ok(settled($node), 'guests are settled');
is(findings('bot'), '', 'nothing is said of what cannot be mapped');
sql(q{SELECT chatbase_update_contact('bot', '1', '{"name": "Changed"}'), chatbase_delete_contact('bot', '3')});
my ($status, $stdout, $stderr) = $node->psql('postgres', q{SELECT external_id, finding, detail FROM contacts_push.reconcile('bot')});
is($stdout, "1|different|name\n3|missing|", 'the others are compared');
like($stderr, qr/WARNING:  1 row of "guests" was left out, which has no contact for chatbot "bot"\n.*DETAIL:  invalid input syntax for type date: "unknown"/s,
	'and a warning says what was not');

# What the view calls runs as the owner of the table, whoever reconciles.
sql(<<'SQL');
CREATE ROLE owner;
CREATE SCHEMA shop AUTHORIZATION owner;
GRANT USAGE ON SCHEMA contacts_push, contacts_push_internal TO owner;
GRANT EXECUTE ON FUNCTION contacts_push.watch TO owner;
SET SESSION AUTHORIZATION owner;
CREATE TABLE shop.ran (who text);
CREATE FUNCTION shop.spring(id integer) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO shop.ran VALUES (current_user);
	RETURN 'User ' || id;
END$$;
CREATE TABLE shop.users (id integer PRIMARY KEY);
SELECT contacts_push.watch('shop.users', 'shop', name => 'shop.spring(id)');
INSERT INTO shop.users VALUES (1);
SQL
ok(settled($node), 'a user of another owner is settled');
sql('TRUNCATE shop.ran');
is(findings('shop'), '', 'and is as it should be');
is(sql('SELECT DISTINCT who FROM shop.ran'), 'owner', 'the function ran as the owner of the table');

# Of two tables that have one external_id it is the contact of the one that it belongs to.
sql(<<'SQL');
CREATE TABLE zebras (id integer PRIMARY KEY, name text);
CREATE TABLE apes (id integer PRIMARY KEY, name text);
SELECT contacts_push.watch('apes', 'zoo'), contacts_push.watch('zebras', 'zoo', updates => true);
INSERT INTO apes VALUES (1, 'Ape 1');
SQL
ok(settled($node), 'a contact of the one table');
sql(q{INSERT INTO zebras VALUES (1, 'Zebra 1'), (2, 'Zebra 2')});
ok(settled($node), 'and of the other');
sql(q{INSERT INTO apes VALUES (2, 'Ape 2')});
ok(settled($node), 'each has one that the other was first with');
is(findings('zoo'), '', 'nobody is different');
is(findings('zoo', ', fix => true'), '', 'nor is there anything to mend');
sql(q{SELECT chatbase_update_contact('zoo', '1', '{"name": "Changed"}'), chatbase_delete_contact('zoo', '2')});
is(findings('zoo', ', fix => true'), "1|different|name\n2|missing|", 'what was changed there is mended');
ok(settled($node), 'that is settled');
is(sql(q{SELECT string_agg(name, ', ' ORDER BY external_id) FROM chatbase_list_contacts('zoo')}), 'Ape 1, Zebra 2', 'each from its table');
is(sql(q{SELECT count(*) FROM contacts_push.outbox WHERE chatbot_id = 'zoo' AND status = 'conflict'}), '2', 'and the other ones are conflicts still');

# What Chatbase has written in its own way is no difference, so nothing is mended again and again.
sql(<<'SQL');
CREATE TABLE people (id integer PRIMARY KEY, email text, phone text, attributes jsonb);
SELECT contacts_push.watch('people', 'own', custom_attributes => 'attributes', updates => true);
INSERT INTO people VALUES (1, 'Ada@Example.com', '+1 (555) 0100', '{"seats": "5", "paid": "true", "score": 1.0, "none": null}'),
	(2, 'b@example.com', '+1 555 0101', '{"seats": 2}');
SQL
ok(settled($node), 'people are settled');
sql(q{SELECT chatbase_update_contact('own', '1', '{"email": "ada@example.com", "phonenumber": "+15550100", "custom_attributes": {"seats": 5, "paid": true, "score": 1}}')});
is(findings('own'), '', 'the same in other words is no difference');
sql(q{SELECT chatbase_update_contact('own', '2', '{"email": "c@example.com", "phonenumber": "+15550102", "custom_attributes": {"seats": 3}}')});
is(findings('own'), '2|different|email, phonenumber, custom_attributes.seats', 'others are');

$node->stop;
done_testing();
