# Outcomes as others see them: in what is decoded from the WAL, after a crash, and on a
# standby.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use ContactsPushTest;
use EngineTest qw(:DEFAULT chatbot_settled worker_passes);
use FakeChatbase;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $fake = FakeChatbase->start;
my $node = new_cluster('elsewhere', $fake, init => { allows_streaming => 1 },
	extra => "autovacuum = off\nwal_level = logical\n");

sub rows
{
	my ($of, $chatbot) = @_;
	return $of->safe_psql('postgres', "SELECT * FROM contacts_push.outbox WHERE chatbot_id = '$chatbot' ORDER BY seq");
}

# How many changes of rows have been decoded that match.
sub decoded
{
	my ($pattern) = @_;
	return $node->safe_psql('postgres', <<"END");
SELECT count(*) FROM pg_logical_slot_peek_changes('slot', NULL, NULL)
WHERE data ~ '^table contacts_push.outbox: UPDATE:' AND data ~ '$pattern'
END
}

sub decoding
{
	my ($status) = $node->psql('postgres', q{SELECT pg_create_logical_replication_slot('slot', 'test_decoding')});
	plan skip_all => 'needs test_decoding, which belongs to PostgreSQL' if $status != 0;
	insert_users($node, 'decoded', 'u', 1, 200);
	ok(chatbot_settled($node, 'decoded'), 'all are settled');
	is(decoded(q{ status\[contacts_push.status\]:''created'' .* contact_id\[text\]:''[^'']}), 200,
		'each change is decoded, with the id');
	is(decoded('old-key:'), 0, 'without the old row, whose key is the same');
	$node->safe_psql('postgres', 'ALTER TABLE contacts_push.outbox REPLICA IDENTITY FULL');
	insert_users($node, 'with old', 'u', 1, 200);
	ok(chatbot_settled($node, 'with old'), 'all are settled');
	is(decoded(q{old-key: .* status\[contacts_push.status\]:''pending'' .* new-tuple: .* status\[contacts_push.status\]:''created''}),
		200, 'with the old row where that is its identity');
	$node->safe_psql('postgres', q{SELECT pg_drop_replication_slot('slot');
		ALTER TABLE contacts_push.outbox REPLICA IDENTITY DEFAULT});
	return;
}

# They are replayed, by a standby and after a crash.
sub replayed
{
	$node->backup('backup');
	my $standby = PostgreSQL::Test::Cluster->new('standby');
	$standby->init_from_backup($node, 'backup', has_streaming => 1);
	$standby->start;
	insert_users($node, 'replayed', 'u', 1, 500);
	ok(chatbot_settled($node, 'replayed'), 'replayed: all are settled');
	my $rows = rows($node, 'replayed');
	$node->wait_for_catchup($standby);
	is(rows($standby, 'replayed'), $rows, 'replayed: the standby has the same');
	$standby->stop;
	$node->stop('immediate');
	$node->start;
	is(rows($node, 'replayed'), $rows, 'replayed: and so has the server after a crash');
	is(held_matches($node, $fake, 'replayed'), '', 'replayed: what is held agrees');
	return;
}

ok(worker_passes($node), 'a worker runs');
subtest decoding => \&decoding;
replayed();

$node->stop;
done_testing();
