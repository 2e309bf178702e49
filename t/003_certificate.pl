# Who the other end is, is verified before anything is sent; and the one call
# needs nothing of what the worker needs.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use ContactsPushTest;
use FakeChatbase;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $call = q{SELECT external_id FROM chatbase_create_contacts('c', '{"external_id": "%s"}')};

# The call in a cluster: SQLSTATE and message, or the external_id.
sub result_of
{
	my ($node, $external_id, @settings) = @_;
	my ($status, $stdout, $stderr) = $node->psql('postgres',
		join('', "\\set VERBOSITY verbose\n", map({ "SET contacts_push.$_;\n" } @settings),
			sprintf($call, $external_id)),
		on_error_stop => 0);
	return $stderr =~ /^psql:<stdin>:\d+: ERROR:  (\w{5}: .*)$/m ? $1 : $stdout;
}

my $directory = PostgreSQL::Test::Utils::tempdir();
FakeChatbase::make_certificate($directory);
my $fake = FakeChatbase->start('--tls-cert', "$directory/server.pem", '--tls-key', "$directory/server.key");
like($fake->base_url, qr{^https://}, 'the stand-in speaks TLS');
my $node = new_cluster('certificate', $fake);

like(result_of($node, 'a'), qr/^58030: /, 'an authority that the system doesn\'t know: refused');
insert_users($node, 'c', 'w', 1, 10);
ok( $node->poll_query_until('postgres',
		q{SELECT count(*) > 0 FROM contacts_push.request WHERE outcome = 'network'}),
	'by the worker, too');
is( $node->safe_psql('postgres',
		q{SELECT count(*) FROM contacts_push.outbox WHERE status = 'pending' AND NOT unconfirmed}),
	'10', 'which knows that nothing was sent');
like(result_of($node, 'a', "ca_file = '$directory/server.key'"), qr/^58030: /, 'a file without a certificate: refused');
like(result_of($node, 'a', "ca_file = '$directory/missing.pem'"), qr/^58030: /, 'a file that isn\'t there: refused');

is($fake->stats->{requests}, 0, 'nothing has arrived there');

my $ca_file = "ca_file = '$directory/ca.pem'";
is(result_of($node, 'a', $ca_file), 'a', 'with the authority\'s certificate: done');
set_conf($node, 'contacts_push.ca_file' => "$directory/ca.pem");
ok(settled($node), 'the worker goes on after a reload');
is(outcomes($node, 'c'), 'created 10', 'and creates');
my $stats = $fake->stats;
is_deeply($stats->{by_status}, { 200 => $stats->{requests}, dropped => 0 }, 'nothing that was sent had failed');
is($stats->{contacts}, 11, 'and everything arrived once');

(my $localhost = $fake->base_url) =~ s/127\.0\.0\.1/localhost/;
is(result_of($node, 'b', $ca_file, "base_url = '$localhost'"), 'b', 'another that is: done');
like(result_of($node, 'c', 'base_url = \'http://example.com\''),
	qr/^22023: invalid value for parameter/, 'http to another machine: refused as a setting');
$fake->stop;

# An authority that is trusted, but the certificate is another server's.
my $other_directory = PostgreSQL::Test::Utils::tempdir();
FakeChatbase::make_certificate($other_directory, 'DNS:other.example');
my $other = FakeChatbase->start('--tls-cert', "$other_directory/server.pem", '--tls-key', "$other_directory/server.key");
my @to_other = ("ca_file = '$other_directory/ca.pem'", "base_url = '@{[$other->base_url]}'");
like(result_of($node, 'e', @to_other), qr/^58030: /, 'a certificate for another name: refused');
is($other->stats->{requests}, 0, 'nothing has arrived there');
$other->stop;
$node->stop;

# without shared_preload_libraries
my $plain = FakeChatbase->start;
my $file = PostgreSQL::Test::Utils::tempdir() . '/key';
append_to_file($file, KEY . "\n");
chmod 0600, $file;
$node = new_cluster('not_preloaded', $plain,
	preload => 0, extension => 0, extra => "contacts_push.api_key_file = '$file'\n");
my ($status, $stdout, $stderr) = $node->psql('postgres', 'CREATE EXTENSION contacts_push');
is($status, 0, 'without preloading: CREATE EXTENSION succeeds');
like($stderr, qr/WARNING:  contacts_push is not preloaded/, 'with a warning');
like($stderr, qr/HINT:  .*shared_preload_libraries/, 'and a hint');
is(result_of($node, 'd'), 'd', 'the call works');
insert_users($node, 'c', 'p', 1, 10);
is($node->safe_psql('postgres', q{SELECT contacts_push.flush('1 ms')}), 'f', 'nobody settles the outbox');
is(outcomes($node, 'c'), 'pending 10', 'which fills');

$node->append_conf('postgresql.conf', q{shared_preload_libraries = 'contacts_push'});
$node->restart;
ok(settled($node), 'with preloading, after a restart, it is settled');
is(outcomes($node, 'c'), 'created 10', 'as created');
is(held_matches($node, $plain, 'c', known => ['d']), '', 'as the stand-in holds it');
$node->stop;

done_testing();
