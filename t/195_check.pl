# contacts_push.check(): each mistake of a newcomer about the server, the key file and the network is
# found where it is, and the hint says what to do.  Those about tables are in sql/check.sql.
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

# An answer that takes so long comes after all that is waited for here.
use constant LATE_MS => 60_000;

my $fake = FakeChatbase->start('--key', KEY, '--chatbot', 'bot');
$fake->config(chatbot_not_found => 'Chatbot not found');
my $directory = PostgreSQL::Test::Utils::tempdir();
my $file = "$directory/key";
my $node = new_cluster('check', $fake, preload => 0, init => { allows_streaming => 'logical' },
	extra => "contacts_push.api_key = '" . KEY . "'\nmax_worker_processes = 10\n");

# All that check() has said here.
my $said = '';

# What check() says: what => [ok, detail, hint], the chatbot's name left out.  Options: settings to SET
# before, user, chatbot, database.
sub check
{
	my (%options) = @_;
	my $chatbot = $options{chatbot} // 'bot';
	my ($status, $stdout, $stderr) = $node->psql($options{database} // 'postgres', join('',
			map({ "SET contacts_push.$_;\n" } @{ $options{settings} // [] }),
			"SELECT what, CASE ok WHEN true THEN 'yes' WHEN false THEN 'no' ELSE '?' END, detail, hint"
			  . " FROM contacts_push.check('$chatbot');"),
		extra_params => [ '--field-separator', "\x01", '--record-separator', "\x02",
			$options{user} ? ('--username', $options{user}) : () ]);
	is($stderr, '', 'check() does not fail') if $status != 0;
	$said .= "$stdout$stderr\n";
	my %rows;
	for my $row (split /\x02\n?/, $stdout)
	{
		my ($what, @rest) = split /\x01/, $row, -1;
		$what =~ s/^chatbot \Q$chatbot\E: //;
		$rows{$what} = [@rest];
	}
	return \%rows;
}

# Row by row: what, ok, and what detail and hint must be like.
sub finds
{
	my ($rows, $name, @expected) = @_;
	for my $row (@expected)
	{
		my ($what, $ok, $detail, $hint) = @$row;
		my @got = @{ $rows->{$what} // [ 'no row', '', '' ] };
		is($got[0], $ok, "$name: $what: $ok");
		like($got[1], $detail, "$name: $what: the detail") if defined $detail;
		like($got[2], $hint // qr/^$/, "$name: $what: " . (defined $hint ? 'the hint' : 'no hint'));
	}
	return;
}

my @network = ('name resolution', 'connection', 'TLS', 'answer', 'key accepted', 'chatbot found', 'custom attributes');

# The network steps: those before one are good, that one is not, and those behind it were not tried.
sub breaks_at
{
	my ($rows, $name, $step, $detail, $hint) = @_;
	my $ok = 'yes';
	for my $what (@network)
	{
		my @row = $what eq $step ? ($what, 'no', $detail, $hint) : ($what, $ok, $ok eq '?' ? qr/^not tried$/ : undef);
		$ok = '?' if $what eq $step;
		# plain http has none
		@row = ($what, '?', qr/^not used/) if $what eq 'TLS' && $ok eq 'yes' && $fake->base_url =~ /^http:/ && $step ne 'TLS';
		finds($rows, $name, \@row);
	}
	return;
}

# ---- without shared_preload_libraries ----

my $rows = check();
finds($rows, 'not preloaded', [ 'preload', 'no', qr/shared_preload_libraries/, qr/Add it to shared_preload_libraries .* restart/ ],
	[ 'worker', '?', qr/not tried/ ], [ 'worker processes', '?', qr/of max_worker_processes = 10/ ], [ 'settings', 'yes' ],
	[ 'key', 'yes' ], [ 'answer', 'yes', qr/^HTTP status 200$/ ], [ 'key accepted', 'yes' ], [ 'chatbot found', 'yes' ]);
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'contacts_push'");
finds(check(), 'not restarted', [ 'preload', 'no', undef, qr/restart the server/ ]);
$node->safe_psql('postgres', 'CREATE ROLE plain LOGIN; GRANT USAGE ON SCHEMA contacts_push, contacts_push_internal TO plain;'
	. 'GRANT EXECUTE ON FUNCTION contacts_push.check TO plain; GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA contacts_push_internal TO plain;'
	. 'GRANT SELECT ON ALL TABLES IN SCHEMA contacts_push, contacts_push_internal TO plain');
{
	local $ENV{PGOPTIONS} = '-c contacts_push.base_url=https://example.com/';
	finds(check(user => 'plain'), 'a value that may not be set', [ 'key', 'no', qr/permission denied to set parameter/, qr/PGOPTIONS/ ],
		[ 'connection', '?', qr/not tried/ ]);
}

# ---- with it ----

$node->restart;
ok(worker_runs($node), 'a worker runs');
ok($node->poll_query_until('postgres', q{SELECT ok FROM contacts_push.check('bot') WHERE what = 'worker'}), 'preloaded: the worker is found');
$rows = check();
finds($rows, 'preloaded', [ 'preload', 'yes' ], [ 'worker', 'yes', qr/^process \d+/ ], [ 'worker processes', 'yes' ],
	[ 'publications', 'yes' ], [ 'pauses', 'yes' ], [ 'tables', '?', qr/no table is watched/, qr/watch\('users', 'bot'\)/ ]);
is(join(' ', grep { $rows->{$_}[0] eq 'no' } sort keys %$rows), '', 'all is well');

# Settings: one that there is not, one that is refused, one that the server has not read.
$node->append_conf('postgresql.conf', "contacts_push.api_keyfile = '$file'\ncontacts_push.ca_file = '$file'\ncontacts_push.base_url = 'http://example.com'");
finds(check(), 'settings',
	[ 'setting contacts_push.api_keyfile', 'no', qr/postgresql\.conf, line \d+: there is no such setting/, qr/SELECT name FROM pg_settings/ ],
	[ 'setting contacts_push.ca_file', 'no', qr/the server has not read it yet/, qr/^SELECT pg_reload_conf\(\);$/ ],
	[ 'setting contacts_push.base_url', 'no', qr/could not be applied/, qr/server's log/ ]);
my $conf = $node->data_dir . '/postgresql.conf';
sub without { my ($pattern) = @_; my $text = slurp_file($conf); $text =~ s/^.*(?:$pattern).*\n?//mg; open my $out, '>', $conf; print $out $text; close $out; return; }
without('api_keyfile|ca_file|example\.com');
$node->append_conf('postgresql.conf', 'contacts_push.enabled = off');
reload($node);
$rows = check();
finds($rows, 'enabled', [ 'setting contacts_push.enabled', 'no', qr/it is off/, qr/ALTER SYSTEM RESET contacts_push\.enabled/ ]);
ok(!exists $rows->{settings}, 'enabled: all is not said to be well');
without('contacts_push\.enabled');

# The key file.
without('contacts_push\.api_key');
reload($node);
finds(check(), 'no key', [ 'key', 'no', qr/^neither contacts_push\.api_key nor/, qr/contacts_push\.api_key_file in postgresql\.conf/ ],
	map { [ $_, '?', qr/^not tried/ ] } @network);
set_conf($node, 'contacts_push.api_key_file' => $file);
sub write_key { my ($text, $mode) = @_; open my $out, '>', $file; print $out $text; close $out; chmod $mode, $file; return; }
finds(check(), 'no file', [ 'key', 'no', qr/could not open key file/, qr/The server itself opens that file/ ]);
write_key(KEY . "\n", 0644);
finds(check(), 'its mode', [ 'key', 'no', qr/has group or world access/, qr/^chmod 0600/ ]);
write_key('', 0600);
finds(check(), 'empty', [ 'key', 'no', qr/is empty/, qr/^Write the key into that file/ ]);
write_key('other:' . KEY . "\n", 0600);
finds(check(), 'another\'s', [ 'key', 'no', qr/has no line for chatbot "bot"/, qr/Add a line chatbot_id:key/ ]);
write_key('"' . KEY . " x\"\n", 0600);
finds(check(), 'no key in it', [ 'key', 'no', qr/holds an invalid key/, qr/without spaces or quotes/ ]);
finds(check(user => 'plain'), 'nobody is told of the file', [ 'key', 'no', qr/^there is none; members of pg_read_all_settings/, qr/Have one of them call/ ]);
write_key('bot:' . KEY . "\n", 0600);
finds(check(), 'its own', [ 'key', 'yes' ], [ 'key accepted', 'yes' ]);

# ---- the network, step by step ----

breaks_at(check(settings => [q{base_url = 'https://host.invalid/api/v1'}]), 'unknown host', 'name resolution',
	qr/host\.invalid|[Rr]esolving/, qr/cannot resolve host\.invalid/);
my $nobody = FakeChatbase->start;
my $closed = $nobody->base_url;
$nobody->stop;
breaks_at(check(settings => ["base_url = '$closed'"]), 'nobody listens', 'connection', qr/connect/i, qr/firewall/);
write_key('bot:' . 'another-key' . "\n", 0600);
breaks_at(check(), 'a wrong key', 'key accepted', qr/^HTTP status 401: Invalid API key$/, qr/Chatbase does not know the key/);
write_key('*:' . KEY . "\n", 0600);
breaks_at(check(chatbot => 'bto'), 'a wrong chatbot', 'chatbot found', qr/^HTTP status 404: Chatbot not found$/, qr/compare the chatbot_id/);
$fake->always(status => 404, body => '<html></html>');
breaks_at(check(), 'another server', 'answer', qr/^HTTP status 404$/, qr/contacts_push\.base_url is http/);
$fake->always(hang => FakeChatbase::true);
breaks_at(check(settings => [q{request_timeout = '5s'}]), 'no answer', 'answer', qr/./, qr/contacts_push\.request_timeout/);

# TLS
FakeChatbase::make_certificate($directory);
my $secure = FakeChatbase->start('--tls-cert', "$directory/server.pem", '--tls-key', "$directory/server.key");
my @to_secure = ("base_url = '" . $secure->base_url . "'");
$rows = check(settings => [@to_secure]);
finds($rows, 'an authority that is not known', [ 'connection', 'yes', qr/^127\.0\.0\.1$/ ],
	[ 'TLS', 'no', qr/certificate/i, qr/ca-certificates.*contacts_push\.ca_file/ ], [ 'answer', '?', qr/^not tried$/ ]);
finds(check(settings => [ @to_secure, "ca_file = '$directory/ca.pem'" ]), 'one that is', [ 'TLS', 'yes', qr/good/ ],
	[ 'key accepted', 'yes' ], [ 'chatbot found', 'yes' ]);
is($secure->stats->{contacts}, 0, 'TLS: nothing is created');
(my $by_name = $to_secure[0]) =~ s/127\.0\.0\.1/localhost/;
finds(check(settings => [ $by_name, "ca_file = '$directory/ca.pem'" ]), 'by name', [ 'name resolution', 'yes', qr/^localhost is / ], [ 'TLS', 'yes' ]);
$secure->stop;

# ---- it ends when it is told to, and counts ----

$fake->always(delay_ms => LATE_MS);
my ($status, $stdout, $stderr) = $node->psql('postgres', "SET statement_timeout = '1s'; SELECT * FROM contacts_push.check('bot')");
like($stderr, qr/canceling statement due to statement timeout/, 'statement_timeout ends it');
my $session = start_call($node, $fake, q{SELECT * FROM contacts_push.check('bot')});
$node->safe_psql('postgres', q{SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query LIKE 'SELECT * FROM contacts_push.check%' AND pid <> pg_backend_pid()});
ok(wait_until(sub { $session->{run}->pump_nb; $session->{stderr} =~ /canceling statement due to user request/ }), 'it can be cancelled');
$session->quit;
$fake->faults();
$fake->reset;

set_conf($node, 'contacts_push.requests_per_second' => 0.1);
$fake->faults({ times => 1, match => { method => 'POST' }, action => { status => 429, headers => { 'Retry-After' => '3600' } } });
insert_users($node, 'bot', 'u', 1, 1);
ok($node->poll_query_until('postgres',
		q{SELECT count(*) = 1 FROM contacts_push.request WHERE http_status = 429 AND finished_at IS NOT NULL}), 'budget: a worker waits');
ok(wait_until(sub { check()->{'name resolution'}[0] eq '?' }), 'budget: beyond its half nothing is asked');
finds(check(), 'budget', [ 'name resolution', '?', qr/^not tried: .*calls have used their half/, qr/Try again in \d+ second/ ],
	[ 'key accepted', '?', qr/^not tried/ ]);
set_conf($node, 'contacts_push.requests_per_second' => 100000);
$node->safe_psql('postgres', q{SELECT contacts_push.resume()});
ok(settled($node), 'the contact is sent');
ok(wait_until(sub { check()->{'chatbot found'}[0] eq 'yes' }), 'budget: when nobody waits, it is asked again');

# ---- workers ----

$node->safe_psql('postgres', 'CREATE DATABASE copies');
$node->safe_psql('copies', 'CREATE EXTENSION contacts_push');
$node->safe_psql('postgres', 'ALTER DATABASE copies IS_TEMPLATE true');
ok($node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM pg_stat_activity WHERE datname = 'copies'}), 'a template gets no worker');
ok(wait_until(sub { check(database => 'copies')->{worker}[1] =~ /template/ }), 'a template is told so');
finds(check(database => 'copies'), 'a template', [ 'worker', 'no', qr/this database is a template/, qr/^ALTER DATABASE copies IS_TEMPLATE false;$/ ]);

# A table that a subscription writes; its publisher is a database of the same server.
$node->safe_psql('postgres', 'CREATE DATABASE publisher');
$node->safe_psql('publisher', 'CREATE TABLE users (id integer PRIMARY KEY, email text); CREATE PUBLICATION p FOR TABLE users;'
	. q{SELECT pg_create_logical_replication_slot('s', 'pgoutput')});
$node->safe_psql('postgres', q{CREATE TABLE users (id integer PRIMARY KEY, email text); SELECT contacts_push.watch('users', 'bot');});
$node->safe_psql('postgres', sprintf(q{CREATE SUBSCRIPTION s CONNECTION '%s' PUBLICATION p WITH (create_slot = false, copy_data = false)},
		$node->connstr('publisher') =~ s/'/''/gr));
my $replication = 'table public.users: replication';
$rows = check();
finds($rows, 'subscription', [ $replication, 'no', qr/^subscription s writes it/, qr/replicated => true/ ]);
my ($commands) = $rows->{$replication}[2] =~ /^(.*;) then CALL/;
$node->safe_psql('postgres', $commands);
ok(!exists check()->{$replication}, 'subscription: what the hint says is enough');
$node->safe_psql('publisher', q{INSERT INTO users VALUES (1, 'one@example.com')});
ok($node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM contacts_push.outbox WHERE external_id = '1'}), 'subscription: what it writes is enqueued');
$node->safe_psql('postgres', 'DROP SUBSCRIPTION s');
ok(settled($node), 'subscription: and sent');

# ---- five mistakes at once ----

$node->safe_psql('postgres', <<'END');
CREATE TABLE guests (id integer PRIMARY KEY, email text, plan text);
SELECT contacts_push.watch('guests', 'bot', external_id => $$'guest_' || id$$,
	custom_attributes => $$jsonb_build_object('plan', plan)$$);
SELECT contacts_push.watch('guests', 'bto');
ALTER TABLE guests DISABLE TRIGGER contacts_push_insert;
CREATE PUBLICATION everything FOR ALL TABLES;
ALTER SYSTEM SET contacts_push.enabled = off;
END
reload($node);
my $five = $node->safe_psql('postgres', q{SELECT what, detail, hint FROM contacts_push.check() WHERE NOT ok});
note($five);
is(join("\n", map { (split /\|/)[0] } split /\n/, $five), <<'END' =~ s/\n$//r, 'five mistakes: each is found, and nothing else');
setting contacts_push.enabled
publications
chatbot bot: custom attribute plan
chatbot bot: table public.guests: triggers
chatbot bto: chatbot found
END
$node->safe_psql('postgres', 'ALTER SYSTEM RESET contacts_push.enabled; DROP PUBLICATION everything');

# No process is left for a worker.
$node->append_conf('postgresql.conf', 'max_worker_processes = 1');
$node->restart;
ok(wait_until(sub { check()->{'worker processes'}[0] eq 'no' }), 'no process for a worker: is found');
finds(check(), 'no process for a worker', [ 'worker', 'no', qr/max_worker_processes/, qr/raise max_worker_processes/ ],
	[ 'worker processes', 'no', qr/^1 of max_worker_processes = 1/, qr/^Raise max_worker_processes, and restart/ ]);

is(join(' ', sort keys %{ $fake->held('bot') }), '1 u1', 'nothing was created but what was enqueued');
unlike($said, qr/\Q@{[ KEY ]}\E/, 'nobody was shown the key');
unlike(slurp_file($node->logfile), qr/\Q@{[ KEY ]}\E/, 'it is in no log');

$node->stop;
done_testing();
