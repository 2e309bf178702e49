# Whatever a transaction does to a watched table, in whatever order its triggers fire and
# whatever of it is rolled back: the newest intent of a contact says what its row is in the end.
# Transactions of random statements; CONTACTS_PUSH_SEED and CONTACTS_PUSH_TRANSACTIONS try others.
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
my $node = new_cluster('newest', $fake, extra => "contacts_push.enabled = off\n");
my $seed = $ENV{CONTACTS_PUSH_SEED} // 1;
my $transactions = $ENV{CONTACTS_PUSH_TRANSACTIONS} // 200;

$node->safe_psql('postgres', <<'END');
CREATE TABLE teams (id integer PRIMARY KEY, name text);
CREATE TABLE users (id integer PRIMARY KEY, name text, other text, hidden boolean NOT NULL DEFAULT false,
	team integer REFERENCES teams ON DELETE CASCADE ON UPDATE CASCADE);
CREATE TABLE places (id integer, part integer, name text, PRIMARY KEY (id, part)) PARTITION BY LIST (part);
CREATE TABLE places_0 PARTITION OF places FOR VALUES IN (0);
CREATE TABLE places_1 PARTITION OF places FOR VALUES IN (1);
CREATE VIEW user_contacts AS SELECT id AS external_id, name || coalesce(' of ' || team, '') AS name FROM users WHERE NOT hidden;
SELECT contacts_push.watch('user_contacts', 'users'), contacts_push.watch('places', 'places', external_id => 'id');

-- changes of rows by other statements, while the one that caused them runs or fires triggers
CREATE FUNCTION bump(n integer) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	UPDATE users SET name = name || 'b' WHERE id = n;
	RETURN 'bumped';
END$$;
CREATE FUNCTION renew(n integer) RETURNS integer LANGUAGE plpgsql AS $$
BEGIN
	DELETE FROM users WHERE id = n;
	INSERT INTO users VALUES (n, 'renewed');
	RETURN n;
EXCEPTION WHEN OTHERS THEN
	RETURN NULL;
END$$;
CREATE FUNCTION after_row() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF TG_OP <> 'DELETE' AND NEW.other = 'touch' THEN
		UPDATE users SET other = NULL, name = name || 't' WHERE id = NEW.id;
	ELSIF TG_OP <> 'DELETE' AND NEW.other = 'next' THEN
		UPDATE users SET other = NULL, name = name || 'n' WHERE id IN (NEW.id, NEW.id + 1);
	ELSIF TG_OP <> 'DELETE' AND NEW.other = 'gone' THEN
		DELETE FROM users WHERE id = NEW.id;
	ELSIF TG_OP <> 'DELETE' AND NEW.other = 'fail' THEN
		BEGIN
			UPDATE users SET other = NULL, name = name || 'f' WHERE id = NEW.id;
			PERFORM 1 / 0;
		EXCEPTION WHEN division_by_zero THEN
			NULL;
		END;
	ELSIF TG_OP = 'DELETE' AND OLD.other = 'back' THEN
		INSERT INTO users VALUES (OLD.id, 'back') ON CONFLICT DO NOTHING;
	END IF;
	RETURN NULL;
END$$;
CREATE TRIGGER a_before_ours AFTER INSERT OR UPDATE OR DELETE ON users FOR EACH ROW EXECUTE FUNCTION after_row();
CREATE TRIGGER z_after_ours AFTER INSERT OR UPDATE OR DELETE ON users FOR EACH ROW EXECUTE FUNCTION after_row();

-- contacts whose newest intent is not what their row is
CREATE VIEW wrong AS
WITH newest AS (SELECT DISTINCT ON (chatbot_id, external_id) chatbot_id, external_id, contact
	FROM contacts_push.outbox ORDER BY chatbot_id, external_id, seq DESC),
real AS (SELECT 'users' AS chatbot_id, external_id::text, name FROM user_contacts
	UNION ALL SELECT 'places', external_id::text, name FROM places_contacts)
SELECT chatbot_id, external_id, n.contact ->> 'name' AS enqueued, i.name AS real
FROM newest n FULL JOIN real i USING (chatbot_id, external_id)
WHERE (n.contact IS NULL) <> (i.external_id IS NULL) OR n.contact ->> 'name' IS DISTINCT FROM i.name;
END

sub pick { return $_[ int(rand(@_)) ]; }
sub id { return 1 + int(rand(8)); }
sub team { return pick('NULL', 1, 2); }
sub other { return pick('NULL', 'NULL', "'touch'", "'next'", "'gone'", "'fail'", "'back'"); }
my $n = 0;
sub name { return "'" . ++$n . "'"; }

# Returns a random statement.
sub statement
{
	my ($a, $b) = (id(), id());

	return pick(
		sprintf('INSERT INTO users VALUES (%d, %s, %s, %s, %s)', $a, name(), other(), pick('false', 'true'), team()),
		sprintf('INSERT INTO users VALUES (%d, %s, %s) ON CONFLICT (id) DO UPDATE SET name = excluded.name, other = excluded.other',
			$a, name(), other()),
		sprintf('INSERT INTO users SELECT g, %s, %s FROM generate_series(%d, %d) g ON CONFLICT DO NOTHING', name(), other(), $a, $a + 2),
		sprintf('UPDATE users SET name = %s, other = %s WHERE id BETWEEN %d AND %d', name(), other(), $a, $a + 2),
		sprintf('UPDATE users SET id = %d WHERE id = %d', $a, $b),
		'UPDATE users SET id = id + 1 WHERE id = (SELECT max(id) FROM users)',
		sprintf('UPDATE users SET id = -id WHERE abs(id) = %d', $a),
		sprintf('UPDATE users SET hidden = NOT hidden WHERE id BETWEEN %d AND %d', $a, $a + 1),
		sprintf('UPDATE users SET name = bump(%d) WHERE id BETWEEN %d AND %d', $b, $a, $a + 2),
		sprintf('UPDATE users SET name = %s WHERE id = renew(%d)', name(), $a),
		sprintf('SELECT bump(%d), renew(%d)', $a, $b),
		sprintf('DELETE FROM users WHERE id BETWEEN %d AND %d', $a, $a + pick(0, 2)),
		sprintf('DELETE FROM users WHERE bump(%d) IS NOT NULL AND id = %d', $b, $a),
		sprintf('WITH gone AS (DELETE FROM users WHERE id = %d RETURNING id) INSERT INTO users SELECT id + 100, %s FROM gone', $a, name()),
		sprintf('INSERT INTO teams VALUES (%d, NULL)', pick(1, 2)),
		sprintf('DELETE FROM teams WHERE id = %d', pick(1, 2)),
		sprintf('UPDATE teams SET id = %d WHERE id = %d', pick(1, 2), pick(1, 2)),
		sprintf('MERGE INTO users u USING (SELECT g FROM generate_series(%d, %d) g) s ON u.id = s.g'
			  . ' WHEN MATCHED AND g %% 2 = 0 THEN DELETE WHEN MATCHED THEN UPDATE SET name = %s'
			  . ' WHEN NOT MATCHED THEN INSERT VALUES (g, %s, %s)', $a, $a + 3, name(), name(), other()),
		sprintf('INSERT INTO places SELECT %d, %d, %s WHERE NOT EXISTS (SELECT FROM places WHERE id = %d)', $a, pick(0, 1), name(), $a),
		sprintf('UPDATE places SET part = 1 - part, name = %s WHERE id = %d', name(), $a),
		sprintf('UPDATE places SET name = %s WHERE id BETWEEN %d AND %d', name(), $a, $a + 2),
		sprintf('DELETE FROM places WHERE id = %d', $a));
}

# A statement that fails may be one that must.
sub transaction
{
	my @lines = ('BEGIN;');
	my $open = 0;

	for (1 .. 1 + int(rand(6)))
	{
		my $savepoint = rand() < 0.3;

		push @lines, 'SAVEPOINT s;' if $savepoint;
		push @lines, statement() . ';';
		push @lines, pick('ROLLBACK TO s;', 'RELEASE s;') if $savepoint;
	}
	return join("\n", @lines, pick('COMMIT;', 'COMMIT;', 'COMMIT;', 'ROLLBACK;'));
}

srand($seed);
my @history = map { transaction() } 1 .. $transactions;
my $script = join("\n", '\set ON_ERROR_STOP off', '\set ON_ERROR_ROLLBACK on',
	map { ($history[$_], "SELECT $_, w FROM wrong w;") } 0 .. $#history);
my ($out, $err) = ('', '');
$node->psql('postgres', $script, stdout => \$out, stderr => \$err, on_error_stop => 0);
# one line for each transaction that has left something wrong, and the contacts
my ($wrong, $at) = $out =~ /^((\d+)\|\(.*)$/m;
is($wrong, undef, "the newest intents say what the rows are, seed $seed");
diag($history[$at]) if defined $at;
is(join("\n", $err =~ /^.*(?:WARNING|server closed|contacts_push).*$/mg), '', 'and nothing of ours is in the way');
cmp_ok($node->safe_psql('postgres', 'SELECT count(*) FROM contacts_push.outbox'), '>', $transactions, 'there were some');
cmp_ok($node->safe_psql('postgres', 'SELECT count(DISTINCT external_id) FROM contacts_push.outbox'), '>', 10, 'of many');

$node->stop;
$fake->stop;
done_testing();
