# What operators do is noticed at once where they call a function, within a second of work
# where they write by hand, and costs the worker next to nothing meanwhile.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use ContactsPushTest;
use EngineTest qw(:DEFAULT requests_for);
use FakeChatbase;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $fake = FakeChatbase->start;
my $node = new_cluster('operators', $fake, extra => "contacts_push.batch_size = 1\ncontacts_push.max_concurrent_requests = 1\n");

sub sql
{
	return $node->safe_psql('postgres', $_[0]);
}

# How often the worker has looked at what others may have changed.
sub looks
{
	return sql(q{SELECT seq_scan FROM pg_stat_all_tables WHERE relid = 'contacts_push_internal.lineage'::regclass});
}

# Waits until a chatbot's requests stay as many as they are while another one's 10 are answered.
my $others = 0;
sub is_quiet
{
	my ($chatbot) = @_;
	return wait_until(sub {
		my $before = requests_for($fake, $chatbot);
		insert_users($node, 'other', 'o', $others + 1, $others + 10);
		$others += 10;
		return chatbot_has_none('other') && requests_for($fake, $chatbot) == $before;
	});
}

sub chatbot_has_none
{
	my ($chatbot) = @_;
	return wait_until(sub { count_rows($node, "chatbot_id = '$chatbot' AND status = 'pending'") == 0 });
}

# Passes follow each other: each has a request, and few have a look.
insert_users($node, 'bot', 'known', 1, 1);
ok(settled($node), 'a chatbot is known');
my $looks = looks();
my $begun = time;
insert_users($node, 'bot', 'busy', 1, 500);
ok(settled($node), 'busy: all is settled');
# what a process has counted is reported within a second, or when it has nothing to do: the
# looks that it began with come late, too
ok(wait_until(sub { looks() > $looks }), 'busy: the worker has looked');
my $seconds = time - $begun;
is(requests_for($fake, 'bot'), 501, 'busy: by as many requests');
cmp_ok(looks() - $looks, '<=', $seconds + 5, 'busy: but looked at what others may have changed once a second at most');

# pause() is obeyed by the next pass: what is sent after it was under way or planned then.
$fake->always(delay_ms => 20);
insert_users($node, 'bot', 'paused', 1, 2000);
ok(wait_until(sub { requests_for($fake, 'bot') > 510 }), 'pause(): requests leave');
sql(q{SELECT contacts_push.pause('bot')});
my $requests = requests_for($fake, 'bot');
ok(is_quiet('bot'), 'pause(): nothing is sent any more');
cmp_ok(requests_for($fake, 'bot'), '<=', $requests + 2, 'pause(): nothing but what was on its way');
sql(q{SELECT contacts_push.resume('bot')});
ok(wait_until(sub { requests_for($fake, 'bot') > $requests + 10 }), 'resume(): requests leave again');

# So is a pause that is written by hand, and its end, a little later.
sql(q{UPDATE contacts_push.chatbot SET paused_until = 'infinity' WHERE chatbot_id = 'bot'});
ok(is_quiet('bot'), 'a pause by hand: nothing is sent any more');
cmp_ok(count_rows($node, q{chatbot_id = 'bot' AND status = 'pending'}), '>', 0, 'a pause by hand: though something is pending');
$requests = requests_for($fake, 'bot');
sql(q{UPDATE contacts_push.chatbot SET paused_until = NULL WHERE chatbot_id = 'bot'});
ok( wait_until(sub { insert_users($node, 'other', 'o', $others + 1, ++$others); requests_for($fake, 'bot') > $requests + 10 }),
	'its end by hand: requests leave again');

# Rows that are due by hand are found by those who have work.
sql(q{SELECT contacts_push.pause('bot')});
ok(is_quiet('bot'), 'due by hand: nothing else is sent');
sql(q{UPDATE contacts_push.outbox SET status = 'pending', contact = '{}', external_id = 'again', next_attempt_at = now() WHERE external_id = 'o1'});
ok( wait_until(sub { insert_users($node, 'other', 'o', $others + 1, ++$others); count_rows($node, q{external_id = 'again' AND status = 'created'}) == 1 }),
	'due by hand: it is sent');
sql(q{SELECT contacts_push.discard('bot')});
ok(settled($node), 'what is left is discarded, and all is settled');

$node->stop;
done_testing();
