# A server with two hundred databases, of which three have the extension: these have their
# workers, each of the others is looked at once, and nothing of it occupies a process.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use ContactsPushTest;
use EngineTest;
use FakeChatbase;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use constant OTHERS => 196;

my @with = ('one', 'two', 'three');

my $fake = FakeChatbase->start;
my $node = new_cluster('many', $fake, extension => 0, extra => <<'END');
log_min_messages = debug1
autovacuum = off
fsync = off
contacts_push.request_timeout = 1h
END
add_database($node, $_) for @with;

# A copy costs 7 MB and half a second.  Nobody writes in these: their files can be those of
# another database, and their row in pg_database a copy of its.
my $oid = $node->safe_psql('postgres', q{SELECT oid FROM pg_database WHERE datname = 'postgres'});
$node->stop;
my $base = $node->data_dir . '/base';
system_or_bail('cp', '-al', "$base/$oid", "$base/" . (50000 + $_)) for 1 .. OTHERS;
$node->start;
$node->safe_psql('postgres', <<"END");
INSERT INTO pg_database SELECT (json_populate_record(d, json_build_object('oid', 50000 + n, 'datname', 'other' || n))).*
FROM pg_database d, generate_series(1, @{[OTHERS]}) n WHERE d.datname = 'postgres'
END
is($node->safe_psql('postgres', 'SELECT count(*) FROM pg_database WHERE datallowconn AND NOT datistemplate'),
	200, 'there are two hundred databases');

# How often a worker was started in any of the others since this many characters of the log.
sub starts
{
	my ($from) = @_;
	my %starts;
	$starts{$_}++ for substr(slurp_file($node->logfile), $from) =~ /starting background worker process "contacts_push worker for (other\d+)"/g;
	return %starts;
}

for my $round ('idle', 'a request is under way')
{
	if ($round ne 'idle')
	{
		$fake->faults({ match => { chatbot => 'two' }, action => { delay_ms => FakeChatbase::HELD } });
		insert_users($node, 'two', 'held', 1, 10, 'two');
		ok(wait_until(sub { $fake->in_flight == 1 }), $round);
	}
	my $from = length slurp_file($node->logfile);
	$node->restart;
	for my $database (@with)
	{
		ok(worker_runs($node, $database), "$round: $database has a worker");
		next if $database eq 'two' && $round ne 'idle';
		insert_users($node, $database, $round, 1, 10, $database);
		ok(settled($node, $database), "$round: $database sends");
	}
	ok(wait_until(sub { my %starts = starts($from); keys %starts == OTHERS }), "$round: each of the others is looked at");
	ok($node->poll_query_until('postgres',
		q{SELECT count(*) = 3 FROM pg_stat_activity WHERE backend_type = 'contacts_push worker'}), "$round: and left");
	# whoever comes now is served by a launcher that is through with them
	add_database($node, $round eq 'idle' ? 'late' : 'later');
	ok(worker_runs($node, $round eq 'idle' ? 'late' : 'later'), "$round: who comes now has a worker");
	my %starts = starts($from);
	is(join(' ', grep { $starts{$_} > 1 } sort keys %starts), '', "$round: nobody was looked at twice");
	$node->safe_psql('late', 'DROP EXTENSION contacts_push') if $round eq 'idle';
}
$fake->faults();
$fake->release;
ok(settled($node, 'two'), 'answered: all is settled');
is(each_one_fate($node, $fake, 'two', 20, 'two'), '', 'each contact has one fate');
ok(!$node->log_contains('no background worker is free'), 'the processes that a server has were enough');

unlike(slurp_file($node->logfile), qr/PANIC:|TRAP:|terminated by signal (4|6|7|8|11)\b/, 'no process has crashed');
$node->stop;
done_testing();
