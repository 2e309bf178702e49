# pg_dump and restore, into another database and into another cluster: nothing is
# lost, nothing is sent without a key, and nothing is created twice or called a
# conflict, though the original has gone on working.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use ContactsPushTest;
use FakeChatbase;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use UsersTest;

my $fake = FakeChatbase->start;
# a request that is never answered shouldn't keep the end of the test waiting
my $node = new_cluster('original', $fake, extra => "contacts_push.request_timeout = 10s\n");
my $other = new_cluster('restored', $fake, extension => 0, extra => "contacts_push.api_key = ''\n");
my $dump = PostgreSQL::Test::Utils::tempdir() . '/dump.sql';

# What there is of the outbox and of what watches, whatever the worker adds to it.
my $rows = <<'END';
SELECT seq, chatbot_id, external_id, contact, status, attempts, http_status, CASE WHEN status <> 'pending' THEN error END, contact_id, enqueued_at, settled_at
FROM contacts_push.outbox ORDER BY seq
END
my $watched = <<'END';
SELECT w.*, pg_get_triggerdef(t.oid), pg_get_viewdef(w.view), c.reloptions, obj_description(w.view) FROM contacts_push_internal.watched_trigger w
JOIN pg_trigger t ON t.tgrelid = w.relation AND t.tgname = w.trigger_name
JOIN pg_class c ON c.oid = w.view ORDER BY w.relation::text, w.trigger_name
END

# A watched table with a view that was made for it, one with a view of its own,
# one in partitions and one with names to quote.
$node->safe_psql('postgres', <<'END');
CREATE TABLE users (id integer PRIMARY KEY, name text, email text, data json);
SELECT contacts_push.watch('users', 'bot', custom_attributes => $$jsonb_build_object('data', data)$$);
CREATE SCHEMA "My Schema";
CREATE TABLE "My Schema"."Users" ("Id" text PRIMARY KEY, name text) PARTITION BY HASH ("Id");
CREATE TABLE "My Schema"."Part" PARTITION OF "My Schema"."Users" FOR VALUES WITH (MODULUS 1, REMAINDER 0);
SELECT contacts_push.watch('"My Schema"."Users"', 'it''s a bot');
END
make_users($node, 'members', 'bot 2');

# Created, refused, skipped, withdrawn, pending, and one whose request is under way.
$fake->preset('bot', { external_id => 'x', email => 'taken@example.com' });
$node->safe_psql('postgres', <<'END');
INSERT INTO users SELECT n, 'User ' || n, 'user' || n || '@example.com', '{"a":  1}' FROM generate_series(1, 100) n;
INSERT INTO users VALUES (101, 'Taken', 'taken@example.com'), (102, 'Bad', 'nobody');
INSERT INTO "My Schema"."Users" VALUES ('a', 'A'), ('b', 'B');
INSERT INTO members (id, kind) VALUES (1, 'good'), (2, 'raises');
END
ok(settled($node), 'contacts are settled');
$node->safe_psql('postgres', q{UPDATE users SET name = 'changed' WHERE id = 1; DELETE FROM members WHERE id = 1});
ok(settled($node), 'and what came after');
$fake->faults({ match => { chatbot => 'bot 2' }, when => 'after', action => { hang => FakeChatbase::true } });
$node->safe_psql('postgres', q{INSERT INTO members (id, kind) VALUES (3, 'good'), (4, 'good')});
ok(wait_until(sub { exists $fake->held('bot 2')->{4} }), 'a request is under way, and has been applied');
$node->safe_psql('postgres', q{SELECT contacts_push.pause('bot')});
$node->safe_psql('postgres', q{INSERT INTO users SELECT n, 'Late ' || n, 'user' || n || '@example.com' FROM generate_series(201, 300) n});

$node->command_ok([ 'pg_dump', '-d', $node->connstr('postgres'), '-f', $dump ], 'pg_dump');
my %original = map { $_ => $node->safe_psql('postgres', $_) } $rows, $watched, 'TABLE users ORDER BY id';
my $highest = $node->safe_psql('postgres', 'SELECT max(seq) FROM contacts_push.outbox');

# The original goes on: it sends what the dump has as pending.
$node->safe_psql('postgres', q{SELECT contacts_push.resume('bot')});
ok( wait_until(sub { $node->safe_psql('postgres', "SELECT count(*) FROM contacts_push.outbox WHERE chatbot_id = 'bot' AND status = 'pending'") eq '0' }),
	'the original goes on');
my $held = keys %{ $fake->held('bot') };
is($held, 201, 'everybody is held');

sub check_restored
{
	my ($cluster, $database, $what) = @_;

	$cluster->command_ok([ 'psql', '-X', '-v', 'ON_ERROR_STOP=1', '-d', $cluster->connstr($database), '-f', $dump ], "$what: it is restored");
	is($cluster->safe_psql($database, $_) eq $original{$_} ? '' : $cluster->safe_psql($database, $_), '', "$what: nothing is lost of " . ($_ =~ s/\s+/ /gr =~ s/^(.{40}).*/$1/r))
	  for sort keys %original;
	return;
}

# In a cluster without a key.
# The original asks again for 'bot 2' whenever its request has timed out.
my $sent_to_others = sub { scalar grep { ($_->{chatbot} // '') ne 'bot 2' } $fake->requests };
my $requests = $sent_to_others->();
$other->safe_psql('postgres', 'CREATE DATABASE restored');
check_restored($other, 'restored', 'another cluster');
ok(worker_runs($other, 'restored'), 'a worker runs there');
ok( wait_until(sub { $other->safe_psql('restored', "SELECT count(*) FROM contacts_push.chatbot WHERE paused_until IS NOT NULL") >= 1 }),
	'it has looked, and has no key');
is($sent_to_others->(), $requests, 'nothing is sent');
is($other->safe_psql('restored', "SELECT count(*) FROM contacts_push.request WHERE started_at > (SELECT max(enqueued_at) FROM contacts_push.outbox)"),
	'0', 'nor is it meant to be');
is($other->safe_psql('restored', "SELECT count(*) FROM contacts_push.outbox WHERE status = 'pending'"), '102', 'all of it is still pending');

# What can't be known any more is asked for: with a key.
sub check_sent
{
	my ($cluster, $database, $what) = @_;

	$cluster->safe_psql($database, 'SELECT contacts_push.resume()');
	ok(settled($cluster, $database), "$what: everything is settled");
	is(outcomes($cluster, 'bot', $database), 'conflict 1, created 100, present 100, rejected 1, skipped 1', "$what: what was sent already is recognised");
	is(outcomes($cluster, 'bot 2', $database), 'created 1, present 2, withdrawn 1', "$what: and so is what was under way");
	is(scalar keys %{ $fake->held('bot') }, $held, "$what: nobody is created twice");
	is(held_matches($cluster, $fake, 'bot', database => $database, known => [ 'x', @_[ 3 .. $#_ ] ]), '', "$what: as the stand-in holds it");
	ok(wait_until(sub { disagreement($cluster, 'bot', $database) eq '' }), "$what: progress agrees")
	  or diag(disagreement($cluster, 'bot', $database));
	# the numbers go on, and so does watching
	$cluster->safe_psql($database, qq{INSERT INTO users VALUES (1000 + length('$what'), '$what', '$database\@example.com')});
	cmp_ok($cluster->safe_psql($database, 'SELECT max(seq) FROM contacts_push.outbox'), '>', $highest, "$what: the numbers go on");
	ok(settled($cluster, $database), "$what: what is written then is settled");
	is($cluster->safe_psql($database, "SELECT status FROM contacts_push.outbox WHERE external_id = (1000 + length('$what'))::text"),
		'created', "$what: as created");
	$held++;
	return;
}

$fake->faults;
set_conf($other, 'contacts_push.api_key' => KEY);
check_sent($other, 'restored', 'another cluster');

# In the same cluster, beside the original, whose worker goes on.
$node->safe_psql('postgres', 'CREATE DATABASE beside');
set_conf($node, 'contacts_push.enabled' => 'off');
check_restored($node, 'beside', 'another database');
set_conf($node, 'contacts_push.enabled' => 'on');
ok(worker_runs($node, 'beside'), 'a worker runs');
check_sent($node, 'beside', 'another database', 1000 + length('another cluster'));

ok(settled($node), 'the original is settled, too');
is($node->safe_psql('postgres', "SELECT count(*) FROM contacts_push.outbox WHERE status = 'conflict'"), '1', 'with the one conflict that it had');
is(held_matches($node, $fake, 'bot', known => [ 'x', map { 1000 + length } 'another cluster', 'another database' ]), '', 'as the stand-in holds it');

$_->stop for $node, $other;
done_testing();
