# Whatever goes wrong on the way, nothing is lost, doubled or given an outcome
# that it hasn't.
#
# Takes long: every fault takes its time.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use ContactsPushTest;
use FakeChatbase;
use List::Util qw(max);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# Contacts a chatbot, besides those that are to be refused.
use constant GOOD => 2000;

# Less than the 20 refusals in a row that speak of a fault of the chatbot.
use constant BAD => 10;

# Keys besides KEY: each has a budget of its own.
my ($second_key, $third_key) = map { KEY . "-$_" } 2, 3;
my $fake = FakeChatbase->start(map { ('--key', $_) } KEY, $second_key, $third_key);

# Batches of 100: enough requests for every fault to meet many.
my $node = new_cluster('never_wrong', $fake, extra => <<'END');
contacts_push.batch_size = 100
contacts_push.request_timeout = 2s
END

# Faults by percentage of the requests; a percentage is of those that the rules
# before it have left alone.
my $percent = 6;
my $seed = 0;

sub sometimes
{
	my ($when, %action) = @_;
	return { match => { percent => $percent, seed => ++$seed }, when => $when, action => \%action };
}

# Every way in which nobody learns what became of a request.
sub unanswered
{
	return (
		sometimes('before', status => 503),
		sometimes('after', status => 500),
		sometimes('before', status => 502, body => '<html>Bad gateway</html>'),
		sometimes('before', drop => FakeChatbase::true),
		sometimes('after', drop => FakeChatbase::true));
}

# Answers of which only a part can be used.
sub mangled
{
	return (
		sometimes('after', cut_body => 300),
		sometimes('after', omit => 7),
		sometimes('after', status => 200, body => 'Success'),
		sometimes('after', status => 202));
}

# Four 429, soon; the stand-in's own limit says it more often.
sub throttled
{
	return map { { match => { every => 7, phase => $_ }, times => 2, when => 'before',
			action => { status => 429, headers => { 'Retry-After' => $_ ? 'soon' : '0' } } } } 0, 1;
}

# Contacts for a chatbot: good ones, some that the API will refuse, and some whose
# e-mail or external_id is taken.
sub enqueue_mixed
{
	my ($chatbot) = @_;
	$fake->preset($chatbot,
		{ external_id => 'owner', email => 'Taken@Example.com' },
		map({ { external_id => "taken$_" } } 1 .. BAD));
	$node->safe_psql('postgres', <<"END");
INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact)
SELECT '$chatbot', id, jsonb_build_object('name', id, 'email', email)
FROM (
	SELECT 'u' || i AS id, 'u' || i || '\@example.com' AS email, i * 7919 % 10007 AS place
		FROM generate_series(1, @{[GOOD]}) i
	UNION ALL SELECT 'refuse' || i, 'r' || i || '\@example.com', i * 997 FROM generate_series(1, @{[BAD]}) i
	UNION ALL SELECT 'taken' || i, 't' || i || '\@example.com', i * 991 FROM generate_series(1, @{[BAD]}) i
	UNION ALL SELECT 'email' || i, 'taken\@example.COM', i * 983 FROM generate_series(1, @{[BAD]}) i) s
ORDER BY place
END
	return;
}

# The faults, with the rule that refuses the contacts that are to be.  The first
# rule that matches counts, so it stands where a request would be processed.
sub with_refusals
{
	my @rules = @_;
	return (
		(grep { $_->{when} eq 'before' } @rules),
		{ match => { external_id => '^refuse' }, action => { refuse => FakeChatbase::true } },
		(grep { $_->{when} eq 'after' } @rules));
}

# Sends a mixed lot under these faults; nothing may come out wrong.
sub check_faults
{
	my ($chatbot, $what, @rules) = @_;

	$fake->faults(with_refusals(@rules));
	enqueue_mixed($chatbot);
	check_outcomes($chatbot, $what);
	return;
}

# What must come of a mixed lot.
sub check_outcomes
{
	my ($chatbot, $what) = @_;

	ok(settled($node), "$what: all is settled");

	my $present = $node->safe_psql('postgres',
		"SELECT count(*) FROM contacts_push.outbox WHERE chatbot_id = '$chatbot' AND status = 'present'");
	my %n = map { split / / } split /, /, outcomes($node, $chatbot);
	is(($n{created} // 0) + ($n{present} // 0) + ($n{conflict} // 0), GOOD + 2 * BAD,
		"$what: what the API accepts, or has, has that outcome");
	is($n{rejected}, BAD, "$what: what it refuses is rejected");
	is(scalar keys %{ { %n, map({ $_ => 0 } qw(created present conflict rejected)) } }, 4,
		"$what: there is no other outcome");
	is( $node->safe_psql('postgres', <<"END"), '', "$what: each has the one that it should");
SELECT string_agg(external_id || ' ' || status, ', ') FROM contacts_push.outbox
WHERE chatbot_id = '$chatbot' AND NOT CASE
	WHEN external_id LIKE 'u%' THEN status IN ('created', 'present')
	WHEN external_id LIKE 'refuse%' THEN status = 'rejected' AND http_status = 400
	-- somebody else's: after a request without an answer it can't be told from our own
	ELSE status IN ('conflict', 'present') AND http_status = 409
		OR external_id LIKE 'taken%' AND status = 'present' AND http_status = 200 END
END
	my @others = ('owner', map { "taken$_" } 1 .. BAD);
	my %held = %{ $fake->held($chatbot) };
	is(scalar keys %held, GOOD + @others, "$what: as many are held as there are");
	is(held_matches_good($chatbot), '', "$what: with these ids");
	note "$what: $present present, " . $fake->stats->{requests} . ' requests so far';
	return;
}

# held_matches() for those that only we could have created.
sub held_matches_good
{
	my ($chatbot) = @_;
	my %held = %{ $fake->held($chatbot) };
	return join ', ', grep {
		my ($external_id, $http_status, $contact_id) = split /\|/;
		!exists $held{$external_id}
		  or $contact_id ne ($http_status eq '200' ? $held{$external_id} : '')
	} split /\n/, $node->safe_psql('postgres', <<"END");
SELECT external_id, http_status, contact_id FROM contacts_push.outbox
WHERE chatbot_id = '$chatbot' AND external_id LIKE 'u%'
END
}

check_faults('none', 'no fault');
is(outcomes($node, 'none') =~ s/ \d+//gr, 'conflict, created, rejected', 'without a fault nothing is "present"');
is( $node->safe_psql('postgres', <<'END'), '30', 'what is refused keeps its contact');
SELECT count(*) FROM contacts_push.outbox
WHERE chatbot_id = 'none' AND status IN ('conflict', 'rejected') AND contact IS NOT NULL AND error <> ''
END

check_faults('unanswered', 'no answers', unanswered());
check_faults('mangled', 'broken answers', mangled());

# A limit that is half of what is set, with nothing to say how long to wait at first.  How
# soon the pace recovers from that is not what is looked at here: when all four have come,
# the limit and what was learnt of it go, and what has been refused so far comes out right.
set_conf($node,
	'contacts_push.api_key' => $second_key,
	'contacts_push.requests_per_second' => 100);
$fake->config(limit => 50);
$fake->faults(with_refusals(throttled()));
enqueue_mixed('throttled');
ok(comes_to_zero(sub { max(0, 4 - ($fake->stats->{by_status}{429} // 0)) }), '429: requests run into it');
$fake->config(limit => 0);
set_conf($node,
	'contacts_push.api_key' => KEY,
	'contacts_push.requests_per_second' => 100000);
check_outcomes('throttled', '429');
check_faults('late', 'time-outs',
	{ match => { percent => 4, seed => 100 }, when => 'after', action => { hang => FakeChatbase::true } },
	{ match => { percent => 4, seed => 101 }, when => 'before', action => { hang => FakeChatbase::true } });

# A refused key pauses everything until somebody fixes it and reloads.
$fake->faults(with_refusals(
	{ times => 3, match => { from => $fake->stats->{requests} + 5 }, when => 'before', action => { status => 401 } },
	unanswered(), mangled()));
my $reloads = 0;
enqueue_mixed('key');
ok( comes_to_zero(
		sub {
			my ($pending, $paused) = split /\|/, $node->safe_psql('postgres', <<'END');
SELECT (SELECT count(*) FROM contacts_push.outbox WHERE status = 'pending'),
	(SELECT count(*) FROM contacts_push.chatbot WHERE paused_until > now())
END
			set_conf($node, 'contacts_push.api_key' => $reloads++ % 2 ? KEY : $third_key) if $paused;
			return $pending;
		}),
	'refused keys: all is settled');
cmp_ok($reloads, '>', 0, 'refused keys: after they were fixed');
is(held_matches_good('key'), '', 'refused keys: as the stand-in holds it');
is( $node->safe_psql('postgres', <<'END'), '0', 'refused keys: nobody was refused for them');
SELECT count(*) FROM contacts_push.outbox WHERE http_status = 401 OR status = 'failed'
END

# Everything at once, for several chatbots, by workers of several databases
$percent = 3;
add_database($node, 'second');
$fake->faults(with_refusals(unanswered(), mangled(), throttled()));
insert_users($node, $_, 'm', 1, GOOD) for qw(many1 many2);
insert_users($node, 'many3', 'm', 1, GOOD, 'second');
ok(settled($node), 'several chatbots: all is settled');
ok(settled($node, 'second'), 'several databases: all is settled');
is(held_matches($node, $fake, $_), '', "$_: as the stand-in holds it") for qw(many1 many2);
is(held_matches($node, $fake, 'many3', database => 'second'), '', 'many3: as the stand-in holds it');
is( $node->safe_psql('postgres', q{SELECT count(*) FROM contacts_push.outbox WHERE (unconfirmed AND status <> 'rejected') OR next_attempt_at IS NOT NULL}),
	'0', 'nothing of the trouble stays behind');
is($node->safe_psql('postgres', 'SELECT count(*) FROM contacts_push.request WHERE finished_at IS NULL'),
	'0', 'and no request is open');

# Outage: nobody there, then somebody
my $url = $fake->base_url;
my $gone = FakeChatbase->start;
$gone->stop;
$fake->faults;
set_conf($node, 'contacts_push.base_url' => $gone->base_url);
insert_users($node, 'outage', 'o', 1, GOOD);
ok($node->poll_query_until('postgres', q{SELECT count(*) >= 3 FROM contacts_push.request WHERE outcome = 'network'}),
	'nobody there: it is tried again');
is( $node->safe_psql('postgres',
		q{SELECT count(*) FROM contacts_push.outbox WHERE chatbot_id = 'outage' AND (unconfirmed OR status <> 'pending')}),
	'0', 'nobody there: nothing can have been created');
set_conf($node, 'contacts_push.base_url' => $url);
ok(settled($node), 'after the outage: all is settled');
is(outcomes($node, 'outage'), 'created ' . GOOD, 'after the outage: as created');
is(held_matches($node, $fake, 'outage'), '', 'after the outage: as the stand-in holds it');

unlike(slurp_file($node->logfile), qr/PANIC:|TRAP:|terminated by signal|background worker .* exited with exit code/,
	'no process has died');
$node->stop;
done_testing();
