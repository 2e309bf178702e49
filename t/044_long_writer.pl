# Beside transactions that stay open the worker does as much for each of the others after
# thousands of them as it did in the beginning, and hardly more where hundreds are open than
# where none is; and finds what they commit in the end.
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
use constant { A_PART => 1000, PARTS => 3 };

# Those that are open meanwhile: sessions that go on writing, and prepared ones.  Whoever
# asks each of them for each of the numbers passed does so 16 times and more for each commit.
use constant { OPEN => 20, PREPARED => 200 };

my $fake = FakeChatbase->start;
my $node = new_cluster('writer', $fake, extra => "fsync = off\nmax_prepared_transactions = @{[PREPARED]}\n");

# The worker's CPU time so far, in ticks: what others do on the machine does not count.
sub ticks
{
	my @fields = split / /, slurp_file('/proc/' . worker_pid($node) . '/stat') =~ s/.*\) //r;
	return $fields[11] + $fields[12];
}

$node->safe_psql('postgres', <<'SQL');
CREATE PROCEDURE write_beside(part text, n integer) LANGUAGE plpgsql AS $$
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

# Returns the ticks that a part costs.
sub write_part
{
	my ($part) = @_;
	my $before = ticks();
	$node->safe_psql('postgres', "CALL write_beside('$part', @{[A_PART]})");
	ok(wait_until(sub { count_rows($node, "external_id LIKE '$part-%' AND status = 'created'") == A_PART }),
		"part $part is created");
	return ticks() - $before;
}

my $alone = write_part('alone');

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
$node->safe_psql('postgres', join '', map { <<"END" } 1 .. PREPARED);
BEGIN;
INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact) VALUES ('bot', 'prepared$_', '{}');
PREPARE TRANSACTION 'p$_';
END
my @costs;
for my $part (1 .. PARTS)
{
	push @costs, write_part($part);
	write_open("open$part-");
}
note "ticks: $alone alone, @costs beside others";
cmp_ok($costs[0], '<=', 2 * $alone + 20, 'a part beside those that are open costs little more than one beside none');
cmp_ok($costs[-1], '<=', 2 * $costs[0] + 10, 'the last part has cost no more than the first');
$_->query_safe('COMMIT') for @writers;
$_->quit for @writers;
$node->safe_psql('postgres', join '', map { "COMMIT PREPARED 'p$_';" } 1 .. PREPARED);
ok(settled($node), 'what they have written is found when they end');
is(outcomes($node, 'bot'), 'created ' . (A_PART * (PARTS + 1) + OPEN * (PARTS + 1) + PREPARED), 'all of it');
is(held_matches($node, $fake, 'bot'), '', 'as the stand-in holds it');

$node->stop;
done_testing();
