# UsersTest.pm
#
# What the tests of watched tables (030 to 049) have in common beyond
# ContactsPushTest.  No test is in here.
package UsersTest;

use strict;
use warnings;

use Exporter qw(import);
use Test::More ();

use ContactsPushTest;

our @EXPORT = qw(disagreement make_users numbers write_as_application);

# A wait of the application's for a lock is an error at once in the log of the test
# and not a hang: whoever holds one here keeps it until the test goes on.
use constant LOCK_TIMEOUT => '20s';

# A table whose view, of the user's own, does with a row what the row says.
sub make_users
{
	my ($node, $table, $chatbot, $database) = @_;
	$node->safe_psql($database // 'postgres', <<"END");
CREATE TABLE $table (id integer PRIMARY KEY, kind text NOT NULL, name text, visits integer DEFAULT 0);
CREATE FUNCTION ${table}_id(id integer, kind text) RETURNS text LANGUAGE plpgsql AS \$\$
BEGIN
	RETURN CASE kind
		WHEN 'raises' THEN (1 / (id - id))::text
		WHEN 'null' THEN NULL
		WHEN 'empty' THEN ''
		WHEN '2 kB' THEN repeat('x', 2048)
		ELSE id::text
	END;
END\$\$;
CREATE FUNCTION ${table}_name(id integer, kind text, name text) RETURNS text LANGUAGE plpgsql AS \$\$
BEGIN
	RETURN CASE kind WHEN 'raises later' THEN (1 / (id - id))::text ELSE name END;
END\$\$;
CREATE VIEW ${table}_own AS SELECT ${table}_id(id, kind) AS external_id, ${table}_name(id, kind, name) AS name FROM $table;
SELECT contacts_push.watch('${table}_own', '$chatbot');
END
	return;
}

# Runs statements one by one as they are, each in a transaction of its own; returns
# what failed, '' if nothing did.  Warnings are no failure.
sub write_as_application
{
	my ($node, $sql, $database) = @_;
	my ($status, $stdout, $stderr) = $node->psql($database // 'postgres',
		"SET lock_timeout = '@{[LOCK_TIMEOUT]}';\n$sql", on_error_stop => 0);
	my @errors = grep { /ERROR:|FATAL:|PANIC:/ } split /\n/, $stderr;
	Test::More::note($stderr) if @errors;
	push @errors, "psql ended with $status" if $status != 0;
	return join "\n", @errors;
}

# What progress says of a chatbot, as 'pending 3, created 1', without what is 0.
sub numbers
{
	my ($node, $chatbot, $database) = @_;
	return $node->safe_psql($database // 'postgres', <<"END");
SELECT string_agg(u.status || ' ' || u.n, ', ' ORDER BY u.place) FROM contacts_push.progress
CROSS JOIN LATERAL (VALUES (1, 'pending', pending), (2, 'created', created), (3, 'present', present),
	(4, 'updated', updated), (5, 'deleted', deleted), (6, 'conflict', conflict), (7, 'rejected', rejected), (8, 'failed', failed)) AS u(place, status, n)
WHERE chatbot_id = '$chatbot' AND u.n <> 0
END
}

# Where progress and the outbox don't have the same numbers; '' if they agree.
sub disagreement
{
	my ($node, $chatbot, $database) = @_;
	my $counted = $node->safe_psql($database // 'postgres', <<"END");
SELECT string_agg(status || ' ' || n, ', ' ORDER BY status)
FROM (SELECT status, count(*) AS n FROM contacts_push.outbox WHERE chatbot_id = '$chatbot'
	AND status NOT IN ('superseded', 'skipped', 'withdrawn') GROUP BY status) s
END
	my $said = numbers($node, $chatbot, $database);
	return $said eq $counted ? '' : "progress: $said; outbox: $counted";
}

1;
