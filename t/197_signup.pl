# The service in examples/signup, as its README has it: Node, an ORM with its migrations,
# and pgbouncer in transaction mode between.  Its sign-ups and their changes arrive, and
# the migrations run while people sign up.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use ContactsPushTest;
use FakeChatbase;
use File::Basename qw(dirname);
use HTTP::Tiny;
use IPC::Run ();
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $example = dirname($ENV{FAKE_CHATBASE}) . '/../../examples/signup';
my $modules = $ENV{CONTACTS_PUSH_NODE_MODULES} // '';
my ($pgbouncer) = grep { -x } map { "$_/pgbouncer" } split /:/, $ENV{PATH};

plan skip_all => 'there is no node' unless grep { -x "$_/node" } split /:/, $ENV{PATH};
plan skip_all => 'there is no pgbouncer: dev/setup could not have its package' unless defined $pgbouncer;
plan skip_all => 'dev/setup could not install what examples/signup needs of npm' unless -e "$modules/drizzle-orm/package.json";

# libraries that were unpacked along with it
my ($libraries) = glob dirname($pgbouncer) . '/../lib/*-linux-gnu';
my $dir = PostgreSQL::Test::Utils::tempdir;
system_or_bail('cp', '-R', $example, "$dir/signup");
symlink $modules, "$dir/signup/node_modules" or die;

my $bot = 'ckl123abc456';
my $fake = FakeChatbase->start;
# nobody knows how long a request is held back, and how many accounts are closed meanwhile
my $node = new_cluster('signup', $fake, extension => 0,
	extra => "contacts_push.max_pending_deletes = -1\ncontacts_push.request_timeout = 10min\nautovacuum = off\n");
$node->safe_psql('postgres', 'CREATE DATABASE signup');
$node->command_ok([ 'psql', '-X', '-v', 'ON_ERROR_STOP=1', '-v', "chatbot=$bot", '-d', $node->connstr('signup'), '-f', "$example/setup.sql" ],
	'the database is set up');

sub query { return $node->safe_psql('signup', $_[0]); }

# The migrations that the service has in a release: the first so many of them.
my $journal = decode_json(slurp_file("$example/migrations/meta/_journal.json"));
sub migrate
{
	my ($release) = @_;
	my @entries = @{ $journal->{entries} }[ 0 .. $release - 1 ];
	unlink "$dir/signup/migrations/meta/_journal.json";
	append_to_file("$dir/signup/migrations/meta/_journal.json", encode_json({ %$journal, entries => \@entries }));
	local $ENV{OWNER_URL} = 'postgresql://signup_owner@localhost:' . $node->port . '/signup?host=' . $node->host;
	command_ok([ 'node', "$dir/signup/migrate.js" ], "migrated: $entries[-1]{tag}");
	return;
}

# Programs in the background; they end with the test.
my @running;

# Starts one; what is returned tells whether it still runs.
sub start_program
{
	my ($name, @command) = @_;
	my $program = IPC::Run::start(\@command, '<', \undef, '>', "$dir/$name.log", '2>&1');
	push @running, $program;
	return sub { $program->pumpable or die "$name has ended: " . slurp_file("$dir/$name.log") };
}

END
{
	local ($?, $@);
	$_->kill_kill(grace => 30) for @running;
}

my @owner = (extra_params => [ '--username', 'signup_owner' ]);
migrate(1);
query(q{INSERT INTO users (name, email) VALUES ('Grace', 'grace@example.com')});
migrate(2);
$node->safe_psql('signup', q{CALL contacts_push.backfill('users')}, @owner);

# pgbouncer as it is configured there, but for where it and the server are
my $config = slurp_file("$example/pgbouncer.ini");
my $sockets = PostgreSQL::Test::Utils::tempdir_short();
is($config =~ s{^signup = .*}{'signup = host=' . $node->host . ' port=' . $node->port}me, 1, 'pgbouncer has a server');
is(($config =~ s{^listen_addr = .*\n}{}m) + ($config =~ s{^unix_socket_dir =$}{unix_socket_dir = $sockets}m)
	  + ($config =~ s{^auth_file = }{auth_file = $dir/}m), 3, 'and a place');
append_to_file("$dir/pgbouncer.ini", $config);
append_to_file("$dir/users.txt", qq{"signup" ""\n});
{
	local $ENV{LD_LIBRARY_PATH} = join ':', grep { defined } $libraries, $ENV{LD_LIBRARY_PATH};
	my $runs = start_program('pgbouncer', $pgbouncer, "$dir/pgbouncer.ini");
	ok(wait_until(sub { $runs->() && -S "$sockets/.s.PGSQL.6432" }), 'pgbouncer runs');
}

my $service;
{
	local @ENV{qw(DATABASE_URL PORT)} = ("postgresql://signup\@localhost:6432/signup?host=$sockets", 0);
	my $runs = start_program('service', 'node', "$dir/signup/service.js");
	ok(wait_until(sub { $runs->() && (($service) = slurp_file("$dir/service.log") =~ /^listening on (\S+)$/m) }), 'the service runs');
}

# One request to the service: status and what it answered.
sub ask
{
	my ($method, $path, $body) = @_;
	my $answer = HTTP::Tiny->new(timeout => PATIENCE)->request($method, "$service/users$path", { content => encode_json($body // {}) });
	return ($answer->{status}, eval { decode_json($answer->{content}) } // $answer->{content});
}

# What the stand-in holds: external_id => contact.
sub held_contacts { return { map { ($_->{external_id} => $_) } @{ $fake->admin("contacts?chatbot=$bot") } }; }

# Waits until all is settled, and returns who is held by then, in the order of their ids.
sub held_names
{
	ok(settled($node, 'signup'), 'all is settled');
	my $held = held_contacts();
	return join ' ', map { $held->{$_}{name} } sort { $a <=> $b } keys %$held;
}

# What the service does.
my ($status, $ada) = ask('POST', '', { name => 'Ada', email => 'ada@example.com' });
is($status, 200, 'somebody signs up');
is(held_names(), 'Grace Ada', 'and is pushed, after the one who was there before');
is(query("SELECT user_id || ' ' || what FROM events"), "$ada->{id} signed up", 'beside what else the sign-up writes');

($status) = ask('POST', '', { name => 'Eve', email => 'eve@example.com', invitation => 'forged' });
is($status, 422, 'a sign-up with a bad invitation is rolled back');
($status) = ask('POST', '', { name => 'Eve', email => 'ada@example.com' });
is($status, 409, 'and so is one whose e-mail is taken');
query(q{INSERT INTO invitations VALUES ('welcome')});
($status, my $alan) = ask('POST', '', { name => 'Alan', email => 'alan@example.com', invitation => 'welcome' });
is($status, 200, 'one with a good invitation is not');
is(held_names(), 'Grace Ada Alan', 'only what was committed is pushed');
is(query('SELECT count(DISTINCT external_id) FROM contacts_push.outbox'), '3', 'or enqueued');

is((ask('PATCH', "/$ada->{id}", { email => 'ada@example.org' }))[0], 200, 'somebody changes the e-mail');
is((ask('DELETE', "/$alan->{id}"))[0], 200, 'somebody closes the account');
is(held_names(), 'Grace Ada', 'who is gone at Chatbase, too');
is(held_contacts()->{ $ada->{id} }{email}, 'ada@example.org', 'and the e-mail has changed there');

is(query(<<'SQL'), '', 'the role of the service has no right on anything of contacts_push');
SELECT n.nspname, c.relname FROM pg_namespace n LEFT JOIN pg_class c ON c.relnamespace = n.oid AND c.relkind IN ('r', 'v')
WHERE n.nspname LIKE 'contacts_push%' AND (has_schema_privilege('signup', n.oid, 'USAGE, CREATE')
	OR has_table_privilege('signup', c.oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')
	OR has_any_column_privilege('signup', c.oid, 'SELECT, INSERT, UPDATE, REFERENCES'))
SQL

# The migrations, each while people sign up and a request is under way.
sub signed_up { return query(q{SELECT count(*) FROM events WHERE what = 'signed up'}); }

my ($input, $statuses, $errors) = ('', '', '');
my $load = IPC::Run::start([ 'node', "$dir/signup/load.js", $service ], '<', \$input, '>', \$statuses, '2>', \$errors);
push @running, $load;
for my $release (3 .. @{ $journal->{entries} })
{
	$fake->faults({ match => { chatbot => $bot }, action => { delay_ms => FakeChatbase::HELD } });
	ok(wait_until(sub { $fake->in_flight > 0 }), 'a request is under way');
	migrate($release);
	my $before = signed_up();
	ok(wait_until(sub { signed_up() > $before + 20 }), 'people go on signing up');
	$fake->faults;
	$fake->release;
}
cmp_ok(query("SELECT count(*) FROM pg_stat_activity WHERE usename = 'signup'"), '<=', 2, 'through two connections');
$load->finish;
is($errors, '', 'no request of theirs was lost');
is_deeply([ keys %{ decode_json($statuses) } ], ['200'], 'and each one succeeded');

# the contacts of before the new view
ok(settled($node, 'signup'), 'all is settled');
my $reconcile = 'FROM contacts_push.reconcile(current_setting(\'signup.chatbot\')';
is(query("SELECT DISTINCT finding $reconcile, fix => true)"), 'different', 'contacts of before the new view are brought in line');
ok(settled($node, 'signup'), 'all is settled');
my $held = held_contacts();
is_deeply([ map { my $contact = $held->{$_}; [ $_, @$contact{qw(name email custom_attributes)} ] } sort { $a <=> $b } keys %$held ],
	decode_json(query('SELECT jsonb_agg(jsonb_build_array(external_id::text, name, email, custom_attributes) ORDER BY external_id) FROM users_to_push')),
	'Chatbase has everybody as the view has');
is(query(q{SELECT count(*) FROM contacts_push.outbox WHERE status IN ('conflict', 'rejected', 'failed')}), '0', 'nobody was refused');
is(query('SELECT enqueue_failures FROM contacts_push.progress'), '0', 'or left out');
is(query("SELECT count(*) $reconcile)"), '0', 'and reconcile finds nothing');

my @troubles = map { / (?:WARNING|ERROR|FATAL|PANIC):  (.*)/ ? $1 : () } split /\n/, slurp_file($node->logfile);
is_deeply(\@troubles, ['duplicate key value violates unique constraint "users_email_key"'],
	'the server logged no trouble but the e-mail that was taken');
$node->stop;
done_testing();
