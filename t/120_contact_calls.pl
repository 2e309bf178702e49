# The calls that list, get, update and delete contacts: how they end when they are told to, what
# they take of the budget, and that they need no preloaded library.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use ContactsPushTest;
use EngineTest;
use FakeChatbase;
use List::Util qw(min);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# An answer that takes so long comes after all that is waited for here.
use constant LATE_MS => 30_000;

# What is measured is the best of so many: a machine may be busy for a moment.
use constant TRIES => 3;

my %calls = (
	list => q{SELECT count(*) FROM chatbase_list_contacts('c')},
	get => q{SELECT count(*) FROM chatbase_get_contact('c', 'a')},
	update => q{SELECT (chatbase_update_contact('c', 'a', '{"name": "A"}')).external_id},
	delete => q{SELECT chatbase_delete_contact('c', 'a')});
my %answers = (list => '1', get => '1', update => 'a', delete => 't');

my $fake = FakeChatbase->start('--key', KEY);
my $node = new_cluster('contact_calls', $fake, preload => 0, extra => "contacts_push.api_key = '" . KEY . "'\n");

$node->safe_psql('postgres', 'CREATE TABLE ended (at timestamptz, message text)');

sub prepare
{
	$fake->reset;
	$fake->preset('c', { external_id => 'a' });
	return;
}

for my $name (sort keys %calls)
{
	my $call = $calls{$name};

	# statement_timeout, several times in one session
	prepare();
	$fake->always(delay_ms => LATE_MS);
	my ($status, $stdout, $stderr) = $node->psql('postgres',
		"SET statement_timeout = '500ms';\n\\timing on\n" . "$call;\n" x TRIES . "\\timing off\nSELECT 'goes on';\n",
		on_error_stop => 0);
	my @times = $stdout =~ /^Time: ([0-9.]+) ms/mg;
	is(scalar(() = $stderr =~ /ERROR:  canceling statement due to statement timeout/g),
		TRIES, "$name: statement_timeout ends it, each time");
	cmp_ok(min(@times), '>=', 500, "$name: not before its time");
	cmp_ok(min(@times), '<', 600, "$name: within 100 ms of it");
	like($stdout, qr/^goes on$/m, "$name: the session goes on");

	# pg_cancel_backend, and then the same call in the session
	my @latencies;
	for my $try (1 .. TRIES)
	{
		prepare();
		$fake->always(delay_ms => LATE_MS);
		my $session = start_call($node, $fake, <<"SQL");
DO \$\$
BEGIN
	EXECUTE \$call\$$call\$call\$;
EXCEPTION WHEN query_canceled THEN
	INSERT INTO ended VALUES (clock_timestamp(), SQLERRM);
END
\$\$
SQL
		my $told = $node->safe_psql('postgres', <<'END');
SELECT extract(epoch FROM clock_timestamp()) FROM pg_stat_activity
WHERE backend_type = 'client backend' AND query LIKE 'DO %' AND pg_cancel_backend(pid)
END
		ok($node->poll_query_until('postgres', 'SELECT count(*) = 1 FROM ended'), "$name: is cancelled");
		push @latencies, $node->safe_psql('postgres',
			"SELECT round(1000 * (extract(epoch FROM at) - $told)) FROM ended");
		is($node->safe_psql('postgres', 'DELETE FROM ended RETURNING message'),
			'canceling statement due to user request', "$name: for that reason");
		$fake->faults();
		prepare();
		is($session->query($call), $answers{$name}, "$name: the next one gets its own answer");
		$session->quit;
	}
	cmp_ok(min(@latencies), '<', 100, "$name: within 100 ms (@latencies)");
}

# a list that is cancelled at a page behind the first
$fake->reset;
$fake->preset('c', map { { external_id => "u$_" } } 1 .. 2500);
$fake->faults({ match => { from => 2 }, action => { delay_ms => LATE_MS } });
my $session = start_call($node, $fake, "BEGIN;\nDECLARE c CURSOR FOR SELECT (l).external_id FROM"
	  . " (SELECT chatbase_list_contacts('c') AS l) AS l;\nMOVE 1000 FROM c;\nSAVEPOINT s;\nMOVE 1 FROM c");
is($fake->stats->{by_status}{200}, 1, 'pages: the first one was answered');
$node->safe_psql('postgres',
	q{SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE backend_type = 'client backend' AND query LIKE 'MOVE %'});
ok(wait_until(sub { $session->{run}->pump_nb; $session->{stderr} =~ /canceling statement due to user request/ }),
	'pages: the second one is cancelled');
$fake->release;
$fake->faults();
is($session->query(q{ROLLBACK TO s; SELECT count(*) FROM chatbase_list_contacts('c')}), 2500,
	'pages: the session lists them all in the same transaction');
$session->quit;

# Beyond their half of the budget, beside a worker that waits, calls fail at once and send nothing.
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'contacts_push'\ncontacts_push.requests_per_second = 10");
$node->restart;
prepare();
$fake->faults({ times => 1, action => { status => 429, headers => { 'Retry-After' => '3600' } } });
insert_users($node, 'c', 'u', 1, 1);
ok($node->poll_query_until('postgres',
		q{SELECT count(*) = 1 FROM contacts_push.request WHERE http_status = 429 AND finished_at IS NOT NULL}),
	'budget: a worker waits');
for my $name (qw(list get update delete))
{
	my ($status, undef, $stderr) = $node->psql('postgres', <<"END");
\\set VERBOSITY verbose
DO \$\$ BEGIN LOOP EXECUTE \$call\$$calls{$name}\$call\$; END LOOP; END \$\$;
END
	like($stderr, qr/53400: could not $name contact.* in chatbot "c": calls have used their half of the key's budget/,
		"budget: $name fails beyond it");
	like($stderr, qr/^HINT:  Try again in \d+ seconds?\.$/m, "budget: $name says when it can be repeated");
}

# Neither the log nor a client has seen the key.
unlike(slurp_file($node->logfile), qr/\Q@{[ KEY ]}\E/, 'the key is in no log');

$node->stop;
done_testing();
