# Bad contacts are found among many in about as few requests as can be, and
# every contact gets the outcome that is its own.
#
# Takes long: a hundred thousand contacts.
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

use constant CONTACTS => 50_000;

# Every so many contacts one is known to the other side, refused by it.
use constant KNOWN => 100;
use constant REFUSED => 333;

my $known = int(CONTACTS / KNOWN);
my $refused = int(CONTACTS / REFUSED);
my $both = int(CONTACTS / (KNOWN * REFUSED));	# these are only refused
my $bad = $known + $refused - $both;

my $fake = FakeChatbase->start;
my $node = new_cluster('isolation', $fake);

# The external_id of the i-th contact: the stand-in refuses those with "bad".
my $id = "CASE WHEN i % @{[REFUSED]} = 0 THEN 'bad' ELSE 'u' END || i";

# Half of the known ones are known by their external_id, half by their e-mail.
sub preset_known
{
	my ($chatbot) = @_;
	$fake->preset($chatbot,
		map {
			$_ % (2 * KNOWN) == 0
			  ? { external_id => "other$_", email => "U$_\@Example.com" }
			  : { external_id => "u$_" }
		} grep { $_ % KNOWN == 0 && $_ % REFUSED != 0 } 1 .. CONTACTS);
	return;
}

# Sends all of them and checks what becomes of them; returns how many requests
# it took.
sub push_all
{
	my ($chatbot) = @_;
	my $before = $fake->stats->{requests};

	preset_known($chatbot);
	$node->safe_psql('postgres', <<"END");
INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact)
SELECT '$chatbot', $id, jsonb_build_object('name', 'User ' || i, 'email', 'u' || i || '\@example.com')
FROM generate_series(1, @{[CONTACTS]}) i
END
	ok(settled($node), "$chatbot: all is settled");
	my $requests = $fake->stats->{requests} - $before;

	is( $node->safe_psql('postgres', <<"END"), '', "$chatbot: each status is the right one");
SELECT string_agg(o.external_id || ' ' || o.status || ' ' || coalesce(o.http_status, 0), ', ')
FROM (SELECT i, $id AS external_id FROM generate_series(1, @{[CONTACTS]}) i) AS e
FULL JOIN (SELECT * FROM contacts_push.outbox WHERE chatbot_id = '$chatbot') AS o USING (external_id)
WHERE o.status || ' ' || o.http_status IS DISTINCT FROM CASE
	WHEN i % @{[REFUSED]} = 0 THEN 'rejected 400'
	WHEN i % @{[KNOWN]} = 0 THEN 'conflict 409'
	ELSE 'created 200' END
END
	is(outcomes($node, $chatbot),
		sprintf('conflict %d, created %d, rejected %d', $known - $both, CONTACTS - $bad, $refused),
		"$chatbot: and none is missing");
	is( held_matches($node, $fake, $chatbot,
			known => [ map { "other$_" } grep { $_ % (2 * KNOWN) == 0 && $_ % REFUSED != 0 } 1 .. CONTACTS ]),
		'', "$chatbot: as the stand-in holds it");
	is(count_rows($node, "chatbot_id = '$chatbot' AND (attempts <> 0 OR unconfirmed)"), 0,
		"$chatbot: nobody was charged or left open");
	is( $node->safe_psql('postgres', <<"END"), '', "$chatbot: nobody is refused without having been sent alone");
SELECT string_agg(o.external_id, ', ') FROM contacts_push.outbox o
WHERE o.chatbot_id = '$chatbot' AND o.status IN ('conflict', 'rejected')
AND NOT EXISTS (SELECT FROM contacts_push.request r
	WHERE r.seqs = int8multirange(int8range(o.seq, o.seq, '[]')) AND r.http_status = o.http_status)
END
	is($requests, $node->safe_psql('postgres',
			"SELECT count(*) FROM contacts_push.request WHERE chatbot_id = '$chatbot'"),
		"$chatbot: each request is recorded");
	return $requests;
}

my $limit = bound(CONTACTS, $bad);

$fake->faults({ match => { external_id => '^bad' }, action => { refuse => FakeChatbase::true } });
my $unnamed = push_all('unnamed');
cmp_ok($unnamed, '<=', 1.2 * $limit, 'requests stay within 1.2 times the bound');

$fake->faults({ match => { external_id => '^bad' },
		action => { refuse => FakeChatbase::true, name_culprit => FakeChatbase::true } });
my $named = push_all('named');
cmp_ok($named, '<', $unnamed, 'a named culprit saves requests');
note sprintf('bound %.0f, requests %d, with the culprit named %d', $limit, $unnamed, $named);

$node->stop;
done_testing();
