# The README's query finds whom a backfill waits for: who has written the table in a
# transaction that is still open, whether that one is idle or active, and nobody else.
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
my $node = new_cluster('waits', $fake);
$node->safe_psql('postgres', <<'END');
CREATE TABLE users (id integer PRIMARY KEY, email text);
INSERT INTO users VALUES (1, 'one@example.com'), (2, 'two@example.com'), (3, 'three@example.com');
SELECT contacts_push.watch('users', 'bot');
END

# A session that does this in a transaction that stays open; begun, and its pid.
sub session
{
	my (@statements) = @_;
	my $session = $node->background_psql('postgres');
	$session->query_safe($_) for 'BEGIN', @statements;
	return ($session, $session->query_safe('SELECT pg_backend_pid()'));
}

my ($idle, $idle_pid) = session(q{UPDATE users SET email = 'uno@example.com' WHERE id = 1});
my ($active, $active_pid) = session(q{UPDATE users SET email = 'dos@example.com' WHERE id = 2});
my ($reader) = session('SELECT count(*) FROM users');
$active->query_until(qr/^active$/m, "\\echo active\nSELECT pg_sleep(1000);\n");

my $backfill = $node->background_psql('postgres');
$backfill->query_until(qr/^begun$/m, "\\echo begun\nCALL contacts_push.backfill('users');\n\\echo over\n");
ok($node->poll_query_until('postgres', <<'END'), 'a backfill waits');
SELECT count(*) = 1 FROM pg_stat_activity WHERE query LIKE 'CALL contacts_push.backfill%' AND wait_event_type = 'Lock'
END
is($node->safe_psql('postgres', <<'END'), join("\n", sort { $a <=> $b } $idle_pid, $active_pid), 'both writers are found, the reader is not');
SELECT a.pid FROM pg_locks l JOIN pg_stat_activity a USING (pid)
WHERE l.relation = 'users'::regclass AND l.mode = 'RowExclusiveLock' ORDER BY a.pid
END
$node->safe_psql('postgres', "SELECT pg_terminate_backend($_)") for $idle_pid, $active_pid;
ok(wait_until(sub { outcomes($node, 'bot') eq 'created 3' }), 'when they have ended, it goes on');

$node->stop;
done_testing();
