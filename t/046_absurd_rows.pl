# Rows that no application means to write: what is absurd cannot be written, or is set
# aside, and never keeps others from being sent.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use ContactsPushTest;
use EngineTest;
use FakeChatbase;
use JSON::PP ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use constant MB => 1024 * 1024;

# What a worker may need while contacts of a megabyte are read: 16 MB of them are kept, and
# each of four requests has up to 4 MB.  All at once they would take more than twice 300 MB.
use constant LARGE_CONTACTS => 300;
use constant MEMORY_LIMIT => 150 * MB;

my $true = JSON::PP::true;
my $fake = FakeChatbase->start;
my $node = new_cluster('absurd', $fake);

# What no constraint lets in: a statement, and the constraint.
my @prevented = (
	[ q{UPDATE contacts_push.outbox SET next_attempt_at = 'infinity'}, 'outbox_next_attempt_at_check' ],
	[ q{UPDATE contacts_push.outbox SET next_attempt_at = '-infinity'}, 'outbox_next_attempt_at_check' ],
	[ q{UPDATE contacts_push.outbox SET enqueued_at = 'infinity'}, 'outbox_enqueued_at_check' ],
	[ q{UPDATE contacts_push.outbox SET enqueued_at = '-infinity'}, 'outbox_enqueued_at_check' ],
	[ q{UPDATE contacts_push.outbox SET attempts = -1}, 'outbox_attempts_check' ],
	[ q{UPDATE contacts_push.chatbot SET created = 9223372036854775807}, 'counter_check' ],
	[ q{UPDATE contacts_push.chatbot SET enqueue_failures = -9223372036854775808}, 'counter_check' ],
	[ q{UPDATE contacts_push.chatbot SET pause_reason = repeat('x', 10000)}, 'chatbot_pause_reason_check' ],
	[ q{INSERT INTO contacts_push_internal.tally VALUES ('first', 9223372036854775807, 0, 0, 0, 0)}, 'counter_check' ],
	[ q{UPDATE contacts_push.request SET started_at = '-infinity'}, 'request_started_at_check' ],
	[ q{UPDATE contacts_push.request SET finished_at = 'infinity'}, 'request_finished_at_check' ]);

# What can be written (some of it once its constraint has been dropped): to a row of the
# outbox, of a chatbot of its own, and what then becomes of it.
my @written = (
	[ 'far', q{next_attempt_at = '294276-12-31'}, 'pending' ],
	[ 'infinite', q{next_attempt_at = 'infinity'}, 'pending' ],
	[ 'before', q{next_attempt_at = '-infinity'}, 'created' ],
	[ 'ancient', q{next_attempt_at = '4714-12-01 BC'}, 'created' ],
	[ 'enqueued', q{enqueued_at = '4714-12-01 BC'}, 'created' ],
	[ 'later', q{enqueued_at = '294276-12-31'}, 'created' ],
	[ 'many', q{attempts = 2147483647, unconfirmed = true}, 'created' ],
	[ 'negative', q{attempts = -2147483648, unconfirmed = true}, 'created' ]);

sub is_pushed
{
	my ($what) = @_;
	insert_users($node, 'others', "$what ", 1, 3);
	ok( $node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM contacts_push.outbox WHERE chatbot_id = 'others' AND status = 'pending'}),
		"$what: others are sent");
	return;
}

sub prevented
{
	insert_users($node, 'first', 'u', 1, 1);
	ok(settled($node), 'one contact is settled');
	for (@prevented)
	{
		my ($sql, $constraint) = @$_;
		my ($status, $stdout, $stderr) = $node->psql('postgres', $sql);
		like($stderr, qr/"$constraint"/, "cannot be written: $sql");
	}
	return;
}

sub written
{
	$node->safe_psql('postgres', <<'END');
ALTER TABLE contacts_push.outbox DROP CONSTRAINT outbox_next_attempt_at_check,
	DROP CONSTRAINT outbox_attempts_check
END
	for (@written)
	{
		my ($chatbot, $set, $status) = @$_;
		$node->safe_psql('postgres', <<"END");
BEGIN;
INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact) VALUES ('$chatbot', 'u', '{}');
UPDATE contacts_push.outbox SET $set WHERE chatbot_id = '$chatbot';
COMMIT
END
		ok($node->poll_query_until('postgres', "SELECT status = '$status' FROM contacts_push.outbox WHERE chatbot_id = '$chatbot'"),
			"$set: $status");
	}
	is_pushed('absurd times and attempts');
	is($node->safe_psql('postgres', q{SELECT count(*) FROM contacts_push.progress WHERE chatbot_id = 'far'}), 1,
		'progress can be read');
	return;
}

# One that alone keeps failing, with as many attempts as the integer has.
sub failed_often
{
	$fake->faults({ match => { external_id => '^poor$' }, action => { status => 500 } });
	$node->safe_psql('postgres', <<'END');
BEGIN;
INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact)
SELECT 'often', unnest('{poor,rich}'::text[]), '{}';
UPDATE contacts_push.outbox SET attempts = 2147483647, unconfirmed = true WHERE external_id = 'poor';
COMMIT
END
	# It has failed for good only if the chatbot answers for others meanwhile.
	my $n = 0;
	ok(wait_until(sub {
		$n++;
		insert_users($node, 'often', 'company', $n, $n);
		return status_of($node, 'often', 'poor') eq 'failed';
	}), 'attempts at their end: failed');
	is(status_of($node, 'often', 'rich'), 'created', 'attempts at their end: the other is created');
	$fake->faults;
	return;
}

# Requests that nobody has made, for a worker that starts.
sub requests
{
	$node->safe_psql('postgres', <<'END');
SELECT contacts_push.pause('others');
INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact)
SELECT 'others', 'request ' || i, '{}' FROM generate_series(1, 2500) i;
INSERT INTO contacts_push.request (chatbot_id, call, contacts, seqs) VALUES
	('others', 'create', 1, '{(,)}'), ('others', 'create', -1, '{}'),
	('others', 'create', 2147483647, '{[1,9223372036854775806]}'), ('nobody', 'create', 0, '{[-9223372036854775808,-1]}');
END
	$node->restart;
	ok(worker_runs($node), 'absurd requests: a worker runs');
	my $pid = worker_pid($node);
	$node->safe_psql('postgres', q{SELECT contacts_push.resume('others')});
	is_pushed('absurd requests');
	is(worker_pid($node), $pid, 'absurd requests: the worker that has read them goes on');
	return;
}

# The worker's own row.
sub no_state
{
	$node->safe_psql('postgres', 'DELETE FROM contacts_push_internal.worker_state');
	is_pushed('its row deleted');
	ok($node->poll_query_until('postgres', 'SELECT count(*) = 1 FROM contacts_push_internal.worker_state'),
		'its row deleted: there is another one');
	$node->safe_psql('postgres', q{UPDATE contacts_push_internal.worker_state SET unsettled = '{}'});
	is_pushed('its row emptied');
	ok($node->poll_query_until('postgres', q{SELECT unsettled <> '{}' FROM contacts_push_internal.worker_state}),
		'its row emptied: it is written again');
	return;
}

# Contacts that no request can hold.
sub too_large
{
	# a few bytes each, and a text of more than a string can be
	$node->safe_psql('postgres', <<'END');
INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact)
SELECT 'large', 'numbers', jsonb_build_object('custom_attributes', jsonb_build_object('n', jsonb_agg(1e131071::numeric)))
FROM generate_series(1, 9000);
INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact) VALUES
	('large', 'escapes', jsonb_build_object('name', repeat(E'\x01', 1000000))),
	('large', 'raw', jsonb_build_object('name', repeat('x', 100000000))),
	('large', 'email', jsonb_build_object('email', 'a@' || repeat('x', 5000000))),
	('large', 'largest', jsonb_build_object('name', repeat('x', 4194304 - 50))),
	('large', 'one more', jsonb_build_object('name', repeat('x', 4194304 - 50)));
END
	ok($node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM contacts_push.outbox WHERE chatbot_id = 'large' AND status = 'pending'}),
		'too large: all are settled');
	is( $node->safe_psql('postgres', q{SELECT string_agg(external_id, ',' ORDER BY seq) FROM contacts_push.outbox WHERE chatbot_id = 'large' AND status = 'created'}),
		'largest', 'too large: what just fits is created');
	is( $node->safe_psql('postgres', q{SELECT string_agg(DISTINCT error, ';') FROM contacts_push.outbox WHERE chatbot_id = 'large' AND status = 'rejected'}),
		'it is too large for a request, which has at most 4194304 bytes (contacts_push.max_request_bytes)',
		'too large: the others are rejected, and why is said');
	is($node->safe_psql('postgres', q{SELECT rejected FROM contacts_push.progress WHERE chatbot_id = 'large'}), 5,
		'too large: and counted');
	is_pushed('too large');
	return;
}

sub nested
{
	$node->safe_psql('postgres', <<'END');
INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact)
SELECT 'deep', 'deep', ('{"custom_attributes": {"a": ' || repeat('[', n) || repeat(']', n) || '}}')::jsonb
FROM (VALUES (1000)) v(n)
END
	is_pushed('nested');
	return;
}

# Bytes of the largest extent of the worker's memory so far.
sub peak
{
	my ($pages) = slurp_file('/proc/' . worker_pid($node) . '/status') =~ /^VmHWM:\s+(\d+) kB/m;
	return $pages * 1024;
}

sub memory
{
	plan skip_all => 'needs /proc' unless -r '/proc/self/status';
	$node->restart;
	ok(worker_runs($node), 'many large ones: a worker runs');
	is_pushed('many large ones, before');
	my $before = peak();
	$fake->faults({ match => { chatbot => 'heavy' }, action => { hang => $true } });
	$node->safe_psql('postgres', <<"END");
INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact)
SELECT 'heavy', 'u' || i, jsonb_build_object('name', repeat('x', @{[MB]}))
FROM generate_series(1, @{[LARGE_CONTACTS]}) i
END
	ok(wait_until(sub { $fake->in_flight > 0 }), 'many large ones: some are under way');
	my $more = peak() - $before;
	cmp_ok($more, '<', MEMORY_LIMIT, 'many large ones: the worker does not read all of them');
	note "$more bytes";
	$node->safe_psql('postgres', q{DELETE FROM contacts_push.outbox WHERE chatbot_id = 'heavy' AND external_id NOT LIKE '%7'});
	$fake->faults;
	$fake->reset;
	ok($node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM contacts_push.outbox WHERE chatbot_id = 'heavy' AND status = 'pending'}),
		'many large ones: what is left is settled');
	is(outcomes($node, 'heavy'), 'created ' . LARGE_CONTACTS / 10, 'many large ones: as created');
	return;
}

ok(worker_runs($node), 'a worker runs');
my $pid = worker_pid($node);
prevented();
written();
failed_often();
no_state();
too_large();
nested();
is(worker_pid($node), $pid, 'nothing of that has ended the worker');
requests();
subtest 'memory' => \&memory;

$node->stop;
done_testing();
