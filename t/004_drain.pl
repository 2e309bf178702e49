# What is committed ends as created, with the id that the other side gave it,
# in few requests.
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
my $node = new_cluster('drain', $fake);

$node->safe_psql('postgres', <<'END');
CREATE TABLE users (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	full_name text, email text, phone text);
SELECT contacts_push.watch('users', 'bulk');
END

# bulk
$node->safe_psql('postgres', <<'END');
INSERT INTO users (full_name, email, phone)
SELECT 'User ' || i, 'user' || i || '@example.com', '+1' || i FROM generate_series(1, 20000) i
END
ok(settled($node), '20,000 users in one statement: settled');
is(outcomes($node, 'bulk'), 'created 20000', 'as created');
is(held_matches($node, $fake, 'bulk'), '', 'with the ids that the stand-in holds');
cmp_ok($fake->stats->{requests}, '<=', 30, 'in at most 30 requests');
is( $node->safe_psql('postgres', <<'END'), '20000', 'what settles them is recorded');
SELECT count(*) FROM contacts_push.outbox
WHERE http_status = 200 AND settled_at >= enqueued_at AND contact IS NULL AND error IS NULL
AND attempts = 0 AND next_attempt_at IS NULL AND NOT unconfirmed
END
is($node->safe_psql('postgres', q{SELECT created FROM contacts_push.progress WHERE chatbot_id = 'bulk'}),
	'20000', 'and counted');
is( $node->safe_psql('postgres', <<'END'), '20000|t', 'the requests are recorded with what they carried');
SELECT sum(contacts), bool_and(outcome = 'created' AND http_status = 200 AND finished_at >= started_at
	AND duration_ms >= 0)
FROM contacts_push.request
END
my ($one) = grep { $_->{external_id} eq '4711' } @{ $fake->admin('contacts?chatbot=bulk') };
is_deeply([ @$one{qw(name email phonenumber)} ],
	[ 'User 4711', 'user4711@example.com', '+14711' ], 'the columns arrive as members');

# single transactions, concurrent, in both isolation levels
$node->safe_psql('postgres',
	q{SELECT contacts_push.unwatch('users'); SELECT contacts_push.watch('users', 'single')});
for my $level ('read committed', 'repeatable read')
{
	local $ENV{PGOPTIONS} = "-c default_transaction_isolation=" . ($level =~ s/ /\\ /r);
	$node->pgbench('--no-vacuum --client=4 --transactions=250', 0, [qr{processed: 1000/1000}], [qr{^$}],
		"1,000 users in single transactions, $level",
		{ 'insert_' . ($level =~ s/ /_/r) => 'INSERT INTO users (full_name) VALUES (NULL);' });
}
is($node->safe_psql('postgres', 'SELECT contacts_push.flush()'), 't', 'flush() waits for them');
is(outcomes($node, 'single'), 'created 2000', 'all are created');
is(held_matches($node, $fake, 'single'), '', 'with the ids that the stand-in holds');

# several databases at once
my @databases = ('first', 'second', 'a "third"');
for my $database (@databases)
{
	(my $quoted = $database) =~ s/"/""/g;
	$node->safe_psql('postgres', qq{CREATE DATABASE "$quoted"});
	$node->safe_psql($database, 'CREATE EXTENSION contacts_push');
}
for my $i (0 .. $#databases)
{
	insert_users($node, "database$i", 'u', 1, 3000, $databases[$i]);
}
for my $i (0 .. $#databases)
{
	is($node->safe_psql($databases[$i], 'SELECT contacts_push.flush()'), 't', "database $i: flushed");
	is(outcomes($node, "database$i", $databases[$i]), 'created 3000', "database $i: created");
	is(held_matches($node, $fake, "database$i", database => $databases[$i]), '', "database $i: the stand-in's ids");
}
is( $node->safe_psql('postgres',
		q{SELECT count(*), count(DISTINCT datname) FROM pg_stat_activity WHERE backend_type = 'contacts_push worker'}),
	'4|4', 'one worker a database');

# a role with no more than the grants that it takes
$node->safe_psql('postgres', <<'END');
CREATE ROLE application LOGIN;
GRANT USAGE ON SCHEMA contacts_push TO application;
GRANT INSERT (chatbot_id, external_id, contact) ON contacts_push.outbox TO application;
CREATE ROLE caller LOGIN;
GRANT USAGE ON SCHEMA contacts_push TO caller;
GRANT EXECUTE ON FUNCTION contacts_push.enqueue(text, jsonb) TO caller;
GRANT EXECUTE ON FUNCTION chatbase_create_contacts(text, jsonb) TO caller;
CREATE ROLE nobody_special LOGIN;
END
my @as = (extra_params => [ '--username', 'application' ]);
$node->safe_psql('postgres',
	q{INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact) VALUES ('role', 'mine', '{"name": "Ünïcødé 🙂"}')},
	@as);
isnt($node->psql('postgres', 'SELECT * FROM contacts_push.outbox', @as), 0, 'who may append may not read');
isnt($node->psql('postgres', q{INSERT INTO contacts_push.outbox (chatbot_id, external_id, status) VALUES ('role', 'x', 'created')}, @as),
	0, 'or claim an outcome');
isnt($node->psql('postgres', q{SELECT contacts_push.enqueue('role', '{"external_id": "x"}')}, @as), 0, 'or call what isn\'t granted');
@as = (extra_params => [ '--username', 'caller' ]);
is($node->safe_psql('postgres', q{SELECT contacts_push.enqueue('role', '[{"external_id": "called1"}, {"external_id": "called2"}]')}, @as),
	'2', 'enqueue() needs EXECUTE alone');
is($node->safe_psql('postgres', q{SELECT external_id FROM chatbase_create_contacts('role', '{"external_id": "direct"}')}, @as),
	'direct', 'and so does the call');
@as = (extra_params => [ '--username', 'nobody_special' ]);
for my $what ('chatbase_create_contacts(\'role\', \'{"external_id": "x"}\')', 'contacts_push.flush()',
	'contacts_push.enqueue(\'role\', \'{"external_id": "x"}\')')
{
	my ($status, $stdout, $stderr) = $node->psql('postgres', "SELECT $what", @as);
	like($stderr, qr/permission denied/, "PUBLIC may not: $what");
}
ok(settled($node), 'what they appended is settled');
is(outcomes($node, 'role'), 'created 3', 'as created');
is(held_matches($node, $fake, 'role', known => ['direct']), '', 'as the stand-in holds it');
is((grep { $_->{external_id} eq 'mine' } @{ $fake->admin('contacts?chatbot=role') })[0]{name},
	"\x{dc}n\x{ef}c\x{f8}d\x{e9} \x{1f642}", 'character by character');

# the writer of a watched table needs nothing of contacts_push
$node->safe_psql('postgres', 'GRANT INSERT ON users TO nobody_special');
$node->safe_psql('postgres', q{SELECT contacts_push.unwatch('users'); SELECT contacts_push.watch('users', 'granted')});
is($node->psql('postgres', q{INSERT INTO users (full_name) VALUES ('Granted')}, @as), 0, 'who may write a watched table');
ok(settled($node), 'has it pushed');
is(outcomes($node, 'granted'), 'created 1', 'without a grant on anything else');

# one transaction that is rolled back leaves nothing to send
$node->safe_psql('postgres', q{BEGIN; INSERT INTO users (full_name) VALUES ('Undone'); ROLLBACK});
is($node->safe_psql('postgres', 'SELECT contacts_push.flush()'), 't', 'after a rollback');
is(outcomes($node, 'granted'), 'created 1', 'nothing more is there');

$node->stop;
done_testing();
