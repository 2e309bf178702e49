# What the worker does for a chatbot costs the same whether there are few or many.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use ContactsPushTest;
use FakeChatbase;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use constant { FEW => 200, MANY => 2000 };

# The budget keeps each request back for a moment, in which all other chatbots wait for it.
# Each has a line of its own in the key file.
my $fake = FakeChatbase->start;
my $node = new_cluster('many', $fake, extra => "contacts_push.requests_per_second = 1000\n");
my $key_file = $node->basedir . '/keys';
append_to_file($key_file, join('', map { "bot$_:" . KEY . "\n" } 1 .. MANY) . '*:' . KEY . "\n");
chmod 0600, $key_file;
set_conf($node, 'contacts_push.api_key_file' => $key_file);

# The worker's CPU time so far, in ticks: what others do on the machine does not count.
sub ticks
{
	my @fields = split / /, slurp_file('/proc/' . worker_pid($node) . '/stat') =~ s/.*\) //r;
	return $fields[11] + $fields[12];
}

# Two contacts each for so many chatbots; returns the ticks that this costs.
sub push_to
{
	my ($chatbots, $name) = @_;
	my $before = ticks();
	$node->safe_psql('postgres', <<"END");
INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact)
SELECT 'bot' || b, '$name' || n, '{}' FROM generate_series(1, 2) n, generate_series(1, $chatbots) b
END
	ok(settled($node), "$name: all are created");
	return ticks() - $before;
}

# One contact after the other; returns the ticks that this costs.
sub insert_one_by_one
{
	my ($name) = @_;
	my $before = ticks();
	for my $n (1 .. 100)
	{
		insert_users($node, 'bot1', "$name-$n-", 1, 1);
		wait_until(sub { $node->safe_psql('postgres',
			"SELECT status FROM contacts_push.outbox WHERE external_id = '$name-$n-1'") eq 'created' });
	}
	ok(settled($node), "$name: all are created");
	return ticks() - $before;
}

ok(worker_runs($node), 'a worker runs');
my $alone = insert_one_by_one('alone');
my $few = push_to(FEW, 'few');
my $many = push_to(MANY, 'many');
note "$few ticks for " . FEW . " chatbots, $many for " . MANY;
# ten times as many
cmp_ok($many, '<=', 2 * MANY / FEW * ($few + 10), 'the work grows with the chatbots, and no faster');
is($node->safe_psql('postgres', "SELECT count(*), sum(created) FROM contacts_push.progress WHERE state = 'idle'"),
	MANY . '|' . (2 * (FEW + MANY) + 100), 'progress has all of them');

# An insert beside so many that have nothing to do costs as much as one beside none.
my $beside = insert_one_by_one('beside');
note "$alone ticks for inserts beside no other chatbot, $beside beside " . MANY;
cmp_ok($beside, '<=', 2 * $alone + 15, 'inserts beside many chatbots cost little more than beside none');

# Those that are passed over come again: all of them at once.
$node->safe_psql('postgres', 'SELECT contacts_push.pause()');
$node->safe_psql('postgres', <<"END");
INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact)
SELECT 'bot' || b, 'paused' || n, '{}' FROM generate_series(1, 5) n, generate_series(1, @{[MANY]}) b
END
is($node->safe_psql('postgres', 'SELECT contacts_push.flush()'), 'f', 'all are paused');
my $resumed = ticks();
$node->safe_psql('postgres', 'SELECT contacts_push.resume()');
ok(settled($node), 'resumed: all are created');
$resumed = ticks() - $resumed;
note "$resumed ticks for those that were passed over";
cmp_ok($resumed, '<=', 5 * ($many + 10), 'rows that were passed over cost no more than others');

# Rows of the worker's own that are deleted come again.
# What is counted and not yet in the rows that go would come into the new ones.
$node->safe_psql('postgres', 'DELETE FROM contacts_push.chatbot; DELETE FROM contacts_push_internal.tally');
insert_users($node, 'bot7', 'again', 1, 1);
ok($node->poll_query_until('postgres', "SELECT created = 1 FROM contacts_push.progress WHERE chatbot_id = 'bot7'"),
	'a chatbot whose row was deleted is counted again');
ok($node->poll_query_until('postgres', "SELECT created = 1 FROM contacts_push.chatbot WHERE chatbot_id = 'bot7'"),
	'in a row of its own');

$node->stop;
done_testing();
