# Whose rows may have been sent elsewhere: those that are older than the outbox's time here.
# They are never called a conflict for what another server has created, however they
# came, whatever ends the worker meanwhile; and those that are enqueued here are.
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
my $node = new_cluster('lineage', $fake, preload => 0, extra => "contacts_push.api_key = '@{[KEY]}'\n");

# Contacts that Chatbase has already, as one says that sends them elsewhere.
sub hold
{
	my ($chatbot, @ids) = @_;
	$fake->preset($chatbot, map { { external_id => $_ } } @ids);
	return;
}

sub append
{
	my ($chatbot, $external_id, %options) = @_;
	my $enqueued_at = $options{enqueued_at} // 'now()';
	my $contact = $options{contact} // '{}';

	return $node->safe_psql($options{database} // 'postgres', <<"END");
INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact, enqueued_at)
VALUES ('$chatbot', '$external_id', '$contact', $enqueued_at)
END
}

sub sql
{
	my ($sql, $database) = @_;
	return $node->safe_psql($database // 'postgres', $sql);
}

# Where the outbox is worked off, as the worker has written it down.
sub is_here
{
	my ($database) = @_;
	return wait_until(sub { sql(<<'END', $database) eq 't' });
SELECT count(*) = 1 AND bool_and(l.system_identifier = c.system_identifier AND d.datname = current_database())
FROM contacts_push_internal.lineage l CROSS JOIN pg_control_system() c JOIN pg_database d ON d.oid = l.database
END
}

# What was enqueued before there was a worker was not sent by anybody.
hold('new', 'u');
append('new', 'u');
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'contacts_push'\n");
$node->restart;
ok(settled($node), 'before the first worker: settled');
is(outcomes($node, 'new'), 'conflict 1', 'before the first worker: a conflict, as nobody has sent it');
ok(is_here(), 'before the first worker: and it has written down where that is');

# A copy of the database: what is pending in it the original sends.
append('copied', 'first');
ok(settled($node), 'copied: the chatbot is known');
sql(q{SELECT contacts_push.pause('copied')});
append('copied', $_) for 'old', 'gone', 'changed';
sql('CREATE DATABASE copy TEMPLATE postgres');
sql(q{SELECT contacts_push.resume('copied')});
ok(settled($node), 'copied: the original sends it');
ok(is_here('copy'), 'copied: the copy knows that it is one');
is(sql(q{SELECT contacts_push.discard('copied', 'gone')}, 'copy'), 1, 'copied: one is discarded');
like(sql(q{SELECT error FROM contacts_push.outbox WHERE external_id = 'gone'}, 'copy'), qr/Chatbase may have it$/,
	'copied: which says that it may be there');
hold('copied', 'new');
append('copied', 'new', database => 'copy');
append('copied', 'changed', database => 'copy', contact => '{"name": "changed"}');
# another worker comes to the same
sql(q{SELECT pg_terminate_backend(pid) FROM contacts_push.worker}, 'copy');
sql(q{SELECT contacts_push.resume('copied')}, 'copy');
ok(settled($node, 'copy'), 'copied: resumed, all is settled');
is(sql(q{SELECT string_agg(concat_ws(' ', external_id, status), ', ' ORDER BY seq) FROM contacts_push.outbox WHERE chatbot_id = 'copied'}, 'copy'),
	'first created, old present, gone withdrawn, changed present, new conflict, changed skipped',
	'copied: who is older is present, who is new is in conflict');

# Rows that are restored over an outbox that has sent them since.
append('over', 'first');
ok(settled($node), 'over: the chatbot is known');
sql(q{SELECT contacts_push.pause('over')});
append('over', 'old');
my $dump = PostgreSQL::Test::Utils::tempdir() . '/dump.sql';
$node->command_ok([ 'pg_dump', '-a', '-t', 'contacts_push.outbox', '-t', 'contacts_push_internal.lineage',
		'-d', $node->connstr('postgres'), '-f', $dump ], 'over: the dump');
sql(q{SELECT contacts_push.resume('over')});
ok(settled($node), 'over: the original goes on');
sql(q{SELECT contacts_push.pause('over'); TRUNCATE contacts_push.outbox});
$node->command_ok([ 'psql', '-X', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('postgres'), '-f', $dump ], 'over: is restored');
# a worker that was there looks by itself, within a second of work
append('other', 'u');
ok(is_here(), 'over: which the worker notices');
hold('over', 'new');
append('over', 'new');
kill_and_start($node);
sql(q{SELECT contacts_push.resume('over')});
ok(settled($node), 'over: resumed, all is settled');
is(sql(q{SELECT string_agg(concat_ws(' ', external_id, status), ', ' ORDER BY seq) FROM contacts_push.outbox WHERE chatbot_id = 'over'}),
	'first created, old present, new conflict', 'over: who is older is present, who is new is in conflict');

# A lock that somebody holds on the lineage is not waited for, and the doubt not lost.
sql(q{SELECT contacts_push.pause('over')});
hold('over', 'locked');
append('over', 'locked');
my $pid = worker_pid($node);
my $operator = open_session($node);
$operator->query_safe('UPDATE contacts_push_internal.lineage SET system_identifier = 1; BEGIN');
is($operator->query_safe('SELECT count(*) FROM (SELECT FROM contacts_push_internal.lineage FOR UPDATE) s'), 1, 'locked: the lineage is');
append('other', 'v');
ok(wait_until(sub { my $other = worker_pid($node); $other ne '' && $other ne $pid }), 'locked: another worker takes over');
sql(q{SELECT contacts_push.resume('over')});
ok(settled($node), 'locked: and sends');
is(status_of($node, 'over', 'locked'), 'present', 'locked: who is older is present');
hold('over', 'later');
append('over', 'later');
ok(settled($node), 'locked: it goes on');
is(status_of($node, 'over', 'later'), 'conflict', 'locked: who is new is in conflict');
$operator->query_safe('COMMIT');
$operator->quit;
ok(wait_until(sub { append('other', 'w' . rand); sql('SELECT system_identifier <> 1 FROM contacts_push_internal.lineage') eq 't' }),
	'locked: it is written when the lock is gone');

# Another clock than this server's, ahead of it, has enqueued a row.
hold('clock', 'ahead', 'here');
append('clock', 'ahead', enqueued_at => q{now() + interval '1 day'});
append('clock', 'here', enqueued_at => q{now() + interval '1 s'});
ok(settled($node), 'clocks: settled');
is(status_of($node, 'clock', 'ahead'), 'present', 'clocks: who comes from the future may have been sent elsewhere');
is(status_of($node, 'clock', 'here'), 'conflict', 'clocks: not so for a moment');

# Once it was sent here without an answer, its row says so whatever the time is.  Before that
# both are looked up, each with one read, and who is not found is sent.
$fake->faults({ match => { chatbot => 'lost', method => 'POST' }, times => 1, when => 'after', action => { drop => FakeChatbase::true } },
	{ match => { chatbot => 'lost', method => 'GET' }, times => 2, action => { delay_ms => 1 } },
	{ match => { chatbot => 'lost' }, action => { status => 503 } });
sql(<<'END');
INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact, enqueued_at)
SELECT 'lost', unnest('{u,v}'::text[]), '{}', now() + interval '1 day'
END
ok(wait_until(sub { keys %{ $fake->held('lost') } > 0 }), 'lost: somebody is created, without an answer');
my ($lost) = keys %{ $fake->held('lost') };
ok(wait_until(sub { count_rows($node, "external_id = '$lost' AND unconfirmed") == 1 }), 'lost: its row says that it may be there');
sql(q{UPDATE contacts_push.outbox SET enqueued_at = now() WHERE chatbot_id = 'lost'; SELECT pg_terminate_backend(pid) FROM contacts_push.worker});
$fake->faults;
ok(settled($node), 'lost: settled');
is(status_of($node, 'lost', $lost), 'present', 'lost: as present');

# Refused here after the doubt, it may still be there: a newer intent finds it.
sql(q{SELECT contacts_push.pause('over')});
hold('over', 'refused');
append('over', 'refused');
$node->restart;
sql('UPDATE contacts_push_internal.lineage SET system_identifier = 1');
append('other', 'x');
ok(is_here(), 'refused: the worker has noticed');
$fake->faults({ match => { chatbot => 'over' }, action => { status => 400, message => 'No' } });
sql(q{SELECT contacts_push.resume('over')});
ok(settled($node), 'refused: settled');
is(status_of($node, 'over', 'refused'), 'rejected', 'refused: as rejected');
$fake->faults;
append('over', 'refused', contact => '{"name": "fixed"}');
ok(settled($node), 'refused: a newer intent is settled');
is(status_of($node, 'over', 'refused'), 'superseded present', 'refused: as present, as the older one may have been sent');

$node->stop;
done_testing();
