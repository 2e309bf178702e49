# The application's statement succeeds whatever the mapping does and whether or not a
# worker is there; what was left out is counted, and found again when it is fixed.
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

my @bad = ('raises', 'raises later', 'null', 'empty', '2 kB');

# How many rows of a bad kind each round leaves out: see below.
use constant LEFT_OUT => 7;

# How many of them it deletes: those whose external_id raises are not withdrawn.
use constant NOT_WITHDRAWN => 3;

my $fake = FakeChatbase->start;

# Writes the table in every way there is, rows numbered from a base on: each
# statement succeeds, and the table has what it says.
sub write_all_ways
{
	my ($node, $base, $kind, $what) = @_;
	my @id = map { $base + $_ } 0 .. 9;
	my @statements = (
		# leaves out 1
		[ INSERT => "INSERT INTO users (id, kind) VALUES ($id[1], 'good'), ($id[2], '$kind'), ($id[3], 'good')" ],
		# 1
		[ COPY => "COPY users (id, kind) FROM STDIN;\n$id[4]\tgood\n$id[5]\t$kind\n\\.\n" ],
		# 1
		[ 'INSERT ... ON CONFLICT' => "INSERT INTO users (id, kind) VALUES ($id[1], '$kind') ON CONFLICT (id) DO UPDATE SET kind = EXCLUDED.kind" ],
		# 2
		[ UPDATE => "UPDATE users SET kind = '$kind', name = 'changed' WHERE id IN ($id[1], $id[3])" ],
		# 2
		# (and deletes 1)
		[ MERGE => <<"END" ],
MERGE INTO users u USING (VALUES ($id[4], 'update'), ($id[5], 'delete'), ($id[6], 'insert')) AS m (id, what) ON u.id = m.id
WHEN MATCHED AND m.what = 'update' THEN UPDATE SET kind = '$kind'
WHEN MATCHED THEN DELETE
WHEN NOT MATCHED THEN INSERT (id, kind) VALUES (m.id, '$kind')
END
		[ 'UPDATE of the key' => "UPDATE users SET id = $id[7], kind = 'good' WHERE id = $id[3]" ],
		# deletes 2
		[ DELETE => "DELETE FROM users WHERE id IN ($id[2], $id[6])" ],
		# none: the view does not use it
		[ 'UPDATE of another column' => "UPDATE users SET visits = visits + 1 WHERE id >= $base" ],
		[ 'a transaction' => "BEGIN; INSERT INTO users (id, kind) VALUES ($id[8], 'good'); UPDATE users SET name = 'x' WHERE id = $id[8]; COMMIT" ]);

	is(write_as_application($node, "$_->[1];"), '', "$what: $_->[0]") for @statements;
	is($node->safe_psql('postgres', "SELECT string_agg(id - $base || ' ' || kind, ', ' ORDER BY id) FROM users WHERE id >= $base"),
		"1 $kind, 4 $kind, 7 good, 8 good", "$what: the table has what was written");
	return;
}

sub enqueue_failures
{
	my ($node) = @_;
	return $node->safe_psql('postgres',
		"SELECT coalesce(sum(enqueue_failures), 0) FROM contacts_push.progress WHERE chatbot_id = 'bot'");
}

# Fixes every row behind the triggers' back, and has backfill find it.
sub fix_and_backfill
{
	my ($node, $what) = @_;
	$node->safe_psql('postgres', "SET session_replication_role = replica; UPDATE users SET kind = 'good', name = 'fixed'");
	$node->safe_psql('postgres', "CALL contacts_push.backfill('users')");
	is($node->safe_psql('postgres', <<'END'), '0', "$what: backfill finds every row that was left out");
SELECT count(*) FROM users u WHERE NOT EXISTS (SELECT FROM contacts_push.contact_status s
	WHERE s.chatbot_id = 'bot' AND s.external_id = u.id::text AND s.status IN ('pending', 'created'))
END
	return;
}

# That the stand-in has every user now.
sub check_held
{
	my ($node, $what) = @_;
	my $held = $fake->held('bot');
	my @missing = grep { !exists $held->{$_} } split /\n/, $node->safe_psql('postgres', 'SELECT id FROM users');
	is("@missing", '', "$what: every user is a contact");
	is(held_matches($node, $fake, 'bot'), '', "$what: as the stand-in holds it");
	return;
}

my $node = new_cluster('preloaded', $fake);
make_users($node, 'users', 'bot');
ok(worker_runs($node), 'a worker runs');
for my $i (0 .. $#bad)
{
	write_all_ways($node, 100 * ($i + 1), $bad[$i], "the row is bad ($bad[$i])");
	is(enqueue_failures($node), LEFT_OUT * ($i + 1) + NOT_WITHDRAWN, "what was left out is counted ($bad[$i])");
}
fix_and_backfill($node, 'fixed');
ok(settled($node), 'all is settled');
check_held($node, 'fixed');
is(enqueue_failures($node), LEFT_OUT * @bad + NOT_WITHDRAWN, 'what was counted stays counted');

# The view is none that may be used, because of its owner.
$node->safe_psql('postgres', 'CREATE ROLE somebody; ALTER VIEW users_own OWNER TO somebody');
write_all_ways($node, 2000, 'good', 'no view');
$node->safe_psql('postgres', 'ALTER VIEW users_own OWNER TO CURRENT_USER');
cmp_ok(enqueue_failures($node), '>', LEFT_OUT * @bad + NOT_WITHDRAWN, 'no view: it shows');
fix_and_backfill($node, 'no view');

# A worker that is there and does nothing at all.
my $pid = worker_pid($node);
kill 'STOP', $pid;
write_all_ways($node, 3000, 'raises', 'the worker is stopped');
write_all_ways($node, 3100, 'good', 'the worker is stopped');
kill 'CONT', $pid;

# No worker, because none may send, and because none can be started.
set_conf($node, 'contacts_push.enabled' => 'off');
write_all_ways($node, 4000, 'empty', 'switched off');
set_conf($node, 'contacts_push.enabled' => 'on');
$node->append_conf('postgresql.conf', 'max_worker_processes = 0');
$node->restart;
write_all_ways($node, 5000, 'null', 'no worker can be started');
like($node->safe_psql('postgres', "SELECT state FROM contacts_push.progress WHERE chatbot_id = 'bot'"),
	qr/^worker not running: /, 'no worker can be started: progress says so');
$node->append_conf('postgresql.conf', 'max_worker_processes = 8');
$node->restart;
fix_and_backfill($node, 'a worker again');
ok(settled($node), 'a worker again: all is settled');
check_held($node, 'a worker again');
$node->stop;

# Without the library.
$fake->reset;
my $plain = new_cluster('not_preloaded', $fake, preload => 0);
make_users($plain, 'users', 'bot');
write_all_ways($plain, 100, 'raises', 'not preloaded');
is(enqueue_failures($plain), LEFT_OUT + NOT_WITHDRAWN, 'not preloaded: what was left out is counted');
like($plain->safe_psql('postgres', "SELECT state FROM contacts_push.progress WHERE chatbot_id = 'bot'"),
	qr/^worker not running: contacts_push is not in shared_preload_libraries$/, 'not preloaded: progress says so');
fix_and_backfill($plain, 'not preloaded');
$plain->append_conf('postgresql.conf', "shared_preload_libraries = 'contacts_push'\ncontacts_push.api_key = '" . KEY . "'");
$plain->restart;
ok(settled($plain), 'preloaded at last: all is settled');
check_held($plain, 'preloaded at last');
is(enqueue_failures($plain), LEFT_OUT + NOT_WITHDRAWN, 'preloaded at last: what was counted is still known');
$plain->stop;

done_testing();
