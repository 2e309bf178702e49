# What is appended to the outbox from C is as good as an INSERT: after a crash, to
# logical decoding, in transactions of every kind; and a lock on the outbox costs the
# application no more than its lock_timeout.
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
my $node = new_cluster('append', $fake,
	extra => "wal_level = logical\nmax_prepared_transactions = 2\ncontacts_push.enabled = off\n");
$node->safe_psql('postgres', <<'END');
CREATE TABLE users (id integer PRIMARY KEY, email text);
SELECT contacts_push.watch('users', 'bot');
END

# Inserts users of these numbers.
sub users
{
	my ($from, $to) = @_;
	return "INSERT INTO users SELECT n, n || '\@example.com' FROM generate_series($from, $to) n";
}

# How many intents there are of them; the three indexes and the table itself have to agree.
sub intents
{
	my ($from, $to) = @_;
	my $sql = "SELECT count(*) FROM contacts_push.outbox WHERE contact ->> 'email' LIKE '%\@example.com' AND external_id::int BETWEEN $from AND $to";
	my @counts = map { $node->safe_psql('postgres', "SET enable_seqscan = $_->[0]; $sql $_->[1]") }
	  [ 'on', '' ], [ 'off', 'AND seq > 0' ], [ 'off', "AND chatbot_id = 'bot'" ];
	return $counts[0] eq $counts[1] && $counts[1] eq $counts[2] ? $counts[0] : "@counts";
}

sub failures
{
	return $node->safe_psql('postgres', "SELECT coalesce(sum(enqueue_failures), 0) FROM contacts_push.progress");
}

# An index is made anew: who has said how long to wait waits so long, and goes on.
my $operator = open_session($node);
$operator->query_safe('BEGIN');
$operator->query_safe('REINDEX INDEX contacts_push.outbox_contact');
my ($status, $stdout, $stderr) = $node->psql('postgres', "SET lock_timeout = '100ms'; " . users(1, 1));
is($status, 0, 'the statement succeeds while the outbox is being reindexed');
like($stderr, qr/WARNING:.*users.*DETAIL: +canceling statement due to lock timeout/s, 'with a warning');
$operator->query_safe('COMMIT');
$operator->quit;
is(intents(1, 1) . ', ' . failures(), '0, 1', 'nothing was enqueued, and that is counted');
$node->safe_psql('postgres', users(2, 2));
$node->safe_psql('postgres', "CALL contacts_push.backfill('users')");
is(intents(1, 2), '2', 'backfill has found it');

# Logical decoding: an INSERT a row, in bulk too.
$node->safe_psql('postgres', 'CREATE PUBLICATION contacts FOR TABLE contacts_push.outbox');
$node->safe_psql('postgres', "SELECT pg_create_logical_replication_slot('contacts', 'pgoutput')");
$node->safe_psql('postgres', users(10, 10));
$node->safe_psql('postgres', users(11, 3010));
is($node->safe_psql('postgres', <<'END'), '3001', 'logical decoding has every row');
SELECT count(*) FROM pg_logical_slot_get_binary_changes('contacts', NULL, NULL, 'proto_version', '1', 'publication_names', 'contacts')
WHERE get_byte(data, 0) = ascii('I')
END
$node->safe_psql('postgres', "SELECT pg_drop_replication_slot('contacts'); DROP PUBLICATION contacts");

# A crash right after the commit.
$node->safe_psql('postgres', users(3011, 4010));
$node->stop('immediate');
$node->start;
is(intents(10, 4010), '4001', 'every row is there after a crash, in every index');

# Transactions of every kind.
for my $level ('REPEATABLE READ', 'SERIALIZABLE')
{
	my $from = $level eq 'SERIALIZABLE' ? 5100 : 5200;
	$node->safe_psql('postgres', "BEGIN ISOLATION LEVEL $level; " . users($from, $from + 9) . '; COMMIT');
	is(intents($from, $from + 9), '10', $level);
}
$node->safe_psql('postgres', join '; ', 'BEGIN', users(5301, 5310), 'SAVEPOINT a', users(5311, 5320),
	'ROLLBACK TO a', users(5321, 5330), 'SAVEPOINT b', users(5331, 5331), 'RELEASE b', 'COMMIT');
is(intents(5301, 5310) . ' ' . intents(5311, 5320) . ' ' . intents(5321, 5331), '10 0 11', 'subtransactions, one of them rolled back');
$node->safe_psql('postgres', join '; ', 'BEGIN', users(5401, 5410), "PREPARE TRANSACTION 'p'");
is(intents(5401, 5410), '0', 'a prepared transaction');
$node->restart;
$node->safe_psql('postgres', "COMMIT PREPARED 'p'");
is(intents(5401, 5410), '10', 'that is committed after a restart');
$node->safe_psql('postgres', join '; ', 'BEGIN', users(5501, 5510), 'ROLLBACK');
is(intents(5501, 5510), '0', 'one that is rolled back');

# And the worker finds them all.
set_conf($node, 'contacts_push.enabled' => 'on');
ok(settled($node), 'all is settled');
is(held_matches($node, $fake, 'bot'), '', 'and the stand-in holds every user');
is($node->safe_psql('postgres', <<'END'), '0', 'no user is left');
SELECT count(*) FROM users u WHERE NOT EXISTS (SELECT FROM contacts_push.outbox o
	WHERE o.external_id = u.id::text AND o.status = 'created')
END
$node->stop;
done_testing();
