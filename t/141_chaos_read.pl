# A quarter of all answers broken in every way, applied or not: in few requests each contact
# is created or present, as the stand-in holds it.  In every order that a list may have, while
# contacts come into it, and however the reference can be read.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use ContactsPushTest;
use EngineTest qw(:DEFAULT requests_for chatbot_settled);
use FakeChatbase;
use PostgreSQL::Test::Utils;
use Test::More;

use constant CONTACTS => 20_000;

# Most requests that these may take.
use constant REQUESTS => 200;

my $true = FakeChatbase::true;
my $fake = FakeChatbase->start;
my $node = new_cluster('chaos', $fake, extra => "contacts_push.request_timeout = 3s\n");

# What may become of an answer, each with the same chance.
my @broken = (
	[ before => drop => $true ],
	[ after => drop => $true ],
	[ before => status => 500 ],
	[ after => status => 500 ],
	[ before => status => 503, message => 'busy' ],
	[ after => status => 502, body => '<html>bad gateway</html>' ],
	[ after => cut_body => 100 ],
	[ after => cut_body => 20_000 ],
	[ after => body => 'no JSON' ],
	[ after => omit => 100 ],
	[ before => hang => $true ],
	[ after => delay_ms => 4000 ]);

# A rule applies to those that no rule before it has taken.
sub chaos
{
	my ($seed, $percent) = @_;
	my $left = 100;
	my @rules;

	for (@broken)
	{
		my ($when, %action) = @$_;
		my $share = $percent / @broken;
		push @rules, { match => { percent => int(100 * $share / $left + 0.5) || 1, seed => $seed++ }, when => $when, action => \%action };
		$left -= $share;
	}
	$fake->faults(@rules);
	return;
}

# Returns how many requests it took.
sub goes_through
{
	my ($chatbot, $seed, $contacts) = @_;

	chaos($seed, 25);
	$node->safe_psql('postgres', <<"END");
INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact)
SELECT '$chatbot', 'u' || i, jsonb_build_object('email', 'u' || i || '\@example.com', 'phonenumber', '+49 170 ' || 1000000 + i)
FROM generate_series(1, $contacts) i
END
	ok(chatbot_settled($node, $chatbot), "$chatbot: settled");
	$fake->faults;
	is(each_one_fate($node, $fake, $chatbot, $contacts), '', "$chatbot: each is created or present, as the stand-in holds it");
	my $requests = requests_for($fake, $chatbot);
	note "$chatbot: $requests requests, " . outcomes($node, $chatbot);
	return $requests;
}

my $seed = 1000;
for my $order (qw(arrival newest scattered))
{
	$fake->config(list_order => $order);
	cmp_ok(goes_through($order, $seed, CONTACTS), '<=', REQUESTS, "$order: in few requests");
	$seed += 100;
}

# What the reference leaves open
my %usual = (phonenumbers => 'any', order => 'input', shape => 'array', other_calls => 0, list_order => 'arrival',
	contact_not_found => 'Contact not found', chatbot_not_found => 'Chatbot not found');
for my $switches (
	{ phonenumbers => 'unique', list_order => 'newest' },
	{ order => 'reverse', shape => 'created' },
	{ contact_not_found => 'Resource not found', chatbot_not_found => 'Resource not found' },
	{ other_calls => 404 },
	{ other_calls => 405 })
{
	$fake->config(%usual, %$switches);
	goes_through(join(', ', map { "$_ $switches->{$_}" } sort keys %$switches), $seed, 2000);
	$seed += 100;
}

$node->stop;
done_testing();
