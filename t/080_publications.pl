# A publication that comes to hold the tables of the extension, by FOR ALL TABLES or by
# their schema, stops nothing, whether there is a subscriber or not.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use ContactsPushTest;
use FakeChatbase;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $fake = FakeChatbase->start;

# Statements on one table of the extension; as functions, because a failure is wanted in words.
my $functions = <<'END';
CREATE FUNCTION trouble(statement text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE statement;
	RETURN NULL;
EXCEPTION WHEN object_not_in_prerequisite_state THEN
	RETURN SQLERRM;
END$$;
CREATE VIEW ours AS
	SELECT c.oid::regclass AS relation, (
		SELECT quote_ident(a.attname) FROM pg_attribute a
		WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attidentity = ''
		ORDER BY a.attnum LIMIT 1) AS attribute
	FROM pg_class c
	JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'
	JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND e.oid = d.refobjid AND e.extname = 'contacts_push'
	WHERE c.relkind = 'r';
END

# What fails on any table of the extension, found by the catalog; nothing is kept.
sub troubles
{
	my ($node) = @_;
	return $node->safe_psql('postgres', <<'END');
BEGIN;
SELECT relation, trouble(format('UPDATE %s SET %s = %2$s', relation, attribute)) FROM ours
WHERE trouble(format('UPDATE %s SET %s = %2$s', relation, attribute)) IS NOT NULL
UNION ALL
SELECT relation, trouble(format('DELETE FROM %s', relation)) FROM ours
WHERE trouble(format('DELETE FROM %s', relation)) IS NOT NULL;
ROLLBACK;
END
}

# Everything that a worker writes when it starts, sends and cleans up.
sub push_through
{
	my ($node, $what) = @_;
	my $pid = worker_pid($node);
	$node->safe_psql('postgres', <<'END');
INSERT INTO contacts_push_internal.enqueue_failure (chatbot_id, relation, rows, reason)
VALUES ('bot', 'public.users', 1, 'for the test');
INSERT INTO contacts_push_internal.tally VALUES ('bot', 0, 0, 0, 0, 0, 0, 0);
SELECT pg_stat_reset();
END
	insert_users($node, 'bot', "$what ", 1, 20);
	ok(settled($node), "$what: what is enqueued is sent");
	$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
	ok(wait_until(sub { my $now = worker_pid($node); $now ne '' && $now ne $pid }), "$what: another worker comes");
	insert_users($node, 'bot', "$what again ", 1, 20);
	ok(settled($node), "$what: and sends");
	ok($node->poll_query_until('postgres', <<'END'), "$what: what is to be counted is");
SELECT (SELECT count(*) = 0 FROM contacts_push_internal.enqueue_failure WHERE NOT counted)
	AND (SELECT count(*) = 0 FROM contacts_push_internal.tally)
END
	is(troubles($node), '', "$what: every table can be updated and deleted from");
	return;
}

for my $level (qw(replica logical))
{
	my $node = new_cluster("publisher_$level", $fake, extra => "wal_level = $level\ncontacts_push.request_retention = 0\n");
	ok(worker_runs($node), "$level: a worker runs");
	$node->safe_psql('postgres', $functions);
	cmp_ok($node->safe_psql('postgres', 'SELECT count(*) FROM ours'), '>=', 5, "$level: the tables are found");

	$node->safe_psql('postgres', 'CREATE PUBLICATION everything FOR ALL TABLES');
	push_through($node, "$level all");

	# who meets such a publication is told
	my ($status, $stdout, $stderr) = $node->psql('postgres', <<'END');
CREATE TABLE users (id integer PRIMARY KEY, email text);
SELECT contacts_push.watch('users', 'bot');
END
	is($status, 0, "$level: watch() succeeds");
	like($stderr, qr/WARNING:  publication "everything" publishes the tables of contacts_push, too/, "$level: and warns");
	$node->safe_psql('postgres', 'CREATE DATABASE other');
	($status, $stdout, $stderr) = $node->psql('other', 'CREATE PUBLICATION first FOR ALL TABLES; CREATE EXTENSION contacts_push');
	is($status, 0, "$level: so does CREATE EXTENSION");
	like($stderr, qr/WARNING:  publication "first" publishes the tables of contacts_push, too/, "$level: which warns, too");

	$node->safe_psql('postgres', 'DROP PUBLICATION everything');
	$node->safe_psql('postgres', <<'END');
DO $$
BEGIN
	EXECUTE (SELECT 'CREATE PUBLICATION schemas FOR TABLES IN SCHEMA ' || string_agg(DISTINCT n.nspname, ', ')
		FROM ours o JOIN pg_class c ON c.oid = o.relation JOIN pg_namespace n ON n.oid = c.relnamespace);
END$$
END
	push_through($node, "$level schema");
	($status, $stdout, $stderr) = $node->psql('postgres', q{SELECT contacts_push.watch('users', 'another')});
	like($stderr, qr/WARNING:  publication "schemas" publishes the tables of contacts_push, too\nDETAIL:  It is FOR TABLES IN SCHEMA contacts_push, contacts_push_internal\./,
		"$level: of a publication by their schemas watch() warns, too");
	$node->safe_psql('postgres', 'DROP PUBLICATION schemas; CREATE PUBLICATION named FOR TABLE contacts_push.outbox, TABLES IN SCHEMA public');
	($status, $stdout, $stderr) = $node->psql('postgres', q{SELECT contacts_push.watch('users', 'third')});
	is($stderr, '', "$level: of a table that was named nobody is told");
	$node->stop;
}

done_testing();
