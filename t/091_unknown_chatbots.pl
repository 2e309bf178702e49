# Chatbots that do not exist take little from those that do.
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

# Ids that somebody has enqueued for and that Chatbase does not know.
use constant UNKNOWN => 300;

my $fake = FakeChatbase->start('--chatbot', 'known');
my $node = new_cluster('unknown_chatbots', $fake);

# Requests for unknown chatbots that have left so far.
sub unknown { return scalar grep { $_->{chatbot} ne 'known' } whole_log($fake); }

# How many of those have left when a user of the known chatbot was enqueued and created.
sub before_user
{
	my ($name) = @_;
	my $before = unknown();
	insert_users($node, 'known', $name, 1, 1);
	ok( $node->poll_query_until('postgres',
			"SELECT status = 'created' FROM contacts_push.outbox WHERE chatbot_id = 'known' AND external_id LIKE '$name%'"),
		"user $name is created");
	my @log = whole_log($fake);
	my ($mine) = grep { $log[$_]{chatbot} eq 'known' && "@{ $log[$_]{external_ids} }" =~ /\b$name/ } 0 .. $#log;
	return scalar(grep { $_->{chatbot} ne 'known' } @log[ 0 .. $mine ]) - $before;
}

sub enqueue_unknown
{
	my ($prefix) = @_;
	$node->safe_psql('postgres', <<"END");
SELECT count(contacts_push.enqueue('$prefix' || n, '{"external_id": "u"}')) FROM generate_series(1, @{[UNKNOWN]}) n
END
	return;
}

insert_users($node, 'known', 'first', 1, 1);
ok(settled($node), 'the known chatbot has answered once');
set_conf($node, 'contacts_push.requests_per_second' => 10);

enqueue_unknown('a');
ok(wait_until(sub { unknown() >= 3 }), 'requests for unknown chatbots leave');
my @between = map { before_user("u$_") } 1 .. 5;
cmp_ok($_, '<=', 10, 'few requests for unknown ones leave before it') for @between;
note "requests before a user: @between";

# The next worker knows which chatbot has answered before.
$node->restart;
ok(wait_until(sub { worker_runs($node) }), 'another worker');
enqueue_unknown('b');
my $before = unknown();
ok(wait_until(sub { unknown() >= $before + 3 }), 'requests for unknown chatbots leave again');
cmp_ok(before_user('v'), '<=', 20, 'few leave before a user, after a restart');

# While nobody else wants it, the budget is theirs: all are asked once.
set_conf($node, 'contacts_push.requests_per_second' => 1000);
ok( wait_until(
		sub {
			my %asked = map { $_->{chatbot} => 1 } whole_log($fake);
			return keys(%asked) == 1 + 2 * UNKNOWN;
		}),
	'each of the unknown ones is asked');
is(outcomes($node, 'known'), 'created 7', 'all users are created');

$node->stop;
done_testing();
