# Of contacts with one e-mail the one that was enqueued first has it, whatever becomes
# of their neighbours, and the others are told whose it is.
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

use constant CONTACTS => 600;
use constant PAIRS => 100;

# Every so many contacts one is refused.
use constant REFUSED => 7;

my $fake = FakeChatbase->start;
my $true = FakeChatbase::true;
my $node = new_cluster('one_email', $fake);

# The later one of each pair has the e-mail of the earlier one, in capitals.  Among the
# earlier ones, and their neighbours, are some that are refused: their e-mail is free.
sub enqueue_pairs
{
	my ($chatbot) = @_;
	$node->safe_psql('postgres', <<"END");
INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact)
SELECT '$chatbot', CASE WHEN i % @{[REFUSED]} = 0 THEN 'bad' ELSE 'u' END || i,
	jsonb_build_object('name', 'User ' || i, 'email', CASE
		WHEN i > @{[CONTACTS - PAIRS]} THEN 'USER' || i - @{[CONTACTS - PAIRS]} || '\@Example.COM'
		ELSE 'user' || i || '\@example.com' END)
FROM generate_series(1, @{[CONTACTS]}) i
END
	return;
}

# What is wrong with the outcomes of such pairs; '' if nothing.
sub wrong_pairs
{
	my ($chatbot) = @_;
	return $node->safe_psql('postgres', <<"END");
WITH o AS (
	SELECT substring(external_id FROM '[0-9]+')::int AS i, external_id, status::text, coalesce(error, '') AS error
	FROM contacts_push.outbox WHERE chatbot_id = '$chatbot')
SELECT string_agg(concat_ws(' ', later.external_id, later.status, later.error, earlier.status), '; ')
FROM o later LEFT JOIN o earlier ON earlier.i = later.i - @{[CONTACTS - PAIRS]}
WHERE CASE
	WHEN later.i % @{[REFUSED]} = 0 THEN later.status <> 'rejected'
	WHEN earlier.status = 'created' THEN later.status <> 'conflict'
		OR later.error NOT LIKE 'its e-mail belongs to another contact of this outbox, "' || earlier.external_id || '": %'
	ELSE later.status <> 'created' END
END
}

# While the batch is isolated, by several requests at a time and by one.
$fake->faults({ match => { external_id => '^bad' }, action => { refuse => $true } });
for my $requests (1, 4)
{
	set_conf($node, 'contacts_push.max_concurrent_requests' => $requests);
	enqueue_pairs("isolated $requests");
	ok(settled($node), "$requests at a time: all is settled");
	is(wrong_pairs("isolated $requests"), '', "$requests at a time: the earlier one is created, and named to the later one");
	is(held_matches($node, $fake, "isolated $requests"), '', "$requests at a time: as the stand-in holds it");
}

# In a second request, when the first of the two has long been settled
$fake->faults;
my $insert = q{INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact) VALUES ('later', '%s', '{"email": "%s"}')};
$node->safe_psql('postgres', sprintf $insert, 'first', 'me@example.com');
ok(settled($node), 'later: the first is settled');
$node->safe_psql('postgres', sprintf $insert, 'second', 'Me@Example.com');
ok(settled($node), 'later: the second is settled');
is( $node->safe_psql('postgres', q{SELECT status, error FROM contacts_push.outbox WHERE external_id = 'second'}),
	'conflict|its e-mail belongs to another contact of this outbox, "first": One or more external IDs or emails already exist.',
	'later: it is told whose the e-mail is');

# Of somebody whom this outbox did not create it says nothing.
$fake->preset('later', { external_id => 'other', email => 'other@example.com' });
$node->safe_psql('postgres', sprintf $insert, 'third', 'OTHER@example.com');
ok(settled($node), 'unknown: settled');
is( $node->safe_psql('postgres', q{SELECT status, error FROM contacts_push.outbox WHERE external_id = 'third'}),
	'conflict|One or more external IDs or emails already exist.', 'unknown: the words are those of the API');

# One that gets no answer keeps its place.
$fake->faults({ times => 1, match => { chatbot => 'doubt' }, when => 'before', action => { drop => $true } });
$node->safe_psql('postgres', <<'END');
INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact) VALUES
	('doubt', 'first', '{"email": "me@example.com"}'), ('doubt', 'else', '{"email": "else@example.com"}'),
	('doubt', 'second', '{"email": "ME@example.com"}')
END
ok(settled($node), 'no answer: all is settled');
is(join(' ', map { status_of($node, 'doubt', $_) } qw(first else second)), 'created created conflict',
	'no answer: the earlier one is created');

# Those with one phone number, however it is written, go one after the other, too; also
# where another one has the e-mail of the first.
$fake->faults;
$node->safe_psql('postgres', <<'END');
INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact) VALUES
	('phone', 'first', '{"phonenumber": "+1 (555) 0100", "email": "me@example.com"}'),
	('phone', 'second', '{"phonenumber": "1-555-0100"}'),
	('phone', 'third', '{"phonenumber": "1.555.0100", "email": "third@example.com"}'),
	('phone', 'fourth', '{"phonenumber": "none", "email": "Third@example.com"}'),
	('phone', 'fifth', '{"phonenumber": "none"}')
END
ok(settled($node), 'phone: all is settled');
is(join(' ', map { status_of($node, 'phone', $_) } qw(first second third fourth fifth)), 'created created created conflict created',
	'phone: all are created but the one with the e-mail of another');
is(join(' ', map { join '+', @{ $_->{external_ids} } } grep { $_->{chatbot} eq 'phone' } whole_log($fake)),
	'first+fifth second third fourth', 'phone: no two of them together, and in their order');

$node->stop;
done_testing();
