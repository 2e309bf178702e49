# Contacts with one e-mail or one phone number go one after the other, and none of them
# waits for one that waits for it, in whatever order they come and go.
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
my $node = new_cluster('turns', $fake, extra => "contacts_push.request_timeout = 1h\n");

# Appends a contact in a session of its own, which is to commit it later.
sub append_open
{
	my ($external_id, $contact, $chatbot) = @_;
	my $session = open_session($node);
	$chatbot //= 'bot';
	$session->query_safe(<<"SQL");
BEGIN; INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact) VALUES ('$chatbot', '$external_id', '$contact')
SQL
	return $session;
}

sub commit
{
	my ($session) = @_;
	$session->query_safe('COMMIT');
	$session->quit;
	ok(worker_passes($node), 'the worker has taken it up');
	return;
}

# The last one of three is alone there, under way, when the first comes, and waits for
# another try when the second does, which shares more with it than the first.
my $first = append_open('first', '{"email": "us@example.com"}');
my $second = append_open('second', '{"email": "us@example.com", "phonenumber": "555"}');

$fake->faults({
	match => { external_id => '^third$' }, times => 1,
	action => { status => 503, headers => { 'Retry-After' => '3600' }, delay_ms => FakeChatbase::HELD }
});
$node->safe_psql('postgres', <<'SQL');
INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact)
VALUES ('bot', 'third', '{"email": "us@example.com", "phonenumber": "555"}')
SQL
ok(wait_until(sub { $fake->in_flight == 1 }), 'the third is under way');
commit($first);
$fake->release;
ok(wait_until(sub { count_rows($node, q{external_id = 'third' AND unconfirmed}) == 1 }), 'it is to be tried again');
commit($second);
$node->safe_psql('postgres', q{SELECT contacts_push.resume('bot')});
ok(chatbot_settled($node, 'bot'), 'each of them has its turn');
is(status_of($node, 'bot', 'first'), 'created', 'and the one that was enqueued first has the e-mail');

# Very many have one phone number, and one that was enqueued before all of them comes late:
# it stands behind those that wait for it.
use constant MANY => 400;
set_conf($node, 'contacts_push.batch_size' => 64);
$first = append_open('late', '{"phonenumber": "666"}', 'many');
$fake->faults({ match => { chatbot => 'many' }, times => 1, action => { delay_ms => FakeChatbase::HELD } });
$node->safe_psql('postgres', <<"SQL");
INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact)
SELECT 'many', 'u' || i, '{"phonenumber": "666"}' FROM generate_series(1, @{[MANY]}) i
SQL
ok(wait_until(sub { $fake->in_flight == 1 }), 'one of many is under way');
commit($first);
$fake->release;
ok(chatbot_settled($node, 'many'), 'one that comes late holds up none of those that wait for it');
is(outcomes($node, 'many'), 'created ' . (MANY + 1), 'and all are created');

$node->stop;
done_testing();
