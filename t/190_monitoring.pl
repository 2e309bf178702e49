# What monitoring/ has is true: the exporter, as a member of pg_monitor, shows the numbers that the
# database has; the rules and the dashboard ask for what it shows, and Prometheus takes them.
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

for my $program (qw(promtool prometheus prometheus-sql-exporter))
{
	plan skip_all => "there is no $program: dev/setup could not have its package"
	  unless grep { -x "$_/$program" } split /:/, $ENV{PATH};
}

my $sources = dirname($ENV{FAKE_CHATBASE}) . '/../..';
my $monitoring = "$sources/monitoring";
my $dir = PostgreSQL::Test::Utils::tempdir;

command_ok([ 'promtool', 'check', 'rules', "$monitoring/contacts_push.rules.yml" ], 'the rules are rules');
command_ok([ 'promtool', 'test', 'rules', "$monitoring/contacts_push.rules.test.yml" ],
	'and tell what they are meant to tell');

my $fake = FakeChatbase->start;
my $node = new_cluster('monitoring', $fake, extra => "contacts_push.max_pending_deletes = 1\n");
my ($grants) = slurp_file("$sources/README.md") =~ /^```sql\n(CREATE ROLE monitoring LOGIN[^`]*)^```$/ms;
$node->safe_psql('postgres', $grants);

# Something of each kind: a chatbot with outcomes and a row that was not enqueued, and three
# that something is held for.
$fake->preset('bot', { external_id => 'other', email => 'taken@example.com' });
$node->safe_psql('postgres', <<'END');
INSERT INTO contacts_push.chatbot (chatbot_id, paused_until, pause_kind)
VALUES ('paused "bot"', 'infinity', NULL), ('wrong key', now() + interval '1 day', 'key');
SELECT contacts_push_internal.wake();
CREATE TABLE users (id integer PRIMARY KEY, email text);
SELECT contacts_push.watch('users', 'bot', name => '(1 / (id - 3))::text');
INSERT INTO users VALUES (1, 'one@example.com'), (2, 'nobody'), (3, 'three@example.com'), (4, 'taken@example.com');
CREATE TABLE staff (id integer PRIMARY KEY);
SELECT contacts_push.watch('staff', 'many deletions', deletes => true);
INSERT INTO staff VALUES (1), (2), (3);
END
ok(wait_until(sub { outcomes($node, 'bot') eq 'conflict 1, created 1, rejected 1' }), 'one chatbot is settled');
ok(wait_until(sub { outcomes($node, 'many deletions') eq 'created 3' }), 'and another');
$node->safe_psql('postgres', 'DELETE FROM staff');
ok(wait_until(sub { $node->safe_psql('postgres', 'SELECT held_deletes FROM contacts_push.chatbot WHERE held_deletes > 0') eq '3' }), 'whose deletions are held');
# by now the worker knows of the pauses
$node->safe_psql('postgres', q{SELECT contacts_push.enqueue('paused "bot"', '{"external_id": "a"}')});

# The programs of an operator, started here.  Each ends with the test.
my %running;

sub answers
{
	my ($url) = @_;
	return HTTP::Tiny->new(timeout => PATIENCE)->get($url)->{status} != 599;
}

# Starts one on a port of its own and returns its URL.
sub start_program
{
	my ($name, @arguments) = @_;
	for (1 .. 10)
	{
		my $port = PostgreSQL::Test::Cluster::get_free_port();
		my $url = "http://127.0.0.1:$port";
		my $program = IPC::Run::start([ $name, @arguments, "--web.listen-address=127.0.0.1:$port" ],
			'<', \undef, '>', "$dir/$name.log", '2>&1');
		my $up = wait_until(sub { !$program->pumpable || answers($url) });
		if ($up && $program->pumpable)
		{
			$running{$name} = $program;
			return $url;
		}
		# somebody else has taken the port meanwhile
		$program->kill_kill;
	}
	die "$name does not start: " . slurp_file("$dir/$name.log");
}

END
{
	local ($?, $@);
	$_->kill_kill(grace => 30) for values %running;
}

# The configuration as it is, but for where the server is and how often it is asked.
my $config = slurp_file("$monitoring/sql_exporter.yml");
my $address = sprintf 'host=%s&port=%d', $node->host =~ s{/}{%2F}gr, $node->port;
is($config =~ s{^(\s+- postgres://monitoring\@/postgres\?)host=/run/postgresql\b}{$1$address}m, 1, 'the configuration has a connection');
is($config =~ s/interval: 15s/interval: 1s/, 1, 'and an interval');
append_to_file("$dir/sql_exporter.yml", $config);
my $exporter = start_program('prometheus-sql-exporter', "--config.file=$dir/sql_exporter.yml");

# A metric's series with these labels: { value of one more label => value of the metric }.
sub series
{
	my ($name, $label, @labels) = @_;
	my $answer = HTTP::Tiny->new(timeout => PATIENCE)->get("$exporter/metrics");
	my %found;
	for my $line ($answer->{success} ? split /\n/, $answer->{content} : ())
	{
		my ($labels, $number) = $line =~ /^\Q$name\E\{(.*)\} (\S+)$/ or next;
		my ($value) = $labels =~ /(?:^|,)$label="((?:[^"\\]|\\.)*)"/;
		$found{$value} = $number + 0 if defined $value && !grep { index($labels, $_) < 0 } @labels;
	}
	return \%found;
}

ok(wait_until(sub { keys %{ series('sql_contacts_push_chatbot', 'chatbot_id', 'col="failed"') } == 4 }), 'the exporter shows the chatbots');
is_deeply([ sort keys %{ series('sql_contacts_push_chatbot', 'chatbot_id', 'col="failed"') } ],
	[ 'bot', 'many deletions', 'paused \"bot\"', 'wrong key' ], 'by name');
my $bot = series('sql_contacts_push_chatbot', 'col', 'chatbot_id="bot"');
my %outbox = map { my ($status, $number) = split /\|/; ($status, $number + 0) } split /\n/,
  $node->safe_psql('postgres', "SELECT status, count(*) FROM contacts_push.outbox WHERE chatbot_id = 'bot' GROUP BY status");
is_deeply($bot, { present => 0, updated => 0, deleted => 0, failed => 0, pending => 0, %outbox, enqueue_failures => 1,
		oldest_pending_seconds => 0, backing_off => 0, held_deletes => 0, per_second => $bot->{per_second} },
	'with the numbers that the outbox has');
my $paused = series('sql_contacts_push_chatbot', 'col', 'chatbot_id="paused \\"bot\\""');
my $age = $node->safe_psql('postgres', q{SELECT extract(epoch FROM clock_timestamp() - min(enqueued_at)) FROM contacts_push.outbox WHERE status = 'pending'});
is($paused->{pending}, 1, 'with what is pending');
cmp_ok($paused->{oldest_pending_seconds}, '<=', $age, 'since when it is');
cmp_ok($paused->{oldest_pending_seconds}, '>', 0, 'it is old');
is_deeply(series('sql_contacts_push_pause', 'kind', 'col="paused"'), { operator => 1, key => 1 }, 'and what is paused, and why');
is(series('sql_contacts_push_chatbot', 'chatbot_id', 'col="held_deletes"')->{'many deletions'}, 3, 'and whose deletions are held');
my $worker = series('sql_contacts_push_worker', 'col');
is("$worker->{running} $worker->{standby} $worker->{requests_in_flight}", '1 0 0', 'a worker runs');
is($worker->{requests}, $node->safe_psql('postgres', 'SELECT requests FROM contacts_push.worker'), 'and says what it has done');

# The requests are those of the last minute, and the test may take longer: another one is made
# before each look.
my $more = 100;
sub send_one
{
	$more++;
	$node->safe_psql('postgres', "INSERT INTO users VALUES ($more, 'user$more\@example.com')");
	return;
}
ok(wait_until(sub { send_one(); (series('sql_contacts_push_request', 'outcome', 'chatbot_id="bot"', 'col="contacts"', 'call="create"')->{created} // 0) > 0 }),
	'and the requests of the last minute');
is_deeply(series('sql_exporter_last_scrape_failed', 'query'),
	{ map { ("contacts_push_$_" => 0) } qw(chatbot pause worker request) }, 'no query fails');
is(join("\n", grep { /level=(error|warn)/ } split /\n/, slurp_file("$dir/prometheus-sql-exporter.log")), '', 'and nothing is in the log');

# Prometheus itself.
append_to_file("$dir/prometheus.yml", <<"END");
global: {scrape_interval: 1s, evaluation_interval: 1s}
rule_files: ['$monitoring/contacts_push.rules.yml']
scrape_configs: [{job_name: contacts_push, static_configs: [{targets: ['${\ substr $exporter, 7 }']}]}]
END
my $prometheus = start_program('prometheus', "--config.file=$dir/prometheus.yml", "--storage.tsdb.path=$dir/tsdb");

# The answer's data; undef: it is refused.
sub ask
{
	my ($path, %parameters) = @_;
	my $http = HTTP::Tiny->new(timeout => PATIENCE);
	my $answer = $http->get("$prometheus/api/v1/$path?" . $http->www_form_urlencode(\%parameters));
	return $answer->{success} ? decode_json($answer->{content})->{data} : undef;
}

# Of the selectors in an expression those that find nothing.
sub finds_nothing
{
	my ($expr) = @_;
	return grep { my $data = ask('query', query => $_); !$data || !@{ $data->{result} } } $expr =~ /sql_\w+(?:\{[^}]*\})?/g;
}

my $dashboard = decode_json(slurp_file("$monitoring/contacts_push.dashboard.json"));
my @exprs = map { $_->{expr} } map { @{ $_->{targets} } } @{ $dashboard->{panels} };
cmp_ok(scalar @exprs, '>=', 10, 'the dashboard has panels');
my @nothing;
wait_until(sub { send_one(); @nothing = map { finds_nothing($_) } @exprs; !@nothing });
is(join("\n", @nothing), '', 'whose expressions ask for what is exported');
is(join("\n", grep { !defined ask('query', query => $_) } @exprs), '', 'and are taken by Prometheus');
my %places = map { ("$_->{gridPos}{x} $_->{gridPos}{y}" => 1) } @{ $dashboard->{panels} };
is(scalar keys %places, scalar @{ $dashboard->{panels} }, 'each panel has a place of its own');

sub rules { return map { @{ $_->{rules} } } @{ ask('rules')->{groups} }; }
is(join("\n", map { finds_nothing($_->{query}) } rules()), '', 'the rules ask for what is exported');
ok(wait_until(sub { !grep { $_->{health} ne 'ok' } rules() }), 'and are evaluated');
ok(wait_until(sub { grep { $_->{name} eq 'ContactsPushDeletionsHeld' && $_->{state} eq 'firing' } rules() }), 'the one that waits for nothing tells');

# What an error says is not for who monitors, though functions that know it are.
my @monitor = (extra_params => [ '--username', 'monitoring' ]);
set_conf($node, 'contacts_push.api_key' => 'wrong');
$node->safe_psql('postgres', q{SELECT contacts_push.enqueue('bot', '{"external_id": "b"}')});
ok(wait_until(sub { $node->safe_psql('postgres', 'SELECT last_error FROM contacts_push.worker') =~ /401/ }), 'there is an error');
$node->safe_psql('postgres', 'GRANT USAGE ON SCHEMA contacts_push_internal TO monitoring');
is($node->safe_psql('postgres', 'SELECT last_error, last_error_chatbot_id FROM contacts_push_internal.worker_report()', @monitor),
	'|bot', 'and who monitors sees that there is one');
$node->safe_psql('postgres', 'ALTER TABLE contacts_push.request RENAME TO "jane@example.com"');
my $trouble = 'SELECT contacts_push_internal.worker_trouble()';
$node->safe_psql('postgres', q{SELECT contacts_push.resume(); SELECT pg_terminate_backend(pid) FROM contacts_push.worker});
ok(wait_until(sub { $node->safe_psql('postgres', $trouble) =~ /again and again.* with ".*request/ }), 'the worker ends again and again');
like($node->safe_psql('postgres', $trouble, @monitor), qr/again and again, \d+ times by now, with "\.\.\."/, 'and who monitors sees that it does');

ok(wait_until(sub { series('sql_exporter_last_scrape_failed', 'query')->{contacts_push_worker} == 0 }), 'the exporter goes on');
$node->append_conf('postgresql.conf', "shared_preload_libraries = ''");
$node->restart;
ok(wait_until(sub { series('sql_contacts_push_worker', 'col')->{running} == 0 }), 'that no worker runs is shown');
$node->stop;
ok(wait_until(sub { series('sql_exporter_last_scrape_failed', 'query')->{contacts_push_worker} }), 'that nothing is measured is shown, too');
done_testing();
