# What a subscriber that has never heard of the extension sees of a publisher that has it: with a
# publication FOR ALL TABLES it stops, with one by table or by schema it sees nothing of it.
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
my $node = new_cluster('publisher', $fake, extension => 0, init => { allows_streaming => 'logical' });
my $subscriber = PostgreSQL::Test::Cluster->new('subscriber');
$subscriber->init(allows_streaming => 'logical', extra => [ '--encoding=UTF8', '--no-locale' ]);
$subscriber->append_conf('postgresql.conf', "wal_retrieve_retry_interval = 100ms\n");
$subscriber->start;
my $from = $node->connstr('postgres') =~ s/'/''/gr;

my $table = 'CREATE TABLE users (id integer PRIMARY KEY, name text)';
my $names = q{SELECT string_agg(name, ' ' ORDER BY id) FROM users};

$node->safe_psql('postgres', <<"END");
$table;
INSERT INTO users VALUES (1, 'before');
CREATE PUBLICATION everything FOR ALL TABLES;
CREATE PUBLICATION by_name FOR TABLE users;
CREATE PUBLICATION by_schema FOR TABLES IN SCHEMA public;
END
for my $name (qw(everything by_name by_schema))
{
	$subscriber->safe_psql('postgres', "CREATE DATABASE $name");
	$subscriber->safe_psql($name, "$table; CREATE SUBSCRIPTION $name CONNECTION '$from' PUBLICATION $name");
	$subscriber->wait_for_subscription_sync($node, $name, $name);
}

# The extension comes.
my $missing = qr/logical replication target relation "contacts_push_internal\.lineage" does not exist/;
my ($status, $stdout, $stderr) = $node->psql('postgres', 'CREATE EXTENSION contacts_push');
is($status, 0, 'CREATE EXTENSION succeeds');
like($stderr, qr/WARNING:  publication "everything" publishes the tables of contacts_push, too\nDETAIL:  It is FOR ALL TABLES\./, '... and warns');
unlike($stderr, qr/by_name|by_schema/, '... of that publication only');
ok(wait_until(sub { slurp_file($subscriber->logfile) =~ $missing }), 'apply of everything stops');
$node->safe_psql('postgres', q{SELECT contacts_push.watch('users', 'bot'); INSERT INTO users VALUES (2, 'after')});
ok(settled($node), 'contacts are pushed');
for my $name (qw(by_name by_schema))
{
	$node->wait_for_catchup($name);
	is($subscriber->safe_psql($name, $names), 'before after', "$name: the subscriber has what it has subscribed to");
}

# Another publication does not let apply pass what was written under the first.
$node->safe_psql('postgres', q{DROP PUBLICATION everything; CREATE PUBLICATION everything FOR TABLE users; INSERT INTO users VALUES (3, 'later')});
$node->wait_for_catchup($_) for qw(by_name by_schema);
my $log_from = -s $subscriber->logfile;
ok(wait_until(sub { slurp_file($subscriber->logfile, $log_from) =~ $missing }), 'apply of everything tries again, and stops');
is($subscriber->safe_psql('everything', $names), 'before', '... and brings nothing');

# What the README says is to be done then.
$subscriber->safe_psql('everything', 'DROP SUBSCRIPTION everything');
$subscriber->safe_psql('everything', 'TRUNCATE users');
$subscriber->safe_psql('everything', "CREATE SUBSCRIPTION everything CONNECTION '$from' PUBLICATION everything");
$subscriber->wait_for_subscription_sync($node, 'everything', 'everything');
$node->safe_psql('postgres', q{INSERT INTO users VALUES (4, 'again')});
ok(settled($node), 'contacts are pushed again');
$node->wait_for_catchup('everything');
is($subscriber->safe_psql('everything', $names), 'before after later again', 'a subscription that is begun anew has all');

# A subscriber that comes later is refused.
$node->safe_psql('postgres', 'CREATE PUBLICATION all_again FOR ALL TABLES; CREATE PUBLICATION ours FOR TABLES IN SCHEMA contacts_push');
for my $publication (qw(all_again ours))
{
	($status, $stdout, $stderr) = $subscriber->psql('postgres', "$table; CREATE SUBSCRIPTION late CONNECTION '$from' PUBLICATION $publication");
	like($stderr, qr/ERROR:  schema "contacts_push(_internal)?" does not exist/, "$publication: a subscriber that comes later is refused");
	$subscriber->safe_psql('postgres', 'DROP TABLE users');
}

$subscriber->safe_psql($_, "DROP SUBSCRIPTION $_") for qw(everything by_name by_schema);
done_testing();
