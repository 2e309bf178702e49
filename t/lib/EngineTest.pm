# EngineTest.pm
#
# What the tests of the outcome engine (010 to 029) have in common beyond
# ContactsPushTest.  No test is in here.
package EngineTest;

use strict;
use warnings;

use Exporter qw(import);
use List::Util qw(max);
use PostgreSQL::Test::Utils ();
use Test::More ();
use Time::HiRes qw(sleep time);

use ContactsPushTest;

our @EXPORT = qw(bound count_rows each_one_fate kill_and_start seed_random status_of whole_log);
our @EXPORT_OK = qw(chatbot_settled lock_row paused_for_refusals requests_for worker_passes);

# The fewest requests that can tell the bad contacts among n: one for 1000
# contacts, and the entropy of who is bad.
sub bound
{
	my ($n, $bad) = @_;
	my $p = $bad / $n;
	my $entropy = $p == 0 || $p == 1 ? 0 : -$p * log2($p) - (1 - $p) * log2(1 - $p);
	return max($n / 1000, $n * $entropy);
}

sub log2 { return log($_[0]) / log 2; }

# How many rows of the outbox the condition holds for.
sub count_rows
{
	my ($node, $condition, $database) = @_;
	return $node->safe_psql($database // 'postgres',
		"SELECT count(*) FROM contacts_push.outbox WHERE $condition");
}

# The statuses of a contact's rows in the order of arrival, as 'superseded created'.
sub status_of
{
	my ($node, $chatbot, $external_id) = @_;
	return $node->safe_psql('postgres', <<"END");
SELECT string_agg(status::text, ' ' ORDER BY seq) FROM contacts_push.outbox
WHERE chatbot_id = '$chatbot' AND external_id = '$external_id'
END
}

# The stand-in's log of the API's requests; it has the last 10,000.
sub whole_log
{
	my ($fake) = @_;
	return grep { $_->{number} > 0 } $fake->requests;
}

# How many requests for a chatbot have arrived.
sub requests_for
{
	my ($fake, $chatbot) = @_;
	return scalar grep { $_->{chatbot} eq $chatbot } whole_log($fake);
}

# Waits until a chatbot has nothing pending; false if it always does.
sub chatbot_settled
{
	my ($node, $chatbot, $database) = @_;
	return comes_to_zero(sub { count_rows($node, "chatbot_id = '$chatbot' AND status = 'pending'", $database) });
}

# Waits until the worker has done what it could: what one gives it now is created
# when all that it knew before has been looked at.
my $passes = 0;
sub worker_passes
{
	my ($node) = @_;
	$passes++;
	insert_users($node, 'passes', 'u', $passes, $passes);
	return wait_until(sub { count_rows($node, "chatbot_id = 'passes' AND external_id = 'u$passes' AND status = 'created'") == 1 });
}

# Waits for the pause that a run of refusals in these words ends in.
sub paused_for_refusals
{
	my ($node, $chatbot, $words) = @_;
	return wait_until(sub { $node->safe_psql('postgres', <<"END") eq 't' });
SELECT paused_until > clock_timestamp() AND pause_reason = '20 contacts in a row were refused with: $words'
FROM contacts_push.chatbot WHERE chatbot_id = '$chatbot'
END
}

# Has a session of its own lock the one row of the outbox that the condition holds for;
# returns the session.
sub lock_row
{
	my ($node, $condition) = @_;
	my $session = open_session($node);
	$session->query_safe('BEGIN');
	Test::More::is($session->query_safe("SELECT count(*) FROM (SELECT FROM contacts_push.outbox WHERE $condition FOR UPDATE) s"),
		1, "a row is locked: $condition");
	return $session;
}

# What must hold after any trouble with contacts that nobody else has and that
# nothing is wrong with: each created or present, and held once.  Returns '' or
# what doesn't hold.
sub each_one_fate
{
	my ($node, $fake, $chatbot, $n, $database) = @_;
	my %outcomes = map { split / / } split /, /, outcomes($node, $chatbot, $database);
	my $settled = ($outcomes{created} // 0) + ($outcomes{present} // 0);
	my $held = keys %{ $fake->held($chatbot) };
	my @wrong;

	push @wrong, 'outcomes are ' . outcomes($node, $chatbot, $database)
	  if $settled != $n || grep { !/^(created|present)$/ } keys %outcomes;
	push @wrong, "$held are held" if $held != $n;
	push @wrong, held_matches($node, $fake, $chatbot, defined $database ? (database => $database) : ());
	return join '; ', grep { $_ ne '' } @wrong;
}

# Random numbers that a failed run can be repeated with.
sub seed_random
{
	my $seed = $ENV{CONTACTS_PUSH_TEST_SEED} // int(time * 1000) % 1_000_000;
	srand $seed;
	Test::More::note("CONTACTS_PUSH_TEST_SEED=$seed");
	return;
}

# Kills the postmaster, and starts the server again once its last processes have
# gone.
sub kill_and_start
{
	my ($node) = @_;
	my ($pid) = split /\n/, PostgreSQL::Test::Utils::slurp_file($node->data_dir . '/postmaster.pid');
	$node->kill9;
	# somebody has to reap it
	wait_until(sub { !kill 0, $pid }) or die 'the postmaster does not go';
	wait_until(sub { $node->start(fail_ok => 1) }) or die 'the server does not start';
	return;
}

1;
