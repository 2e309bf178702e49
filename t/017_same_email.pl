# Of contacts that share an e-mail, in whatever case, one is created and the
# others are told so; no two are ever under way at once.
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

use constant CONTACTS => 1000;
use constant PAIRS => 10;

my $fake = FakeChatbase->start;
my $node = new_cluster('same_email', $fake, extra => "contacts_push.request_timeout = 1h\n");

# The last ones have the e-mails of the first, in capitals.
$node->safe_psql('postgres', <<"END");
INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact)
SELECT 'pairs', 'u' || i, jsonb_build_object('name', 'User ' || i, 'email',
	CASE WHEN i > @{[CONTACTS - PAIRS]} THEN 'USER' || i - @{[CONTACTS - PAIRS]} || '\@Example.COM'
		ELSE 'user' || i || '\@example.com' END)
FROM generate_series(1, @{[CONTACTS]}) i
END
ok(settled($node), 'all is settled');
is(outcomes($node, 'pairs'), sprintf('conflict %d, created %d', PAIRS, CONTACTS - PAIRS),
	'one of each pair is created');
is( $node->safe_psql('postgres', <<"END"), PAIRS, 'the other has the conflict');
SELECT count(*) FROM contacts_push.outbox a JOIN contacts_push.outbox b
ON b.external_id = 'u' || substr(a.external_id, 2)::int + @{[CONTACTS - PAIRS]}
WHERE ARRAY[a.status, b.status] IN ('{created,conflict}', '{conflict,created}')
AND 409 IN (a.http_status, b.http_status)
END
is(held_matches($node, $fake, 'pairs'), '', 'as the stand-in holds it');

# Where nobody has the e-mail any more, it is free: while one that will be refused
# is under way, the other waits, and then gets it.
$fake->faults({ times => 1, match => { external_id => '^first$' }, action => { refuse => FakeChatbase::true, delay_ms => FakeChatbase::HELD } });
$node->safe_psql('postgres', <<'END');
INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact) VALUES ('free', 'first', '{"email": "me@example.com"}')
END
ok(wait_until(sub { $fake->in_flight == 1 }), 'the first is under way');
$node->safe_psql('postgres', <<'END');
INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact) VALUES
	('free', 'second', '{"email": "ME@Example.com"}'), ('free', 'else', '{"email": "else@example.com"}')
END
ok($node->poll_query_until('postgres', q{SELECT status = 'created' FROM contacts_push.outbox WHERE external_id = 'else'}),
	'who shares nothing does not wait');
is(status_of($node, 'free', 'second'), 'pending', 'who shares the e-mail does');
$fake->release;
ok(settled($node), 'all is settled');
is(outcomes($node, 'free'), 'created 2, rejected 1', 'once the first was refused, the second has the e-mail');
is(status_of($node, 'free', 'second'), 'created', 'and is created');

# Many of one e-mail
$node->safe_psql('postgres', <<'END');
INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact)
SELECT 'many', 'u' || i, jsonb_build_object('email', 'Many' || '@example.com') FROM generate_series(1, 50) i
END
ok(settled($node), 'many of one e-mail: all is settled');
is(outcomes($node, 'many'), 'conflict 49, created 1', 'many of one e-mail: one is created');
is(held_matches($node, $fake, 'many'), '', 'many of one e-mail: as the stand-in holds it');

# Two chatbots have nothing to do with each other.
$node->safe_psql('postgres', <<'END');
INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact)
SELECT c, 'u', '{"email": "both@example.com"}' FROM unnest('{one,two}'::text[]) c
END
ok(settled($node), 'two chatbots: all is settled');
is(outcomes($node, $_), 'created 1', "two chatbots: created in $_") for 'one', 'two';

$node->stop;
done_testing();
