# What administrators do to databases and to the extension goes through at once, while the
# worker has nothing to do and in the middle of a request that takes for ever, and loses nothing.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use ContactsPushTest;
use EngineTest qw(:DEFAULT chatbot_settled requests_for);
use FakeChatbase;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use constant CONTACTS => 10;

my $fake = FakeChatbase->start;
my $node = new_cluster('administrators', $fake, extension => 0, extra => <<'END');
max_worker_processes = 20
allow_in_place_tablespaces = on
contacts_push.request_timeout = 1h
END
$node->safe_psql('postgres', q{CREATE TABLESPACE elsewhere LOCATION ''});

# Runs statements, one by one and each in a transaction of its own.  Where others may not be
# connected the server itself waits no longer than five seconds, and the requests of this
# test end when it says so.
sub goes_through
{
	my ($what, $database, $sql) = @_;
	my ($status, $stdout, $stderr) = $node->psql($database, "SET client_min_messages = warning;\nSET statement_timeout = '@{[PATIENCE]}s';\n$sql");
	is($status . $stderr, '0', "$what: goes through");
	return;
}

# Contacts of a database go to a chatbot of its name, however the database is called later.
sub enqueue
{
	my ($prefix, @databases) = @_;
	insert_users($node, $_, $prefix, 1, CONTACTS, $_) for @databases;
	return;
}

# A worker for the database comes, and everybody has one fate.
sub goes_on
{
	my ($what, $chatbot, $database, $n) = @_;
	ok(worker_runs($node, $database), "$what: a worker for database $database");
	ok(settled($node, $database), "$what: settles");
	is(each_one_fate($node, $fake, $chatbot, $n, $database), '', "$what: each contact has one fate");
	return;
}

# The databases of a round, each of them for one command, with what was sent from them.
for my $round ('idle', 'busy')
{
	my %name = map { $_ => "${_}_$round" } qw(dropped origin renamed moved kept updated owned);
	my @databases = sort values %name;

	$node->safe_psql('postgres', "CREATE ROLE installer_$round SUPERUSER; CREATE ROLE shop_$round");
	$node->safe_psql('postgres', "CREATE DATABASE $_") for @databases;
	$node->safe_psql($name{owned}, "SET ROLE installer_$round; CREATE EXTENSION contacts_push");
	$node->safe_psql($_, 'CREATE EXTENSION contacts_push') for grep { $_ ne $name{owned} } @databases;
	$node->safe_psql($name{kept}, <<"END");
CREATE TABLE users (id int PRIMARY KEY, name text);
ALTER TABLE users OWNER TO shop_$round;
SELECT contacts_push.watch('users', '$name{kept}');
END
	$fake->always(delay_ms => FakeChatbase::HELD) if $round eq 'busy';
	enqueue('first', @databases);
	if ($round eq 'busy')
	{
		ok(wait_until(sub { requests_for($fake, $_) == 1 }), "$round: a request from $_ is under way") for @databases;
	}
	else
	{
		ok(settled($node, $_), "$round: $_ is settled") for @databases;
	}
	my %pid = map { $_ => worker_pid($node, $_) } @databases;

	goes_through("$round: DROP DATABASE", 'postgres', "DROP DATABASE $name{dropped}");
	goes_through("$round: CREATE DATABASE ... TEMPLATE", 'postgres', "CREATE DATABASE copy_$round TEMPLATE $name{origin}");
	goes_through("$round: CREATE DATABASE ... STRATEGY file_copy", 'postgres',
		"CREATE DATABASE again_$round TEMPLATE $name{origin} STRATEGY file_copy");
	goes_through("$round: ALTER DATABASE ... RENAME", 'postgres', "ALTER DATABASE $name{renamed} RENAME TO new_name_$round");
	goes_through("$round: ALTER DATABASE ... SET TABLESPACE", 'postgres', "ALTER DATABASE $name{moved} SET TABLESPACE elsewhere");
	goes_through("$round: DROP EXTENSION, rolled back", $name{kept}, 'BEGIN; DROP EXTENSION contacts_push CASCADE; ROLLBACK');
	goes_through("$round: DROP OWNED of a watched table", $name{kept}, "DROP OWNED BY shop_$round CASCADE");
	is(worker_pid($node, $name{kept}), $pid{ $name{kept} }, "$round: after both the worker is the same");
	is(requests_for($fake, $name{kept}), 1, "$round: and has sent nothing again");
	goes_through("$round: ALTER EXTENSION ... UPDATE", $name{updated}, q{ALTER EXTENSION contacts_push UPDATE TO '1.1'});
	is($node->safe_psql($name{updated}, 'SELECT contacts_push.new_in_1_1()'), 'here', "$round: it is another version");
	goes_through("$round: DROP OWNED of the extension", $name{owned}, "DROP OWNED BY installer_$round CASCADE");
	ok(wait_until(sub { worker_pid($node, $name{owned}) eq '' }), "$round: which ends its worker");

	$fake->faults();
	$fake->release;
	enqueue('second', @name{qw(origin kept updated moved)});
	insert_users($node, $name{renamed}, 'second', 1, CONTACTS, "new_name_$round");
	goes_on("$round: $_", $name{$_}, $name{$_}, 2 * CONTACTS) for qw(origin kept updated moved);
	goes_on("$round: renamed", $name{renamed}, "new_name_$round", 2 * CONTACTS);
	like(slurp_file($node->logfile), qr/worker for database "new_name_$round" has started/, "$round: renamed: the log has the new name");
	# what was copied has been sent by the other one, too, or is being
	for my $copy ("copy_$round", "again_$round")
	{
		ok(worker_runs($node, $copy), "$round: a worker for database $copy");
		ok(settled($node, $copy), "$round: $copy settles");
		like(outcomes($node, $name{origin}, $copy), $round eq 'idle' ? qr/^created 10$/ : qr/^(created \d+, )?(present \d+)$|^created 10$/,
			"$round: $copy: nobody is in conflict with himself");
	}
	is($node->safe_psql('postgres', "SELECT count(*) FROM pg_database WHERE datname = '$name{dropped}'"), 0, "$round: what was dropped is gone");
	goes_through("$round: DROP DATABASE (FORCE)", 'postgres', "DROP DATABASE copy_$round WITH (FORCE)");
}

# The outbox is emptied under the worker's hands: it forgets, and goes on with what comes.
$node->safe_psql('postgres', 'CREATE EXTENSION contacts_push');
ok(worker_runs($node), 'a worker runs');
my $pid = worker_pid($node);
goes_through('idle: TRUNCATE', 'postgres', 'TRUNCATE contacts_push.outbox');
$fake->faults({ match => { chatbot => 'truncated' }, action => { delay_ms => FakeChatbase::HELD } });
insert_users($node, 'truncated', 'gone', 1, CONTACTS);
ok(wait_until(sub { requests_for($fake, 'truncated') == 1 }), 'TRUNCATE: a request is under way');
goes_through('busy: TRUNCATE', 'postgres', 'TRUNCATE contacts_push.outbox');
$fake->faults();
$fake->release;
insert_users($node, 'truncated', 'new', 1, CONTACTS);
ok(chatbot_settled($node, 'truncated'), 'TRUNCATE: what comes then is settled');
is(outcomes($node, 'truncated'), 'created ' . CONTACTS, 'TRUNCATE: as created');
ok($node->poll_query_until('postgres', 'SELECT count(*) = 0 FROM contacts_push.request WHERE finished_at IS NULL'),
	'TRUNCATE: no request is open');
is(worker_pid($node), $pid, 'TRUNCATE: by the same worker');

unlike(slurp_file($node->logfile), qr/PANIC:|TRAP:|terminated by signal (4|6|7|8|11)\b/, 'no process has crashed');
$node->stop;
done_testing();
