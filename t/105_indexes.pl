# The worker reads the outbox along its indexes.  They may be rebuilt and replaced beside
# it; where one is missing it says which, does nothing wrong, and goes on once it is there.
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

my $fake = FakeChatbase->start;
my $node = new_cluster('indexes', $fake);

sub sql
{
	return $node->safe_psql('postgres', $_[0]);
}

# Contacts of this name, each with two intents, of which the newer one counts.
sub enqueue
{
	my ($name) = @_;
	sql(<<"END");
INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact)
SELECT 'bot', '$name' || n, jsonb_build_object('name', v) FROM generate_series(1, 20) n, unnest('{old,new}'::text[]) v
END
	return;
}

sub pushed
{
	my ($name) = @_;
	enqueue($name);
	ok(settled($node), "$name: all is settled");
	is(count_rows($node, "external_id LIKE '$name%' AND status = 'created'"), 20, "$name: each contact is created");
	return;
}

# Without an index nothing is sent, and the worker says what it lacks; with it, all is.
sub missing
{
	my ($name, $columns, $without, $with) = @_;
	my $before = my @before = whole_log($fake);
	sql($without);
	enqueue($name);
	ok(wait_until(sub {
		sql(q{SELECT state FROM contacts_push.progress WHERE chatbot_id = 'bot'}) =~ /contacts_push\.outbox has no valid index on \(\Q$columns\E\)/;
	}), "$name: the worker says so");
	is(scalar(my @log = whole_log($fake)), $before, "$name: and sends nothing");
	sql($with);
	sql('SELECT contacts_push_internal.wake()');
	ok(settled($node), "$name: all is settled when it is there again");
	is(count_rows($node, "external_id LIKE '$name%' AND status = 'created'"), 20, "$name: each contact is created");
	return;
}

pushed('first');
my $pid = worker_pid($node);
sql('REINDEX TABLE contacts_push.outbox');
pushed('rebuilt');
sql('REINDEX TABLE CONCURRENTLY contacts_push.outbox');
pushed('rebuilt concurrently');

# What stands where is told by the columns' names.
sql('ALTER TABLE contacts_push.outbox ADD COLUMN note text');
pushed('with a column more');
sql('ALTER TABLE contacts_push.outbox DROP COLUMN note');
pushed('with a column that was dropped');

# Others that serve as well
sql(<<'END');
CREATE UNIQUE INDEX CONCURRENTLY other_key ON contacts_push.outbox (seq);
ALTER TABLE contacts_push.outbox DROP CONSTRAINT outbox_pkey;
ALTER TABLE contacts_push.outbox ADD CONSTRAINT outbox_pkey PRIMARY KEY USING INDEX other_key;
CREATE INDEX longer ON contacts_push.outbox (chatbot_id, external_id, seq);
DROP INDEX contacts_push.outbox_contact;
END
pushed('along other indexes');
is(worker_pid($node), $pid, 'nothing of that has ended the worker');

# None that serves: what there is has not all rows, or not in this order.
missing('without the key', 'seq', <<'END', 'ALTER TABLE contacts_push.outbox ADD PRIMARY KEY (seq)');
ALTER TABLE contacts_push.outbox DROP CONSTRAINT outbox_pkey;
CREATE INDEX pending_only ON contacts_push.outbox (seq) WHERE status = 'pending';
CREATE INDEX computed ON contacts_push.outbox ((seq + 0));
CREATE INDEX hashed ON contacts_push.outbox USING hash (seq);
CREATE INDEX backwards ON contacts_push.outbox (seq DESC);
END
missing('without the contacts', 'chatbot_id, external_id', <<'END',
DROP INDEX contacts_push.longer;
CREATE INDEX collated ON contacts_push.outbox (chatbot_id COLLATE "POSIX", external_id);
CREATE INDEX other_class ON contacts_push.outbox (chatbot_id text_pattern_ops, external_id);
CREATE INDEX shorter ON contacts_push.outbox (chatbot_id);
END
	'CREATE INDEX outbox_contact ON contacts_push.outbox (chatbot_id, external_id)');

# Ids that do not lie in the row itself: of a contact's rows all are found all the same.
$pid = worker_pid($node);
sql(q{SELECT setseed(0.5); CREATE FUNCTION noise() RETURNS text LANGUAGE sql AS
	$$SELECT string_agg(chr(33 + (random() * 90)::int), '') FROM generate_series(1, 1024)$$});
sql(<<'END');
CREATE TABLE ids AS SELECT noise() AS chatbot_id, noise() AS external_id;
INSERT INTO contacts_push.outbox (chatbot_id, external_id, previous_external_id, error, contact)
SELECT i.chatbot_id, i.external_id, noise(), noise() || noise() || noise(), jsonb_build_object('name', v || noise() || noise())
FROM ids i, unnest('{old,new}'::text[]) WITH ORDINALITY AS u(v, place) ORDER BY place;
END
ok(settled($node), 'long ids: all is settled');
is(sql('SELECT string_agg(o.status::text, $$ $$ ORDER BY o.seq) FROM contacts_push.outbox o JOIN ids i USING (chatbot_id, external_id)'),
	'superseded created', 'long ids: of two intents the newer is sent');
is(worker_pid($node), $pid, 'long ids: the worker has not ended meanwhile');
is(held_matches($node, $fake, 'bot'), '', 'all is as the stand-in holds it');

$node->stop;
done_testing();
