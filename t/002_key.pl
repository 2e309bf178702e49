# The key goes to where it is meant for and is seen nowhere else: not in the
# log, in a view, in an error, or with whom a redirect points to.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use ContactsPushTest;
use FakeChatbase;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# Keys that nothing else looks like; the stand-in knows the first two.
my @keys = qw(ck-Zq81fA0cXw ck-Zq82gB1dYx ck-Zq83hC2eRv);
my $any_key = qr/Zq8/;

my $fake = FakeChatbase->start('--key', $keys[0], '--key', $keys[1]);
my $other = FakeChatbase->start('--key', $keys[0], '--key', $keys[1]);
my $node = new_cluster('key', $fake, extra => "contacts_push.api_key = '$keys[0]'\nlog_min_messages = debug5\n");

# One call: SQLSTATE, or the external_ids; and all that psql printed.
my $printed = '';
sub call
{
	my ($external_id) = @_;
	my ($status, $stdout, $stderr) = $node->psql('postgres', <<"END", on_error_stop => 0);
\\set VERBOSITY verbose
SELECT external_id FROM chatbase_create_contacts('c', '{"external_id": "$external_id"}');
END
	$printed .= $stdout . $stderr;
	return $stderr =~ /^psql:<stdin>:\d+: ERROR:  (\w{5}):/m ? $1 : $stdout;
}

# The first lines that have a key; '' is none.
sub lines_with_key
{
	my ($text) = @_;
	my @lines = grep { $_ =~ $any_key } split /\n/, $text;
	return join "\n", splice @lines, 0, 5;
}

is($node->safe_psql('postgres', 'SHOW log_statement'), 'all', 'all statements are logged');
is(call('a'), 'a', 'the key of the configuration is used');
insert_users($node, 'c', 'w', 1, 10);
ok(settled($node), 'by the worker, too');
is(outcomes($node, 'c'), 'created 10', 'which creates');

# reloads that change it, to a good one, to a bad one and to what can't be one
set_conf($node, 'contacts_push.api_key' => $keys[1]);
is(call('b'), 'b', 'another key, after a reload');
set_conf($node, 'contacts_push.api_key' => $keys[2]);
is(call('c'), '28000', 'a key that is refused');
insert_users($node, 'c', 'w', 11, 20);
ok( $node->poll_query_until('postgres',
		q{SELECT pause_reason ~ '^401 ' FROM contacts_push.chatbot WHERE chatbot_id = 'c'}),
	'has the worker pause');
is(outcomes($node, 'c'), 'created 10, pending 10', 'and lose nothing');
set_conf($node, 'contacts_push.api_key' => "$keys[2] with spaces");
my $paused_until = $node->safe_psql('postgres', 'SELECT paused_until FROM contacts_push.chatbot');
is(call('d'), '28000', 'what can\'t be a key changes nothing');
ok($node->log_contains('invalid value for parameter "contacts_push.api_key"'), 'and is complained of');

# a pause for the key lasts a minute at least, or until a reload
set_conf($node, 'contacts_push.api_key' => $keys[0]);
ok(settled($node), 'with a good key the worker goes on');
is(outcomes($node, 'c'), 'created 20', 'and creates');
is( $node->safe_psql('postgres',
		"SELECT max(settled_at) < '$paused_until', bool_or(paused_until > now()) FROM contacts_push.outbox, contacts_push.chatbot"),
	't|', 'at once');
set_conf($node, 'contacts_push.api_key' => $keys[2]);
insert_users($node, 'c', 'w', 21, 30);

# answers of every kind, some of which repeat the key
for my $status (302, 400, 401, 403, 404, 409, 429, 500, 503)
{
	$fake->always(status => $status, message => "no, $keys[2] is wrong");
	isnt(call('e'), 'e', "HTTP status $status is an error");
}
$fake->always(status => 200, body => "{\"message\": \"$keys[2]\"");
is(call('e'), '58000', 'a broken answer is one');
$fake->always(drop => FakeChatbase::true);
is(call('e'), '58030', 'a lost connection is one');

# redirects: to another stand-in, which must not even hear of it
$node->append_conf('postgresql.conf', "contacts_push.api_key = '$keys[0]'");
reload($node);
for my $status (301, 302, 303, 307, 308)
{
	$fake->always(status => $status, redirect => $other->base_url . '/chatbots/c/contacts');
	is(call("redirect$status"), '58000', "a redirect, $status, is an error");
}
ok( $node->poll_query_until('postgres',
		q{SELECT count(*) > 0 FROM contacts_push.request WHERE http_status BETWEEN 300 AND 399}),
	'the worker meets one, too');
is(scalar $other->requests, 0, 'nobody came to where they point');
is($other->stats->{requests_with_key_elsewhere} + $fake->stats->{requests_with_key_elsewhere},
	0, 'nowhere did a key come with a request that is none of the API\'s');
ok(scalar(grep { $_->{authorization} } $fake->requests), 'though it does come along where it is meant for');

# while a call waits
$fake->always(hang => FakeChatbase::true);
my $session = start_call($node, $fake,
	q{SELECT count(*) FROM chatbase_create_contacts('c', '{"external_id": "f"}')});
my $activity = $node->safe_psql('postgres', 'SELECT a::text FROM pg_stat_activity a');
like($activity, qr/chatbase_create_contacts/, 'the waiting call is in pg_stat_activity');
like($activity, qr/contacts_push worker/, 'and so is the worker');
unlike($activity, $any_key, 'but not the key');
unlike($node->safe_psql('postgres', 'SELECT r::text FROM contacts_push.request r'),
	$any_key, 'nor is it in the log of requests');
unlike($node->safe_psql('postgres', 'SELECT o::text FROM contacts_push.outbox o'),
	$any_key, 'nor in the outbox');
unlike($node->safe_psql('postgres', 'SELECT c::text FROM contacts_push.chatbot c'),
	$any_key, 'nor in a pause\'s reason');
$fake->reset;
$session->quit;

# nobody may look at it
$node->safe_psql('postgres', 'CREATE ROLE somebody');
is($node->safe_psql('postgres', 'SHOW contacts_push.api_key'), '(set)', 'a superuser sees that there is one');
is($node->safe_psql('postgres', q{SELECT setting, reset_val FROM pg_settings WHERE name = 'contacts_push.api_key'}), '(set)|',
	'and no more in pg_settings');
my ($status, $stdout, $stderr) = $node->psql('postgres', 'SET ROLE somebody; SHOW contacts_push.api_key');
like($stderr, qr/ERROR:  (must be superuser or have privileges of pg_read_all_settings|permission denied to examine "contacts_push\.api_key")/, 'others may not');
is( $node->safe_psql('postgres',
		"SET ROLE somebody; SELECT count(*) FROM pg_settings s WHERE s::text ~ ('Zq' || 8)"),
	'0', 'nor in pg_settings');
for my $target ('DATABASE postgres', 'ROLE somebody')
{
	($status, $stdout, $stderr) =
	  $node->psql('postgres', "ALTER $target SET contacts_push.api_key = 'x'");
	like($stderr, qr/ERROR:  parameter "contacts_push.api_key" cannot be changed now/, "it can't be set on a $target");
}

# a key file that others may read is not used, and not shown either
my $file = PostgreSQL::Test::Utils::tempdir() . '/key';
append_to_file($file, "other:$keys[2]\nc:$keys[1]\n");
chmod 0644, $file;
set_conf($node, 'contacts_push.api_key_file' => $file);
is(call('g'), '55000', 'a key file that everybody may read');
chmod 0600, $file;
is(call('g'), 'g', 'one that only the server may read, line for the chatbot');
append_to_file($file, "*:$keys[2]\n");
ok(unlink($file), 'a key file that goes');
is(call('h'), '55000', 'is missed at once');
append_to_file($file, "$keys[0]\n");
chmod 0600, $file;
is(call('h'), 'h', 'a new one, with one key, is read at once');

$node->stop;
my $log = slurp_file($node->logfile);
like($log, qr/DEBUG:/, 'the server was talkative');
like($log, qr/received SIGHUP, reloading configuration files/, 'and has read its configuration anew');
is(lines_with_key($log), '', 'the key is nowhere in its log');
is(lines_with_key($printed), '', 'and in nothing that psql printed');

done_testing();
