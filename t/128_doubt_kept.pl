# That a contact may have been created by a request without a usable answer is not forgotten,
# whatever becomes of its row meanwhile: it is never called a conflict with itself.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use ContactsPushTest;
use EngineTest qw(:DEFAULT chatbot_settled worker_passes);
use FakeChatbase;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $fake = FakeChatbase->start;
my $node = new_cluster('doubt_kept', $fake, extra => "contacts_push.max_backoff = 1h\n");

# One that has failed alone waits for another try when its row is deleted and it is
# enqueued again.  Its answers are lost after it was created; a list that is behind does not
# have it yet.
$fake->faults({ match => { chatbot => 'deferred', method => 'POST' }, when => 'after', action => { status => 503 } },
	{ match => { chatbot => 'deferred', method => 'GET' }, action => { status => 404, message => 'Contact not found' } });
insert_users($node, 'deferred', 'u', 1, 1);
ok(wait_until(sub { $node->safe_psql('postgres', <<'SQL') eq '1' && $fake->in_flight == 0 }), 'deferred: it has failed alone');
UPDATE contacts_push.outbox SET next_attempt_at = now() + interval '1 day'
WHERE chatbot_id = 'deferred' AND next_attempt_at < now() + interval '1 day';
SELECT count(*) FROM contacts_push.outbox WHERE chatbot_id = 'deferred' AND next_attempt_at > now() + interval '1 hour'
SQL
ok(worker_passes($node), 'deferred: and is not tried again');
$node->safe_psql('postgres', q{DELETE FROM contacts_push.outbox WHERE chatbot_id = 'deferred'});
$fake->faults;
insert_users($node, 'deferred', 'u', 1, 1);
ok(chatbot_settled($node, 'deferred'), 'deferred: enqueued again, it is settled');
is(status_of($node, 'deferred', 'u1'), 'present', 'deferred: and recognised');

$node->stop;
done_testing();
