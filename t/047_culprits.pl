# A row that ends the worker whenever it is touched: after the second time rows are taken
# one by one, and that one is set aside with the error.
#
# Takes long: a worker that fails is started again after a back-off.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use ContactsPushTest;
use EngineTest;
use FakeChatbase;
use JSON::PP ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $true = JSON::PP::true;
my $fake = FakeChatbase->start;
my $node = new_cluster('culprits', $fake);

sub chatbot_settled
{
	my ($chatbot, $but) = @_;
	$but //= '';
	return $node->poll_query_until('postgres',
		"SELECT count(*) = 0 FROM contacts_push.outbox WHERE chatbot_id = '$chatbot' AND status = 'pending' AND external_id <> '$but'");
}

# What comes afterwards is settled by the worker that runs.
sub goes_on
{
	my ($what) = @_;
	my $pid = worker_pid($node);
	insert_users($node, "$what later", 'u', 1, 3);
	ok(chatbot_settled("$what later"), "$what: what comes later is settled");
	is(worker_pid($node), $pid, "$what: by the worker that has set it aside");
	return;
}

sub error_of
{
	my ($chatbot, $external_id) = @_;
	return $node->safe_psql('postgres',
		"SELECT error FROM contacts_push.outbox WHERE chatbot_id = '$chatbot' AND external_id = '$external_id'");
}

# A contact whose value is damaged on disk.
sub damaged
{
	my ($status) = $node->psql('postgres', 'CREATE EXTENSION pg_surgery');
	plan skip_all => 'needs pg_surgery, which belongs to PostgreSQL' if $status != 0;
	insert_users($node, 'damaged', 'first', 1, 1);
	ok(chatbot_settled('damaged'), 'a chatbot is known');
	$node->safe_psql('postgres', <<'END');
SELECT contacts_push.pause('damaged');
INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact)
SELECT 'damaged', 'torn', jsonb_build_object('name', string_agg(md5(i::text), '')) FROM generate_series(1, 500) i;
END
	insert_users($node, 'damaged', 'u', 1, 50);
	$node->safe_psql('postgres', <<'END');
DO $$
DECLARE
	toast regclass := (SELECT reltoastrelid FROM pg_class WHERE oid = 'contacts_push.outbox'::regclass);
	tids tid[];
BEGIN
	EXECUTE format('SELECT array_agg(ctid) FROM %s', toast) INTO tids;
	PERFORM heap_force_kill(toast, tids);
END$$;
SELECT contacts_push.resume('damaged')
END
	ok(chatbot_settled('damaged'), 'all are settled');
	is(outcomes($node, 'damaged'), 'created 51, rejected 1', 'as created but for one');
	like(error_of('damaged', 'torn'), qr/^it could not be read: missing chunk number 0 for toast value/, 'which says why');
	goes_on('damaged');
	return;
}

# How many of a chatbot's rows are settled as at Chatbase, rejected and pending.
sub numbers
{
	my ($chatbot) = @_;
	return $node->safe_psql('postgres', <<"END");
SELECT count(*) FILTER (WHERE status IN ('created', 'present')), count(*) FILTER (WHERE status = 'rejected'),
	count(*) FILTER (WHERE status = 'pending')
FROM contacts_push.outbox WHERE chatbot_id = '$chatbot'
END
}

# Rows that a constraint of somebody's keeps from being settled: one that may be rejected,
# and one that may not even be that.  A worker that ends has lost the answers that it
# could not write, so who is created may come out as present.
sub constrained
{
	$node->safe_psql('postgres', <<'END');
ALTER TABLE contacts_push.outbox ADD CONSTRAINT somebodys CHECK (
	chatbot_id <> 'constrained'
	OR NOT (external_id = 'u7' AND status IN ('created', 'present'))
	AND NOT (external_id = 'u8' AND status <> 'pending'))
END
	insert_users($node, 'constrained', 'u', 1, 10);
	ok(chatbot_settled('constrained', 'u8'), 'constrained: all but one are settled');
	is(numbers('constrained'), '8|1|1', 'constrained: two are not as they should be');
	like(error_of('constrained', 'u7'), qr/^it could not be settled: .*"somebodys"/, 'constrained: one is rejected and says why');
	is($node->safe_psql('postgres', q{SELECT unconfirmed FROM contacts_push.outbox WHERE chatbot_id = 'constrained' AND status = 'rejected'}),
		't', 'constrained: and that Chatbase may have it');
	ok( $node->poll_query_until('postgres', q{SELECT state = 'idle' FROM pg_stat_activity WHERE backend_type = 'contacts_push worker'}),
		'constrained: a worker runs');
	ok(wait_until(sub { slurp_file($node->logfile) =~ /row \d+ of contacts_push.outbox cannot be settled: .*"somebodys"/ }),
		'constrained: the other one is left alone, and the log says so');
	goes_on('constrained');
	$node->safe_psql('postgres', 'ALTER TABLE contacts_push.outbox DROP CONSTRAINT somebodys');
	ok(chatbot_settled('constrained'), 'constrained: without the constraint it is settled');
	is($node->safe_psql('postgres', q{SELECT contacts_push.retry('constrained')}), 1, 'constrained: the other is tried again');
	ok(chatbot_settled('constrained'), 'constrained: and settled');
	is(numbers('constrained'), '10|0|0', 'constrained: all are at Chatbase');
	is(status_of($node, 'constrained', 'u7'), 'present', 'constrained: who was rejected is present');
	is(held_matches($node, $fake, 'constrained'), '', 'constrained: as the stand-in holds it');
	is( $node->safe_psql('postgres', q{SELECT created + present, rejected FROM contacts_push.progress WHERE chatbot_id = 'constrained'}),
		'10|0', 'constrained: and as it is counted');
	return;
}

# Ids of contacts are kept as they are; one that cannot be kept is as none.
sub ids
{
	$fake->faults({ times => 1, action => { status => 200,
		body => '{"data": [{"id": "a\u0001b\tc", "external_id": "u1"}, {"id": "' . 'x' x 1025 . '", "external_id": "u2"},'
		  . ' {"id": "", "external_id": "u3"}, {"id": "' . 'y' x 1024 . '", "external_id": "u4"}]}' } });
	insert_users($node, 'ids', 'u', 1, 4);
	ok(chatbot_settled('ids'), 'ids: all are settled');
	is($node->safe_psql('postgres', q{SELECT contact_id = E'a\x01b\tc' FROM contacts_push.outbox WHERE chatbot_id = 'ids' AND external_id = 'u1'}),
		't', 'ids: an odd one is kept as it is');
	is($node->safe_psql('postgres', q{SELECT contact_id = repeat('y', 1024) FROM contacts_push.outbox WHERE chatbot_id = 'ids' AND external_id = 'u4'}),
		't', 'ids: a long one, too');
	my $held = $fake->held('ids');
	is($node->safe_psql('postgres', qq{SELECT contact_id FROM contacts_push.outbox WHERE chatbot_id = 'ids' AND external_id = '$_'}),
		$held->{$_}, "ids: $_, whose id could not be kept, was asked for again") for qw(u2 u3);
	return;
}

subtest 'damaged' => \&damaged;
constrained();
ids();

$node->stop;
done_testing();
