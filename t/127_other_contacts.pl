# A row that has become another contact's while its number was under way: an outcome is
# written to the contact that it is of, and to no other one.
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
my $node = new_cluster('other_contacts', $fake, extra => "contacts_push.request_timeout = 1h\n");

# Has contacts of a chatbot under way while something is done.
sub meanwhile
{
	my ($chatbot, $n, $work) = @_;
	$fake->faults({ match => { chatbot => $chatbot }, times => 1, action => { delay_ms => FakeChatbase::HELD } });
	insert_users($node, $chatbot, 'u', 1, $n);
	ok(wait_until(sub { $fake->in_flight == 1 }), "$chatbot: under way");
	$work->();
	$fake->faults;
	$fake->release;
	return;
}

# The key of a row is changed by hand, and then another intent of that contact comes.
ok(worker_passes($node), 'a worker runs');
my $pid = worker_pid($node);
meanwhile('renamed', 2, sub {
	$node->safe_psql('postgres', q{UPDATE contacts_push.outbox SET external_id = 'other' WHERE chatbot_id = 'renamed' AND external_id = 'u1'});
	$node->safe_psql('postgres', q{INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact) VALUES ('renamed', 'other', '{}')});
	ok(worker_passes($node), 'renamed: the worker has seen it');
});
ok(chatbot_settled($node, 'renamed'), 'renamed: all is settled');
is(worker_pid($node), $pid, 'renamed: by the same worker');
is(status_of($node, 'renamed', 'other'), 'superseded created', 'renamed: the other contact is created');
is(status_of($node, 'renamed', 'u2'), 'created', 'renamed: and so is the one beside');
is($node->safe_psql('postgres', <<'SQL'), $fake->held('renamed')->{other}, 'renamed: with its own id');
SELECT contact_id FROM contacts_push.outbox WHERE external_id = 'other' AND status = 'created'
SQL

# The outbox is emptied, and its numbers begin anew: with others' contacts.
meanwhile('emptied', 1, sub {
	my $seq = $node->safe_psql('postgres', q{SELECT seq FROM contacts_push.outbox WHERE chatbot_id = 'emptied'});
	$node->safe_psql('postgres', <<"SQL");
BEGIN;
TRUNCATE contacts_push.outbox RESTART IDENTITY;
INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact)
SELECT 'emptied', 'new' || i, '{}' FROM generate_series(1, 2 * $seq) i;
COMMIT;
SQL
});
ok(wait_until(sub { $node->safe_psql('postgres', <<'SQL') eq 't' }), 'emptied: the answer has been recorded');
SELECT finished_at IS NOT NULL FROM contacts_push.request WHERE chatbot_id = 'emptied' ORDER BY id LIMIT 1
SQL
# a worker that begins looks at all numbers, and one that was there does after a while
$node->safe_psql('postgres', 'SELECT pg_terminate_backend(pid) FROM contacts_push.worker');
ok(chatbot_settled($node, 'emptied'), 'emptied: all that is new is settled');
is(held_matches($node, $fake, 'emptied', known => ['u1']), '', 'emptied: each by its own answer');

$node->stop;
done_testing();
