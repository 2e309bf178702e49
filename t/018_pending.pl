# What is committed is found, in whatever order transactions begin, draw their
# numbers, and end.
#
# Takes long: the worker looks by itself once a minute.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use ContactsPushTest;
use EngineTest;
use FakeChatbase;
use List::Util qw(shuffle);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# Transactions that are open at once, and rounds of that.
use constant SESSIONS => 6;
use constant ROUNDS => 25;

my $fake = FakeChatbase->start;
my $node = new_cluster('pending', $fake, extra => "max_prepared_transactions = 20\n");
my @sessions = map { open_session($node) } 1 .. SESSIONS;
my (%committed, %undone, %prepared);
my ($names, $transactions) = (0, 0);

seed_random();

sub insert_sql
{
	my (@contacts) = @_;
	return 'INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact) VALUES '
	  . join(', ', map { "('pending', '$_', '{}')" } @contacts);
}

sub new_contacts
{
	my ($n) = @_;
	return map { 'c' . ++$names } 1 .. $n;
}

# A transaction of its own, that others are open around.
sub insert_between
{
	my @contacts = new_contacts(1 + int rand 3);
	$node->safe_psql('postgres', insert_sql(@contacts));
	@committed{@contacts} = ();
	return;
}

# Ends a session's transaction in one of the ways there are.
sub finish
{
	my ($session, @contacts) = @_;
	my $way = int rand 5;
	if ($way <= 1)
	{
		$session->query_safe('COMMIT');
		@committed{@contacts} = ();
	}
	elsif ($way == 2)
	{
		$session->query_safe('ROLLBACK');
		@undone{@contacts} = ();
	}
	else
	{
		my $name = 't' . ++$transactions;
		$session->query_safe("PREPARE TRANSACTION '$name'");
		$prepared{$name} = \@contacts;
	}
	return;
}

# Ends some of the prepared ones, from another session.
sub finish_prepared
{
	my ($n) = @_;
	for my $name ((shuffle sort keys %prepared)[ 0 .. $n - 1 ])
	{
		my @contacts = @{ delete $prepared{$name} };
		if (rand() < 0.6)
		{
			$node->safe_psql('postgres', "COMMIT PREPARED '$name'");
			@committed{@contacts} = ();
		}
		else
		{
			$node->safe_psql('postgres', "ROLLBACK PREPARED '$name'");
			@undone{@contacts} = ();
		}
	}
	return;
}

# Another worker has to find all of it from nothing.
sub restart_worker
{
	my $pid = worker_pid($node);
	return if $pid eq '';
	$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
	return;
}

# One round: transactions begin in one order, insert in another, in parts, and
# end in a third; others come and go between any two steps.
sub play_round
{
	my %contacts = map { $_ => [] } 0 .. $#sessions;
	my @steps = shuffle map { ($_) x (1 + int rand 3) } 0 .. $#sessions;
	my %left;
	$left{$_}++ for @steps;
	my @open;

	$sessions[$_]->query_safe('BEGIN') for shuffle 0 .. $#sessions;
	for my $i (@steps)
	{
		my @new = new_contacts(1 + int rand 3);
		if (rand() < 0.3)
		{
			# numbers that are drawn and never come
			$sessions[$i]->query_safe('SAVEPOINT s; ' . insert_sql(@new) . '; ROLLBACK TO s');
			@undone{@new} = ();
		}
		else
		{
			$sessions[$i]->query_safe(insert_sql(@new));
			push @{ $contacts{$i} }, @new;
		}
		insert_between() if rand() < 0.5;
		restart_worker() if rand() < 0.05;
		push @open, $i if --$left{$i} == 0;
		finish($sessions[$_], @{ $contacts{$_} }) for splice @open, 0, rand() < 0.3 ? int rand(@open + 1) : 0;
	}
	for my $i (shuffle @open)
	{
		finish($sessions[$i], @{ $contacts{$i} });
		insert_between() if rand() < 0.5;
		restart_worker() if rand() < 0.05;
	}
	finish_prepared(int rand(1 + keys %prepared)) if keys %prepared;
	return;
}

# Each query of a session is noted, which is for a file and nobody's screen.
my $builder = Test::More->builder;
my $output = $builder->output;
$builder->output("$PostgreSQL::Test::Utils::log_path/pending_rounds.log");
play_round() for 1 .. ROUNDS;
finish_prepared(scalar keys %prepared);
insert_between();
$builder->output($output);

ok( wait_until(
		sub { $node->safe_psql('postgres', q{SELECT count(*) FROM contacts_push.outbox WHERE status = 'created'}) == keys %committed }),
	'whatever was committed is created');
is(outcomes($node, 'pending'), 'created ' . keys %committed, 'and nothing else is there');
my $held = $fake->held('pending');
is(join(' ', grep { !exists $held->{$_} } sort keys %committed), '', 'nothing is lost');
is(join(' ', grep { exists $held->{$_} } sort keys %undone), '', 'nothing that was undone was sent');
is(held_matches($node, $fake, 'pending'), '', 'as the stand-in holds it');
note keys(%committed) . ' committed, ' . keys(%undone) . " undone, $transactions prepared";

# A transaction that stays open for long holds up nobody, and nor does a snapshot.
$sessions[0]->query_safe('BEGIN; ' . insert_sql('early'));
$sessions[1]->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM contacts_push.outbox');
insert_users($node, 'around', 'u', 1, 5000);
ok($node->poll_query_until('postgres', q{SELECT count(*) = 5000 FROM contacts_push.outbox WHERE chatbot_id = 'around' AND status = 'created'}),
	'others do not wait for one that is open');
$sessions[0]->query_safe('COMMIT');
ok($node->poll_query_until('postgres', q{SELECT status = 'created' FROM contacts_push.outbox WHERE external_id = 'early'}),
	'and it is found when it commits');
$sessions[1]->query_safe('COMMIT');

# A prepared one that no other commit follows is found by the slow poll.
$sessions[0]->query_safe('BEGIN; ' . insert_sql('late') . q{; PREPARE TRANSACTION 'late'});
insert_between();
ok(settled($node), 'what is not prepared is settled');
$node->safe_psql('postgres', q{COMMIT PREPARED 'late'});
ok($node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM contacts_push.outbox WHERE external_id = 'late' AND status = 'created'}),
	'one that was prepared is found without another commit');

# One that was prepared before the server crashed, too.
$sessions[0]->query_safe('BEGIN; ' . insert_sql('survivor') . q{; PREPARE TRANSACTION 'survivor'});
# each of them a last query, for those that have had none for longer than one may take
$_->query_safe('SELECT 1') for @sessions;
$_->quit for @sessions;
$node->stop('immediate');
$node->start;
insert_between();
ok(settled($node), 'after a crash: the others are settled');
$node->safe_psql('postgres', q{COMMIT PREPARED 'survivor'});
insert_between();
ok($node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM contacts_push.outbox WHERE external_id = 'survivor' AND status = 'created'}),
	'one prepared before a crash is found as well');

$node->stop;
done_testing();
