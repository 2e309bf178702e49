# Outcomes in an outbox that somebody has altered: what an UPDATE does there happens.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use ContactsPushTest;
use EngineTest qw(:DEFAULT chatbot_settled worker_passes);
use FakeChatbase;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $fake = FakeChatbase->start;
my $node = new_cluster('altered', $fake, extra => "autovacuum = off\n");

# Sends contacts of which one is refused, and waits until all are settled.
sub push_some
{
	my ($chatbot, $n) = @_;
	$fake->preset($chatbot, { external_id => 'u1' });
	insert_users($node, $chatbot, 'u', 1, $n);
	ok(chatbot_settled($node, $chatbot), "$chatbot: all are settled");
	is(outcomes($node, $chatbot), 'conflict 1, created ' . ($n - 1), "$chatbot: as they should be");
	return;
}

sub alter
{
	my ($sql) = @_;
	$node->safe_psql('postgres', $sql);
	return;
}

# Triggers that are meant for what replication does, too, fire; others don't.
sub triggers
{
	alter(<<'END');
CREATE TABLE fired (name text, before text, after text);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF TG_LEVEL = 'ROW' THEN
		INSERT INTO public.fired VALUES (TG_NAME, old.status, new.status);
	ELSE
		INSERT INTO public.fired VALUES (TG_NAME);
	END IF;
	RETURN new;
END$$;
CREATE TRIGGER always AFTER UPDATE ON contacts_push.outbox FOR EACH ROW EXECUTE FUNCTION note();
CREATE TRIGGER on_replica BEFORE UPDATE ON contacts_push.outbox FOR EACH ROW EXECUTE FUNCTION note();
CREATE TRIGGER usual AFTER UPDATE ON contacts_push.outbox FOR EACH ROW EXECUTE FUNCTION note();
CREATE TRIGGER whole AFTER UPDATE ON contacts_push.outbox EXECUTE FUNCTION note();
ALTER TABLE contacts_push.outbox ENABLE ALWAYS TRIGGER always, ENABLE REPLICA TRIGGER on_replica,
	ENABLE ALWAYS TRIGGER whole;
END
	push_some('triggers', 30);
	is($node->safe_psql('postgres', <<'END'),
SELECT string_agg(format('%s %s %s', name, after, n), ', ' ORDER BY name, after) FROM (
	SELECT name, after, count(*) AS n FROM fired WHERE before = 'pending' GROUP BY 1, 2) f
END
		'always conflict 1, always created 29, on_replica conflict 1, on_replica created 29',
		'triggers: those that are enabled for it have fired for each row');
	cmp_ok($node->safe_psql('postgres', q{SELECT count(*) FROM fired WHERE name = 'whole'}), '>', 0,
		'triggers: and one for each statement');
	alter(<<'END');
DROP TRIGGER always ON contacts_push.outbox;
DROP TRIGGER on_replica ON contacts_push.outbox;
DROP TRIGGER usual ON contacts_push.outbox;
DROP TRIGGER whole ON contacts_push.outbox;
END
	return;
}

# Columns that are no longer there, that are new, and that follow from others.
sub columns
{
	alter(<<'END');
ALTER TABLE contacts_push.outbox ADD COLUMN unwanted text DEFAULT repeat('x', 100);
ALTER TABLE contacts_push.outbox DROP COLUMN unwanted, ADD COLUMN note text DEFAULT 'none so far';
END
	push_some('columns', 30);
	is(count_rows($node, q{chatbot_id = 'columns' AND note = 'none so far'}), 30, 'columns: a new one keeps its value');
	alter(<<'END');
ALTER TABLE contacts_push.outbox ADD COLUMN is_there boolean
	GENERATED ALWAYS AS (status = 'created' AND contact_id <> '' AND http_status = 200) STORED
END
	push_some('generated', 30);
	is(count_rows($node, q{chatbot_id = 'generated' AND is_there AND status = 'created'}), 29, 'generated: it follows');
	is(count_rows($node, q{chatbot_id = 'generated' AND is_there IS DISTINCT FROM (status = 'created' AND contact_id <> '')
		AND status = 'created'}), 0, 'generated: in every row');
	alter('ALTER TABLE contacts_push.outbox DROP COLUMN is_there');
	return;
}

# A CHECK of what is written.  (One that forbids it: t/047.)
sub checked
{
	alter(<<'END');
ALTER TABLE contacts_push.outbox ADD CONSTRAINT somebodys
	CHECK (status <> 'created' OR contact IS NULL AND contact_id <> '')
END
	push_some('checked', 30);
	alter('ALTER TABLE contacts_push.outbox DROP CONSTRAINT somebodys');
	return;
}

# An index whose value changes, one of an expression, a partial and a unique one: each
# finds every row.
sub indexed
{
	alter(<<'END');
CREATE EXTENSION IF NOT EXISTS amcheck;
CREATE INDEX somebodys_status ON contacts_push.outbox (status);
CREATE INDEX somebodys_expression ON contacts_push.outbox ((contact_id || coalesce(http_status::text, '')));
CREATE INDEX somebodys_partial ON contacts_push.outbox (seq) WHERE status = 'created';
CREATE UNIQUE INDEX somebodys_unique ON contacts_push.outbox (chatbot_id, contact_id);
END
	push_some('indexed', 500);
	is( $node->safe_psql('postgres', <<'END'),
SELECT bt_index_check(indexrelid, true) FROM pg_index
WHERE indrelid = 'contacts_push.outbox'::regclass
END
		"\n" x 7, 'indexed: each has all rows');
	is( $node->safe_psql('postgres', <<'END'),
SET enable_seqscan = off;
SELECT count(*) FROM contacts_push.outbox WHERE status = 'pending' AND chatbot_id = 'indexed';
END
		0, 'indexed: by the new status');
	return;
}

# An index entry that waits for another transaction's: what was written in front of it
# by tid is taken back, and all of it written once.
sub waits
{
	alter(<<'END');
DROP INDEX contacts_push.somebodys_unique;
CREATE UNIQUE INDEX somebodys_unique ON contacts_push.outbox (chatbot_id)
	WHERE chatbot_id = 'waits' AND external_id IN ('u50', 'by hand') AND status = 'created';
END
	my $session = open_session($node);
	$session->query_safe('BEGIN');
	$session->query_safe(q{INSERT INTO contacts_push.outbox (chatbot_id, external_id, status) VALUES ('waits', 'by hand', 'created')});
	insert_users($node, 'waits', 'u', 1, 60);
	ok( $node->poll_query_until('postgres',
			q{SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE backend_type = 'contacts_push worker'}),
		'waits: the worker does, as an UPDATE would');
	$session->query_safe('ROLLBACK');
	$session->quit;
	ok(chatbot_settled($node, 'waits'), 'waits: all are settled');
	is(outcomes($node, 'waits'), 'created 60', 'waits: as created');
	is(held_matches($node, $fake, 'waits'), '', 'waits: each with its own id');
	is($node->safe_psql('postgres', q{SELECT created FROM contacts_push.progress WHERE chatbot_id = 'waits'}), 60,
		'waits: and counted once');
	alter('DROP INDEX contacts_push.somebodys_unique');
	return;
}

ok(worker_passes($node), 'a worker runs');
my $pid = worker_pid($node);
triggers();
columns();
checked();
SKIP:
{
	my ($status) = $node->psql('postgres', 'CREATE EXTENSION amcheck');
	skip 'needs amcheck, which belongs to PostgreSQL', 1 if $status != 0;
	indexed();
	waits();
}
is(worker_pid($node), $pid, 'nothing of that has ended the worker');

$node->stop;
done_testing();
