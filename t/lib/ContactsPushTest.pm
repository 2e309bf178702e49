# ContactsPushTest.pm
#
# What the tests here have in common: clusters with the extension, and waiting
# for what must come about.  No test is in here.
package ContactsPushTest;

use strict;
use warnings;

use Exporter qw(import);
use List::Util qw(max min);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More ();
use Time::HiRes qw(sleep time);

our @EXPORT = qw(KEY PATIENCE add_database comes_to_zero held_matches insert_users is_up new_cluster open_session outcomes
	reload set_conf settled start_call try_psql wait_until worker_pid worker_runs);

# Seconds after which something that must happen is given up: far more than any
# machine needs, so that no result depends on speed.
use constant PATIENCE => $PostgreSQL::Test::Utils::timeout_default;

# The key that the stand-in knows unless it is told others.
use constant KEY => 'test-key';

# Between two looks at a condition, seconds: at first, and at most.
use constant { LOOK => 0.02, LONGEST_LOOK => 0.25 };

# Settings under which time passes quickly: a budget that keeps nobody waiting,
# back-offs of 50 ms, no attempt too many.
my $quick = <<'END';
contacts_push.requests_per_second = 100000
contacts_push.max_backoff = 50ms
contacts_push.max_attempts = 1000
END

# A cluster that sends to a stand-in.  Options: extra (lines of
# postgresql.conf), preload (default 1), start (default 1), extension (default
# 1: in database postgres), init (for the cluster's init()), install_path (of another
# PostgreSQL).
sub new_cluster
{
	my ($name, $fake, %options) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name,
		defined $options{install_path} ? (install_path => $options{install_path}) : ());

	init($node, %{ $options{init} // {} });
	$node->append_conf('postgresql.conf', $quick);
	$node->append_conf('postgresql.conf',
		"contacts_push.base_url = '" . $fake->base_url . "'\n");
	$node->append_conf('postgresql.conf',
		"shared_preload_libraries = 'contacts_push'\ncontacts_push.api_key = '" . KEY . "'\n")
	  if $options{preload} // 1;
	$node->append_conf('postgresql.conf', $options{extra} // '');
	if ($options{start} // 1)
	{
		$node->start;
		$node->safe_psql('postgres', 'CREATE EXTENSION contacts_push') if $options{extension} // 1;
	}
	return $node;
}

# Makes the data directory.  initdb costs the better part of a second of a processor, so
# a test's first cluster is a copy of dev/test's; any further ones are clusters of
# their own, with system identifiers of their own, as users' are.
my $template = $ENV{CONTACTS_PUSH_TEMPLATE};

sub init
{
	my ($node, %options) = @_;
	my $run = \&PostgreSQL::Test::Utils::system_or_bail;

	no warnings 'redefine';
	local *PostgreSQL::Test::Utils::system_or_bail = sub {
		return $run->(@_)
		  unless $_[0] eq 'initdb' && defined $template && !defined $node->install_path;
		$run->('cp', '-RPp', $template, $node->data_dir);
		undef $template;
	};
	$node->init(extra => [ '--encoding=UTF8', '--no-locale' ], %options);
	return;
}

# Has the server read these settings: pairs of name and value.
sub set_conf
{
	my ($node, %settings) = @_;
	$node->append_conf('postgresql.conf', "$_ = '$settings{$_}'") for sort keys %settings;
	reload($node);
	return;
}

# Has every process read the configuration, and waits until the postmaster has.
sub reload
{
	my ($node) = @_;
	my $before = $node->safe_psql('postgres', 'SELECT pg_conf_load_time()');
	$node->reload;
	wait_until(sub { $node->safe_psql('postgres', 'SELECT pg_conf_load_time()') ne $before });
	return;
}

# Lets time pass before the next look at what has been waited for since $start: the
# longer that is, the more.  Looking takes time that others need.
sub pause_between_looks
{
	my ($start) = @_;
	sleep max(LOOK, min((time - $start) / 10, LONGEST_LOOK));
	return;
}

# Waits until the code returns true; false if it never does.
sub wait_until
{
	my ($code) = @_;
	my $start = time;
	until ($code->())
	{
		return 0 if time > $start + PATIENCE;
		pause_between_looks($start);
	}
	return 1;
}

# Waits until the code returns 0, for as long as the number it returns (undef: not
# known just now) goes on falling, be it slowly; false if it stays where it is.
sub comes_to_zero
{
	my ($code) = @_;
	my $start = time;
	my $fallen_at = $start;
	my $least;
	while (time <= $fallen_at + PATIENCE)
	{
		my $number = $code->();
		if (defined $number && (!defined $least || $number < $least))
		{
			$least = $number;
			$fallen_at = time;
			return 1 if $least == 0;
		}
		pause_between_looks($start);
	}
	Test::More::diag('it stays at ' . ($least // 'what nobody knows') . ' for ' . PATIENCE . ' seconds');
	return 0;
}

# Runs a query on a server that may be restarting: the status is not 0 if it can't be
# reached.  psql may be gone then before the query is written to it, which IPC::Run dies of.
sub try_psql
{
	my ($node, $database, $query) = @_;
	my ($status, $stdout) = eval { $node->psql($database, $query) };
	die $@ if $@ ne '' && $@ !~ /Broken pipe/;
	return ($status // 2, $stdout // '');
}

# True if the server lets sessions in.
sub is_up
{
	my ($node) = @_;
	return (try_psql($node, 'postgres', 'SELECT 1'))[0] == 0;
}

# A database with the extension.
sub add_database
{
	my ($node, $name) = @_;
	$node->safe_psql('postgres', "CREATE DATABASE $name");
	$node->safe_psql($name, 'CREATE EXTENSION contacts_push');
	return;
}

# The process that works for a database; '' if there is none.
sub worker_pid
{
	my ($node, $database) = @_;
	$database //= 'postgres';
	return $node->safe_psql('postgres',
		"SELECT pid FROM pg_stat_activity WHERE backend_type = 'contacts_push worker' AND datname = '$database'");
}

# Waits for it; false if there never is one.
sub worker_runs
{
	my ($node, $database) = @_;
	return wait_until(sub { worker_pid($node, $database) ne '' });
}

# Waits until nothing of the outbox is pending; false if something stays so.
# Not by flush(): what is tested must not be what waits.  However slowly it goes, and
# though the server may be restarting.
sub settled
{
	my ($node, $database) = @_;
	return comes_to_zero(sub {
		my ($status, $stdout) = try_psql($node, $database // 'postgres',
			"SELECT count(*) FROM contacts_push.outbox WHERE status = 'pending'");
		return $status == 0 ? $stdout : undef;
	});
}

# How many rows of each status a chatbot has, as 'created 3, rejected 1'.
sub outcomes
{
	my ($node, $chatbot, $database) = @_;
	return $node->safe_psql($database // 'postgres', <<"END");
SELECT string_agg(status || ' ' || n, ', ' ORDER BY status)
FROM (SELECT status::text, count(*) AS n FROM contacts_push.outbox
	WHERE chatbot_id = '$chatbot' GROUP BY status) s
END
}

# Compares what is recorded for a chatbot with what the stand-in holds; '' if
# they agree, else the first differences.  Every contact that is created has the
# id that is held; one that is present is held, and has that id or none; every other one
# (but conflict) is not held; and nothing is held that the outbox doesn't have,
# but for those given as known otherwise.
sub held_matches
{
	my ($node, $fake, $chatbot, %options) = @_;
	my %unknown = %{ $fake->held($chatbot) };
	my %held = %unknown;
	my @wrong;

	delete $unknown{$_} for @{ $options{known} // [] };
	for my $line (split /\n/, $node->safe_psql($options{database} // 'postgres', <<"END"))
SELECT external_id, status, contact_id FROM contacts_push.outbox
WHERE chatbot_id = '$chatbot' AND status NOT IN ('superseded', 'skipped', 'withdrawn')
END
	{
		my ($external_id, $status, $contact_id) = split /\|/, $line, 3;
		my $id = $held{$external_id} // '';
		my $fine =
			$status eq 'created' ? $id ne '' && $contact_id eq $id
		  : $status eq 'present' ? $id ne '' && ($contact_id eq '' || $contact_id eq $id)
		  : $status eq 'conflict' ? $contact_id eq ''
		  :                         $id eq '' && $contact_id eq '';
		push @wrong, "$external_id is $status '$contact_id', held '$id'" unless $fine;
		delete $unknown{$external_id};
	}
	push @wrong, "$_ is held, but not in the outbox" for sort keys %unknown;
	return join '; ', @wrong > 5 ? (@wrong[ 0 .. 4 ], '...') : @wrong;
}

# Appends contacts from one number to another, named with a prefix, for a chatbot,
# by one plain INSERT.
sub insert_users
{
	my ($node, $chatbot, $prefix, $from, $to, $database) = @_;
	$node->safe_psql($database // 'postgres', <<"END");
INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact)
SELECT '$chatbot', '$prefix' || i,
	jsonb_build_object('name', 'User ' || i, 'email', '$prefix' || i || '\@example.com')
FROM generate_series($from, $to) i
END
	return;
}

# A session that stays open as long as the test likes.  What is limited is the time that
# a query takes, not that of all of them.
sub open_session
{
	my ($node, $database, %options) = @_;
	my $session = $node->background_psql($database // 'postgres', %options);

	$session->set_query_timer_restart();
	return $session;
}

# Begins chatbase_create_contacts() with one contact in a session of its own and
# returns that session when the request has arrived.
sub start_call
{
	my ($node, $fake, $sql) = @_;
	my $before = $fake->in_flight;
	my $session = open_session($node, 'postgres', on_error_stop => 0);

	$session->query_until(qr/^begun$/m, "\\echo begun\n$sql;\n");
	wait_until(sub { $fake->in_flight > $before }) or die 'the request never arrived';
	return $session;
}

1;
