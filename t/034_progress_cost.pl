# contacts_push.progress reads the pending rows and none of the settled ones: the pages it
# touches are counted, which is the same on every machine.  How long it takes with ten
# million settled rows is measured by bench/run progress.
#
# Takes long: it waits until the worker has written down where rows are.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use ContactsPushTest;
use FakeChatbase;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use constant SETTLED => 50_000;
use constant PENDING => 3_000;

my $fake = FakeChatbase->start;
my $node = new_cluster('cost', $fake);

sub enqueue
{
	my ($prefix, $n) = @_;
	$node->safe_psql('postgres', <<"END");
INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact)
SELECT 'bot', '$prefix' || n, jsonb_build_object('name', 'User ' || n) FROM generate_series(1, $n) n
END
	return;
}

# Pages that progress touches, and those of the whole outbox.  Of the first call in a
# session many are the catalog's; the second one counts.
sub pages
{
	my $query = 'EXPLAIN (ANALYZE, BUFFERS, COSTS OFF, TIMING OFF, SUMMARY OFF) SELECT * FROM contacts_push.progress';
	my $plans = $node->safe_psql('postgres', "$query;\n\\echo second\n$query;");
	my ($touched) = $plans =~ /second\n.*?\n *Buffers: shared ([^\n]*)/s;
	my $pages = 0;
	$pages += $_ for $touched =~ /(?:hit|read)=(\d+)/g;
	return $pages;
}

# The worker writes down where pending rows are once a second: waits until progress touches
# fewer pages than that; returns how many it does.
sub pages_below
{
	my ($limit, $name) = @_;
	my $pages;
	ok(wait_until(sub { ($pages = pages()) < $limit }), $name) or diag("$pages pages");
	return $pages;
}

my $outbox_pages = sub {
	return $node->safe_psql('postgres',
		"SELECT pg_relation_size('contacts_push.outbox') / current_setting('block_size')::int");
};

enqueue('old', SETTLED);
ok(settled($node), 'the old ones are settled');
my $settled_pages = $outbox_pages->();
pages_below($settled_pages / 10, 'nothing is pending: it reads next to nothing of the outbox');

# While a chatbot is paused the worker takes up nothing new.
$node->safe_psql('postgres', "SELECT contacts_push.pause('bot')");
enqueue('new', PENDING);
is($node->safe_psql('postgres', 'SELECT pending, created FROM contacts_push.progress'),
	PENDING . '|' . SETTLED, 'the numbers are right');
my $pending_pages = $outbox_pages->() - $settled_pages;
cmp_ok($pending_pages, '>', 0, 'the pending rows have pages of their own');
my $paused = pages_below($settled_pages / 2, 'paused: it does not read the settled rows');
cmp_ok($paused, '>=', $pending_pages, 'it reads the pending rows');

# The same after a restart, when the worker has to find out where they are.
$node->restart;
ok(worker_runs($node), 'a worker runs');
$node->safe_psql('postgres', "SELECT contacts_push.flush('3 minutes')");
is($node->safe_psql('postgres', 'SELECT pending, created FROM contacts_push.progress'),
	PENDING . '|' . SETTLED, 'the numbers are right after a restart');
pages_below($settled_pages / 2, 'after a restart: it does not read the settled rows');

# And while they are under way and in doubt, whatever comes of it.
$fake->always(status => 503);
$node->safe_psql('postgres', "SELECT contacts_push.resume('bot')");
ok(wait_until(sub {
	$node->safe_psql('postgres', 'SELECT count(*) FROM contacts_push.outbox WHERE unconfirmed') > 0;
}), 'some are in doubt');
is($node->safe_psql('postgres', 'SELECT pending, created FROM contacts_push.progress'),
	PENDING . '|' . SETTLED, 'the numbers are right in an outage');
pages_below($settled_pages / 2, 'in an outage: it does not read the settled rows');
$fake->faults;
ok(settled($node), 'all is settled');
is($node->safe_psql('postgres', 'SELECT pending, created FROM contacts_push.progress'),
	'0|' . (SETTLED + PENDING), 'the numbers are right in the end');

$node->stop;
done_testing();
