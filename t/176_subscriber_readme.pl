# The way from a database at a provider to the first contact, as README.md has it, to the letter:
# its statements are run in their order, each on the server that its first line names.
use strict;
use warnings;

use File::Basename qw(dirname);
use FindBin;
use lib "$FindBin::Bin/lib";

use ContactsPushTest;
use FakeChatbase;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $fake = FakeChatbase->start;

# lies beside the stand-in's sources
my $readme = slurp_file(dirname($ENV{FAKE_CHATBASE}) . '/../../README.md');
my ($section) = $readme =~ /^## PostgreSQL on RDS, Cloud SQL, Azure, Supabase$(.*?)^## /ms
  or die 'the README has no such section';
my @blocks = $section =~ /^```sql\n(.*?)^```$/msg;
is(scalar @blocks, 5, 'the statements are found');

my $provider = PostgreSQL::Test::Cluster->new('provider');
$provider->init(allows_streaming => 'logical', extra => [ '--encoding=UTF8', '--no-locale' ]);
$provider->start;
$provider->safe_psql('postgres', 'CREATE DATABASE app');
# row-level security is for the copy only
$provider->safe_psql('app', <<'END');
CREATE TABLE users (id bigint GENERATED ALWAYS AS IDENTITY (START 3) PRIMARY KEY, name text, email text, secret text);
INSERT INTO users OVERRIDING SYSTEM VALUE VALUES (1, 'Ada', 'ada@example.com', 'x'), (2, 'Hidden', 'hidden@example.com', 'y');
CREATE POLICY seen ON users USING (name <> 'Hidden');
ALTER TABLE users ENABLE ROW LEVEL SECURITY;
END
my $own = new_cluster('own', $fake, extension => 0, init => { allows_streaming => 'logical' });

# Runs a block where it says, and returns what it prints.
sub run_block
{
	my ($block) = @_;
	my ($place) = $block =~ /^-- (at the provider|on your own server)/ or die "where is this to be run?\n$block";
	my $address = 'host=' . $provider->host . ' port=' . $provider->port;

	$block =~ s/host=db\.example\.com port=5432/$address/;
	return $place eq 'at the provider' ? $provider->safe_psql('app', $block) : $own->safe_psql('postgres', $block);
}

run_block($_) for @blocks[ 0, 1 ];
ok(wait_until(sub { run_block($blocks[2]) eq 't' }), 'every table has been copied');
ok(settled($own), 'the users that were there are pushed');
is(join(' ', sort keys %{ $fake->held('ckl123abc456') }), '1', '... those that the policies show');
run_block($blocks[3]);
ok(wait_until(sub { run_block($blocks[4]) eq '3|created' }), 'a user who signs up is a contact');
is($own->safe_psql('postgres', q{SELECT attname FROM pg_attribute WHERE attrelid = 'users'::regclass AND attname = 'secret'}), '', 'other columns have not travelled');

# The same with BYPASSRLS, and with watch() after the copy.
$own->safe_psql('postgres', q{DROP SUBSCRIPTION contacts; TRUNCATE users; SELECT contacts_push.unwatch('users')});
$provider->safe_psql('app', 'ALTER ROLE contacts BYPASSRLS');
my ($subscribe) = $blocks[1] =~ /^(CREATE SUBSCRIPTION .*)/ms;
my ($watch) = $blocks[1] =~ /^(SELECT contacts_push\.watch.*)$/m;
run_block("-- on your own server\n$subscribe");
ok(wait_until(sub { run_block($blocks[2]) eq 't' }), 'every table has been copied again');
is($own->safe_psql('postgres', 'SELECT string_agg(id::text, \' \' ORDER BY id) FROM users'), '1 2 3', '... with what the policies hide from others');
run_block("-- on your own server\n$watch");
$provider->safe_psql('app', q{INSERT INTO users (name, email) VALUES ('Later', 'later@example.com')});
ok(wait_until(sub { exists $fake->held('ckl123abc456')->{4} }), 'who comes later is pushed');
ok(!exists $fake->held('ckl123abc456')->{2}, 'who was there is not');

# What the list of limits says of DDL: first here, then there, and in the other order.
my ($set_table) = $section =~ /`(ALTER PUBLICATION .*?)`/s;
$own->safe_psql('postgres', <<'END');
ALTER TABLE users ADD plan text;
SELECT contacts_push.unwatch('users');
SELECT contacts_push.watch('users', 'ckl123abc456', custom_attributes => $$jsonb_build_object('plan', plan)$$, replicated => true);
END
$provider->safe_psql('app', "ALTER TABLE users ADD plan text; $set_table; INSERT INTO users (name, email, plan) VALUES ('Paying', 'paying\@example.com', 'pro')");
ok(wait_until(sub { exists $fake->held('ckl123abc456')->{5} }), 'a column that is added here first travels');
is($own->safe_psql('postgres', 'SELECT plan FROM users WHERE id = 5'), 'pro', '... with its value');
my ($publish) = $blocks[0] =~ /^CREATE PUBLICATION contacts FOR (TABLE .*?);/m;
$provider->safe_psql('app', "ALTER PUBLICATION contacts SET $publish; ALTER TABLE users DROP plan; INSERT INTO users (name, email) VALUES ('Free', 'free\@example.com')");
ok(wait_until(sub { exists $fake->held('ckl123abc456')->{6} }), 'one that is dropped there first is missed by nobody');
$own->safe_psql('postgres', q{SELECT contacts_push.unwatch('users'); ALTER TABLE users DROP plan; SELECT contacts_push.watch('users', 'ckl123abc456', replicated => true)});

# What the section says of rows that are left out.
my ($identity) = $section =~ /`(ALTER TABLE users REPLICA IDENTITY FULL)`/;
my ($filter) = $section =~ /`(FOR TABLE users WHERE \(verified\))`/;
$provider->safe_psql('app', "ALTER TABLE users ADD verified boolean; ALTER TABLE users DROP secret; DROP PUBLICATION contacts; $identity; CREATE PUBLICATION contacts $filter");
$own->safe_psql('postgres', 'ALTER TABLE users ADD verified boolean');
$provider->safe_psql('app', q{INSERT INTO users (name, email, verified) VALUES ('No', 'no@example.com', false), ('Yes', 'yes@example.com', true)});
ok(wait_until(sub { exists $fake->held('ckl123abc456')->{8} }), 'with a WHERE the rows that it holds for travel');
ok(!exists $fake->held('ckl123abc456')->{7}, '... and no others');
$provider->safe_psql('app', 'UPDATE users SET verified = NOT verified WHERE id IN (7, 8)');
ok(wait_until(sub { exists $fake->held('ckl123abc456')->{7} }), 'one that comes into it is pushed');
ok($own->poll_query_until('postgres', q{SELECT count(*) = 2 AND NOT EXISTS (SELECT FROM users WHERE id = 8) FROM contacts_push.outbox WHERE external_id = '8'}),
	'... and one that leaves it is deleted here, and withdrawn');

# What it says of slots.
$own->stop;
$provider->safe_psql('app', 'UPDATE users SET name = name');
my ($slots) = $section =~ /`(SELECT slot_name, .*?)`/s;
like($provider->safe_psql('app', $slots), qr/^contacts\|[1-9]\d*$/, 'the provider keeps what the server has missed');
my ($drop) = $section =~ /`(SELECT\s+pg_drop_replication_slot.*?)`/s;
ok(wait_until(sub { ($provider->psql('app', $drop))[0] == 0 }), 'until the slot is dropped');
is($provider->safe_psql('app', $slots), '', '... which is gone then');

done_testing();
