# Two environments: each chatbot's requests have its own key, and a production dump that is
# restored on staging doesn't send to production's chatbot.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use ContactsPushTest;
use EngineTest qw(chatbot_settled requests_for whole_log);
use FakeChatbase;
use File::Basename qw(dirname);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my ($production, $staging) = qw(ckl123abc456 ckl789xyz012);
my @keys = qw(key-Qx7-of-production key-Qx8-of-staging);
my ($production_line, $staging_line) = ("$production:$keys[0]", "$staging:$keys[1]");
my $fake = FakeChatbase->start(map { ('--key', $_) } @keys);
my $dir = PostgreSQL::Test::Utils::tempdir;
my ($adapt) = slurp_file(dirname($ENV{FAKE_CHATBASE}) . '/../../README.md') =~ /^psql -d copy <<'END'\n(.*?)^END$/ms;

# Writes the lines of a server's key file.
sub write_keys
{
	my ($name, @lines) = @_;
	unlink "$dir/$name";
	append_to_file("$dir/$name", join '', map { "$_\n" } @lines);
	chmod 0600, "$dir/$name" or die;
	return;
}

# A server with a key file, and no key beside it.
sub server
{
	my ($name, %options) = @_;
	return new_cluster($name, $fake, %options,
		extra => "contacts_push.api_key = ''\ncontacts_push.api_key_file = '$dir/$name'\n");
}

# The keys that a chatbot's requests came with, as the numbers that the stand-in's log has.
sub keys_of
{
	my ($chatbot) = @_;
	my %keys = map { ($_->{key} => 1) } grep { $_->{chatbot} eq $chatbot } whole_log($fake);
	return join ' ', sort keys %keys;
}

# Waits until what progress says of a chatbot is this.
sub state_becomes
{
	my ($node, $database, $chatbot, $state) = @_;
	my $query = "SELECT state FROM contacts_push.progress WHERE chatbot_id = '$chatbot'";
	wait_until(sub { $node->safe_psql($database, $query) eq $state });
	is($node->safe_psql($database, $query), $state, "$database: $state");
	return;
}

# Waits until a contact of staging's chatbot that is enqueued now has been created, and
# the worker has looked at all there was before.
my $passes = 0;
sub worker_passes
{
	my ($node, $database) = @_;
	$passes++;
	insert_users($node, $staging, 'pass', $passes, $passes, $database);
	ok(wait_until(sub { exists $fake->held($staging)->{"pass$passes"} }) && chatbot_settled($node, $staging, $database),
		"$database: the worker works");
	return;
}

# One file with both keys.
write_keys('both', '# of both environments', $production_line, $staging_line);
my $both = server('both');
insert_users($both, $_, 'u', 1, 10) for $production, $staging, 'without';
ok(chatbot_settled($both, $_), "$_ is settled") for $production, $staging;
$both->safe_psql('postgres', "SELECT chatbase_create_contacts('$staging', '{\"external_id\": \"called\"}')");
is(keys_of($production), '1', 'production\'s requests came with its key');
is(keys_of($staging), '2', 'and staging\'s with its own');
my $no_line = qq{paused: key file "$dir/both" has no line for chatbot "without"};
ok(wait_until(sub { $both->safe_psql('postgres', q{SELECT state FROM contacts_push.progress WHERE chatbot_id = 'without'}) =~ /^\Q$no_line\E, next try in/ }),
	'a chatbot without a line is paused, which says why');
insert_users($both, $_, 'v', 1, 10) for $production, $staging;
ok(chatbot_settled($both, $_), "meanwhile $_ goes on") for $production, $staging;
is(requests_for($fake, 'without'), 0, 'nobody asked with another\'s key');
write_keys('both', $production_line, $staging_line, "without:$keys[1]");
reload($both);
ok(chatbot_settled($both, 'without'), 'with a line it is settled');
is(keys_of('without'), '2', 'with the key of that line');

# A production database with something of each kind to do, and its dump.
$both->safe_psql('postgres', <<"SQL");
CREATE TABLE users (id integer PRIMARY KEY, name text, email text);
SELECT contacts_push.watch('users', '$production', updates => true, deletes => true);
INSERT INTO users SELECT n, 'User ' || n, 'user' || n || '\@example.com' FROM generate_series(1, 10) n;
SQL
ok(chatbot_settled($both, $production), 'production has users');
set_conf($both, 'contacts_push.enabled' => 'off');
state_becomes($both, 'postgres', $production, 'stopped: contacts_push.enabled is off');
$both->safe_psql('postgres', <<'SQL');
INSERT INTO users VALUES (11, 'New', 'new@example.com');
UPDATE users SET name = 'Renamed' WHERE id = 1;
DELETE FROM users WHERE id = 2;
SQL
$both->command_ok([ 'pg_dump', '-d', $both->connstr('postgres'), '-f', "$dir/dump.sql" ], 'which are dumped');
$both->stop;
my $requests = requests_for($fake, $production);
my $pending = "SELECT count(*) FROM contacts_push.outbox WHERE chatbot_id = '$production' AND status = 'pending'";

# Restores it on staging, where somebody goes on writing the table.
my $copy;
sub restore
{
	my ($database) = @_;
	$copy->safe_psql('postgres', "CREATE DATABASE $database");
	$copy->command_ok([ 'psql', '-X', '-v', 'ON_ERROR_STOP=1', '-d', $copy->connstr($database), '-f', "$dir/dump.sql" ], "$database is restored");
	$copy->safe_psql($database, q{INSERT INTO users VALUES (12, 'Tester', 'tester@example.com')});
	is($copy->safe_psql($database, $pending), '4', "$database: with what is to be done for production, and a new user");
	return;
}

# The key file of staging has no line for production's chatbot.
write_keys('staging', $staging_line);
$copy = server('staging', extension => 0);
restore('without_line');
my $paused = qr/^paused: key file "\Q$dir\E\/staging" has no line for chatbot "$production", next try in/;
my $state = "SELECT state FROM contacts_push.progress WHERE chatbot_id = '$production'";
ok(wait_until(sub { $copy->safe_psql('without_line', $state) =~ $paused }), 'production\'s chatbot is paused there');
$copy->safe_psql('without_line', 'SELECT contacts_push.resume()');
worker_passes($copy, 'without_line');
ok(wait_until(sub { $copy->safe_psql('without_line', $state) =~ $paused }), 'after a resume, too');
is($copy->safe_psql('without_line', $pending), '4', 'all of it is still pending');
is(requests_for($fake, $production), $requests, 'and nothing was sent');

# The server has production's key, but is told to send nothing until the copy is adapted.
set_conf($copy, 'contacts_push.enabled' => 'off');
write_keys('staging', $production_line, $staging_line);
reload($copy);
restore('copy');
state_becomes($copy, 'copy', $production, 'stopped: contacts_push.enabled is off');
$copy->safe_psql('copy', $adapt);
is($copy->safe_psql('copy', $pending), '0', 'after what README says nothing is to be done for production');
$copy->safe_psql('postgres', 'DROP DATABASE without_line');
set_conf($copy, 'contacts_push.enabled' => 'on');
ok(chatbot_settled($copy, $staging, 'copy'), 'the copy goes on as staging');
worker_passes($copy, 'copy');
$copy->safe_psql('copy', q{UPDATE users SET name = 'Somebody' WHERE id = 3; DELETE FROM users WHERE id = 4});
worker_passes($copy, 'copy');
is(requests_for($fake, $production), $requests, 'nothing is sent to production\'s chatbot');
is(join(' ', grep { /^\d+$/ } sort { $a <=> $b } map { s/^[a-z].*/0/r } keys %{ $fake->held($staging) }) =~ s/^(0 )+//r,
	join(' ', 1, 3 .. 12), 'and everybody to staging\'s');
is(keys_of($staging), '2', 'with staging\'s key');

$copy->stop;
done_testing();
