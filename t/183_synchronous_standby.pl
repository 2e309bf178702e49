# A synchronous standby that is promoted under load: what was sent is known there, whatever
# was under way, and what an application was told is committed is sent from there.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use ContactsPushTest;
use EngineTest qw(:DEFAULT requests_for);
use FakeChatbase;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# Enough for requests, answers and commits to be under way at once when the primary ends.
use constant REQUESTS => 40;

my $fake = FakeChatbase->start;
my $primary = new_cluster('primary', $fake,
	init => { allows_streaming => 1 },
	extra => "max_connections = 30\ncontacts_push.batch_size = 20\n");
$primary->backup('backup');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'backup', has_streaming => 1);
$standby->start;
set_conf($primary, synchronous_standby_names => '*');
ok($primary->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_stat_replication WHERE sync_state = 'sync'}),
	'the standby is synchronous');

# Applications that write one contact after the other, and remember what was committed; the
# last one of each may or may not be.
$fake->faults({ when => 'before', action => { delay_ms => 5 }, match => { chatbot => 'load' } });
my @writers = map {
	my $session = open_session($primary, 'postgres', on_error_stop => 0);
	$session->query_until(qr/^begun$/m, <<"END");
\\echo begun
PREPARE write AS INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact)
SELECT 'load', 'w$_-' || nextval('contacts_push.outbox_seq_seq'), '{"name": "A"}' RETURNING 'committed ' || external_id;
EXECUTE write
\\watch 0.001
END
	$session;
} 1 .. 4;
ok(wait_until(sub { requests_for($fake, 'load') >= REQUESTS }), 'contacts are pushed');
$primary->stop('immediate');
ok(wait_until(sub { $fake->in_flight == 0 }), 'the primary and its requests are gone');
my @committed = map { eval { $_->{run}->finish }; $_->{stdout} =~ /committed (w\S+)/g } @writers;
cmp_ok(scalar(@committed), '>', REQUESTS, 'applications were told of ' . @committed . ' commits');

$standby->promote;
ok($standby->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()'), 'the standby is promoted');
set_conf($standby, synchronous_standby_names => '');
ok(worker_runs($standby), 'and starts a worker');
ok(settled($standby), 'which settles');
my $n = count_rows($standby, "chatbot_id = 'load'");
is(each_one_fate($standby, $fake, 'load', $n), '', "each of $n contacts has one fate");
my $held = $fake->held('load');
is(join(' ', grep { !exists $held->{$_} } @committed), '', 'and nobody of those who were told is missing');

insert_users($standby, 'load', 'new', 1, 10);
ok(settled($standby), 'what comes afterwards');
is(count_rows($standby, "external_id LIKE 'new%' AND status = 'created'"), 10, 'is created');
$standby->stop;

done_testing();
