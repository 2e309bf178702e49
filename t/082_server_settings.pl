# The worker has the server's settings, whatever is set for the database and the roles.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use ContactsPushTest;
use FakeChatbase;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# For the sessions of the test itself.
$ENV{PGOPTIONS} = '-c statement_timeout=0 -c lock_timeout=0 -c default_transaction_read_only=off -c synchronous_commit=on';

my $fake = FakeChatbase->start;
my $node = new_cluster('settings', $fake, extension => 0, extra => <<'END');
work_mem = 5MB
datestyle = 'iso, dmy'
contacts_push.connect_timeout = 9s
END

# What a process has, told by a trigger that fires for the worker, too.
$node->safe_psql('postgres', <<'END');
CREATE DATABASE app;
CREATE DATABASE plain;
END
$node->safe_psql('app', <<'END');
CREATE EXTENSION contacts_push;
CREATE TABLE public.told (place bigserial, name text, setting text, source text);
CREATE FUNCTION public.tell() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
	INSERT INTO public.told (name, setting, source)
	SELECT s.name, s.setting, s.source FROM pg_catalog.pg_settings s;
	RETURN NEW;
END$$;
CREATE TRIGGER tell BEFORE INSERT ON contacts_push.request FOR EACH ROW EXECUTE FUNCTION public.tell();
ALTER TABLE contacts_push.request ENABLE ALWAYS TRIGGER tell;
END

# Each of these would stop it, or have it mean something else.
my $role = $node->safe_psql('app', 'SELECT current_user');
my @hostile = (
	q{contacts_push.request_timeout = '1ms'}, q{contacts_push.connect_timeout = '1ms'},
	q{contacts_push.base_url = 'http://127.0.0.1:1/api/v1'}, q{contacts_push.ca_file = '/nowhere'},
	q{search_path = public}, q{statement_timeout = 1}, q{lock_timeout = 1}, q{work_mem = '64kB'},
	q{default_transaction_isolation = serializable}, q{default_transaction_read_only = on},
	q{default_transaction_deferrable = on}, q{transform_null_equals = on}, q{enable_indexscan = off},
	q{enable_nestloop = off}, q{session_replication_role = origin}, q{synchronous_commit = off},
	q{datestyle = 'sql, mdy'}, q{timezone = 'Asia/Kolkata'},
	q{temp_file_limit = 0}, q{client_encoding = 'latin1'}, q{row_security = on}, q{array_nulls = off});
# 19 knows no other string literals
push @hostile, q{standard_conforming_strings = off}
  if $node->psql('postgres', 'SET standard_conforming_strings = off') == 0;
for my $target ('DATABASE app', "ROLE $role", "ROLE $role IN DATABASE app", 'ROLE ALL')
{
	$node->safe_psql('app', "ALTER $target SET $_")
	  for @hostile;
}

# the application has what was set
is($node->safe_psql('app', 'SHOW contacts_push.request_timeout'), '1ms', 'sessions have what was set');

my $pid = worker_pid($node, 'app');
$node->safe_psql('app', "SELECT pg_terminate_backend($pid)") if $pid ne '';
ok(wait_until(sub { my $now = worker_pid($node, 'app'); $now ne '' && $now ne $pid }), 'another worker comes');

sub enqueue
{
	my ($external_id) = @_;
	$node->safe_psql('app', <<"END");
TRUNCATE told;
INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact) VALUES ('bot', '$external_id', '{"name": "A"}');
END
	ok($node->poll_query_until('app',
			"SELECT count(*) = 1 FROM contacts_push.outbox WHERE external_id = '$external_id' AND status = 'created'"),
		"$external_id: it sends");
	return;
}

enqueue('first');

my %worker = map { split /\|/, $_, 2 } split /\n/,
  $node->safe_psql('app', 'SELECT DISTINCT name, setting FROM told');
cmp_ok(scalar keys %worker, '>', 300, 'the worker tells of its settings');
is($node->safe_psql('app', q{SELECT string_agg(DISTINCT name, ', ') FROM told WHERE source IN ('database', 'user', 'database user', 'global')}),
	'', 'none comes from a database or a role');
is($worker{work_mem}, '5120', 'work_mem is the server\'s');
is($worker{DateStyle}, 'ISO, DMY', 'so is DateStyle');
is($worker{'contacts_push.connect_timeout'}, '9000', 'and one of the extension\'s own');
is($worker{'contacts_push.request_timeout'}, '60000', 'and one that is not set');
is($worker{'contacts_push.base_url'}, $fake->base_url, 'and the URL');
is($worker{enable_nestloop}, 'on', 'and the planner\'s');
is($worker{session_replication_role}, 'replica', 'triggers of others do not fire');
is($worker{client_encoding}, 'UTF8', 'the encoding is the database\'s');

# and stay so after a reload, by which it takes what has changed, the key, too
set_conf($node, work_mem => '6MB', 'contacts_push.connect_timeout' => '8s', 'contacts_push.api_key' => KEY);
enqueue('second');
is($node->safe_psql('app', q{SELECT string_agg(DISTINCT name || ' ' || setting, ', ') FROM told WHERE name IN ('work_mem', 'contacts_push.connect_timeout', 'contacts_push.request_timeout')}),
	'contacts_push.connect_timeout 8000, contacts_push.request_timeout 60000, work_mem 6144', 'a reload changes them');
is($node->safe_psql('app', q{SELECT string_agg(DISTINCT name, ', ') FROM told WHERE source IN ('database', 'user', 'database user', 'global')}),
	'', 'and still none comes from a database or a role');

$node->stop;
done_testing();
