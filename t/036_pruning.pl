# What has ended longer ago than contacts_push.request_retention and nobody needs is
# deleted: requests, rows that were not sent, failures to enqueue.  Everything else stays.
#
# Takes long: the worker tidies up once a minute.
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
my $node = new_cluster('pruning', $fake);
ok(worker_runs($node), 'a worker runs');

sub enqueue
{
	my ($chatbot, $contacts) = @_;
	return $node->safe_psql('postgres', "SELECT contacts_push.enqueue('$chatbot', '$contacts')");
}

sub requests
{
	my ($condition) = @_;
	return $node->safe_psql('postgres', 'SELECT count(*) FROM contacts_push.request WHERE ' . ($condition // 'true'));
}

# A worker that starts begins with pruning; after that it does so once a minute.
sub prune
{
	$node->restart;
	ok(worker_runs($node), 'a worker starts');
	my $start = time;
	is($node->safe_psql('postgres', "SELECT contacts_push.flush('@{[PATIENCE]} s')"),
		$node->safe_psql('postgres', q{SELECT NOT EXISTS (SELECT FROM contacts_push.outbox WHERE status = 'pending')}),
		'and knows what is pending');
	cmp_ok(time - $start, '<', PATIENCE, 'and works');
	return;
}

# One row of every status.
$fake->preset('bot', { external_id => 'conflict' });
enqueue('bot', '[{"external_id": "created"}, {"external_id": "conflict"}, {"external_id": "rejected", "email": "nobody"},
	{"external_id": "superseded", "email": "nobody"}]');
ok(settled($node), 'contacts are settled');
enqueue('bot', '[{"external_id": "created"}, {"external_id": "superseded"}]');
$node->safe_psql('postgres', q{INSERT INTO contacts_push.outbox (chatbot_id, external_id) VALUES ('bot', 'withdrawn')});
ok(settled($node), 'their further intents too');
$fake->faults({ match => { chatbot => 'lost' }, when => 'after', times => 1, action => { drop => FakeChatbase::true } });
enqueue('lost', '{"external_id": "present"}');
ok(settled($node), 'and one whose answer was lost');
$node->safe_psql('postgres', q{UPDATE contacts_push.outbox SET status = 'failed' WHERE external_id = 'rejected'});
enqueue('bot', '{"external_id": "rejected 2", "email": "nobody"}');
$node->safe_psql('postgres', q{INSERT INTO contacts_push.chatbot (chatbot_id) VALUES ('paused'); SELECT contacts_push.pause('paused')});
enqueue('paused', '{"external_id": "pending"}');
is($node->safe_psql('postgres', 'SELECT contacts_push.flush()'), 'f', 'nothing is left but what is paused');
my $all = 'SELECT string_agg(status::text, \' \' ORDER BY status, external_id) FROM contacts_push.outbox';
is($node->safe_psql('postgres', $all),
	'pending created created present conflict rejected failed superseded skipped withdrawn', 'a row of every status')
  unless $node->safe_psql('postgres', $all) eq 'pending created present conflict rejected failed superseded skipped withdrawn';
my $before = requests();
cmp_ok($before, '>=', 5, 'several requests');

# Nothing is old enough for the default of a day.
prune();
is(requests(), $before, 'requests of today stay');
like($node->safe_psql('postgres', $all), qr/superseded skipped withdrawn$/, 'and so do rows that were not sent');

# Failures to enqueue are counted when the worker gets to it, and stay to be read until
# they are old; those that are not counted yet stay however old.
$node->safe_psql('postgres', <<'END');
INSERT INTO contacts_push_internal.enqueue_failure (chatbot_id, relation, rows, reason, failed_at) VALUES
	('bot', 'public.users', 2, 'old', now() - interval '25 hours'), ('bot', 'public.users', 3, 'young', now());
END
prune();
my $failures = q{SELECT string_agg(reason, ' ' ORDER BY reason) FROM contacts_push_internal.enqueue_failure};
ok(wait_until(sub { $node->safe_psql('postgres', 'SELECT bool_and(counted) FROM contacts_push_internal.enqueue_failure') eq 't' }),
	'failures to enqueue are counted');
like($node->safe_psql('postgres', $failures), qr/young/, 'and can still be read');
prune();
ok(wait_until(sub { $node->safe_psql('postgres', $failures) eq 'young' }), 'until they are old');
is($node->safe_psql('postgres', q{SELECT enqueue_failures FROM contacts_push.progress WHERE chatbot_id = 'bot'}), '5',
	'which changes nothing of their number');

# A request under way, however old.
$fake->faults({ match => { chatbot => 'slow' }, action => { hang => FakeChatbase::true } });
enqueue('slow', '{"external_id": "1"}');
ok(wait_until(sub { $fake->in_flight == 1 && requests('finished_at IS NULL') == 1 }), 'a request is under way');
my $slow = $node->safe_psql('postgres', 'SELECT id FROM contacts_push.request WHERE finished_at IS NULL');

# A foreign key of somebody's keeps none of it from being deleted, nor the worker from work.
$node->safe_psql('postgres', <<'END');
CREATE TABLE somebodys (seq bigint REFERENCES contacts_push.outbox);
INSERT INTO somebodys SELECT seq FROM contacts_push.outbox WHERE status IN ('superseded', 'withdrawn')
END

# All that has ended becomes older than a day but one of each kind.
enqueue('bot', '[{"external_id": "young"}]');
ok(wait_until(sub { requests("chatbot_id = 'bot' AND started_at > now() - interval '1 hour' AND http_status = 200") > 0 }), 'another request');
my $young = $node->safe_psql('postgres', 'SELECT max(id) FROM contacts_push.request WHERE finished_at IS NOT NULL');
$node->safe_psql('postgres', <<"END");
UPDATE contacts_push.request SET finished_at = now() - interval '25 hours' WHERE finished_at IS NOT NULL AND id <> $young;
UPDATE contacts_push.request SET started_at = now() - interval '30 hours';
UPDATE contacts_push.outbox SET settled_at = now() - interval '25 hours', enqueued_at = now() - interval '30 hours' WHERE status NOT IN ('pending', 'skipped');
END
$fake->faults;
prune();
ok(wait_until(sub { requests('finished_at < now() - interval \'1 day\'') == 0 }), 'requests that ended a day ago are deleted');
is(requests("id = $young"), 1, 'a younger one is not');
is(requests("id = $slow"), 1, 'nor the one that was under way');
ok( wait_until(sub { $node->safe_psql('postgres', $all) !~ /superseded|withdrawn/ }), 'rows that were not sent are deleted');
like($node->safe_psql('postgres', $all), qr/ skipped$/, 'but for a younger one');
like($node->safe_psql('postgres', $all), qr/^pending created.* present conflict rejected failed/, 'every row with an outcome stays');

# A retention of a second.
set_conf($node, 'contacts_push.request_retention' => '1s');
ok(settled_but_paused(), 'nothing is under way');
ok(wait_until(sub { requests("finished_at > clock_timestamp() - interval '2 s'") == 0 }), 'a while later');
$node->safe_psql('postgres', "UPDATE contacts_push.outbox SET settled_at = now() - interval '3 s' WHERE status = 'skipped'");
prune();
ok(wait_until(sub { requests('finished_at < now() - interval \'2 s\'') == 0 }), 'a retention of a second: requests are deleted');
ok(wait_until(sub { $node->safe_psql('postgres', $all) !~ /skipped/ }), 'and rows that were not sent');
like($node->safe_psql('postgres', $all), qr/^pending created.* present conflict rejected failed$/, 'every row with an outcome stays');
is(held_matches($node, $fake, 'bot'), '', 'as the stand-in holds it');
ok(wait_until(sub { $node->safe_psql('postgres', 'SELECT sum(created), sum(pending) FROM contacts_push.progress') =~ /^\d+\|1$/ }), 'progress is what it was');

# More than is deleted at once; and, in another database, numbers that begin anew, which
# are noticed when the worker next tidies up.  That is once a minute for both.
add_database($node, 'anew');
insert_users($node, 'anew', 'u', 1, 100, 'anew');
ok(settled($node, 'anew'), 'contacts of another database are settled');
set_conf($node, 'contacts_push.request_retention' => '1d');
$node->safe_psql('postgres', <<'END');
INSERT INTO contacts_push.request (chatbot_id, call, contacts, seqs, started_at, finished_at, outcome)
SELECT 'bot', 'create', 1, '{[1,2)}', now() - interval '2 days', now() - interval '2 days' - n * interval '1 s', 'many' FROM generate_series(1, 25000) n;
INSERT INTO contacts_push.outbox (chatbot_id, external_id, status, settled_at)
SELECT 'many', n::text, 'superseded', now() - interval '2 days' FROM generate_series(1, 25000) n;
END
prune();
my $left;
ok(wait_until(sub { $left = requests("outcome = 'many'"); $left < 25000 }), 'many requests are deleted');
cmp_ok($left, '>', 0, 'in steps');
ok(worker_runs($node, 'anew'), 'a worker runs in the other database');
is($node->safe_psql('anew', 'SELECT contacts_push.flush()'), 't', 'and works');
$node->safe_psql('anew', 'TRUNCATE contacts_push.outbox RESTART IDENTITY');
insert_users($node, 'anew', 'n', 1, 2, 'anew');
ok(wait_until(sub { requests("outcome = 'many'") == 0 }), 'until none is left');
ok( wait_until(sub { $node->safe_psql('postgres', "SELECT count(*) FROM contacts_push.outbox WHERE chatbot_id = 'many'") eq '0' }),
	'and so are many rows');

ok(wait_until(sub { outcomes($node, 'anew', 'anew') eq 'created 2' }),
	'after a TRUNCATE with RESTART IDENTITY contacts are created');

sub settled_but_paused
{
	return wait_until(sub { $node->safe_psql('postgres',
		"SELECT count(*) = 0 FROM contacts_push.outbox WHERE status = 'pending' AND chatbot_id <> 'paused'") eq 't' });
}

$node->stop;
done_testing();
