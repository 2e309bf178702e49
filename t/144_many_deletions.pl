# More deletions than are taken up are held: the worker sleeps meanwhile, changes go on, and all are
# made in the end.
#
# Takes long: 51,000 contacts.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use ContactsPushTest;
use EngineTest qw(:DEFAULT chatbot_settled);
use FakeChatbase;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep);

# More than MAX_DELETES in claim.c.
use constant USERS => 51_000;

my $fake = FakeChatbase->start;
my $node = new_cluster('many_deletions', $fake, extra => "contacts_push.requests_per_second = 1000\n");
my $last = USERS;

sub sql { return $node->safe_psql('postgres', $_[0]); }

insert_users($node, 'many', 'u', 1, USERS);
ok(chatbot_settled($node, 'many'), 'all are created');
sql(<<"END");
SELECT contacts_push.push_changes('many');
INSERT INTO contacts_push.outbox (chatbot_id, external_id) SELECT 'many', 'u' || i FROM generate_series(2, $last) i;
END
ok(wait_until(sub { sql("SELECT coalesce(held_deletes, 0) FROM contacts_push.chatbot WHERE chatbot_id = 'many'") >= 50_000 }), 'deletions are held');

my $activity = sub { sql('SELECT last_activity_at FROM contacts_push.worker') };
ok(wait_until(sub { my $before = $activity->(); sleep 2; $activity->() eq $before }), 'the worker sleeps');
sql("INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact) VALUES ('many', 'u1', '{\"name\": \"New\"}')");
ok(wait_until(sub { status_of($node, 'many', 'u1') eq 'created updated' }), 'an update goes on');

sql("SELECT contacts_push.discard('many')");
ok(chatbot_settled($node, 'many'), 'nothing is left to do');
ok(wait_until(sub { sql("SELECT held_deletes IS NULL FROM contacts_push.chatbot WHERE chatbot_id = 'many'") eq 't' }), 'nothing is held');
$node->stop;
done_testing();
