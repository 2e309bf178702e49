# A standby sends nothing; once it is promoted it goes on where the other
# server was, without a contact twice.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use ContactsPushTest;
use FakeChatbase;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $fake = FakeChatbase->start;
my $primary = new_cluster('primary', $fake,
	init => { allows_streaming => 1 },
	extra => "max_connections = 20\ncontacts_push.request_timeout = 1h\n");
$primary->backup('backup');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'backup', has_streaming => 1);
$standby->start;

insert_users($primary, 'c', 'settled', 1, 1500);
ok(settled($primary), 'the primary settles');

# the end of the primary: some under way, some applied, some not sent
$fake->faults(
	{ match => { chatbot => 'before' }, action => { hang => FakeChatbase::true } },
	{ match => { chatbot => 'after' }, when => 'after', action => { hang => FakeChatbase::true } });
insert_users($primary, 'before', 'u', 1, 100);
insert_users($primary, 'after', 'u', 1, 20);
ok(wait_until(sub { keys %{ $fake->held('after') } == 20 && $fake->in_flight == 2 }), 'requests are under way');
$primary->wait_for_catchup($standby);

my $workers = q{SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'contacts_push%'};
is($standby->safe_psql('postgres', $workers), '0', 'no process of ours on the standby');
my ($status, $stdout, $stderr) = $standby->psql('postgres',
	q{SELECT external_id FROM chatbase_create_contacts('call', '{"external_id": "by standby"}')});
is($stdout, 'by standby', 'a call works there');
is($standby->safe_psql('postgres', q{SELECT what, ok, hint FROM contacts_push.check('c') WHERE what ~ '^worker$|found$' ORDER BY what DESC}),
	"worker||It starts when the server is promoted. Until then, look at the primary.\nchatbot c: chatbot found|t|",
	'check() works there, too');
$primary->stop('immediate');
$fake->faults();
ok(wait_until(sub { $fake->in_flight == 0 }), 'the primary\'s requests are over');
is(outcomes($standby, 'before'), 'pending 100', 'the standby has them pending');
my $requests = $fake->stats->{requests};

$standby->promote;
ok($standby->poll_query_until('postgres', 'SELECT NOT pg_is_in_recovery()'), 'the standby is promoted');
ok(worker_runs($standby), 'and starts a worker');
ok(settled($standby), 'which settles');
cmp_ok($fake->stats->{requests}, '>', $requests, 'by sending');
is(outcomes($standby, 'c'), 'created 1500', 'what the primary had settled stays');
is(outcomes($standby, 'before'), 'created 100', 'what had not been applied is created');
is(outcomes($standby, 'after'), 'present 20', 'what had been is present');
is(held_matches($standby, $fake, $_), '', "as the stand-in holds it: $_") for qw(c before after);

insert_users($standby, 'c', 'new', 1, 10);
ok(settled($standby), 'what comes afterwards');
is(outcomes($standby, 'c'), 'created 1510', 'is created');
$standby->stop;

done_testing();
