# No statement of the worker's depends on statistics for its plan.  Those of a queue are
# taken when it is empty or full, and are always those of another hour.
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

# Contacts of a round: so many that a plan that reads all of them for each of some
# is told from one that does not.
use constant CONTACTS => 2000;

# Rows that a node of a plan may have read: what one read may look at, and each of its
# contacts a few times.  A wrong plan reads CONTACTS rows for each of thousands.
use constant MOST_ROWS => 60_000;

# Plans of the worker's statements, as they were run, come from the server's log.
my $fake = FakeChatbase->start;
my $node = new_cluster('plans', $fake, extra => <<'END');
shared_preload_libraries = 'contacts_push, auto_explain'
auto_explain.log_min_duration = 0
auto_explain.log_analyze = on
auto_explain.log_timing = off
auto_explain.log_format = json
autovacuum = off
contacts_push.max_attempts = 2
END

# Not those of the test's own sessions.
$ENV{PGOPTIONS} = '-c auto_explain.log_min_duration=-1';

sub sql
{
	return $node->safe_psql('postgres', $_[0]);
}

sub append
{
	my ($prefix, $contact) = @_;
	sql("INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact)"
		  . " SELECT 'bot', '$prefix' || n, $contact FROM generate_series(1, @{[CONTACTS]}) n");
	return;
}

sub enqueue_few
{
	my ($name, $round) = @_;
	sql("SELECT contacts_push.enqueue('few', jsonb_agg(jsonb_build_object('external_id', '$name-$round-' || n)))"
		  . ' FROM generate_series(1, 5) n');
	return;
}

my %seen;						# statements whose plans were looked at

# What the planner may be told of the tables, one moment after the other.
my %statistics = (
	'taken when they were empty' => sub { },
	'of one row' => sub { claim_rows(1) },
	'of a thousand million rows' => sub { claim_rows(1e9) });

# Has the planner believe in so many rows.
sub claim_rows
{
	sql("UPDATE pg_class SET reltuples = $_[0] WHERE relkind IN ('r', 'i')"
		  . " AND relnamespace IN ('contacts_push'::regnamespace, 'contacts_push_internal'::regnamespace)");
	return;
}

# Every way for a contact to be settled, and every trouble on its way there.
sub play
{
	my ($round) = @_;

	append($round, q(jsonb_build_object('name', 'User ' || n)));
	ok(settled($node), "$round: contacts are created");
	sql(q{SELECT contacts_push.pause('bot')});
	append("$round-gone-", q('{"name": "first"}'));
	append("$round-gone-", q('{"name": "second"}'));
	append("$round-gone-", 'NULL');
	append("$round-new-", q('{"name": "first"}'));
	append("$round-new-", q('{"name": "second"}'));
	append($round, q('{"name": "again"}'));
	sql(q{SELECT contacts_push.resume('bot')});
	ok(settled($node), "$round: contacts with several intents are settled");

	# in doubt, refused, and alone in trouble; then fixed
	$fake->faults({ times => 3, action => { status => 503 } });
	append("$round-doubt-", q('{}'));
	ok(settled($node), "$round: contacts in doubt are settled");
	$fake->faults(
		{ match => { external_id => '^bad' }, action => { refuse => FakeChatbase::true } },
		{ match => { external_id => '^poison' }, action => { status => 500 } });
	enqueue_few($_, $round) for qw(bad poison good);
	ok(wait_until(sub { count_rows($node, q{status = 'pending' AND external_id NOT LIKE 'poison%'}) == 0 }),
		"$round: contacts beside those in trouble are settled");
	$fake->faults;
	enqueue_few('bad', $round);
	ok(settled($node), "$round: contacts that were fixed are settled");
	sql('SELECT contacts_push.retry()');
	ok(settled($node), "$round: contacts that are tried again are settled");

	# old rows of contacts that have changed since, which a worker that starts deletes
	sql(<<"END");
INSERT INTO contacts_push.outbox (chatbot_id, external_id, status, settled_at)
SELECT 'bot', '$round-old-' || n, s, now() - interval '2 days'
FROM unnest('{created,updated,updated}'::contacts_push.status[]) s, generate_series(1, 500) n
END

	# a worker that finds all of that, and requests of an earlier one
	$fake->always(hang => FakeChatbase::true);
	append("$round-left-", q('{}'));
	ok(wait_until(sub { $fake->in_flight > 0 }), "$round: requests are under way");
	$node->stop('immediate');
	$fake->faults;
	$node->start;
	ok(settled($node), "$round: what the last worker left is settled");
	ok(wait_until(sub { count_rows($node, qq{external_id LIKE '$round-old-%'}) == 500 }), "$round: what newer rows make pointless is deleted");
	return;
}

# What is wrong with the plans in the log from an offset on: a table of contacts is read
# by another way than along an index or by place, or too many rows are.  In a node of a
# plan its numbers stand before the nodes below it.
sub faults_since
{
	my ($from) = @_;
	my (%faults, %node, $statement);
	my $plans = 0;
	my $end_node = sub {
		return unless %node;
		my $rows = 0;
		$rows += $node{$_} // 0
		  for 'Actual Rows', 'Rows Removed by Filter', 'Rows Removed by Join Filter', 'Rows Removed by Index Recheck';
		my $read = $rows * ($node{'Actual Loops'} // 0);
		$faults{"$node{'Node Type'} of $node{'Relation Name'} in $statement"} = 1
		  if ($node{'Relation Name'} // '') eq 'outbox'
		  && $node{'Node Type'} !~ /^(?:Index Scan|Index Only Scan|Tid Scan|ModifyTable)$/;
		$faults{"$node{'Node Type'} reads $read rows in $statement"} = 1 if $read > MOST_ROWS;
		%node = ();
	};

	open my $log, '<', $node->logfile or die $!;
	seek $log, $from, 0;
	while (<$log>)
	{
		next unless /^\t *"([^"]+)": "?(.*?)"?,?$/;
		my ($key, $value) = ($1, $2);
		$end_node->() if $key eq 'Node Type' || $key eq 'Query Text';
		$node{$key} = $value if $key ne 'Query Text';
		$seen{$statement = $value} = 1 if $key eq 'Query Text';
		$plans++ if $key eq 'Query Text';
	}
	$end_node->();
	close $log;
	return ($plans, sort keys %faults);
}

# Dead rows fill the tables' pages, and the planner has it that none is left.
append('dead', q('{}'));
ok(settled($node), 'the first contacts are created');
sql('DELETE FROM contacts_push.outbox; DELETE FROM contacts_push.request; ANALYZE');

my $round = 0;
for my $moment (sort keys %statistics)
{
	my $from = -s $node->logfile;
	$statistics{$moment}->();
	play('r' . ++$round);
	my ($plans, @faults) = faults_since($from);
	is(join("\n", @faults), '', "statistics $moment: no plan reads more than it must");
	cmp_ok($plans, '>', 100, "statistics $moment: plans were looked at");
}

# What was looked at is what the worker consists of.
for my $kind ('UPDATE contacts_push.outbox o SET status = v.status', 'WITH ORDINALITY',
	'ORDER BY k.place, o.seq', 'next_attempt_at', 'INSERT INTO contacts_push.request',
	'UPDATE contacts_push.request', 'DELETE FROM contacts_push.request', 'UPDATE contacts_push.chatbot')
{
	ok((grep { /$kind/s } keys %seen), "a statement with $kind was looked at");
}
is(held_matches($node, $fake, 'bot', known => [ map { "dead$_" } 1 .. CONTACTS ]), '', 'as the stand-in holds it');

# An afternoon of a queue, with its statistics taken at the worst moment: after few
# contacts that came and went.
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'contacts_push'\n");
delete $ENV{PGOPTIONS};
$node->restart;
sql(<<'END');
TRUNCATE contacts_push.outbox;
CREATE TABLE users (id bigint PRIMARY KEY, name text, email text);
SELECT contacts_push.watch('users', 'queue');
SELECT contacts_push.pause('queue');
INSERT INTO users SELECT n, 'User ' || n, 'u' || n || '@example.com' FROM generate_series(1, 3000) n;
DELETE FROM users;
SELECT contacts_push.resume('queue');
END
ok(settled($node), 'few contacts have come and gone');
sql(<<'END');
ANALYZE contacts_push.outbox;
INSERT INTO users SELECT n, 'User ' || n, 'u' || n || '@example.com' FROM generate_series(10001, 40000) n;
END
ok(settled($node), 'many contacts are created');
sql(<<'END');
SELECT contacts_push.pause('queue');
INSERT INTO users SELECT n, 'User ' || n, 'u' || n || '@example.com' FROM generate_series(100001, 110000) n;
UPDATE users SET name = name || '!' WHERE id > 100000;
DELETE FROM users WHERE id > 100000;
SELECT contacts_push.resume('queue');
END
is(sql("SELECT contacts_push.flush('170 s')"), 't', 'and more that come, change and go are settled, too');
is(outcomes($node, 'queue'), 'created 30000, withdrawn 36000', 'each as it should be');

$node->stop;
done_testing();
