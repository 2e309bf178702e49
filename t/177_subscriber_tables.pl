# Watched with replicated: partitioned tables and tables with children, whose rights apply has,
# triggers of the subscriber's own, and what a dump carries.
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
my $publisher = PostgreSQL::Test::Cluster->new('publisher');
$publisher->init(allows_streaming => 'logical', extra => [ '--encoding=UTF8', '--no-locale' ]);
$publisher->append_conf('postgresql.conf', "max_prepared_transactions = 10\n");
$publisher->start;
my $from = $publisher->connstr('postgres') =~ s/'/''/gr;
my $node = new_cluster('subscriber', $fake, init => { allows_streaming => 'logical' }, extra => "contacts_push.enabled = off\nmax_worker_processes = 20\nmax_logical_replication_workers = 10\nmax_prepared_transactions = 10\n");

# What has been enqueued for a chatbot since the last look, a line an intent: external_id and name
# ('-' is withdrawn); all of one table.
my %seen;

sub news
{
	my ($chatbot, $table) = @_;
	my $from_seq = $seen{$chatbot} // 0;
	my @rows = split /\n/, $node->safe_psql('postgres', <<"END");
SELECT seq, external_id || ' ' || coalesce(contact ->> 'name', '-') || CASE WHEN relation = '$table'::regclass THEN '' ELSE ' of another table' END
FROM contacts_push.outbox WHERE chatbot_id = '$chatbot' AND seq > $from_seq ORDER BY seq
END
	my @news = map { (split /\|/, $_, 2)[1] } @rows;

	$seen{$chatbot} = (split /\|/, $rows[-1])[0] if @rows;
	return join ', ', @news;
}

sub subscribe
{
	my ($name, $options) = @_;

	$node->safe_psql('postgres', "CREATE SUBSCRIPTION $name CONNECTION '$from' PUBLICATION $name WITH ($options)");
	$node->wait_for_subscription_sync($publisher, $name);
	return;
}

sub publish
{
	my ($name, $sql) = @_;

	$publisher->safe_psql('postgres', $sql);
	$publisher->wait_for_catchup($name);
	return;
}

# Partitioned tables: published as their partitions, as the root, and from a plain table.
for my $kind (qw(leaves root plain))
{
	my $table = "parted_$kind";
	my $columns = '(id integer PRIMARY KEY, name text)';
	my $relations = join ', ', map { "'$_'::regclass" } $table, "${table}_low", "${table}_high", "${table}_later";
	my $parts = <<"END";
CREATE TABLE $table $columns PARTITION BY RANGE (id);
CREATE TABLE ${table}_low PARTITION OF $table FOR VALUES FROM (1) TO (100);
CREATE TABLE ${table}_high PARTITION OF $table FOR VALUES FROM (100) TO (200);
END

	$publisher->safe_psql('postgres', $kind eq 'plain' ? "CREATE TABLE $table $columns" : $parts);
	$publisher->safe_psql('postgres', "INSERT INTO $table VALUES (1, 'One'), (101, 'High'); CREATE PUBLICATION $table FOR TABLE $table WITH (publish_via_partition_root = "
		  . ($kind eq 'root' ? 'true' : 'false') . ')');
	$node->safe_psql('postgres', $parts);
	$node->safe_psql('postgres', "SELECT contacts_push.watch('$table', '$kind', replicated => true)");
	# a partition that comes later
	$node->safe_psql('postgres', "CREATE TABLE ${table}_later $columns; ALTER TABLE $table ATTACH PARTITION ${table}_later FOR VALUES FROM (200) TO (300)");
	$publisher->safe_psql('postgres', "CREATE TABLE ${table}_later PARTITION OF $table FOR VALUES FROM (200) TO (300)") unless $kind eq 'plain';
	subscribe($table, 'copy_data = true');
	is(join(', ', sort split /, /, news($kind, $table)), '1 One, 101 High', "$kind: the initial copy");
	publish($table, <<"END");
INSERT INTO $table VALUES (2, 'Two'), (201, 'Later');
UPDATE $table SET name = 'Uno' WHERE id = 1;
UPDATE $table SET id = 150 WHERE id = 2;
DELETE FROM $table WHERE id = 201;
END
	is(news($kind, $table), '2 Two, 201 Later, 1 Uno, 2 -, 150 Two, 201 -', "$kind: changes");
	$node->safe_psql('postgres', "INSERT INTO $table VALUES (3, 'Here'), (103, 'Here, too'); DELETE FROM $table WHERE id IN (3, 103)");
	is(news($kind, $table), '3 Here, 103 Here, too, 3 -, 103 -', "$kind: what is written here, once");
	is($node->safe_psql('postgres', "SELECT count(*), string_agg(DISTINCT tgenabled::text, '') FROM pg_trigger WHERE tgrelid IN ($relations)"),
		'12|A', "$kind: one set of triggers");
	$node->safe_psql('postgres', "DROP SUBSCRIPTION $table; SELECT contacts_push.unwatch('$table')");
	is($node->safe_psql('postgres', "SELECT count(*) FROM pg_trigger WHERE tgrelid IN ($relations)"),
		0, "$kind: unwatch() leaves none");
}

# Apply has an empty search_path: a function that needs another must set it, or its rows are left
# out.  What the view itself names has been looked up when it was made.
$publisher->safe_psql('postgres', 'CREATE TABLE priced (id integer PRIMARY KEY, name text); CREATE PUBLICATION priced FOR TABLE priced');
$node->safe_psql('postgres', <<'END');
CREATE TABLE plans (name text, label text);
INSERT INTO plans VALUES ('free', 'Free'), ('pro', 'Pro');
CREATE TABLE priced (id integer PRIMARY KEY, name text);
CREATE FUNCTION lost(text) RETURNS text LANGUAGE plpgsql AS $$BEGIN RETURN (SELECT label FROM plans WHERE name = $1); END$$;
CREATE FUNCTION sure(text) RETURNS text LANGUAGE plpgsql SET search_path = public AS $$BEGIN RETURN (SELECT label FROM plans WHERE name = $1); END$$;
SELECT contacts_push.watch('priced', 'lost', name => 'lost(name)', replicated => true);
SELECT contacts_push.watch('priced', 'sure', name => 'sure(name)', replicated => true);
END
subscribe('priced', 'copy_data = true');
publish('priced', q{INSERT INTO priced VALUES (1, 'free'), (2, 'pro')});
is(news('lost', 'priced') . '/' . news('sure', 'priced'), '/1 Free, 2 Pro', 'a function in a mapping sets the search_path that it needs');
is($node->safe_psql('postgres', q{SELECT enqueue_failures FROM contacts_push.progress WHERE chatbot_id = 'lost'}), 2, '... or its rows are counted as failures');

# A table with children watches its own rows only; so it does for apply.
my $family = <<'END';
CREATE TABLE parents (id integer PRIMARY KEY, name text);
CREATE TABLE children (PRIMARY KEY (id)) INHERITS (parents);
END
$publisher->safe_psql('postgres', $family);
$publisher->safe_psql('postgres', 'CREATE PUBLICATION family FOR TABLE parents');
$node->safe_psql('postgres', $family);
$node->safe_psql('postgres', q{SELECT contacts_push.watch('parents', 'family', replicated => true)});
subscribe('family', 'copy_data = true');
publish('family', q{INSERT INTO parents VALUES (1, 'Mother'); INSERT INTO children VALUES (2, 'Child'); DELETE FROM parents});
is(news('family', 'parents'), '1 Mother, 1 -', 'children are not watched with their parent');

# Whose rights apply has.  From 16 on they are those of the table's owner, who is kept from
# assuming others; before, and if the subscription says so, those of the subscription's owner.
my $superuser = $node->safe_psql('postgres', 'SELECT current_user');
$publisher->safe_psql('postgres', 'CREATE TABLE owned (id integer PRIMARY KEY, name text); CREATE PUBLICATION owned FOR TABLE owned');
$node->safe_psql('postgres', <<'END');
CREATE ROLE app;
CREATE TABLE owned (id integer PRIMARY KEY, name text);
ALTER TABLE owned OWNER TO app;
SELECT contacts_push.watch('owned', 'owned', name => $$name || ' by ' || current_user$$, replicated => true);
END
subscribe('owned', 'copy_data = true');
publish('owned', q{INSERT INTO owned VALUES (1, 'One'); UPDATE owned SET name = 'Uno'; DELETE FROM owned});
my $who = $node->pg_version >= 16 ? 'app' : $superuser;
is(news('owned', 'owned'), "1 One by $who, 1 Uno by $who, 1 -", "what apply brings is mapped as $who");
SKIP:
{
	skip 'subscriptions have no run_as_owner', 1 if $node->pg_version < 16;
	$node->safe_psql('postgres', 'ALTER SUBSCRIPTION owned SET (run_as_owner = true)');
	publish('owned', q{INSERT INTO owned VALUES (2, 'Two')});
	is(news('owned', 'owned'), "2 Two by $superuser", 'with run_as_owner as its owner');
}

# A trigger of the subscriber's own changes other rows while apply's row is under way; the newest
# intent of each contact is what its row is in the end.
$publisher->safe_psql('postgres', 'CREATE TABLE chain (id integer PRIMARY KEY, name text); CREATE PUBLICATION chain FOR TABLE chain');
$node->safe_psql('postgres', <<'END');
CREATE TABLE chain (id integer PRIMARY KEY, name text);
SELECT contacts_push.watch('chain', 'chain', replicated => true);
CREATE FUNCTION follow() RETURNS trigger LANGUAGE plpgsql SET search_path = public AS $$
BEGIN
	UPDATE chain SET name = 'after ' || NEW.id WHERE id < NEW.id;
	DELETE FROM chain WHERE id = NEW.id - 3;
	RETURN NULL;
END$$;
CREATE TRIGGER a_follow AFTER INSERT ON chain FOR EACH ROW EXECUTE FUNCTION follow();
ALTER TABLE chain ENABLE REPLICA TRIGGER a_follow;
END
subscribe('chain', 'copy_data = true');
publish('chain', q{INSERT INTO chain SELECT n, 'new' FROM generate_series(1, 6) n});
news('chain', 'chain');
is($node->safe_psql('postgres', <<'END'), '1 -, 2 -, 3 -, 4 after 6, 5 after 6, 6 new', 'with a trigger that changes other rows the newest intent is right');
SELECT string_agg(external_id || ' ' || coalesce(contact ->> 'name', '-'), ', ' ORDER BY external_id)
FROM (SELECT DISTINCT ON (external_id) * FROM contacts_push.outbox WHERE chatbot_id = 'chain' ORDER BY external_id, seq DESC) newest
END

# A trigger of the operator's on the outbox refuses a contact; apply goes on without it.
$node->safe_psql('postgres', <<'END');
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	RAISE EXCEPTION 'not this one';
END$$;
CREATE TRIGGER refuse BEFORE INSERT ON contacts_push.outbox FOR EACH ROW
WHEN (NEW.chatbot_id = 'owned' AND NEW.external_id = '11') EXECUTE FUNCTION refuse();
ALTER TABLE contacts_push.outbox ENABLE ALWAYS TRIGGER refuse;
END
publish('owned', q{INSERT INTO owned SELECT n, 'Many' FROM generate_series(10, 13) n});
is(join(', ', map { s/ by .*//r } split /, /, news('owned', 'owned')), '10 Many, 12 Many, 13 Many', 'apply goes on without what the outbox refuses');
is($node->safe_psql('postgres', 'SELECT count(*) FROM owned WHERE id >= 10'), 4, '... and brings its row');
is($node->safe_psql('postgres', q{SELECT enqueue_failures FROM contacts_push.progress WHERE chatbot_id = 'owned'}), 1, '... which is counted');
$node->safe_psql('postgres', 'DROP TRIGGER refuse ON contacts_push.outbox');

# Triggers of the operator's on the outbox fire for each contact of a transaction, be it with tables
# of several owners, as the user that maps the table; one that is deferred fires at the commit.
$node->safe_psql('postgres', <<'END');
CREATE TABLE noted (trigger name, external_id text, by name, txid xid8 DEFAULT pg_current_xact_id());
ALTER TABLE noted OWNER TO app;
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO public.noted VALUES (TG_NAME, NEW.external_id, current_user);
	RETURN NULL;
END$$;
CREATE TRIGGER at_once AFTER INSERT ON contacts_push.outbox FOR EACH ROW EXECUTE FUNCTION note();
CREATE CONSTRAINT TRIGGER deferred AFTER INSERT ON contacts_push.outbox DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
WHEN (NEW.chatbot_id = 'mixed') EXECUTE FUNCTION note();
ALTER TABLE contacts_push.outbox ENABLE ALWAYS TRIGGER at_once;
ALTER TABLE contacts_push.outbox ENABLE ALWAYS TRIGGER deferred;
CREATE TABLE mixed (id integer PRIMARY KEY, name text);
SELECT contacts_push.watch('mixed', 'mixed', name => $$name || ' by ' || current_user$$, replicated => true);
END
$publisher->safe_psql('postgres', 'CREATE TABLE mixed (id integer PRIMARY KEY, name text); ALTER PUBLICATION owned ADD TABLE mixed');
$node->safe_psql('postgres', 'ALTER SUBSCRIPTION owned SET (' . ($node->pg_version >= 16 ? 'run_as_owner = false' : 'streaming = on') . ')');
$node->safe_psql('postgres', 'ALTER SUBSCRIPTION owned REFRESH PUBLICATION');
$node->wait_for_subscription_sync($publisher, 'owned');
publish('owned', <<'END');
BEGIN;
INSERT INTO owned SELECT n, 'A' FROM generate_series(20, 22) n;
INSERT INTO mixed SELECT n, 'B' FROM generate_series(20, 22) n;
INSERT INTO owned VALUES (23, 'C');
COMMIT;
END
is(news('owned', 'owned'), join(', ', map({ "$_ A by $who" } 20 .. 22), "23 C by $who"), 'a transaction with two owners: the one');
is(news('mixed', 'mixed'), join(', ', map { "$_ B by $superuser" } 20 .. 22), '... and the other');
my $noted = q{SELECT string_agg(external_id || ' ' || by, ', ' ORDER BY external_id, by = 'app' DESC), count(DISTINCT txid) FROM noted WHERE trigger = };
is($node->safe_psql('postgres', "$noted 'at_once'"), join(', ', map({ ("$_ $who", "$_ $superuser") } 20 .. 22), "23 $who") . '|1',
	'a trigger of the outbox fires as who maps the table');
is($node->safe_psql('postgres', q{SELECT string_agg(external_id, ', ' ORDER BY external_id) FROM noted WHERE trigger = 'deferred'}), '20, 21, 22', 'a deferred one fires, too');
$node->safe_psql('postgres', 'DROP TRIGGER at_once ON contacts_push.outbox; DROP TRIGGER deferred ON contacts_push.outbox');

# A prepared transaction.
$publisher->safe_psql('postgres', 'CREATE TABLE twice (id integer PRIMARY KEY, name text); CREATE PUBLICATION twice FOR TABLE twice');
$node->safe_psql('postgres', q{CREATE TABLE twice (id integer PRIMARY KEY, name text); SELECT contacts_push.watch('twice', 'twice', replicated => true)});
subscribe('twice', 'two_phase = true');
publish('twice', q{BEGIN; INSERT INTO twice SELECT n, 'Two' FROM generate_series(1, 3) n; PREPARE TRANSACTION 't'});
is(news('twice', 'twice'), '', 'what is prepared is not enqueued yet');
publish('twice', q{COMMIT PREPARED 't'});
is(news('twice', 'twice'), '1 Two, 2 Two, 3 Two', '... but with its COMMIT PREPARED');
is($node->safe_psql('postgres', q{SELECT sum(value::bigint) FROM pg_stat_subscription_stats s CROSS JOIN jsonb_each_text(to_jsonb(s)) WHERE key LIKE '%error_count'}), 0, 'no subscription has met an error');

# A dump carries when the triggers fire; names of a second set, and of partitions, too.
$node->safe_psql('postgres', <<'END');
SELECT contacts_push.watch('owned', 'second', replicated => true);
SELECT contacts_push.watch('owned', 'third');
SELECT contacts_push.watch('parted_root', 'root', replicated => true);
END
my $triggers = <<'END';
SELECT string_agg(concat_ws(' ', tgrelid::regclass, tgname, tgenabled, CASE WHEN tgtype & 1 = 1 THEN 'row' END), E'\n' ORDER BY tgrelid::regclass::text, tgname)
FROM pg_trigger WHERE tgfoid = 'contacts_push_internal.enqueue_rows'::regproc
END
my $before = $node->safe_psql('postgres', $triggers);
my $owned = join "\n", grep { /^owned / } split /\n/, $before;
is($owned, <<'END' =~ s/\n\z//r, 'the triggers of three calls of watch()');
owned contacts_push_delete O
owned contacts_push_delete_2 O
owned contacts_push_delete_3 O
owned contacts_push_insert O
owned contacts_push_insert_2 O
owned contacts_push_insert_3 O
owned contacts_push_replica_delete R row
owned contacts_push_replica_delete_2 R row
owned contacts_push_replica_insert R row
owned contacts_push_replica_insert_2 R row
owned contacts_push_update A row
owned contacts_push_update_2 A row
owned contacts_push_update_3 O row
END
$node->safe_psql('postgres', 'CREATE DATABASE restored');
my $dump = PostgreSQL::Test::Utils::tempdir() . '/dump.sql';
$node->command_ok([ 'pg_dump', '--no-subscriptions', '-d', $node->connstr('postgres'), '-f', $dump ], 'pg_dump');
$node->command_ok([ 'psql', '-X', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('restored'), '-f', $dump ], 'the dump is restored');
is($node->safe_psql('restored', $triggers), $before, '... and the triggers fire as before');
$node->safe_psql('restored', q{SELECT contacts_push.unwatch('owned', 'second')});
is($node->safe_psql('restored', q{SELECT count(*) FROM pg_trigger WHERE tgrelid = 'owned'::regclass}), 8, 'unwatch() of one chatbot takes its own');

$node->safe_psql('postgres', "DROP SUBSCRIPTION $_") for qw(priced family owned chain twice);
done_testing();
