# The roles of the README can do what they are for, and with none of their rights can they
# stand in the worker's way.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use ContactsPushTest;
use FakeChatbase;
use File::Basename qw(dirname);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $fake = FakeChatbase->start;
my $node = new_cluster('rights', $fake);

# The SQL that the README has for a role; it lies beside the stand-in's sources.
my $readme = slurp_file(dirname($ENV{FAKE_CHATBASE}) . '/../../README.md');
sub grants_of
{
	my ($role) = @_;
	my ($sql) = $readme =~ /^```sql\n(CREATE ROLE \Q$role\E LOGIN;\n.*?)^```$/ms;
	die "the README has no grants for $role" unless defined $sql;
	return $sql;
}

# In a session of the role's own: what failed, '' if nothing did.
sub trouble
{
	my ($role, $sql) = @_;
	my ($status, $stdout, $stderr) = $node->psql('postgres', $sql, extra_params => [ '--username', $role ]);
	return join "\n", grep { /ERROR:|FATAL:/ } split /\n/, $stderr;
}

my @modes = ('ACCESS SHARE', 'ROW SHARE', 'ROW EXCLUSIVE', 'SHARE UPDATE EXCLUSIVE', 'SHARE',
	'SHARE ROW EXCLUSIVE', 'EXCLUSIVE', 'ACCESS EXCLUSIVE');
$node->safe_psql('postgres', <<'END');
CREATE VIEW ours AS
	SELECT c.oid::regclass::text AS relation
	FROM pg_class c
	JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'
	JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND e.oid = d.refobjid AND e.extname = 'contacts_push'
	WHERE c.relkind = 'r';
END
my @tables = split /\n/, $node->safe_psql('postgres', 'SELECT relation FROM ours');
cmp_ok(scalar @tables, '>=', 5, 'the tables are found');

for my $role (qw(app contacts_operator shop_owner))
{
	$node->safe_psql('postgres', grants_of($role));
	# who may read may hold the lock of a reader, which is in the way of DDL only
	my @locked = grep { $_ !~ /^ACCESS SHARE / } map {
		my $mode = $_;
		map { trouble($role, "BEGIN; LOCK TABLE $_ IN $mode MODE NOWAIT; ROLLBACK") eq '' ? ("$mode $_") : () } @tables
	} @modes;
	is(join(', ', @locked), '', "$role: can lock no table");
}
is($node->safe_psql('postgres', 'BEGIN; LOCK TABLE contacts_push.chatbot IN SHARE MODE; SELECT 1; ROLLBACK'), '1', 'who may, can');

# an application
is(trouble('app', <<'END'), '', 'app: enqueues');
SELECT contacts_push.enqueue('bot', '[{"external_id": "1", "email": "one@example.com"}, {"external_id": "2", "email": "two"}]');
INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact) VALUES ('bot', '3', '{}');
SELECT chatbase_create_contacts('bot', '{"external_id": "4"}');
END
ok(settled($node), 'all is settled');
like(trouble('app', 'SELECT * FROM contacts_push.outbox'), qr/permission denied/, 'app: reads nothing');

# an operator, who need not be allowed into the schema of a table, one of a restored dump either
$node->safe_psql('postgres', <<'END');
CREATE SCHEMA private;
CREATE TABLE private.users (id integer PRIMARY KEY);
SELECT contacts_push.watch('private.users', 'private'), contacts_push.watch('private.users', 'restored');
DELETE FROM pg_depend WHERE classid = 'pg_trigger'::regclass AND refclassid = 'pg_class'::regclass AND deptype = 'n'
	AND objid IN (SELECT t.oid FROM pg_trigger t WHERE t.tgname IN (
		SELECT trigger_name FROM contacts_push_internal.watched_trigger WHERE chatbot_id = 'restored'));
END
is($node->safe_psql('postgres', q{SELECT count(DISTINCT view) FROM contacts_push_internal.watched_trigger WHERE chatbot_id = 'restored'}), '1',
	'a trigger that depends on no view has one by its name');
is(trouble('contacts_operator', <<'END'), '', 'operator: looks, fixes and has it sent again');
SELECT * FROM contacts_push.progress;
SELECT * FROM contacts_push.worker;
SELECT * FROM contacts_push.contact_status;
SELECT * FROM contacts_push.request;
SELECT contacts_push.pause();
SELECT contacts_push.resume('bot');
SELECT contacts_push.pause('bot');
SELECT contacts_push.push_changes('bot', true), contacts_push.push_changes('bot', deletes => false);
UPDATE contacts_push.outbox SET contact = contact || '{"email": "two@example.com"}' WHERE status = 'rejected';
SELECT contacts_push.retry('bot');
SELECT contacts_push.resume();
SELECT contacts_push.flush();
SELECT contacts_push.validate('{}');
SELECT * FROM contacts_push.check();
SELECT contacts_push.discard('bot');
SELECT contacts_push.forget('bot', 'nobody');
END
ok(settled($node), 'all is settled');
is(outcomes($node, 'bot'), 'created 3', 'and what was fixed is created');
like(trouble('contacts_operator', 'DELETE FROM contacts_push.outbox'), qr/permission denied/, 'operator: deletes nothing');
like(trouble('contacts_operator', 'SHOW contacts_push.api_key_file'), qr/ERROR/, 'operator: sees nothing of the key');

# an owner of a table
$node->safe_psql('postgres', 'CREATE SCHEMA shop AUTHORIZATION shop_owner');
is(trouble('shop_owner', <<'END'), '', 'owner: watches and backfills');
CREATE TABLE shop.users (id integer PRIMARY KEY, email text);
INSERT INTO shop.users VALUES (11, 'eleven@example.com');
SELECT contacts_push.watch('shop.users', 'shop');
CALL contacts_push.backfill('shop.users');
INSERT INTO shop.users VALUES (12, 'twelve@example.com');
SELECT contacts_push.unwatch('shop.users');
END
ok(settled($node), 'all is settled');
is(outcomes($node, 'shop'), 'created 2', 'and created');

# default privileges, whoever they favour, come to nothing on what CREATE EXTENSION makes
$node->safe_psql('postgres', 'CREATE DATABASE generous; CREATE ROLE favourite');
for my $kind (qw(TABLES SEQUENCES FUNCTIONS TYPES SCHEMAS))
{
	$node->safe_psql('generous', "ALTER DEFAULT PRIVILEGES GRANT ALL ON $kind TO $_")
	  for 'PUBLIC', 'favourite WITH GRANT OPTION';
}
$node->safe_psql('generous', <<'END');
CREATE TABLE given (i integer);
CREATE EXTENSION contacts_push;
CREATE VIEW given_away AS
	SELECT i.type, i.identity, a.grantee, a.privilege_type
	FROM pg_depend d
	JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND e.extname = 'contacts_push'
	CROSS JOIN LATERAL pg_identify_object(d.classid, d.objid, 0) i
	LEFT JOIN pg_proc f ON d.classid = 'pg_proc'::regclass AND f.oid = d.objid
	LEFT JOIN pg_class c ON d.classid = 'pg_class'::regclass AND c.oid = d.objid
	LEFT JOIN pg_type t ON d.classid = 'pg_type'::regclass AND t.oid = d.objid AND t.typcategory <> 'A'
		AND NOT EXISTS (SELECT FROM pg_class r WHERE r.oid = t.typrelid AND r.relkind <> 'c')
	LEFT JOIN pg_namespace n ON d.classid = 'pg_namespace'::regclass AND n.oid = d.objid
	CROSS JOIN LATERAL (SELECT coalesce(f.proowner, c.relowner, t.typowner, n.nspowner) AS owner) o
	CROSS JOIN LATERAL aclexplode(CASE
		WHEN f.oid IS NOT NULL THEN coalesce(f.proacl, acldefault('f', o.owner))
		WHEN c.oid IS NOT NULL THEN coalesce(c.relacl, acldefault(CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", o.owner))
		WHEN t.oid IS NOT NULL THEN coalesce(t.typacl, acldefault('T', o.owner))
		WHEN n.oid IS NOT NULL THEN coalesce(n.nspacl, acldefault('n', o.owner)) END) a
	WHERE d.deptype = 'e' AND a.grantee <> o.owner
	-- numbers are for pg_monitor
	AND a.grantee <> to_regrole('pg_monitor');
END
is($node->safe_psql('generous', q{SELECT has_table_privilege('favourite', 'given', 'SELECT')}), 't', 'default privileges are given');
is($node->safe_psql('generous', q{SELECT type, identity, CASE grantee WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(grantee) END, privilege_type FROM given_away}),
	'', 'and taken back on everything of the extension');
is($node->safe_psql('generous', q{SELECT count(*) FROM pg_default_acl WHERE defaclnamespace = 0}), '5', 'but stay for the rest');

$node->stop;
done_testing();
