# A call that waits for its answer ends when it is told to, at once, and leaves
# its session as good as new.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use ContactsPushTest;
use FakeChatbase;
use List::Util qw(min);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# An answer that takes so long comes after all that is waited for here.
use constant LATE_MS => 30_000;

# A machine may be busy with something else for a moment: what is measured is
# the best of so many.
use constant TRIES => 3;

my $fake = FakeChatbase->start;
my $node = new_cluster('cancel', $fake);

$node->safe_psql('postgres', 'CREATE TABLE ended (at timestamptz, message text)');

# The call, with its end recorded on the server's clock.
sub recorded_call
{
	my ($external_id) = @_;
	return <<"SQL";
DO \$\$
DECLARE
	text text;
BEGIN
	PERFORM chatbase_create_contacts('c', '{"external_id": "$external_id"}');
EXCEPTION WHEN query_canceled THEN
	GET STACKED DIAGNOSTICS text = MESSAGE_TEXT;
	INSERT INTO ended VALUES (clock_timestamp(), text);
END
\$\$
SQL
}

# statement_timeout: what the client sees, one session, several times
$fake->always(delay_ms => LATE_MS);
my $call = q{SELECT external_id FROM chatbase_create_contacts('c', '{"external_id": "timeout"}')};
my ($status, $stdout, $stderr) = $node->psql(
	'postgres',
	"SET statement_timeout = '500ms';\n"
	  . "\\timing on\n" . "$call;\n" x TRIES . "\\timing off\n"
	  . "RESET statement_timeout;\nSELECT 'goes on';\n",
	on_error_stop => 0);
my @times = $stdout =~ /^Time: ([0-9.]+) ms/mg;
is(scalar(() = $stderr =~ /ERROR:  canceling statement due to statement timeout/g),
	TRIES, 'statement_timeout ends the call, each time');
is(scalar @times, TRIES, 'and each is timed');
cmp_ok(min(@times), '>=', 500, 'not before its time');
cmp_ok(min(@times), '<', 700, 'within 700 ms');
like($stdout, qr/^goes on$/m, 'the session goes on');

# pg_cancel_backend, in one session that then makes the next call
my @latencies;
my $session;
for my $try (1 .. TRIES)
{
	$fake->always(delay_ms => LATE_MS);
	$session = start_call($node, $fake, recorded_call("cancel$try"));
	my $told = $node->safe_psql('postgres', <<'END');
SELECT extract(epoch FROM clock_timestamp()) FROM pg_stat_activity
WHERE backend_type = 'client backend' AND query LIKE 'DO %' AND pg_cancel_backend(pid)
END
	isnt($told, '', "try $try: a backend is told to cancel");
	ok($node->poll_query_until('postgres', 'SELECT count(*) = 1 FROM ended'), 'and does');
	push @latencies,
	  $node->safe_psql('postgres',
		"SELECT round(1000 * (extract(epoch FROM at) - $told)) FROM ended");
	is($node->safe_psql('postgres', 'DELETE FROM ended RETURNING message'),
		'canceling statement due to user request', 'for that reason');
	$fake->faults();
	is( $session->query(
			qq{SELECT external_id FROM chatbase_create_contacts('c', '{"external_id": "next$try"}')}),
		"next$try", 'the next call of the session works');
	$session->quit;
}
cmp_ok(min(@latencies), '<', 100, "within 100 ms (@latencies)");

# a cancelled call's connection is not used again: its answer is still to come
$fake->always(delay_ms => LATE_MS);
$session = start_call($node, $fake, $call);
my $pid = $node->safe_psql('postgres', <<'END');
SELECT pid FROM pg_stat_activity
WHERE backend_type = 'client backend' AND query LIKE '%chatbase_create_contacts%' AND pid <> pg_backend_pid()
END
is($node->safe_psql('postgres', "SELECT wait_event_type FROM pg_stat_activity WHERE pid = $pid"),
	'Extension', 'a waiting call shows as one');
$node->safe_psql('postgres', "SELECT pg_cancel_backend($pid)");
$fake->faults();
like($session->query(q{SELECT external_id FROM chatbase_create_contacts('c', '{"external_id": "own"}')}),
	qr/^own$/m, 'the answer is that of the call that asked');

# pg_terminate_backend
$fake->always(delay_ms => LATE_MS);
$session->query_until(qr/^begun$/m, "\\echo begun\n$call;\n");
ok(wait_until(sub { $fake->in_flight > 0 && $node->safe_psql('postgres',
			"SELECT state FROM pg_stat_activity WHERE pid = $pid") eq 'active' }),
	'the session waits again');
$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
ok($node->poll_query_until('postgres', "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $pid"),
	'pg_terminate_backend ends it');
ok(wait_until(sub { $session->{run}->pump_nb; $session->{stderr} =~ /terminating connection/ }),
	'its client is told');
$session->{run}->finish;

$fake->faults();
is($node->safe_psql('postgres',
		q{SELECT external_id FROM chatbase_create_contacts('c', '{"external_id": "last"}')}),
	'last', 'the server goes on');

$node->stop;
done_testing();
