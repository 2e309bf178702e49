# Rows are found wherever they stand: above the sequence, below the worker's mark, due for
# another attempt; and what is new does not wait for what is old to be looked at.
#
# Takes long: hundreds of thousands of rows, which the worker looks at by itself once a minute.
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

my $fake = FakeChatbase->start;
my $node = new_cluster('reading', $fake);

sub sql
{
	return $node->safe_psql('postgres', $_[0]);
}

# A row with a number of its own.
sub insert_at
{
	my ($seq, $external_id) = @_;
	return 'INSERT INTO contacts_push.outbox (seq, chatbot_id, external_id, contact)'
	  . " OVERRIDING SYSTEM VALUE VALUES ($seq, 'bot', '$external_id', '{}')";
}

sub is_created
{
	my ($external_id) = @_;
	return wait_until(sub { count_rows($node, "external_id = '$external_id' AND status = 'created'") == 1 });
}

sub all_settled
{
	my ($name) = @_;
	is(sql('SELECT contacts_push.flush()'), 't', "$name: flush() says that all is settled");
	is(count_rows($node, "status = 'pending'"), 0, "$name: and it is");
	return;
}

# Far ahead of the sequence: that row, those that come after it, and others there.
insert_users($node, 'bot', 'first', 1, 10);
all_settled('before');
sql(insert_at(1_000_000_000_000, 'ahead'));
all_settled('far ahead of the sequence');
for my $n (1 .. 5)
{
	insert_users($node, 'bot', "behind$n-", 1, 3);
	all_settled("behind it $n");
}
sql(insert_at(2_000_000_000_000, 'further'));
all_settled('further ahead');
sql(insert_at(1_500_000_000_000, 'between'));
all_settled('between the two');
sql(insert_at(1_600_000_000_000, 'another'));
ok(is_created('another'), 'and found without anybody who waits for it');
sql(insert_at(500_000_000_000, 'below'));
all_settled('below both');
sql(insert_at(9223372036854775806, 'highest'));
all_settled('the highest number');
insert_users($node, 'bot', 'after', 1, 3);
all_settled('behind the highest number');

# Many of them, more than one read brings, with gaps
sql("INSERT INTO contacts_push.outbox (seq, chatbot_id, external_id, contact) OVERRIDING SYSTEM VALUE"
	  . " SELECT 3000000000000 + 7 * n, 'bot', 'many' || n, '{}' FROM generate_series(1, 3000) n");
all_settled('many ahead');
insert_users($node, 'bot', 'still', 1, 3);
all_settled('behind many');

# Another worker finds all of that, too.
sql(q{SELECT contacts_push.pause('bot')});
sql(insert_at(2_500_000_000_000, 'while paused'));
insert_users($node, 'bot', 'paused', 1, 3);
$node->restart('immediate');
ok(worker_runs($node), 'another worker');
sql(q{SELECT contacts_push.resume('bot')});
all_settled('after a crash');

# The sequence comes to them.
sql("SELECT setval('contacts_push.outbox_seq_seq', 1999999999990)");
for my $n (1 .. 4)
{
	insert_users($node, 'bot', "setval$n-", 1, 2);
	all_settled("the sequence comes to them $n");
}
sql("SELECT setval('contacts_push.outbox_seq_seq', 2000000000000)");
insert_users($node, 'bot', 'passed', 1, 2);
all_settled('the sequence has passed one');

# One whose number was free below the mark
insert_users($node, 'bot', 'gone', 1, 1);
all_settled('one that goes');
my $free = sql(q{DELETE FROM contacts_push.outbox WHERE external_id = 'gone1' RETURNING seq});
sql(insert_at($free, 'own'));
all_settled('a number that was given again');

# Numbers that cannot be
for my $seq (0, -5, 9223372036854775807)
{
	my ($status, undef, $stderr) = $node->psql('postgres', insert_at($seq, 'impossible'));
	isnt($status, 0, "the number $seq is refused");
	like($stderr, qr/violates check constraint "outbox_seq_check"/, 'for a reason');
}
is(held_matches($node, $fake, 'bot', known => ['gone1']), '', 'all is as the stand-in holds it');

# Rows that are due are found though their chatbot's row is gone.
$fake->faults({ match => { external_id => '^refused' }, action => { refuse => FakeChatbase::true } });
insert_users($node, 'due', 'refused', 1, 5);
insert_users($node, 'due', 'fine', 1, 50);
all_settled('refused');
is(outcomes($node, 'due'), 'created 50, rejected 5', 'as they should be');
$fake->faults;
sql("SELECT contacts_push.retry('due'); DELETE FROM contacts_push.chatbot");
all_settled('retried without a row in contacts_push.chatbot');
is(outcomes($node, 'due'), 'created 55', 'all are created');
# and those of one that is paused, when it goes on; more than one read brings
insert_users($node, 'due', 'many', 1, 2500);
all_settled('many');
sql(q{SELECT contacts_push.pause('due')});
sql("UPDATE contacts_push.outbox SET status = 'pending', contact = '{}', external_id = external_id || 'x',"
	  . " next_attempt_at = now() WHERE chatbot_id = 'due'; SELECT contacts_push_internal.wake()");
is(sql('SELECT contacts_push.flush()'), 'f', 'paused: flush() says that something is pending');
is(count_rows($node, "status = 'pending'"), 2555, 'and it is');
sql(q{SELECT contacts_push.resume('due')});
all_settled('resumed');
sql("UPDATE contacts_push.outbox SET status = 'pending', contact = '{}', external_id = external_id || 'x',"
	  . " next_attempt_at = now() + interval '2 s' WHERE chatbot_id = 'due' AND external_id LIKE 'refused%';"
	  . ' SELECT contacts_push_internal.wake()');
ok(wait_until(sub { count_rows($node, q{chatbot_id = 'due' AND external_id LIKE 'refused%xx' AND status = 'created'}) == 5 }),
	'what was written by hand is tried when it is due');

# Beside rows that are settled a new worker sends the first new contact before it has looked
# at them all, and finds what was written among them by hand.  All of it is there when the
# worker comes.
$node->append_conf('postgresql.conf', "shared_preload_libraries = ''");
$node->restart;
sql(<<'SQL');
INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact, status, settled_at)
SELECT 'old', n::text, CASE n WHEN 299990 THEN '{}'::jsonb END,
	CASE n WHEN 299990 THEN 'pending' ELSE 'created' END::contacts_push.status, now()
FROM generate_series(1, 300000) n;
UPDATE contacts_push_internal.worker_state
SET unsettled = int8multirange(int8range((SELECT max(seq) FROM contacts_push.outbox WHERE chatbot_id = 'old'), NULL, '()'));
SQL
insert_users($node, 'new', 'n', 1, 1);
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'contacts_push'");
$node->restart;
all_settled('beside rows that are settled');
my @order = sort { $a->{number} <=> $b->{number} }
  grep { $_->{chatbot} eq 'old' || $_->{chatbot} eq 'new' } whole_log($fake);
is($order[0]{chatbot}, 'new', 'it was sent first');
is(scalar @order, 2, 'and then the old one, once');

$node->stop;
done_testing();
