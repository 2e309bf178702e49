# What is the key's or the chatbot's fault pauses the chatbot, says so in
# contacts_push.chatbot, and touches no contact.
#
# Takes long: a pause lasts a minute, and the next one two.
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

use constant CONTACTS => 30;

# A pause is this long at first, and then twice that, seconds.
use constant PAUSE => 60;

my $other_key = KEY . '-2';
my $fake = FakeChatbase->start('--key', KEY, '--key', $other_key);
my $elsewhere = FakeChatbase->start('--key', KEY, '--key', $other_key);
my $node = new_cluster('pauses', $fake);
my $true = FakeChatbase::true;

# What is answered, and what the reason must say.
my %answer = (
	unauthorized => [ { status => 401, message => 'Invalid API key' }, qr/^401 Invalid API key$/ ],
	forbidden => [ { status => 403, message => 'Not your chatbot' }, qr/^403 Not your chatbot$/ ],
	unknown => [ { status => 404, message => 'Chatbot not found' }, qr/^404 Chatbot not found$/ ],
	moved => [ { redirect => $elsewhere->base_url . '/chatbots/moved/contacts' }, qr/302/ ],
	teapot => [ { status => 418, message => 'Short and stout' }, qr/^418 Short and stout$/ ],
	quota => [ { status => 400, message => 'You have reached the contact limit of your plan' },
		qr/^400 You have reached the contact limit of your plan$/ ]);
my @chatbots = sort keys %answer;

# A quota is believed when a contact alone is answered so, too.
my %requests_to_pause = map { $_ => $_ eq 'quota' ? 2 : 1 } @chatbots;

# The rules that have each chatbot answered in its way.
sub refuse_all
{
	$fake->faults(map({ { match => { chatbot => $_ }, action => $answer{$_}[0] } } @chatbots));
	return;
}

# How long a chatbot is paused yet, in seconds, and why.
sub pause_of
{
	my ($chatbot) = @_;
	return split /\|/, $node->safe_psql('postgres', <<"END"), -1;
SELECT coalesce(extract(epoch FROM paused_until - clock_timestamp()), 0), coalesce(pause_reason, '')
FROM contacts_push.chatbot WHERE chatbot_id = '$chatbot'
END
}

sub is_paused
{
	my ($chatbot) = @_;
	my ($left) = pause_of($chatbot);
	return ($left // 0) > 0;
}

# Length of the pause that followed a chatbot's last request, seconds.
sub length_of_pause
{
	my ($chatbot) = @_;
	return $node->safe_psql('postgres', <<"END");
SELECT extract(epoch FROM c.paused_until - max(r.finished_at))
FROM contacts_push.chatbot c JOIN contacts_push.request r USING (chatbot_id)
WHERE c.chatbot_id = '$chatbot' AND r.finished_at IS NOT NULL GROUP BY c.paused_until
END
}

# Nothing may come of contacts while their chatbot is paused.
sub check_untouched
{
	my ($chatbot, $when) = @_;
	is(outcomes($node, $chatbot), 'pending ' . CONTACTS, "$chatbot, $when: all is pending");
	is(count_rows($node, "chatbot_id = '$chatbot' AND (attempts <> 0 OR unconfirmed OR next_attempt_at IS NOT NULL)"),
		0, "$chatbot, $when: nobody is charged or in doubt");
	return;
}

# The first request pauses.
refuse_all();
insert_users($node, $_, 'u', 1, CONTACTS) for @chatbots;
for my $chatbot (@chatbots)
{
	ok(wait_until(sub { is_paused($chatbot) }), "$chatbot: paused");
	my ($left, $reason) = pause_of($chatbot);
	like($reason, $answer{$chatbot}[1], "$chatbot: with the reason");
	my $length = length_of_pause($chatbot);
	cmp_ok($length, '>', PAUSE - 10, "$chatbot: for a minute");
	cmp_ok($length, '<', PAUSE + 1, "$chatbot: and no longer");
	is(requests_for($fake, $chatbot), $requests_to_pause{$chatbot}, "$chatbot: after $requests_to_pause{$chatbot} requests");
	check_untouched($chatbot, 'paused');
}
my $before = time;
is($node->safe_psql('postgres', "SELECT contacts_push.flush('@{[PATIENCE]} s')"), 'f', 'flush() says that not all is settled');
cmp_ok(time - $before, '<', PATIENCE, 'and does not wait for it');
is(scalar(whole_log($elsewhere)), 0, 'nobody followed the redirect');

# Others go on.
insert_users($node, 'healthy', 'u', 1, CONTACTS);
ok($node->poll_query_until('postgres', q{SELECT count(*) = } . CONTACTS . q{ FROM contacts_push.outbox WHERE chatbot_id = 'healthy' AND status = 'created'}),
	'a chatbot that is not paused goes on');

# It expires by itself; the next one is longer.
for my $chatbot (@chatbots)
{
	# the answer's pause is written with the answer: the first one may last a little longer
	# in the table than for the worker
	ok( wait_until(sub { $node->safe_psql('postgres',
				"SELECT count(*) FROM contacts_push.request WHERE chatbot_id = '$chatbot' AND finished_at IS NOT NULL") == $requests_to_pause{$chatbot} + 1 }),
		"$chatbot: tried again");
	ok(is_paused($chatbot), "$chatbot: and paused again");
	is(requests_for($fake, $chatbot), $requests_to_pause{$chatbot} + 1, "$chatbot: after one more request");
	cmp_ok(length_of_pause($chatbot), '>', 2 * PAUSE - 10, "$chatbot: for two minutes");
	check_untouched($chatbot, 'paused again');
}
ok($node->safe_psql('postgres', <<'END'), 'not before the minute was over');
SELECT bool_and(seconds > 59) FROM (
	SELECT extract(epoch FROM max(started_at) - min(finished_at)) AS seconds
	FROM contacts_push.request WHERE chatbot_id <> 'healthy' GROUP BY chatbot_id) s
END

# A reload has those tried that it may have fixed, and nobody else.
$fake->faults;
reload($node);
for my $chatbot (grep { $_ ne 'quota' } @chatbots)
{
	ok($node->poll_query_until('postgres', "SELECT count(*) = @{[CONTACTS]} FROM contacts_push.outbox WHERE chatbot_id = '$chatbot' AND status = 'created'"),
		"$chatbot: a reload lifts the pause");
	my ($left, $reason) = pause_of($chatbot);
	is("$left $reason", '0 ', "$chatbot: nothing of it remains in the table");
	is(held_matches($node, $fake, $chatbot), '', "$chatbot: as the stand-in holds it");
}
ok(is_paused('quota'), 'quota: a reload that changes nothing leaves the pause');
is(requests_for($fake, 'quota'), 3, 'quota: with no further request');
set_conf($node, 'contacts_push.api_key' => $other_key);
ok($node->poll_query_until('postgres', "SELECT count(*) = @{[CONTACTS]} FROM contacts_push.outbox WHERE chatbot_id = 'quota' AND status = 'created'"),
	'quota: another key lifts it');

# 20 contacts in a row, each alone, refused in the same words: the chatbot's fault.
$fake->faults({ match => { chatbot => 'unwilling' }, action => { status => 400, message => 'Validation failed' } });
insert_users($node, 'unwilling', 'u', 1, CONTACTS);
ok(wait_until(sub { is_paused('unwilling') }), 'unwilling: paused');
ok($node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM contacts_push.request WHERE finished_at IS NULL}),
	'unwilling: and nothing is under way');
like((pause_of('unwilling'))[1], qr/^20 contacts in a row were refused with: Validation failed$/, 'unwilling: with the reason');
is(outcomes($node, 'unwilling'), 'pending ' . CONTACTS, 'unwilling: those refused in that run are pending again');
is(count_rows($node, q{chatbot_id = 'unwilling' AND (contact IS NULL OR attempts <> 0 OR unconfirmed)}), 0,
	'unwilling: as they were');
is($node->safe_psql('postgres', q{SELECT rejected FROM contacts_push.progress WHERE chatbot_id = 'unwilling'}), 0,
	'unwilling: nobody counts as rejected');
ok($node->safe_psql('postgres', <<'END'), 'unwilling: after 20 refusals of single contacts, and of what was under way then');
SELECT count(*) BETWEEN 20 AND 20 + current_setting('contacts_push.max_concurrent_requests')::int - 1
FROM contacts_push.request
WHERE chatbot_id = 'unwilling' AND contacts = 1 AND http_status = 400
END

# An operator who resumes says that they are meant.
$node->safe_psql('postgres', q{SELECT contacts_push.resume('unwilling')});
ok(settled($node), 'unwilling: resumed, all is settled');
is(outcomes($node, 'unwilling'), 'rejected ' . CONTACTS, 'unwilling: as rejected');
ok(!is_paused('unwilling'), 'unwilling: and not paused again');
is(count_rows($node, q{chatbot_id = 'unwilling' AND error = 'Validation failed' AND contact IS NOT NULL}), CONTACTS,
	'unwilling: with what the API said');

# After the next 200 the rule is in force again.
$fake->faults({ match => { external_id => '^bad' }, action => { status => 400, message => 'Validation failed' } });
insert_users($node, 'unwilling', 'good', 1, 1);
ok(settled($node), 'unwilling: one that is taken');
insert_users($node, 'unwilling', 'bad', 1, CONTACTS);
ok(wait_until(sub { is_paused('unwilling') }), 'unwilling: paused again after that');
ok($node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM contacts_push.request WHERE finished_at IS NULL}),
	'unwilling: and nothing is under way');
is(count_rows($node, q{external_id LIKE 'bad%' AND status = 'pending'}), CONTACTS, 'unwilling: all are pending');

# Another worker knows what kind of pause it is: a resume() says that the refusals are meant.
my $worker = worker_pid($node);
$node->safe_psql('postgres', "SELECT pg_terminate_backend($worker)");
ok(wait_until(sub { my $pid = worker_pid($node); $pid ne '' && $pid ne $worker }), 'another worker');
ok(is_paused('unwilling'), 'unwilling: still paused');
insert_users($node, 'unwilling', 'bad', CONTACTS + 1, CONTACTS + 5);
$node->safe_psql('postgres', q{SELECT contacts_push.resume('unwilling')});
ok(settled($node), 'unwilling: resumed with another worker, all is settled');
is(count_rows($node, q{external_id LIKE 'bad%' AND status = 'rejected'}), CONTACTS + 5, 'unwilling: as rejected');

# A restart with another key has a pause for the old one ended.
$fake->faults({ match => { chatbot => 'locked out' }, action => { status => 401, message => 'No' } },
	{ match => { external_id => '^bad' }, action => { status => 400, message => 'Validation failed' } });
insert_users($node, 'locked out', 'u', 1, 1);
ok(wait_until(sub { is_paused('locked out') }), 'locked out: paused');
$fake->faults({ match => { external_id => '^bad' }, action => { status => 400, message => 'Validation failed' } });
$node->restart;
ok(wait_until(sub { count_rows($node, q{chatbot_id = 'locked out' AND status = 'created'}) == 1 }), 'locked out: a restart ends it');

# Fixed elsewhere.
$fake->faults;
$node->safe_psql('postgres', q{SELECT contacts_push.retry('unwilling')});
ok(settled($node), 'unwilling: fixed and tried again, all is settled');
is(count_rows($node, q{external_id LIKE 'bad%' AND status = 'created'}), CONTACTS + 5, 'unwilling: as created');

# Refusals in different words, or with others taken in between, are the contacts'.
$fake->faults(map({ { match => { external_id => "^odd$_\$" }, action => { status => 400, message => "Wrong in way $_" } } } 1 .. CONTACTS));
insert_users($node, 'different', 'odd', 1, CONTACTS);
ok(settled($node), 'different words: all is settled');
is(outcomes($node, 'different'), 'rejected ' . CONTACTS, 'different words: as rejected');

$node->stop;
done_testing();
