# A list that has no last page, and does not say how many there are, is not read for ever.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use ContactsPushTest;
use EngineTest qw(:DEFAULT chatbot_settled);
use FakeChatbase;
use PostgreSQL::Test::Utils;
use Test::More;

use constant CONTACTS => 5;

my $fake = FakeChatbase->start;
my $node = new_cluster('no_last_page', $fake);

$fake->faults(
	{ match => { chatbot => 'endless', method => 'POST' }, times => 1, when => 'after', action => { drop => FakeChatbase::true } },
	map { { match => { chatbot => 'endless', method => 'GET' }, times => 1,
			action => { status => 200, body => qq({"data": [{"id": "i$_", "external_id": "foreign$_"}]}) } } } 1 .. 100);
insert_users($node, 'endless', 'u', 1, CONTACTS);
ok(chatbot_settled($node, 'endless'), 'settled');
is(outcomes($node, 'endless'), 'present ' . CONTACTS, 'all are present');
my $reads = grep { $_->{chatbot} eq 'endless' && $_->{method} eq 'GET' } whole_log($fake);
cmp_ok($reads, '<=', 2 * CONTACTS, 'after no more pages than there are contacts');

$node->stop;
done_testing();
