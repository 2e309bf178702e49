# A table that a subscription fills, watched with replicated: whatever apply brings is enqueued,
# as if it had been written here, and so is what is written here; once each.  The publisher has
# never heard of the extension.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use ContactsPushTest;
use FakeChatbase;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

# Rows of a transaction that is larger than what the publisher keeps in memory.
use constant LARGE => 3000;

# The worker looks by itself once a minute.  So many rounds one after the other, each begun when
# the one before is settled, would take minutes if nothing woke it; seconds.
use constant { ROUNDS => 5, WELL_BELOW_THE_POLLS => 100 };

my $fake = FakeChatbase->start;
my $publisher = PostgreSQL::Test::Cluster->new('publisher');
$publisher->init(allows_streaming => 'logical', extra => [ '--encoding=UTF8', '--no-locale' ]);
$publisher->append_conf('postgresql.conf', "logical_decoding_work_mem = 64kB\n");
$publisher->start;
my $from = $publisher->connstr('postgres') =~ s/'/''/gr;

# sends nothing at first: the outbox is the log of what the triggers have seen
my $node = new_cluster('subscriber', $fake, init => { allows_streaming => 'logical' }, extra => "contacts_push.enabled = off\n");

# What has been enqueued for a chatbot since the last look, a line an intent: external_id, name
# ('-' is withdrawn), and, if it has one, the id before.
my %seen;

sub news
{
	my ($chatbot) = @_;
	my $from_seq = $seen{$chatbot} // 0;
	my @rows = split /\n/, $node->safe_psql('postgres', <<"END");
SELECT seq, external_id || ' ' || coalesce(contact ->> 'name', '-') || coalesce(' was ' || previous_external_id, '')
FROM contacts_push.outbox WHERE chatbot_id = '$chatbot' AND seq > $from_seq ORDER BY seq
END
	my @news = map { (split /\|/, $_, 2)[1] } @rows;

	$seen{$chatbot} = (split /\|/, $rows[-1])[0] if @rows;
	return join ', ', @news;
}

# Runs statements at the publisher, and waits until the subscriber has applied them.
sub publish
{
	my ($sql, @subscriptions) = @_;

	$publisher->safe_psql('postgres', $sql);
	$publisher->wait_for_catchup($_) for @subscriptions ? @subscriptions : 'users';
	return;
}

sub subscribe
{
	my ($name, $options) = @_;

	$node->safe_psql('postgres', "CREATE SUBSCRIPTION $name CONNECTION '$from' PUBLICATION $name WITH ($options)");
	$node->wait_for_subscription_sync($publisher, $name);
	return;
}

# The initial copy.  The mapping uses a column that is out of line and raises for some rows.
my $tables = <<'END';
CREATE TABLE users (id integer PRIMARY KEY, name text, email text, born text, about text, visits integer DEFAULT 0);
ALTER TABLE users ALTER about SET STORAGE EXTERNAL;
CREATE TABLE logins (login text, name text);
ALTER TABLE logins REPLICA IDENTITY FULL;
CREATE TABLE members (id integer PRIMARY KEY, name text, email text NOT NULL UNIQUE, consented boolean);
END
$publisher->safe_psql('postgres', $tables);
$publisher->safe_psql('postgres', <<'END');
INSERT INTO users (id, name, about) VALUES (1, 'One', repeat('x', 5000)), (2, 'Two', 'short'), (3, 'Three', NULL);
INSERT INTO logins VALUES ('a', 'Ann'), ('b', 'Bob');
INSERT INTO members VALUES (1, 'Yes', 'yes@example.com', true), (2, 'No', 'no@example.com', false);
CREATE PUBLICATION users FOR TABLE users;
CREATE PUBLICATION logins FOR TABLE logins;
CREATE PUBLICATION members FOR TABLE members WHERE (consented);
ALTER TABLE members REPLICA IDENTITY FULL;
END
$node->safe_psql('postgres', $tables);
$node->safe_psql('postgres', <<'END');
SELECT contacts_push.watch('users', 'bot', replicated => true,
	custom_attributes => $$jsonb_build_object('born', born::date, 'about', length(about))$$);
SELECT contacts_push.watch('logins', 'logins', external_id => 'login', replicated => true);
SELECT contacts_push.watch('members', 'members', external_id => 'email', replicated => true);
SELECT contacts_push.watch('members', 'unaware', external_id => 'email');
END
subscribe('users', 'streaming = on');
subscribe('logins', 'copy_data = true');
subscribe('members', 'copy_data = true');
is(news('bot'), '1 One, 2 Two, 3 Three', 'the initial copy is enqueued');
is(news('logins'), 'a Ann, b Bob', 'that of a table without a key, too');
is(news('members'), 'yes@example.com Yes', 'and that of a part of a table');

# Changes by key only.
publish(q{INSERT INTO users VALUES (4, 'Four'); INSERT INTO users SELECT n, 'User ' || n FROM generate_series(5, 7) n});
is(news('bot'), '4 Four, 5 User 5, 6 User 6, 7 User 7', 'inserts');
publish(q{UPDATE users SET name = 'Uno' WHERE id = 1});
is(news('bot'), '1 Uno', 'an update');
is($node->safe_psql('postgres', q{SELECT contact -> 'custom_attributes' ->> 'about' FROM contacts_push.outbox WHERE contact ->> 'name' = 'Uno'}),
	5000, '... has the value that did not travel because it is unchanged');
publish('UPDATE users SET visits = visits + 1');
is(news('bot'), '', 'an update of what is not mapped enqueues nothing');
publish('UPDATE users SET id = 20 WHERE id = 2');
is(news('bot'), '2 -, 20 Two was 2', 'an update of the key');
publish('DELETE FROM users WHERE id = 20; DELETE FROM users WHERE id = 7');
is(news('bot'), '20 -, 7 -', 'deletes');
publish('BEGIN; DELETE FROM users WHERE id = 6; INSERT INTO users VALUES (6, \'Another\'); UPDATE users SET name = \'Six\' WHERE id = 6; COMMIT');
is(news('bot'), '6 -, 6 Another, 6 Six', 'a transaction, in its order');
publish('BEGIN; INSERT INTO users VALUES (100, \'Nobody\'); ROLLBACK');
is(news('bot'), '', 'one that is rolled back');

# Whole old rows, without a key.
publish(q{UPDATE logins SET name = 'Anna' WHERE login = 'a'; UPDATE logins SET login = 'bb' WHERE login = 'b'; DELETE FROM logins WHERE login = 'bb'}, 'logins');
is(news('logins'), 'a Anna, b -, bb Bob was b, bb -', 'changes of a table without a key');

# A row filter: a row that comes into it is inserted here, one that leaves it deleted.
publish(<<'END', 'members');
INSERT INTO members VALUES (3, 'Never', 'never@example.com', false), (4, 'Always', 'always@example.com', true);
UPDATE members SET consented = true WHERE id = 2;
UPDATE members SET consented = false WHERE id = 1;
UPDATE members SET email = 'ever@example.com' WHERE id = 4;
END
is(news('members'), 'always@example.com Always, no@example.com No, yes@example.com -, always@example.com -, ever@example.com Always was always@example.com',
	'changes of a part of a table');
# the key is not what identifies the contact: the old one is found here
$publisher->safe_psql('postgres', <<'END');
ALTER PUBLICATION members SET TABLE members;
ALTER TABLE members REPLICA IDENTITY DEFAULT;
END
publish(q{UPDATE members SET email = 'for.ever@example.com' WHERE id = 4; DELETE FROM members WHERE id = 4}, 'members');
is(news('members'), 'ever@example.com -, for.ever@example.com Always was ever@example.com, for.ever@example.com -',
	'changes of which the publisher sends the key only');
is(news('unaware'), '', 'a table that is watched without replicated enqueues none of it');

# A mapping that raises: the row arrives, and those after it, and their contacts.
my $log_from = -s $node->logfile;
publish(q{BEGIN; INSERT INTO users (id, name, born) VALUES (30, 'Bad', 'unknown'), (31, 'Good', '2000-01-01'), (32, 'Bad, too', 'never'); UPDATE users SET name = 'Eins' WHERE id = 1; COMMIT});
is(news('bot'), '31 Good, 1 Eins', 'a mapping that raises leaves its rows out only');
is($node->safe_psql('postgres', 'SELECT count(*) FROM users WHERE id IN (30, 31, 32)'), 3, '... which have been applied');
is($node->safe_psql('postgres', q{SELECT enqueue_failures FROM contacts_push.progress WHERE chatbot_id = 'bot'}), 2, '... and are counted');
my @warnings = slurp_file($node->logfile, $log_from) =~ /WARNING:  (.*)/g;
is("@warnings", 'a row of "users" was not enqueued for chatbot "bot"', '... with one WARNING for the transaction');
publish(q{UPDATE users SET born = '2000-01-01' WHERE id = 30});
is(news('bot'), '30 Bad', 'a later change enqueues one of them');
is($node->safe_psql('postgres', q{SELECT sum(value::bigint) FROM pg_stat_subscription_stats s CROSS JOIN jsonb_each_text(to_jsonb(s)) WHERE key LIKE '%error_count'}), 0, 'no subscription has met an error');

# A large transaction travels before it commits, in parts; what is rolled back in it is no contact.
my @modes = ('on', $node->pg_version >= 16 ? 'parallel' : ());
for my $mode (@modes)
{
	my $first = $mode eq 'on' ? 10_000 : 100_000;
	my ($last, $lost) = ($first + LARGE - 1, $first + LARGE);

	$node->safe_psql('postgres', "ALTER SUBSCRIPTION users SET (streaming = $mode)");
	$publisher->safe_psql('postgres', q{SELECT pg_stat_reset_replication_slot('users')});
	my $ids = $node->safe_psql('postgres', 'SELECT pg_current_xact_id()');
	publish(<<"END");
BEGIN;
INSERT INTO users (id, name, about) SELECT n, 'Large ' || n, repeat('y', 100) FROM generate_series($first, $last) n;
SAVEPOINT s;
INSERT INTO users (id, name, about) SELECT n, 'Lost ' || n, repeat('y', 100) FROM generate_series($lost, $lost + @{[ LARGE ]}) n;
ROLLBACK TO s;
UPDATE users SET name = 'Larger ' || id WHERE id BETWEEN $first AND $last;
COMMIT;
END
	ok($publisher->poll_query_until('postgres', q{SELECT stream_txns > 0 FROM pg_stat_replication_slots WHERE slot_name = 'users'}),
		"$mode: a large transaction is streamed");
	is(news('bot'), join(', ', map({ "$_ Large $_" } $first .. $last), map({ "$_ Larger $_" } $first .. $last)),
		"$mode: its contacts are enqueued once, in their order");
	cmp_ok($node->safe_psql('postgres', 'SELECT pg_current_xact_id()') - $ids, '<', LARGE / 10, "$mode: which does not take a transaction id for each")
	  if $mode eq 'on';
}

# What is written here, by a session as any other and by one that plays a replica.
for my $role (qw(origin replica))
{
	my $id = $role eq 'origin' ? 201 : 301;
	my $next = $id + 1;

	$node->safe_psql('postgres', <<"END");
SET session_replication_role = $role;
INSERT INTO users VALUES ($id, 'Here'), ($next, 'Here, too');
UPDATE users SET name = 'There' WHERE id = $id;
DELETE FROM users WHERE id IN ($id, $next);
END
	is(news('bot'), "$id Here, $next Here, too, $id There, $id -, $next -", "as $role: what is written here is enqueued once");
}

# TRUNCATE withdraws nobody.
publish('TRUNCATE users; INSERT INTO users VALUES (40, \'Forty\')');
is(news('bot'), '40 Forty', 'a TRUNCATE withdraws nothing');
is($node->safe_psql('postgres', 'SELECT count(*) FROM users'), 1, '... though it is applied');

# The worker sends what apply brings, and does not wait for its next look.
set_conf($node, 'contacts_push.enabled' => 'on');
ok(settled($node), 'all is settled');
is(held_matches($node, $fake, $_), '', "$_: what is recorded is held") for qw(bot logins members);
my $start = time;
for my $round (1 .. ROUNDS)
{
	publish("INSERT INTO users VALUES (50 + $round, 'Late')");
	ok(settled($node), "round $round: what apply brings is settled");
}
cmp_ok(time - $start, '<', WELL_BELOW_THE_POLLS, 'apply wakes the worker');

# The chatbot is kept in step with what apply brings.
$node->safe_psql('postgres', q{SELECT contacts_push.push_changes('bot', updates => true, deletes => true)});
publish(q{UPDATE users SET name = 'Changed' WHERE id = 51; DELETE FROM users WHERE id = 52; UPDATE users SET id = 530 WHERE id = 53});
ok(settled($node), 'what has changed is settled');
my %names = map { ($_->{external_id} => $_->{name}) } @{ $fake->admin('contacts?chatbot=bot') };
is($names{51}, 'Changed', 'an update is there');
ok(!exists $names{52}, 'what was deleted is not');
is(($names{53} // 'gone') . ' ' . ($names{530} // 'missing'), 'gone Late', 'another key is');

# unwatch() takes all of it away.
my $triggers = q{SELECT string_agg(tgname || ' ' || tgenabled::text || CASE WHEN tgtype & 1 = 1 THEN ' row' ELSE '' END, ', ' ORDER BY tgname)
FROM pg_trigger WHERE tgrelid = 'users'::regclass};
is($node->safe_psql('postgres', $triggers),
	'contacts_push_delete O, contacts_push_insert O, contacts_push_replica_delete R row, contacts_push_replica_insert R row, contacts_push_update A row', 'the triggers');
$node->safe_psql('postgres', q{SELECT contacts_push.unwatch('users')});
is($node->safe_psql('postgres', $triggers), '', 'unwatch() leaves none');
publish(q{INSERT INTO users VALUES (60, 'Unwatched'); DELETE FROM users WHERE id = 40});
ok(settled($node) && !exists $fake->held('bot')->{60}, 'what apply brings then is nobody\'s');

$node->safe_psql('postgres', "DROP SUBSCRIPTION $_") for qw(users logins members);
done_testing();
