# A load on watched tables, and beside it whatever may happen: kills of worker and server, every
# fault of the API, DDL, operators' locks, pauses, settings.  After each round all of that ends, and what
# was promised is looked at: Chatbase has what the views say and what was there before, the
# outbox says what was done, nothing waits for ever, and no statement failed because of it.
#
# dev/soak runs it.  Everything random comes from one seed, which is printed; but when things meet is
# up to the machine.
use strict;
use warnings;

use ContactsPushTest;
use FakeChatbase;
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils ();
use POSIX ();
use Test::More;
use Time::HiRes qw(sleep time);
use UsersTest;

my ($seed, $seconds) = @ARGV;

# Sessions that write, and users that most of what they write is about.
use constant { WRITERS => 3, USERS => 1500 };

# Contacts that are at Chatbase from the beginning, and no user's.
use constant FOREIGN => 25;

# Which chatbots there are: the view that says what each has to hold.
my %view = (soak => 'users_contacts', parts => 'visitors_contacts', some => 'customers_to_push');

srand $seed;
note "seed $seed, $seconds seconds";

my $true = FakeChatbase::true;
my $json = JSON::PP->new->canonical;
my $fake = FakeChatbase->start;
my $node = new_cluster('soak', $fake, extra => <<'END');
restart_after_crash = on
max_prepared_transactions = 10
deadlock_timeout = 100ms
log_error_verbosity = verbose
log_line_prefix = '%m [%p] %b '
contacts_push.request_timeout = 2s
END
my $scripts = PostgreSQL::Test::Utils::tempdir();
my $fresh = 0;
my %done;						# what has happened, and how often

sub any { return $_[ rand @_ ]; }
sub between { my ($from, $to) = @_; return $from + int rand($to - $from + 1); }
sub chance { return rand() < $_[0]; }

# ---- what is watched ----

$node->safe_psql('postgres', <<'END');
CREATE TABLE users (id int PRIMARY KEY, email text UNIQUE, name text, phone text, visits int DEFAULT 0);
SELECT contacts_push.watch('users', 'soak', email => 'email', name => 'name', phonenumber => 'phone',
	custom_attributes => 'jsonb_build_object(''number'', id, ''name'', name)', updates => true, deletes => true);
CREATE TABLE visitors (id int, region text, email text, PRIMARY KEY (id, region)) PARTITION BY LIST (region);
CREATE TABLE visitors_eu PARTITION OF visitors FOR VALUES IN ('eu');
CREATE TABLE visitors_us PARTITION OF visitors FOR VALUES IN ('us');
SELECT contacts_push.watch('visitors', 'parts', external_id => '''v'' || id || region', updates => true, deletes => true);
CREATE TABLE customers (id int PRIMARY KEY, name text, verified boolean, visits int DEFAULT 0);
CREATE VIEW customers_to_push AS SELECT 'c/' || id AS external_id, name FROM customers WHERE verified;
SELECT contacts_push.watch('customers_to_push', 'some', updates => true, deletes => true);
END
for my $chatbot (sort keys %view)
{
	$fake->preset($chatbot, map { { external_id => "old$_", email => "old$_\@example.com", name => "Old $_" } } 1 .. FOREIGN);
}

# ---- the load: each returns a statement, or several ----

# Some e-mails go from one user to another.
sub email
{
	return chance(0.1) ? 'pool' . between(1, 40) . '@example.com' : 'u' . ++$fresh . '@example.com';
}

sub phone { return chance(0.5) ? 'NULL' : "'+49 30 " . ++$fresh . "'"; }

my @statements = (
	sub { return 'INSERT INTO users VALUES (' . between(1, USERS) . ", '" . email() . "', 'User " . ++$fresh . "', " . phone() . ') ON CONFLICT DO NOTHING'; },
	sub { return 'INSERT INTO users VALUES (' . between(1, USERS) . ", '" . email() . "', 'User " . ++$fresh . "', " . phone() . ') ON CONFLICT (id) DO UPDATE SET email = excluded.email'; },
	sub { return "UPDATE users SET email = '" . email() . "' WHERE id = " . between(1, USERS); },
	sub { return 'UPDATE users SET phone = ' . phone() . ", name = 'Renamed " . ++$fresh . "' WHERE id = " . between(1, USERS); },
	sub { return 'UPDATE users SET email = NULL, phone = NULL WHERE id = ' . between(1, USERS); },
	sub { my $from = between(1, USERS); return "UPDATE users SET visits = visits + 1 WHERE id BETWEEN $from AND $from + 50"; },
	sub { my $from = between(1, USERS); return "UPDATE users SET name = name || '!' WHERE id BETWEEN $from AND $from + 20"; },
	sub { return 'DELETE FROM users WHERE id = ' . between(1, USERS); },
	sub { my $from = between(1, USERS); return "DELETE FROM users WHERE id BETWEEN $from AND $from + " . between(0, 60); },
	sub { my $id = between(1, USERS); return "DELETE FROM users WHERE id = $id", "INSERT INTO users VALUES ($id, '" . email() . "', 'Again') ON CONFLICT DO NOTHING"; },
	# keys: new ones, and such as others have had
	sub { return 'UPDATE users SET id = ' . (100_000 + ++$fresh) . ' WHERE id = ' . between(1, USERS); },
	sub { my $to = between(1, USERS); return "UPDATE users SET id = $to WHERE id = (SELECT id FROM users WHERE id >= 100000 ORDER BY id LIMIT 1) AND NOT EXISTS (SELECT FROM users WHERE id = $to)"; },
	sub { my ($a, $b) = (between(1, USERS), between(1, USERS)); return "UPDATE users SET id = -1 WHERE id = $a", "UPDATE users SET id = $a WHERE id = $b", "UPDATE users SET id = $b WHERE id = -1"; },
	sub { my $from = between(1, USERS); return "INSERT INTO users SELECT i, 'b' || i || '_" . ++$fresh . "\@example.com', 'Bulk ' || i FROM generate_series($from, $from + " . between(10, 300) . ') i ON CONFLICT DO NOTHING'; },
	sub {
		my $from = 200_000 + 1000 * ++$fresh;
		return join "\n", 'COPY users (id, email, name) FROM STDIN', map({ "$_\tcopy$_\@example.com\tCopied $_" } $from .. $from + between(5, 50)), '\\.'; },
	sub { return 'DELETE FROM users WHERE id IN (SELECT id FROM users WHERE id >= 200000 ORDER BY id LIMIT 40)'; },
	sub { return 'INSERT INTO visitors VALUES (' . between(1, USERS) . ", '" . any(qw(eu us)) . "', 'v" . ++$fresh . '@example.com\') ON CONFLICT DO NOTHING'; },
	sub { return "UPDATE visitors SET region = CASE region WHEN 'eu' THEN 'us' ELSE 'eu' END WHERE id = " . between(1, USERS); },
	sub { return "UPDATE visitors SET email = 'w" . ++$fresh . "\@example.com' WHERE id = " . between(1, USERS); },
	sub { return 'DELETE FROM visitors WHERE id % 50 = ' . between(0, 49); },
	sub { return 'INSERT INTO customers VALUES (' . between(1, USERS) . ", 'Customer " . ++$fresh . "', " . any(qw(true false)) . ') ON CONFLICT (id) DO UPDATE SET verified = NOT customers.verified'; },
	sub { my $from = between(1, USERS); return "UPDATE customers SET verified = NOT verified WHERE id BETWEEN $from AND $from + 20"; },
	sub { return "UPDATE customers SET name = 'Customer " . ++$fresh . "' WHERE id = " . between(1, USERS); },
	sub { return 'DELETE FROM customers WHERE id = ' . between(1, USERS); });

sub statements { my ($n) = @_; return map { any(@statements)->() } 1 .. $n; }

sub pause_of { return sprintf 'SELECT pg_sleep(%.2f)', rand $_[0]; }

my @transactions = (
	sub { return statements(1); },
	sub { return statements(1); },
	sub { return 'BEGIN', statements(between(1, 6)), 'COMMIT'; },
	sub { return 'BEGIN', statements(between(1, 6)), 'ROLLBACK'; },
	sub { return 'BEGIN', statements(2), 'SAVEPOINT s', statements(3), 'ROLLBACK TO s', statements(2), 'RELEASE s', 'COMMIT'; },
	sub { return 'BEGIN', 'SAVEPOINT s', statements(2), 'RELEASE s', 'SAVEPOINT t', statements(1), any('RELEASE t', 'ROLLBACK TO t'), any(qw(COMMIT COMMIT ROLLBACK)); },
	sub { return 'BEGIN', statements(2), pause_of(2), statements(1), any(qw(COMMIT COMMIT ROLLBACK)); },
	sub { return 'BEGIN ISOLATION LEVEL ' . any('REPEATABLE READ', 'SERIALIZABLE'), statements(3), 'COMMIT'; },
	sub { my $name = 'g' . ++$fresh; return 'BEGIN', statements(2), "PREPARE TRANSACTION '$name'", pause_of(0.5), any('COMMIT', 'ROLLBACK') . " PREPARED '$name'"; });

# The errors that a statement of the load may end with: its own doing, or the server's end.
my $own_errors = join '|', 'duplicate key value violates unique constraint "(users|visitors|customers)_', 'deadlock detected',
  'could not serialize access', 'current transaction is aborted', 'terminating connection', 'the database system is', 'connection to server',
  'server closed the connection', 'no connection to the server', 'prepared transaction with identifier', 'there is no transaction',
  'SAVEPOINT can only be used', 'savepoint ".*" does not exist', 'canceling statement due to (lock|statement) timeout',
  'tuple to be locked was already moved to another partition';

# ---- sessions that run a script each ----

my %running;					# pid => { file, load }

# Has a session of its own run these statements.
sub begin_script
{
	my ($load, @lines) = @_;
	my $file = "$scripts/" . ++$fresh;
	PostgreSQL::Test::Utils::append_to_file("$file.sql", join '', map { /\n\\\.$/ ? s/STDIN/STDIN;/r . "\n" : "$_;\n" } @lines);
	my $pid = fork() // die "cannot fork: $!";
	if ($pid == 0)
	{
		open STDIN, '<', "$file.sql" or POSIX::_exit(1);
		open STDOUT, '>', '/dev/null' or POSIX::_exit(1);
		open STDERR, '>', "$file.err" or POSIX::_exit(1);
		exec('psql', '-X', '-q', '-d', $node->connstr('postgres') . ' options=\'-c lock_timeout=60s\'') or POSIX::_exit(1);
	}
	$running{$pid} = { file => $file, load => $load };
	return;
}

# Looks at what sessions that have ended said; wait: at all, until they have.
sub reap
{
	my ($wait) = @_;
	while (%running)
	{
		my $pid = waitpid -1, $wait ? 0 : POSIX::WNOHANG;
		last if $pid <= 0;
		my $session = delete $running{$pid} or next;
		my $said = PostgreSQL::Test::Utils::slurp_file("$session->{file}.err");
		if ($session->{load})
		{
			for my $line (grep { /ERROR|FATAL|PANIC|WARNING/ } split /\n/, $said)
			{
				violated("a statement of the application's fails: $line ($session->{file}.sql)")
				  unless $line =~ /$own_errors/ || $line =~ /WARNING/ && $line !~ /contacts? push|enqueued/;
			}
		}
		unlink "$session->{file}.sql", "$session->{file}.err";
	}
	return;
}

sub violated
{
	my ($what) = @_;
	diag "seed $seed: $what";
	kill 'TERM', keys %running;
	BAIL_OUT('the promise is broken');
}

# ---- what may happen meanwhile ----

# What may become of an answer.  None says of a contact, or that one is not there, what isn't true.
my @faults = (
	[ before => drop => $true ], [ after => drop => $true ],
	[ before => status => 500 ], [ after => status => 500 ],
	[ before => status => 503, message => 'busy' ], [ after => status => 502, body => '<html>bad gateway</html>' ],
	[ before => status => 408 ], [ after => status => 504 ], [ after => status => 202 ],
	[ before => status => 429, message => 'slow down' ], [ before => status => 429, headers => { 'Retry-After' => '1' } ],
	[ before => status => 401 ], [ before => status => 403 ], [ before => redirect => 'http://127.0.0.1:1/' ],
	[ after => cut_body => 0 ], [ after => cut_body => 30 ], [ after => cut_body => 3000 ],
	[ after => body => 'no JSON' ], [ after => body => '{"data": []}' ], [ after => body => '[]' ],
	[ before => hang => $true ], [ before => delay_ms => 50 ], [ after => delay_ms => 50 ],
	[ after => delay_ms => 2500 ], [ before => delay_ms => 2500 ]);

sub random_faults
{
	my @rules;
	for (1 .. between(1, 5))
	{
		my ($when, %action) = @{ any(@faults) };
		my %match = (percent => between(1, 20), seed => between(1, 1_000_000));
		$match{method} = any(qw(POST GET PATCH DELETE)) if chance(0.3);
		push @rules, { match => \%match, when => $when, action => \%action };
	}
	push @rules, { match => { method => 'POST', percent => 20, seed => $fresh }, when => 'after', action => { omit => between(1, 5) } } if chance(0.3);
	push @rules, { match => { method => 'GET', percent => 30, seed => $fresh }, when => 'before', action => { status => any(404, 405, 501) } } if chance(0.1);
	$fake->faults(@rules);
	return;
}

sub set { my ($name, $value) = @_; return begin_script(0, "ALTER SYSTEM SET contacts_push.$name = '$value'", 'SELECT pg_reload_conf()'); }

# Rows that an operator has looked at and has not let go of yet.
sub hold
{
	my ($table, $condition) = @_;
	return begin_script(0, 'BEGIN', "SELECT FROM contacts_push.$table WHERE $condition FOR " . any('UPDATE', 'SHARE', 'NO KEY UPDATE', 'KEY SHARE'), pause_of(1.5), any(qw(COMMIT ROLLBACK)));
}

my %events = (
	'kill of the worker' => [ 3, sub {
		my (undef, $pid) = try_psql($node, 'postgres', "SELECT pid FROM pg_stat_activity WHERE backend_type = 'contacts_push worker'");
		kill 'KILL', $pid if $pid =~ /^\d+$/;
	} ],
	'end of the worker' => [ 3, sub { begin_script(0, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type LIKE 'contacts_push%'") } ],
	'immediate restart' => [ 1, sub {
		# a crash before may not be over
		$node->stop('immediate', fail_ok => 1);
		wait_until(sub { $node->start(fail_ok => 1) }) or die 'the server does not start';
	} ],
	'faults' => [ 12, \&random_faults ],
	'no faults' => [ 3, sub { $fake->faults } ],
	'list order' => [ 1, sub { $fake->config(list_order => any(qw(arrival newest scattered)), delete_status => any(200, 204), order => any(qw(input reverse))) } ],
	'ADD COLUMN' => [ 2, sub { begin_script(0, 'ALTER TABLE users ADD COLUMN extra' . ++$fresh . ' int' . any('', ' DEFAULT 1', ' DEFAULT random()')) } ],
	'ALTER TYPE' => [ 2, sub { begin_script(0, 'ALTER TABLE ' . any(qw(users customers)) . ' ALTER visits TYPE ' . any(qw(int bigint numeric))) } ],
	'CREATE INDEX' => [ 1, sub { begin_script(0, 'CREATE INDEX ' . any('', 'CONCURRENTLY ') . 'ON users (name)') } ],
	'VACUUM FULL' => [ 2, sub { begin_script(0, 'VACUUM FULL ' . any(qw(users customers contacts_push.outbox contacts_push.request contacts_push.chatbot))) } ],
	'VACUUM' => [ 2, sub { begin_script(0, 'VACUUM ' . any('', 'FREEZE ', 'ANALYZE ') . any(qw(users contacts_push.outbox contacts_push.request))) } ],
	'REINDEX' => [ 1, sub { begin_script(0, 'REINDEX TABLE ' . any('', 'CONCURRENTLY ') . 'contacts_push.outbox') } ],
	'watched anew' => [ 1, sub { begin_script(0, "SELECT contacts_push.watch('users', 'soak', email => 'email', name => 'name', phonenumber => 'phone', custom_attributes => 'jsonb_build_object(''number'', id, ''name'', name)')") } ],
	'rows of the outbox locked' => [ 4, sub { hold('outbox', any("status = 'pending'", 'seq % 7 = 3', 'seq > (SELECT max(seq) - 100 FROM contacts_push.outbox)')) } ],
	'rows of the request log locked' => [ 2, sub { hold('request', any('finished_at IS NULL', 'true')) } ],
	'rows of chatbots locked' => [ 2, sub { hold('chatbot', 'true') } ],
	'tables locked' => [ 1, sub { begin_script(0, 'BEGIN', 'LOCK TABLE ' . any(qw(contacts_push.outbox contacts_push.request contacts_push.chatbot)) . ' IN ' . any('SHARE', 'SHARE ROW EXCLUSIVE', 'ACCESS EXCLUSIVE') . ' MODE', pause_of(1), 'ROLLBACK') } ],
	'pause' => [ 3, sub { begin_script(0, "SELECT contacts_push.pause('" . any(keys_of()) . "')") } ],
	'resume' => [ 6, sub { begin_script(0, "SELECT contacts_push.resume('" . any(keys_of()) . "')") } ],
	'retry' => [ 2, sub { begin_script(0, "SELECT contacts_push.retry('" . any(keys_of()) . "')") } ],
	'reconcile' => [ 1, sub { begin_script(0, "SELECT count(*) FROM contacts_push.reconcile('" . any(keys_of()) . "')") } ],
	'views' => [ 2, sub { begin_script(0, 'SELECT * FROM contacts_push.progress', 'SELECT * FROM contacts_push.worker', 'SELECT count(*) FROM contacts_push.contact_status') } ],
	'reading' => [ 2, sub { set('reading', any(qw(on off))) } ],
	'batch_size' => [ 2, sub { set('batch_size', any(1, 7, 100, 1000)) } ],
	'max_concurrent_requests' => [ 2, sub { set('max_concurrent_requests', between(1, 8)) } ],
	'max_pending_deletes' => [ 1, sub { set('max_pending_deletes', any(20, 1000, -1)) } ],
	'reload' => [ 2, sub { begin_script(0, 'SELECT pg_reload_conf()') } ]);
my @lots = map { ($_) x $events{$_}[0] } sort keys %events;

sub keys_of { return sort keys %view; }

# Lets a round's worth of that happen.
sub let_happen
{
	my ($length) = @_;
	my $end = time + $length;
	while (time < $end)
	{
		reap(0);
		my $writing = grep { $_->{load} } values %running;
		begin_script(1, map { (any(@transactions)->(), pause_of(0.05)) } 1 .. 15) for $writing + 1 .. WRITERS;
		my $event = any(@lots);
		$done{$event}++;
		$events{$event}[1]->();
		sleep rand 0.4;
	}
	return;
}

# ---- what must hold when all of that is over ----

sub end_trouble
{
	$fake->faults;
	$fake->release;
	reap(1);
	wait_until(sub { is_up($node) }) or violated('the server does not come back');
	for my $gid (split /\n/, $node->safe_psql('postgres', 'SELECT gid FROM pg_prepared_xacts'))
	{
		$node->safe_psql('postgres', any('COMMIT', 'ROLLBACK') . " PREPARED '$gid'");
	}
	$node->safe_psql('postgres', "ALTER SYSTEM RESET contacts_push.$_") for qw(reading batch_size max_concurrent_requests max_pending_deletes);
	reload($node);
	return;
}

# Waits until nothing is pending; whatever pauses or holds deletions is waved through.
sub wait_for_all
{
	my $settled = comes_to_zero(sub {
		for my $chatbot (keys_of())
		{
			try_psql($node, 'postgres', "SELECT contacts_push.resume('$chatbot')");
		}
		my ($status, $stdout) = try_psql($node, 'postgres',
			"SELECT count(*) + (SELECT count(*) FROM contacts_push.request WHERE finished_at IS NULL) FROM contacts_push.outbox WHERE status = 'pending'");
		return $status == 0 ? $stdout : undef;
	});
	violated("it does not settle:\n" . $node->safe_psql('postgres', 'SELECT * FROM contacts_push.progress; SELECT * FROM contacts_push.worker;'
		. " SELECT seq, chatbot_id, external_id, previous_external_id, unconfirmed, attempts, next_attempt_at, error FROM contacts_push.outbox WHERE status = 'pending' LIMIT 10;"
		. ' SELECT * FROM contacts_push.request WHERE finished_at IS NULL LIMIT 5')) unless $settled;
	return;
}

# Contacts as external_id => [id, all but what Chatbase adds].
sub at_chatbase
{
	my ($chatbot) = @_;
	my %held;
	for my $contact (@{ $fake->admin("contacts?chatbot=$chatbot") })
	{
		my %kept = %$contact;
		my $id = delete $kept{id};
		delete @kept{qw(created_at updated_at)};
		violated("$chatbot: $kept{external_id} is held twice") if exists $held{ $kept{external_id} };
		$held{ $kept{external_id} } = [ $id, $json->encode(\%kept) ];
	}
	return \%held;
}

my %before = map { ($_ => at_chatbase($_)) } keys_of();

sub compare
{
	my ($chatbot) = @_;
	my $held = at_chatbase($chatbot);
	my %wanted = map { ($_ => $before{$chatbot}{$_}[1]) } keys %{ $before{$chatbot} };
	my @wrong;

	for my $line (split /\n/, $node->safe_psql('postgres', "SELECT jsonb_strip_nulls(to_jsonb(v) || jsonb_build_object('external_id', external_id::text)) FROM $view{$chatbot} v"))
	{
		my $contact = $json->decode($line);
		$wanted{ $contact->{external_id} } = $json->encode($contact);
	}
	for my $id (sort keys %{ { %$held, %wanted } })
	{
		my ($is, $should) = ($held->{$id} ? $held->{$id}[1] : 'not there', $wanted{$id} // 'not there');
		push @wrong, "$chatbot: $id is $is, should be $should; rows: " . history($chatbot, $id) if $is ne $should;
	}
	# what the outbox says of each, against what is there
	for my $line (split /\n/, $node->safe_psql('postgres', "SELECT external_id, status, contact_id FROM contacts_push.contact_status WHERE chatbot_id = '$chatbot'"))
	{
		my ($id, $status, $contact_id) = split /\|/, $line, 3;
		my $there = $held->{$id} && !$before{$chatbot}{$id} ? $held->{$id}[0] : '';
		my $fine = $status =~ /^(created|present|updated)$/ ? $there ne '' && ($contact_id eq '' || $contact_id eq $there)
		  : $status =~ /^(deleted|withdrawn|superseded|skipped)$/ ? $there eq ''
		  :                                                           0;
		push @wrong, "$chatbot: $id is $status '$contact_id', held '$there'; rows: " . history($chatbot, $id) unless $fine;
	}
	push @wrong, "$chatbot: " . disagreement($node, $chatbot) if disagreement($node, $chatbot) ne '';
	violated(join "\n", scalar(@wrong) . ' differences', @wrong > 5 ? @wrong[ 0 .. 4 ] : @wrong) if @wrong;
	return scalar keys %$held;
}

# All that the outbox and the request log have about a contact, under any key that it has had.
sub history
{
	my ($chatbot, $id) = @_;
	return "\n" . $node->safe_psql('postgres', <<"END");
WITH RECURSIVE key(id) AS (SELECT '$id' COLLATE "C" UNION
	SELECT CASE key.id WHEN external_id THEN previous_external_id ELSE external_id END FROM key
	JOIN contacts_push.outbox ON chatbot_id = '$chatbot' AND previous_external_id IS NOT NULL AND key.id IN (external_id, previous_external_id))
SELECT seq, external_id, previous_external_id, status, http_status, unconfirmed, contact_id, error, enqueued_at, settled_at,
	(SELECT string_agg(concat_ws(' ', r.id, call, contacts, http_status, outcome, left(message, 60), to_char(started_at, 'MI:SS.MS'), to_char(finished_at, 'MI:SS.MS')), '; ' ORDER BY r.id)
	FROM contacts_push.request r WHERE r.seqs @> o.seq) AS requests
FROM contacts_push.outbox o WHERE chatbot_id = '$chatbot' AND (external_id IN (TABLE key) OR previous_external_id IN (TABLE key)) ORDER BY seq
END
}

# The log has nothing of a crash but of what was killed here, and no error that should never be.
my $log_read = 0;
sub look_at_log
{
	my $log = PostgreSQL::Test::Utils::slurp_file($node->logfile, $log_read);
	$log_read = -s $node->logfile;
	for my $line (split /\n/, $log)
	{
		violated("the log says: $line") if $line =~ /PANIC: |TRAP: |terminated by signal (4|6|7|8|11)\b|(ERROR|FATAL):  XX/;
		violated("the worker says: $line") if $line =~ /contacts_push (worker|launcher) ERROR: / && $line !~ /$own_errors/;
	}
	return;
}

my $began = time;
my $said_at = 0;
my $rounds = 0;
my $held = 0;
while (time < $began + $seconds || $rounds == 0)
{
	$rounds++;
	let_happen(between(3, 8));
	end_trouble();
	wait_for_all();
	$held = 0;
	$held += compare($_) for keys_of();
	look_at_log();
	next if time < $said_at + 60;
	$said_at = time;
	note sprintf '%d min: %d rounds, %d contacts held, %s requests, rows: %s', (time - $began) / 60, $rounds, $held, $fake->stats->{requests},
	  $node->safe_psql('postgres', "SELECT string_agg(status || ' ' || n, ', ' ORDER BY status) FROM (SELECT status, count(*) AS n FROM contacts_push.outbox GROUP BY status) s");
}
note join ', ', map { "$_ $done{$_}" } sort keys %done;
ok($rounds > 0, "seed $seed: in $rounds rounds the promise was kept");
cmp_ok($held, '>', FOREIGN * keys %view, 'there were contacts');

$node->stop;
done_testing();
