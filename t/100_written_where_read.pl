# What becomes of a contact is written where its row was read: with one WAL record a
# contact, and to the byte as an UPDATE writes it.
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
my $node = new_cluster('written', $fake, extra => "autovacuum = off\ncontacts_push.max_attempts = 2\n");

# Changes of the outbox's rows in the WAL of a piece of work, as 'LOCK 3, UPDATE 3'.
sub changes_of
{
	my ($work) = @_;
	my $from = $node->safe_psql('postgres', 'SELECT pg_current_wal_insert_lsn()');
	$work->();
	# What is looked at must have been flushed.
	$node->safe_psql('postgres', 'CHECKPOINT');
	return $node->safe_psql('postgres', <<"END");
SELECT coalesce(string_agg(type || ' ' || n, ', ' ORDER BY type), '') FROM (
	SELECT replace(split_part(record_type, '+', 1), 'HOT_', '') AS type, count(*) AS n
	FROM pg_get_wal_records_info('$from', pg_current_wal_flush_lsn())
	WHERE resource_manager = 'Heap'
	AND block_ref ~ ('/' || pg_relation_filenode('contacts_push.outbox') || ' fork main')
	GROUP BY 1) t
END
}

# One that fails has failed for good only if the chatbot answers for others meanwhile.
sub settled_with_company
{
	my ($chatbot) = @_;
	my $n = 0;
	return wait_until(sub {
		$n++;
		insert_users($node, $chatbot, 'company', $n, $n);
		return $node->safe_psql('postgres', <<"END") eq '0';
SELECT count(*) FROM contacts_push.outbox
WHERE chatbot_id = '$chatbot' AND status = 'pending' AND external_id NOT LIKE 'company%'
END
	});
}

# Contacts that get every outcome an answer can bring.  The large one is stored apart from
# its row, and stays there.
sub push_all_kinds
{
	my ($chatbot) = @_;
	$fake->preset($chatbot, { external_id => 'conflict' });
	$fake->faults(
		{ match => { chatbot => $chatbot, external_id => '^(rejected|large)$' }, action => { status => 400, message => 'No' } },
		{ match => { chatbot => $chatbot, external_id => '^failed$' }, action => { status => 500 } });
	set_conf($node, 'contacts_push.enabled' => 'off');
	insert_users($node, $chatbot, 'u', 1, 300);
	$node->safe_psql('postgres', <<"END");
INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact)
SELECT '$chatbot', unnest('{conflict,rejected,failed}'::text[]), '{"name": "Somebody"}';
INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact)
SELECT '$chatbot', 'large', jsonb_build_object('name', string_agg(md5(i::text), ''))
FROM generate_series(1, 1000) i;
INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact)
SELECT '$chatbot', 'u1', '{"name": "Another version"}';
END
	my $changes = changes_of(sub {
		set_conf($node, 'contacts_push.enabled' => 'on');
		ok(settled_with_company($chatbot), "$chatbot: all are settled");
	});
	$fake->faults;
	return $changes;
}

# What is stored of a chatbot's rows, in the order of arrival, but for what two of them
# never have in common: numbers, times, ids and the places of large values.
sub stored
{
	my ($chatbot) = @_;
	return $node->safe_psql('postgres', <<"END");
SELECT o.external_id, o.status, i.t_infomask & 7 AS infomask, i.t_infomask2 & 2047 AS columns, i.t_hoff,
	a[3], a[4], a[5], length(a[6]), a[7], a[8], a[9], a[10], a[11], a[12], length(a[13]), length(a[15]),
	o.settled_at >= o.enqueued_at, md5(o.contact::text)
FROM contacts_push.outbox o
CROSS JOIN LATERAL (
	SELECT t.*, t.t_attrs AS a FROM heap_page_item_attrs(
		get_raw_page('contacts_push.outbox', (o.ctid::text::point)[0]::int4), 'contacts_push.outbox') t
	WHERE t.lp = (o.ctid::text::point)[1]::int4) i
WHERE o.chatbot_id = '$chatbot' AND o.external_id NOT LIKE 'company%'
ORDER BY o.seq
END
}

# How many rows a list of changes has locked.
sub locks
{
	my ($changes) = @_;
	return $changes =~ /LOCK (\d+)/ ? $1 : 0;
}

sub good_path
{
	set_conf($node, 'contacts_push.enabled' => 'off');
	# A row that does not fit into its page any more is locked by the update itself; these do.
	$node->safe_psql('postgres', <<'END');
INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact)
SELECT 'good', 'u' || i, jsonb_build_object('name', repeat('x', 200)) FROM generate_series(1, 500) i
END
	my $changes = changes_of(sub {
		set_conf($node, 'contacts_push.enabled' => 'on');
		ok(chatbot_settled($node, 'good'), 'good: all are settled');
	});
	is($changes, 'UPDATE 500', 'good: one record for each contact');
	is(held_matches($node, $fake, 'good'), '', 'good: with its id');
	return;
}

sub all_kinds
{
	my $changes = push_all_kinds('by tid');
	is($node->safe_psql('postgres', <<'END'), 'conflict 1, created 300, failed 1, rejected 2, superseded 1',
SELECT string_agg(status || ' ' || n, ', ' ORDER BY status)
FROM (SELECT status::text, count(*) AS n FROM contacts_push.outbox
	WHERE chatbot_id = 'by tid' AND external_id NOT LIKE 'company%' GROUP BY status) s
END
		'by tid: as they should be');
	cmp_ok(locks($changes), '<', 20, 'by tid: only what is unusual is locked first');

	# A constraint that may forbid it makes all of it a statement's.
	$node->safe_psql('postgres', q{ALTER TABLE contacts_push.outbox ADD CONSTRAINT somebodys CHECK (status IS NOT NULL)});
	$changes = push_all_kinds('by sql');
	cmp_ok(locks($changes), '>=', 300, 'by sql: each row is locked first');
	my $stored = stored('by sql');
	is(stored('by tid'), $stored, 'the rows are the same to the byte');
	is(scalar(my @rows = split(/\n/, $stored)), 305, 'all of them were compared');
	return;
}

SKIP:
{
	my ($status) = $node->psql('postgres', 'CREATE EXTENSION pg_walinspect; CREATE EXTENSION pageinspect',
		on_error_stop => 1);
	skip 'needs pg_walinspect and pageinspect, which belong to PostgreSQL', 1 if $status != 0;
	ok(worker_passes($node), 'a worker runs');
	good_path();
	all_kinds();
}

$node->stop;
done_testing();
