# Rows that are passed over, because their chatbots have enough to do, are read a few times
# and not again and again, whichever stand behind each other; and those of a chatbot that has
# room are not kept back by them.
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

# Index entries that may be read for a row, on its way in and out: it needs four.  Whoever
# begins with what was taken up before, or goes on through what finds no room, reads several
# times as many.
use constant MOST_READ => 6;

# Two batches are taken up in advance, so that nearly all rows are passed over.
my $fake = FakeChatbase->start;
my $node = new_cluster('passing_over', $fake, extra => <<'END');
autovacuum = off
contacts_push.batch_size = 10
contacts_push.max_concurrent_requests = 1
END

sub sql
{
	return $node->safe_psql('postgres', $_[0]);
}

# Has the rows appended that a query yields as (chatbot_id, external_id), and pushed.
sub costs_little
{
	my ($name, $query) = @_;
	sql('SELECT pg_stat_reset()');
	my $rows = sql("WITH added AS (INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact)"
		  . " SELECT chatbot_id, external_id, '{}' FROM ($query) AS q RETURNING seq) SELECT count(*) FROM added");
	ok(settled($node), "$name: all is settled");
	# It reports what it has counted a second later at the earliest, when it is awake.
	ok(wait_until(sub {
		sql('SELECT contacts_push_internal.wake()');
		sql(q{SELECT n_tup_upd FROM pg_stat_user_tables WHERE relid = 'contacts_push.outbox'::regclass}) >= $rows;
	}), "$name: the worker has reported what it did");
	my $read = sql(q{SELECT sum(idx_tup_read) FROM pg_stat_user_indexes WHERE relid = 'contacts_push.outbox'::regclass});
	note "$name: $read index entries for $rows rows";
	cmp_ok($read, '<=', MOST_READ * $rows, "$name: each row is read a few times");
	return;
}

ok(worker_runs($node), 'a worker runs');
costs_little('one', q{SELECT 'one' AS chatbot_id, 'u' || n AS external_id FROM generate_series(1, 3000) n});
costs_little('one behind the other',
	q{SELECT 'behind' || b AS chatbot_id, 'u' || n AS external_id FROM generate_series(1, 5) b, generate_series(1, 600) n});
costs_little('in turns',
	q{SELECT 'turns' || b AS chatbot_id, 'u' || n AS external_id FROM generate_series(1, 600) n, generate_series(1, 5) b});
costs_little('many behind a large one', q{SELECT 'large' AS chatbot_id, 'u' || n AS external_id FROM generate_series(1, 2000) n
	UNION ALL SELECT 'small' || b, 'u' || n FROM generate_series(1, 10) n, generate_series(1, 100) b});
is(count_rows($node, "status = 'created'"), 12000, 'each is created');

# The last of them have gone before the large one was half done.
my @order = map { $_->{chatbot} } sort { $a->{number} <=> $b->{number} }
  grep { $_->{chatbot} =~ /^(?:large|small)/ } whole_log($fake);
my ($last_small) = grep { $order[$_] =~ /^small/ } reverse 0 .. $#order;
my $large_before = grep { $_ eq 'large' } @order[ 0 .. $last_small ];
cmp_ok($large_before, '<', 100, 'small ones do not wait for the large one before them');

$node->stop;
done_testing();
