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

use constant { FEW => 250, MANY => 4000 };

# The budget keeps requests back for a moment each, so all chatbots wait for it.  Each has
# a key of its own line.
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

ok(worker_runs($node), 'a worker runs');
my $few = push_to(FEW, 'few');
my $many = push_to(MANY, 'many');
note "$few ticks for " . FEW . " chatbots, $many for " . MANY;
# sixteen times as many; it would be a hundred times the work if each were looked at for each
cmp_ok($many, '<=', 2 * MANY / FEW * ($few + 10), 'the work grows with the chatbots, and no faster');
is($node->safe_psql('postgres', "SELECT count(*), sum(created) FROM contacts_push.progress WHERE state = 'idle'"),
	MANY . '|' . 2 * (FEW + MANY), 'progress has all of them');

# One insert beside so many that have nothing to do.
my $one = ticks();
for my $n (1 .. 50)
{
	insert_users($node, 'bot1', "one$n-", 1, 1);
	ok(settled($node), 'one is created') if $n == 50;
}
$one = ticks() - $one;
note "$one ticks for 50 inserts";
cmp_ok($one, '<=', 2 * $many, 'inserts beside many chatbots cost less than what these did');

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
$node->safe_psql('postgres', 'DELETE FROM contacts_push.chatbot');
insert_users($node, 'bot7', 'again', 1, 1);
ok($node->poll_query_until('postgres', "SELECT created = 1 FROM contacts_push.chatbot WHERE chatbot_id = 'bot7'"),
	'a chatbot whose row was deleted is counted again');

$node->stop;
done_testing();
