# A contact that makes the other side fail is found, and fails alone.
#
# Takes long: the others have to last for all attempts of one.
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

use constant CONTACTS => 5000;
use constant ATTEMPTS => 4;

my $fake = FakeChatbase->start;

# A failure is charged only if the chatbot has taken others since the last one.  So
# that the others last for all attempts, they go in small requests, one by one,
# each of which takes as long as a contact's longest back-off.
my $node = new_cluster('poison', $fake, extra => <<"END");
contacts_push.max_attempts = @{[ATTEMPTS]}
contacts_push.max_backoff = 50ms
contacts_push.batch_size = 20
contacts_push.max_concurrent_requests = 1
END
my $poison = 'u100';

# Others come one by one until this one has failed; returns how many.
sub keep_company
{
	my ($chatbot, $external_id) = @_;
	my $others = 0;

	ok( wait_until(
			sub {
				return 1 if status_of($node, $chatbot, $external_id) eq 'failed';
				insert_users($node, $chatbot, 'other', ++$others, $others)
				  if count_rows($node, "chatbot_id = '$chatbot' AND status = 'pending'") <= 1;
				return 0;
			}),
		"$chatbot: with company it fails");
	return $others;
}

$fake->faults(
	{ match => { external_id => "^$poison\$" }, action => { status => 500 } },
	{ action => { delay_ms => 50 } });
insert_users($node, 'poison', 'u', 1, CONTACTS);
ok(settled($node), 'all is settled');
is(outcomes($node, 'poison'), 'created ' . (CONTACTS - 1) . ', failed 1', 'one fails, the rest are created');
is( $node->safe_psql('postgres', <<'END'), "$poison|500|" . ATTEMPTS . '|t|t', 'it is the one that it should be');
SELECT external_id, http_status, attempts, error <> '', contact IS NOT NULL
FROM contacts_push.outbox WHERE status = 'failed'
END
is(held_matches($node, $fake, 'poison'), '', 'as the stand-in holds it');
is(count_rows($node, q{status = 'created' AND (attempts <> 0 OR unconfirmed OR next_attempt_at IS NOT NULL)}), 0,
	'its neighbours are not charged for it');
my $alone = $node->safe_psql('postgres', <<'END');
SELECT count(*) FROM contacts_push.request r
WHERE r.contacts = 1 AND r.http_status = 500
END
cmp_ok($alone, '>', ATTEMPTS, 'it failed alone as often as it is charged for, and once before');
my $requests = $fake->stats->{requests};
cmp_ok($requests, '<=', CONTACTS / 20 + 100, 'in few requests');
note "$requests requests";

# Once fixed, it goes.
$fake->faults;
is($node->safe_psql('postgres', q{SELECT contacts_push.retry('poison')}), 1, 'it may be tried again');
ok(settled($node), 'all is settled');
is(outcomes($node, 'poison'), 'created ' . CONTACTS, 'as created');
is(held_matches($node, $fake, 'poison'), '', 'as the stand-in holds it');

# All at once, and nobody after them: when the others are created, nobody shows that the
# chatbot answers until others come, where it is not asked for its list.
$node->append_conf('postgresql.conf', "contacts_push.reading = off\ncontacts_push.batch_size = 1000\ncontacts_push.max_concurrent_requests = 4");
$node->restart;
$fake->faults({ match => { external_id => "^$poison\$" }, action => { status => 500 } });
insert_users($node, 'at_once', 'u', 1, CONTACTS);
ok( wait_until(sub { outcomes($node, 'at_once') eq 'created ' . (CONTACTS - 1) . ', pending 1' }),
	'all at once: the others are created');
ok( wait_until(sub { $node->safe_psql('postgres', <<'END') eq 't' }), 'all at once: the one is tried again');
SELECT max(id) FILTER (WHERE http_status = 500 AND contacts = 1) > max(id) FILTER (WHERE http_status = 200)
FROM contacts_push.request WHERE chatbot_id = 'at_once'
END
is(status_of($node, 'at_once', $poison), 'pending', 'all at once: and stays pending');
my $others = keep_company('at_once', $poison);
is(outcomes($node, 'at_once'), 'created ' . (CONTACTS - 1 + $others) . ', failed 1', 'all at once: with others it fails, and they are created');
is(status_of($node, 'at_once', $poison), 'failed', 'all at once: the one that it should be');
is(held_matches($node, $fake, 'at_once'), '', 'all at once: as the stand-in holds it');
is($node->safe_psql('postgres', q{SELECT count(*) FROM contacts_push.request WHERE contacts = 0 AND call <> 'read'}), 0,
	'all at once: nobody was asked for again');

# Without company it can't be told from an outage: it is not charged for that.
$fake->faults({ match => { external_id => '^lonely' }, action => { status => 500 } });
insert_users($node, 'lonely', 'lonely', 1, 1);
ok( $node->poll_query_until('postgres',
		q{SELECT count(*) > 10 FROM contacts_push.request WHERE chatbot_id = 'lonely' AND finished_at IS NOT NULL}),
	'without company: it is tried again and again');
is( $node->safe_psql('postgres', q{SELECT status, attempts, unconfirmed, error <> '' FROM contacts_push.outbox WHERE chatbot_id = 'lonely'}),
	'pending|0|t|t', 'without company: it stays pending');

# It waits alone: what comes finds the chatbot free.
ok($node->poll_query_until('postgres', q{SELECT next_attempt_at IS NOT NULL FROM contacts_push.outbox WHERE chatbot_id = 'lonely'}),
	'without company: it is put off, and not its chatbot');

my $company = keep_company('lonely', 'lonely1');
cmp_ok($company, '>=', ATTEMPTS, 'with company: with somebody for each attempt');
ok(settled($node), 'with company: all is settled');
is($node->safe_psql('postgres', q{SELECT attempts FROM contacts_push.outbox WHERE status = 'failed' AND chatbot_id = 'lonely'}),
	ATTEMPTS, 'with company: after all of its attempts');
is(outcomes($node, 'lonely'), "created $company, failed 1", 'with company: the others are created');

$node->stop;
done_testing();
