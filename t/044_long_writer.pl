# Beside a transaction that stays open the worker does as much for each of the others after
# thousands of them as it did in the beginning; and finds what it commits in the end.
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
use constant { A_PART => 3000, PARTS => 3 };

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

my $writer = $node->background_psql('postgres');
$writer->query_safe(q{BEGIN; INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact) VALUES ('bot', 'begin', '{}')});
my @costs;
for my $part (1 .. PARTS)
{
	my $before = ticks();
	$node->safe_psql('postgres', "CALL write_beside($part, @{[A_PART]})");
	ok(wait_until(sub { count_rows($node, "external_id LIKE '$part-%' AND status = 'created'") == A_PART }),
		"part $part is created beside a transaction that is open");
	push @costs, ticks() - $before;
	$writer->query_safe("INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact) VALUES ('bot', 'open$part', '{}')");
}
note "ticks: @costs";
cmp_ok($costs[-1], '<=', 2 * $costs[0] + 10, 'the last part has cost no more than the first');
$writer->query_safe('COMMIT');
$writer->quit;
ok(settled($node), 'what it has written is found when it ends');
is(outcomes($node, 'bot'), 'created ' . (A_PART * PARTS + PARTS + 1), 'all of it');
is(held_matches($node, $fake, 'bot'), '', 'as the stand-in holds it');

$node->stop;
done_testing();
