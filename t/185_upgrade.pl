# pg_upgrade --link: nothing is sent while it runs, and afterwards the new server goes on with
# what was pending, paused or under way, from the number where the old one was.
#
# CONTACTS_PUSH_OLD_INSTALL is the prefix of an older PostgreSQL with the extension, which is
# upgraded from besides the one that is tested; libraries that only that one needs may lie in
# its directory lib.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use ContactsPushTest;
use EngineTest qw(:DEFAULT chatbot_settled requests_for);
use FakeChatbase;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use constant CONTACTS => 10;

my $extra = "contacts_push.request_timeout = 1h\n";

my $attribute_options = q{SELECT DISTINCT split_part(o, '=', 1) FROM pg_attribute, unnest(attoptions) AS o};

# The major version of a PostgreSQL, by its prefix; undef: of the one that is tested.
sub major
{
	my ($install) = @_;
	my $program = defined $install ? "$install/bin/postgres" : 'postgres';
	return `$program --version` =~ /(\d+)/ ? $1 : die "$program does not run";
}

# A cluster of the version that is tested is like an old one's; the default has changed in 18.
sub settings
{
	my ($install) = @_;
	my $checksums = defined $install && major() >= 18 ? 1 : 0;
	return (extra => $extra, init => { extra => [ '--encoding=UTF8', '--no-locale', ('--no-data-checksums') x $checksums ] });
}

sub run_upgrade
{
	my ($what, $install) = @_;
	my $fake = FakeChatbase->start;
	my $old = new_cluster("old_$what", $fake, install_path => $install, extra => $extra);
	my $new = new_cluster("new_$what", $fake, extension => 0, settings($install));
	my ($version, $new_version) = map { $_->safe_psql('postgres', 'SHOW server_version') } $old, $new;

	# A minor release may write into its catalogs what an earlier one of the next version
	# does not know: then no table can be taken over, with an extension or without.
	my %unknown = map { $_ => 1 } split /\n/, $old->safe_psql('postgres', $attribute_options);
	delete @unknown{ split /\n/, $new->safe_psql('postgres', $attribute_options) };
	$new->stop;
	skip "$new_version does not know what $version writes: " . join(' ', sort keys %unknown), 1 if %unknown;

	# somebody else has one of those who are pending, and one who will be enqueued
	$fake->preset('waits', { external_id => 'u3' }, { external_id => 'late1' });
	$old->safe_psql('postgres', <<'END');
CREATE TABLE users (id int PRIMARY KEY, name text);
SELECT contacts_push.watch('users', 'watched');
INSERT INTO users SELECT i, 'User ' || i FROM generate_series(1, 10) i;
END
	ok(chatbot_settled($old, 'watched'), "from $version: some are created");
	$fake->faults({ match => { chatbot => 'applied' }, when => 'after', action => { delay_ms => FakeChatbase::HELD } });
	insert_users($old, 'applied', 'u', 1, CONTACTS);
	ok(wait_until(sub { keys %{ $fake->held('applied') } == CONTACTS }), 'some are, but nobody knows');
	$old->safe_psql('postgres', q{INSERT INTO contacts_push.chatbot (chatbot_id) VALUES ('waits'); SELECT contacts_push.pause('waits')});
	insert_users($old, 'waits', 'u', 1, CONTACTS);
	my $last = $old->safe_psql('postgres', 'SELECT max(seq) FROM contacts_push.outbox');
	$old->stop;
	$fake->faults();
	$fake->release;
	my $requests = $fake->stats->{requests};

	chdir ${PostgreSQL::Test::Utils::tmp_check};
	command_ok([ 'pg_upgrade', '--link', '--old-datadir', $old->data_dir, '--new-datadir', $new->data_dir,
			'--old-bindir', $old->config_data('--bindir'), '--new-bindir', $new->config_data('--bindir'),
			'--socketdir', $new->host, '--old-port', $old->port, '--new-port', $new->port ],
		'pg_upgrade')
	  or note(map { slurp_file($_) } glob($new->data_dir . '/pg_upgrade_output.d/*/log/pg_upgrade_dump_*.log'));
	is($fake->stats->{requests}, $requests, 'nothing was sent by it');

	$new->start;
	ok(worker_runs($new), 'the new server has a worker');
	ok(chatbot_settled($new, 'applied'), 'what was under way is settled');
	is(outcomes($new, 'applied'), 'present ' . CONTACTS, 'as present');
	is(outcomes($new, 'watched'), 'created ' . CONTACTS, 'what was settled still is');
	is(outcomes($new, 'waits'), 'pending ' . CONTACTS, 'what was paused still is');
	is(requests_for($fake, 'waits'), 0, 'and nobody has asked for it');
	insert_users($new, 'waits', 'late', 1, CONTACTS);
	$new->safe_psql('postgres', q{SELECT contacts_push.resume('waits')});
	ok(chatbot_settled($new, 'waits'), 'resumed, it is settled');
	is(outcomes($new, 'waits'), 'conflict 1, created 18, present 1',
		'who was pending may have been sent by the old server, who came later has not');
	is($new->safe_psql('postgres', "SELECT bool_and(seq > $last) FROM contacts_push.outbox WHERE external_id LIKE 'late%'"),
		't', 'numbers go on');
	$new->safe_psql('postgres', q{INSERT INTO users VALUES (11, 'New'); UPDATE users SET name = 'Changed' WHERE id = 1});
	ok(chatbot_settled($new, 'watched'), 'the table is still watched');
	is(outcomes($new, 'watched'), 'created 11, skipped 1', 'and has its contacts');
	is(held_matches($new, $fake, $_), '', "as the stand-in holds it: $_") for qw(applied watched);
	is($new->safe_psql('postgres', 'SELECT count(*) FROM contacts_push.request WHERE finished_at IS NULL'), 0, 'no request is open');
	is($new->safe_psql('postgres', q{SELECT contacts_push.missing('users', 'watched')}), '', 'nobody is missing');
	$new->stop;
	return;
}

run_upgrade('same', undef);
SKIP:
{
	my $install = $ENV{CONTACTS_PUSH_OLD_INSTALL}
	  // skip 'CONTACTS_PUSH_OLD_INSTALL, the prefix of an older PostgreSQL with the extension, is not set', 1;
	# for pg_upgrade, too, which starts its programs
	local $ENV{LD_LIBRARY_PATH} = join ':', "$install/lib", $ENV{LD_LIBRARY_PATH} // ();
	skip "what is in $install is not older", 1 unless major($install) < major();
	run_upgrade('older', $install);
}

done_testing();
