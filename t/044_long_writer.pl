# Beside transactions that stay open the worker does as much for each of the others after
# thousands of them as it did in the beginning; and finds what they commit in the end.
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

# Transactions of others, each of which leaves a number that never comes, in parts.
use constant { A_PART => 1000, PARTS => 3, OPEN => 20 };

my $fake = FakeChatbase->start;
my $node = new_cluster('writer', $fake, extra => "fsync = off\n");

# The worker's CPU time so far, in ticks: what others do on the machine does not count.
sub ticks
{
	my @fields = split / /, slurp_file('/proc/' . worker_pid($node) . '/stat') =~ s/.*\) //r;
	return $fields[11] + $fields[12];
}

$node->safe_psql('postgres', <<'SQL');
CREATE PROCEDURE write_beside(part integer, n integer) LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1 .. n LOOP
		PERFORM nextval('contacts_push.outbox_seq_seq');
		INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact)
		VALUES ('bot', format('%s-%s', part, i), '{}');
		COMMIT;
		-- so that the worker comes to each
		PERFORM pg_sleep(0.001);
	END LOOP;
END
$$;
SQL
ok(worker_runs($node), 'a worker runs');

my @writers = map { $node->background_psql('postgres') } 1 .. OPEN;
sub write_open
{
	my ($name) = @_;
	$writers[$_]->query_safe('INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact)'
		  . " VALUES ('bot', '$name$_', '{}')") for 0 .. $#writers;
	return;
}
$_->query_safe('BEGIN') for @writers;
write_open('begin');
my @costs;
for my $part (1 .. PARTS)
{
	my $before = ticks();
	$node->safe_psql('postgres', "CALL write_beside($part, @{[A_PART]})");
	ok(wait_until(sub { count_rows($node, "external_id LIKE '$part-%' AND status = 'created'") == A_PART }),
		"part $part is created beside transactions that are open");
	push @costs, ticks() - $before;
	write_open("open$part-");
}
note "ticks: @costs";
cmp_ok($costs[-1], '<=', 2 * $costs[0] + 10, 'the last part has cost no more than the first');
$_->query_safe('COMMIT') for @writers;
$_->quit for @writers;
ok(settled($node), 'what they have written is found when they end');
is(outcomes($node, 'bot'), 'created ' . (A_PART * PARTS + OPEN * (PARTS + 1)), 'all of it');
is(held_matches($node, $fake, 'bot'), '', 'as the stand-in holds it');

$node->stop;
done_testing();
