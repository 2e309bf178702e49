# forget(): a contact is erased when nothing of it is under way, and is not sent afterwards;
# a user's deletion ends in nobody knowing of the user.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use ContactsPushTest;
use FakeChatbase;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $fake = FakeChatbase->start;
my $node = new_cluster('forget', $fake);

sub sql
{
	return $node->safe_psql('postgres', $_[0]);
}

# What forget() of a contact fails with; '' if it doesn't.
sub refusal
{
	my ($external_id) = @_;
	my ($status, $stdout, $stderr) = $node->psql('postgres', "SELECT contacts_push.forget('bot', '$external_id')");
	return join "\n", grep { /ERROR:/ } split /\n/, $stderr;
}

# A request that is under way with two contacts; one of them is discarded meanwhile.
$fake->faults({ match => { external_id => '^flying$' }, when => 'after', action => { delay_ms => FakeChatbase::HELD } });
insert_users($node, 'bot', 'beside', 1, 1);
sql(q{INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact) VALUES ('bot', 'flying', '{"name": "Flying"}')});
ok(wait_until(sub { sql(q{SELECT count(*) FROM contacts_push.request WHERE finished_at IS NULL
	AND seqs @> (SELECT seq FROM contacts_push.outbox WHERE external_id = 'flying')}) eq '1' && $fake->in_flight > 0 }), 'a request is under way');
like(refusal('flying'), qr/rows that are not settled/, 'while it is pending it is not forgotten');
sql(q{SELECT contacts_push.discard('bot', 'flying')});
like(refusal('flying'), qr/a request with contact "flying" of chatbot "bot" is under way/, 'nor when it was discarded, while that is under way');
$fake->faults;
$fake->release;
ok(wait_until(sub { sql(q{SELECT count(*) FROM contacts_push.request WHERE finished_at IS NULL}) eq '0' }), 'the request ends');
is(refusal('flying'), '', 'then it is forgotten');
is(sql(q{SELECT count(*) FROM contacts_push.outbox WHERE external_id = 'flying'}), '0', 'and no row is left');
is(sql(q{SELECT count(*) FROM contacts_push.outbox WHERE external_id = 'beside1' AND status = 'created'}), '1', 'the one beside it is not touched');

# One that waits is discarded, forgotten, and not sent.
$fake->faults({ match => { chatbot => 'bot' }, when => 'before', action => { status => 503 } });
sql(q{INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact) VALUES ('bot', 'waiting', '{"name": "Waiting"}')});
ok(wait_until(sub { sql(q{SELECT count(*) FROM contacts_push.outbox WHERE external_id = 'waiting' AND unconfirmed}) eq '1' }), 'one is refused and waits');
sql(q{SELECT contacts_push.discard('bot', 'waiting')});
ok(wait_until(sub { refusal('waiting') eq '' }), 'discarded, it is forgotten');
$fake->faults;
insert_users($node, 'bot', 'later', 1, 1);
ok(settled($node), 'all is settled');
ok(!exists $fake->held('bot')->{waiting}, 'it has not been sent');
is(sql(q{SELECT count(*) FROM contacts_push.outbox WHERE external_id = 'waiting'}), '0', 'and is not known again');

# A user who is deleted, at Chatbase too, and then forgotten.  Another one's deletion is held at first.
sql(<<'END');
CREATE TABLE users (id integer PRIMARY KEY, email text);
SELECT contacts_push.watch('users', 'gdpr', updates => true, deletes => true);
INSERT INTO users VALUES (1, 'one@example.com'), (2, 'two@example.com');
END
ok(settled($node), 'users are created');
sql(q{UPDATE users SET email = 'uno@example.com' WHERE id = 1});
ok(settled($node), 'one is changed');
sql('DELETE FROM users WHERE id = 1');
ok(settled($node), 'and deleted');
is(join(' ', keys %{ $fake->held('gdpr') }), '2', 'at Chatbase, too');
my ($status, $stdout, $stderr) = $node->psql('postgres', q{SELECT contacts_push.forget('gdpr', '1')});
is($stdout, '3', 'forgotten is all that was done');
unlike($stderr, qr/may be in chatbot/, 'nobody has it any more');
is(sql(q{SELECT count(*) FROM contacts_push.outbox WHERE chatbot_id = 'gdpr' AND external_id = '1'}), '0', 'no row is left');
is(sql(q{SELECT count(*) FROM contacts_push.request q WHERE chatbot_id = 'gdpr' AND finished_at IS NOT NULL AND NOT EXISTS (
	SELECT FROM contacts_push.outbox o WHERE q.seqs @> o.seq) AND (q.seqs <> '{}' OR q.message IS NOT NULL)}), '0', 'nor a number in the log');
$node->append_conf('postgresql.conf', 'contacts_push.max_pending_deletes = 0');
reload($node);
sql('DELETE FROM users WHERE id = 2');
ok(wait_until(sub { sql(q{SELECT held_deletes FROM contacts_push.chatbot WHERE chatbot_id = 'gdpr'}) eq '1' }), 'a deletion is held');
($status, $stdout, $stderr) = $node->psql('postgres', q{SELECT contacts_push.forget('gdpr', '2')});
like($stderr, qr/rows that are not settled/, 'and is not forgotten');
sql(q{SELECT contacts_push.resume('gdpr')});
ok(settled($node), 'it is let through');
is(sql(q{SELECT contacts_push.forget('gdpr', '2')}), '2', 'then it is');
is(sql(q{SELECT contacts_push.missing('users', 'gdpr')}), '', 'nobody is missing');

$node->append_conf('postgresql.conf', 'contacts_push.max_pending_deletes = -1');
reload($node);

# One whose key has changed: that the old one is gone is known all the same.
sql(q{INSERT INTO users VALUES (3, 'three@example.com')});
ok(settled($node), 'a user is created');
sql('UPDATE users SET id = 4 WHERE id = 3');
ok(settled($node), 'gets another key');
sql('DELETE FROM users WHERE id = 4');
ok(settled($node), 'and is deleted');
is(sql(q{SELECT contacts_push.forget('gdpr', '4')}), '2', 'and forgotten');
sql(q{SELECT contacts_push.push_changes('gdpr', false, false)});
sql(q{INSERT INTO users VALUES (3, 'another3@example.com')});
ok(settled($node), 'another one with the key that it had is settled');
is(join(' ', keys %{ $fake->held('gdpr') }), '3', 'and is created');

$node->stop;
done_testing();
