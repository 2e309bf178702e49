# A worker that does not come on does not look healthy: progress, the view of the worker and
# the log say what it does, and since when.
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
my $node = new_cluster('busy', $fake);

sub state_of
{
	return $node->safe_psql('postgres', "SELECT state FROM contacts_push.progress WHERE chatbot_id = 'bot'");
}

insert_users($node, 'bot', 'u', 1, 3);
ok(settled($node), 'the first contacts are created');
ok(wait_until(sub { $node->safe_psql('postgres', 'SELECT busy_with IS NULL FROM contacts_push.worker') eq 't' }),
	'a worker that sleeps is busy with nothing');

# A table that a pass reads, once a second, and that progress does not, is locked.
my $operator = open_session($node);
$operator->query_safe('BEGIN; LOCK TABLE contacts_push_internal.lineage');
my $n = 0;
ok(wait_until(sub {
	$n++;
	insert_users($node, 'bot', 'v', $n, $n);
	return state_of() =~ /^worker busy for \d+ s: \w/;
}), 'progress says that the worker does not come on');
is($node->safe_psql('postgres', "SELECT eta IS NULL FROM contacts_push.progress WHERE chatbot_id = 'bot'"), 't',
	'and expects no end of it');
is($node->safe_psql('postgres', "SELECT now() - busy_since > interval '9 s' FROM contacts_push.worker"), 't',
	'the view of the worker says since when');

# The launcher looks once a minute, and when it is woken.
ok(wait_until(sub {
	$node->reload;
	slurp_file($node->logfile) =~ /LOG:  contacts_push: worker for database "postgres" has been busy since/;
}), 'so does the log');
$operator->query_safe('COMMIT');
$operator->quit;
ok(settled($node), 'it goes on');
ok(wait_until(sub { state_of() eq 'idle' }), 'and progress says so');
my @lines = slurp_file($node->logfile) =~ /(has been busy since)/g;
is(scalar @lines, 1, 'the log says it once');

$node->stop;
done_testing();
