# Applications at every isolation level, while the worker settles the very contacts
# that they change: nobody is told to try again, and none is lost.
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
my $node = new_cluster('levels', $fake, extra => "deadlock_timeout = 10ms\n");
ok(worker_runs($node), 'a worker runs');

# One transaction that is older than what is settled while it runs.
make_users($node, 'users', 'bot');
for my $level ('REPEATABLE READ', 'SERIALIZABLE')
{
	my $chatbot_rows = "SELECT count(*) FROM contacts_push.outbox WHERE status = 'pending'";
	my $application = open_session($node);
	# it dies of whatever is said, but a warning is what is expected here
	$application->query_safe('SET client_min_messages = error');
	for my $round (1 .. 10)
	{
		my $id = ($level eq 'SERIALIZABLE' ? 1000 : 0) + 10 * $round;
		$fake->always(delay_ms => 20);
		$node->safe_psql('postgres', "INSERT INTO users (id, kind) SELECT n, 'good' FROM generate_series($id, $id + 4) n");
		$application->query_safe("BEGIN ISOLATION LEVEL $level");
		$application->query_safe('SELECT count(*) FROM users');
		$application->query_safe("UPDATE users SET name = 'early' WHERE id = $id");
		ok(wait_until(sub { $node->safe_psql('postgres', $chatbot_rows) eq '0' }), "$level: settled meanwhile")
		  if $round % 2;
		$application->query_safe("UPDATE users SET name = 'late' WHERE id BETWEEN $id AND $id + 1");
		$application->query_safe("DELETE FROM users WHERE id = $id + 2");
		$application->query_safe("INSERT INTO users (id, kind) VALUES ($id + 2, 'good'), ($id + 5, 'good'), ($id + 6, 'raises')")
		  if $round % 3;
		$application->query_safe('COMMIT');
	}
	$application->quit;
	pass("$level: every statement and every COMMIT has succeeded");
}
$fake->faults;
ok(settled($node), 'all is settled');
is(held_matches($node, $fake, 'bot'), '', 'as the stand-in holds it');

# A storm: each client has a table of its own, so that whatever they have in common is
# the outbox; all feed one chatbot with the same few external_ids, in any order.
my @levels = ('read committed', 'repeatable read', 'serializable');
my $clients = 4;
make_users($node, "crowd$_", 'crowd') for 0 .. $clients - 1;
for my $level (@levels)
{
	local $ENV{PGOPTIONS} = "-c default_transaction_isolation=" . ($level =~ s/ /\\ /r) . ' -c lock_timeout=20s';
	$node->pgbench(
		"-n -c $clients -j 2 -t 150",
		0,
		[ qr/processed: 600\/600/, qr/number of failed transactions: 0 / ],
		[ qr/^(?!.*(ERROR|abort))/s ],
		"a storm at $level",
		{ "storm_" . ($level =~ s/ /_/r) => <<'END' });
\set a random(1, 30)
\set b random(1, 30)
\set end random(1, 10)
BEGIN;
INSERT INTO crowd:client_id (id, kind, name) VALUES (:a, 'good', 'first') ON CONFLICT (id) DO UPDATE SET name = EXCLUDED.name || :b;
DELETE FROM crowd:client_id WHERE id = :b;
INSERT INTO crowd:client_id (id, kind) VALUES (:b, 'good') ON CONFLICT (id) DO NOTHING;
UPDATE crowd:client_id SET name = 'last' || :end WHERE id IN (:a, :b);
COMMIT;
END
}
ok(settled($node), 'after the storms, all is settled');
is(held_matches($node, $fake, 'crowd'), '', 'as the stand-in holds it');
is($node->safe_psql('postgres', <<'END'), '0', 'each contact is created once');
SELECT count(*) FROM (SELECT external_id FROM contacts_push.outbox WHERE chatbot_id = 'crowd' AND status IN ('created', 'present')
	GROUP BY 1 HAVING count(*) > 1) s
END
is($node->safe_psql('postgres', <<'END'), '0', 'and nobody who is in a table is left out');
SELECT count(*) FROM (SELECT id FROM crowd0 UNION SELECT id FROM crowd1 UNION SELECT id FROM crowd2 UNION SELECT id FROM crowd3) u
WHERE NOT EXISTS (SELECT FROM contacts_push.outbox o WHERE o.chatbot_id = 'crowd' AND o.external_id = u.id::text AND o.status = 'created')
END
unlike(slurp_file($node->logfile), qr/deadlock detected|could not serialize|lock timeout/, 'nobody was told to try again');

$node->stop;
done_testing();
