# An outage charges nobody and costs few requests.
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
use Time::HiRes qw(time);

use constant CONTACTS => 5000;

# Seconds: long for the back-off that is set here.
use constant OUTAGE => 12;
use constant BACKOFF => 2;

my $fake = FakeChatbase->start;
my $node = new_cluster('outage', $fake, extra => <<"END");
contacts_push.max_backoff = @{[BACKOFF]}s
contacts_push.max_attempts = 2
END

# Nobody gets an answer for a while; more keeps arriving.
sub outage
{
	my ($chatbot, $what, %action) = @_;
	my $before = $fake->stats->{requests};
	my $end = time + OUTAGE;
	my $inserted = 0;

	$fake->always(%action);
	ok( wait_until(
			sub {
				if ($inserted < CONTACTS)
				{
					insert_users($node, $chatbot, 'u', $inserted + 1, $inserted + CONTACTS / 10);
					$inserted += CONTACTS / 10;
				}
				return time >= $end && $inserted == CONTACTS;
			}),
		"$what: it lasts");
	my $requests = $fake->stats->{requests} - $before;
	is(outcomes($node, $chatbot), 'pending ' . CONTACTS, "$what: everything is pending");
	is(count_rows($node, "chatbot_id = '$chatbot' AND attempts <> 0"), 0, "$what: nobody is charged");
	cmp_ok($requests, '>=', 3, "$what: it is tried again");
	cmp_ok($requests, '<=', 40, "$what: with few requests");
	note "$what: $requests requests";

	$fake->faults;
	ok(settled($node), "$what: afterwards all is settled");
	is(outcomes($node, $chatbot), 'created ' . CONTACTS, "$what: as created");
	is(held_matches($node, $fake, $chatbot), '', "$what: as the stand-in holds it");
	is(count_rows($node, "chatbot_id = '$chatbot' AND (attempts <> 0 OR unconfirmed)"), 0,
		"$what: nobody was charged");
	is($node->safe_psql('postgres', "SELECT failed FROM contacts_push.progress WHERE chatbot_id = '$chatbot'"),
		0, "$what: nobody failed");
	return;
}

outage('overloaded', '503', status => 503);
outage('lost', 'connections dropped', drop => FakeChatbase::true);

$node->stop;
done_testing();
