# An operator's open transaction with locks on the extension's other tables never
# stalls the worker; nor does a great many intents of one contact, or rows that are
# deleted while their requests fail.
#
# Takes long: the worker looks by itself once a minute.
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

# Most memory that the worker may ever have used, MB.
use constant MOST_MEMORY => 300;

my $fake = FakeChatbase->start;
my $node = new_cluster('log_locks', $fake, extra => <<'END');
deadlock_timeout = 10ms
log_lock_waits = on
restart_after_crash = on
contacts_push.request_timeout = 1h
END
ok(worker_runs($node), 'a worker runs');

# Most memory that the worker has had so far, in MB; undef where nobody tells.
sub peak_memory
{
	open my $file, '<', '/proc/' . worker_pid($node) . '/status' or return;
	my ($peak) = map { /^VmHWM:\s+(\d+) kB/ ? $1 / 1024 : () } <$file>;
	close $file;
	return $peak;
}

# Each intent has to do with all others of its contact; that must not be a matter of
# their square.
sub many_intents
{
	my $intents = 3000;

	$node->safe_psql('postgres', <<"END");
INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact)
SELECT 'intents', 'x', jsonb_build_object('name', 'Name ' || i) FROM generate_series(1, $intents) i
END
	ok(settled($node), 'intents: all is settled');
	is(outcomes($node, 'intents'), 'created 1, superseded ' . ($intents - 1), 'intents: one is created');
	is($node->safe_psql('postgres', q{SELECT status FROM contacts_push.outbox WHERE chatbot_id = 'intents' ORDER BY seq DESC LIMIT 1}),
		'created', 'intents: the newest');
	is($fake->admin('contacts?chatbot=intents')->[0]{name}, "Name $intents", 'intents: and held');
	SKIP:
	{
		my $peak = peak_memory();
		skip 'no /proc', 1 unless defined $peak;
		cmp_ok($peak, '<', MOST_MEMORY, 'intents: in little memory');
		note "intents: $peak MB";
	}
	return;
}

# What is locked, why, and what makes sure that there is something to lock.
my %row = (
	request => q{SELECT FROM contacts_push.request},
	worker_state => q{SELECT FROM contacts_push_internal.worker_state},
	# one that is still to be counted; nothing tells the worker of it
	enqueue_failure => q{SELECT FROM contacts_push_internal.enqueue_failure WHERE NOT counted},
	chatbot => q{SELECT FROM contacts_push.chatbot});

# Holds all of a table's rows while requests are under way, and while others are to
# be made.
sub lock_table
{
	my ($table) = @_;
	my $what = "$table is locked";

	my $operator = open_session($node);
	$operator->query_safe('BEGIN');
	$fake->always(delay_ms => FakeChatbase::HELD);
	insert_users($node, $_, "$table-sent-", 1, 10) for qw(same also);
	ok(wait_until(sub { $fake->in_flight > 0 }), "$what: requests are under way");
	$node->safe_psql('postgres', <<'END') if $table eq 'enqueue_failure';
INSERT INTO contacts_push_internal.enqueue_failure (chatbot_id, relation, rows, reason) VALUES ('same', 'none', 3, 'by hand')
END
	cmp_ok($operator->query_safe("SELECT count(*) FROM ($row{$table} FOR UPDATE) s"), '>', 0, "$what: there are rows");
	cmp_ok($fake->in_flight, '>', 0, "$what: while they are");
	$fake->faults;

	for my $when ('before', 'after')
	{
		# the locks are to be met by the answers, too
		if ($when eq 'after')
		{
			$fake->release;
			ok(wait_until(sub { $fake->in_flight == 0 }), "$what: the requests are over");
		}
		insert_users($node, $_, "$table-new-$when-", 1, 10) for qw(same also other);
		ok(wait_until(sub { count_rows($node, "external_id LIKE '$table-new-$when-%' AND status = 'created'") == 30 }),
			"$what: what comes $when that is created")
		  or last;
	}
	$operator->query_safe('COMMIT');
	$operator->quit;
	ok(settled($node), "$what: when the operator is done, all is settled");
	# a slow poll of a minute may be what does it
	ok( wait_until(sub { $node->safe_psql('postgres', 'SELECT count(*) FROM contacts_push.request WHERE finished_at IS NULL') eq '0' }),
		"$what: no request stays open");
	return;
}

# What the worker waits to send again is deleted under its hands: all of it, when it
# has come down to one contact a request, and has not looked at the others for long.
sub delete_pending
{
	my $contacts = 3000;
	my $before = worker_pid($node);

	$fake->faults({ match => { chatbot => 'deleted' }, action => { status => 503 } });
	insert_users($node, 'deleted', 'u', 1, $contacts);
	ok(wait_until(sub { $node->safe_psql('postgres', <<'END') eq 't' }), 'deleted: the worker is careful');
SELECT EXISTS (SELECT FROM contacts_push.request r WHERE r.chatbot_id = 'deleted' AND r.contacts = 1 AND r.http_status = 503
	AND r.started_at > (SELECT min(o.enqueued_at) FROM contacts_push.outbox o WHERE o.chatbot_id = 'deleted') + interval '4 s')
END
	# together: who deletes need not find a server that is there afterwards
	$node->safe_psql('postgres', <<'END');
BEGIN;
DELETE FROM contacts_push.outbox WHERE status = 'pending';
INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact) VALUES ('deleted', 'last', '{}');
COMMIT;
END
	$fake->faults;
	ok(wait_until(sub { (try_psql($node, 'postgres', q{SELECT status FROM contacts_push.outbox WHERE external_id = 'last'}))[1] eq 'created' }),
		'deleted: what comes with it is created');
	is(outcomes($node, 'deleted'), 'created 1', 'deleted: and nothing else is left');
	ok(worker_runs($node), 'deleted: a worker runs');
	is(worker_pid($node), $before, 'deleted: the same as before');
	return;
}

my $worker = worker_pid($node);
insert_users($node, $_, 'known', 1, 10) for qw(same also other);
ok(settled($node), 'chatbots are known');
lock_table($_) for sort keys %row;
for my $chatbot (qw(same also other))
{
	like(outcomes($node, $chatbot), qr/^created \d+$/, "$chatbot: all are created");
	is(held_matches($node, $fake, $chatbot), '', "$chatbot: as the stand-in holds it");
}
is($node->safe_psql('postgres', q{SELECT enqueue_failures FROM contacts_push.progress WHERE chatbot_id = 'same'}), 3,
	'what was left out is counted once');
unlike(slurp_file($node->logfile), qr/process $worker still waiting for/, 'the worker has never waited');
is(worker_pid($node), $worker, 'one worker did all that');
delete_pending();
# the last: without the rule it takes all memory and time
many_intents();
unlike(slurp_file($node->logfile), qr/was terminated by signal/, 'nobody crashed');

$node->stop;
done_testing();
