# contacts_push.progress has the numbers that the table has, after a storm of
# enqueues, outcomes of all kinds, fixes, withdrawals, retries, pauses and rollbacks.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use ContactsPushTest;
use FakeChatbase;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use UsersTest;

my $fake = FakeChatbase->start;
my $node = new_cluster('progress', $fake, extra => "contacts_push.batch_size = 50\n");
$node->safe_psql('postgres', <<'END');
CREATE TABLE users (id integer PRIMARY KEY, name text, email text);
SELECT contacts_push.watch('users', 'bot', name => $$CASE WHEN name = 'bad' THEN (1 / (id - id))::text ELSE name END$$);
-- what each user's e-mail is at first: of every tenth one that is none, of every seventh one that another contact has
CREATE FUNCTION first_email(id integer) RETURNS text LANGUAGE sql IMMUTABLE RETURN
	CASE WHEN id % 10 = 0 THEN 'nobody' WHEN id % 7 = 0 THEN 'taken' || id || '@example.com' ELSE 'user' || id || '@example.com' END;
END
$fake->preset('bot', map { { external_id => "other$_", email => "taken$_\@example.com" } } map { 7 * $_ } 1 .. 100);
# No answer gets lost here: where one does, a contact whose e-mail is another's can't be
# told from one that is there by that request.
ok(worker_runs($node), 'a worker runs');

my %script = (
	'insert@8' => <<'END',
\set id random(1, 700)
\set end random(1, 4)
BEGIN;
INSERT INTO users VALUES (:id, 'User', first_email(:id)) ON CONFLICT (id) DO UPDATE SET name = users.name || '+';
SAVEPOINT s;
INSERT INTO users VALUES (700 + :id, 'User', first_email(:id)) ON CONFLICT (id) DO NOTHING;
\if :end = 1
ROLLBACK TO s;
\endif
\if :end = 2
ROLLBACK;
\else
COMMIT;
\endif
END
	'fix@3' => <<'END',
\set id random(1, 1400)
UPDATE users SET email = 'fixed' || id || '@example.com' WHERE id = :id;
END
	'fail@1' => <<'END',
\set id random(2000, 1000000)
INSERT INTO users VALUES (:id, 'bad', NULL), (:id + 1000000, 'bad', NULL) ON CONFLICT (id) DO NOTHING;
END
	'delete@2' => <<'END',
\set id random(1, 1400)
DELETE FROM users WHERE id = :id;
END
	'retry@1' => <<'END',
\set end random(1, 3)
\set id random(1, 1400)
BEGIN;
SELECT contacts_push.retry('bot', :id::text);
\if :end = 1
ROLLBACK;
\else
COMMIT;
\endif
SELECT contacts_push.retry() WHERE :client_id = 0;
END
	'pause@1' => <<'END',
SELECT contacts_push.pause('bot') WHERE :client_id = 0;
SELECT contacts_push.resume('bot');
END
);

sub check_numbers
{
	my ($what) = @_;
	ok(settled($node), "$what: all is settled");
	# what an answer has settled is counted with it, unless somebody held the counters
	ok(wait_until(sub { disagreement($node, 'bot') eq '' }), "$what: progress agrees with the outbox")
	  or diag(disagreement($node, 'bot'));
	is($node->safe_psql('postgres', "SELECT percent, pending, state, bar FROM contacts_push.progress"),
		'100.0|0|idle|####################', "$what: it is complete");
	return;
}

sub storm
{
	my ($what) = @_;
	my $name = $what =~ s/\W+/_/gr;
	my %named = map { my $script = $_; ("${name}_$script" => $script{$_}) } keys %script;
	$node->pgbench('-n -c 4 -j 2 -t 250', 0, [qr/processed: 1000\/1000/], [qr/^(?!.*(ERROR|abort))/s], $what, \%named);
	return;
}

{
	local $ENV{PGOPTIONS} = '-c client_min_messages=error';
	storm('a storm');
	is($node->safe_psql('postgres', "SELECT contacts_push.resume('bot')"), '', 'nobody pauses it any more');
	check_numbers('after a storm');
	storm('another, over contacts that are settled');
	$node->safe_psql('postgres', "SELECT contacts_push.resume('bot')");
	check_numbers('after another');
}
note('rows: ' . outcomes($node, 'bot'));
for my $status (qw(created conflict rejected superseded skipped withdrawn))
{
	like(outcomes($node, 'bot'), qr/\b$status \d/, "some are $status, or nothing was tested");
}
is($node->safe_psql('postgres', "SELECT count(*) FROM users WHERE name = 'bad'"),
	$node->safe_psql('postgres', 'SELECT enqueue_failures FROM contacts_push.progress'),
	'what was left out is counted');
is(held_matches($node, $fake, 'bot', known => [ map { 'other' . 7 * $_ } 1 .. 100 ]), '', 'as the stand-in holds it');

# After a restart, however it ended, the numbers are still those of the table.
$node->safe_psql('postgres', "INSERT INTO users SELECT n, 'new', first_email(n) FROM generate_series(5000001, 5002000) n");
$node->stop('immediate');
$node->start;
check_numbers('after a crash');
# Withdrawn and superseded before anything was sent.
$node->safe_psql('postgres', "SELECT contacts_push.pause('bot')");
$node->safe_psql('postgres', "INSERT INTO users SELECT n, 'new', first_email(n) FROM generate_series(6000001, 6000200) n; UPDATE users SET name = 'newer' WHERE id > 6000000; DELETE FROM users WHERE id > 6000100");
is($node->safe_psql('postgres', 'SELECT pending FROM contacts_push.progress'), '500', 'pending are counted as rows');
$node->safe_psql('postgres', "SELECT contacts_push.resume('bot')");
check_numbers('after withdrawals');
is(outcomes($node, 'bot') =~ /pending/ ? 1 : 0, 0, 'nothing is pending');

$node->stop;
done_testing();
