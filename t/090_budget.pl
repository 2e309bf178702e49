# The budget of a key: what a 429 may ask for and who may end it, and calls of the SQL
# function beside a worker.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use ContactsPushTest;
use EngineTest;
use FakeChatbase;
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $fake = FakeChatbase->start('--key', KEY);
my $node = new_cluster('budget', $fake);

# resume() ends a wait that a 429 has imposed, for whatever it says.
$fake->faults({ times => 1, action => { status => 429, headers => { 'Retry-After' => '99999999999999999999' } } });
insert_users($node, 'held', 'u', 1, 10);
ok($node->poll_query_until('postgres',
		q{SELECT count(*) = 1 FROM contacts_push.request WHERE http_status = 429 AND finished_at IS NOT NULL}),
	'resume: the key waits');
insert_users($node, 'other', 'u', 1, 10);
is($node->safe_psql('postgres', q{SELECT contacts_push.flush('2 seconds')}), 'f', 'resume: for another chatbot, too');
is($fake->stats->{requests}, 1, 'resume: nothing has left');
$node->safe_psql('postgres', q{SELECT contacts_push.resume('held')});
ok(settled($node), 'resume: all is settled after it');
is(outcomes($node, 'held'), 'created 10', 'resume: as created');
is(outcomes($node, 'other'), 'created 10', 'resume: for the other chatbot, too');

# A loop of calls leaves a worker half of the budget, here of 10 requests a second.
$fake->reset;
$node->append_conf('postgresql.conf', 'contacts_push.requests_per_second = 10');
$node->restart;
$node->safe_psql('postgres', 'CREATE TABLE stop (stop bool); CREATE TABLE calls (made int, refused int)');
my ($out, $err) = ('', '');
my $loop = IPC::Run::start(
	[ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('postgres'), '-c', <<'END' ], '>', \$out, '2>', \$err);
DO $$
DECLARE
	made int := 0;
	refused int := 0;
BEGIN
	WHILE NOT EXISTS (SELECT FROM stop) LOOP
		BEGIN
			PERFORM chatbase_create_contacts('called', jsonb_build_object('external_id', 'c' || made));
			made := made + 1;
		EXCEPTION WHEN configuration_limit_exceeded THEN
			refused := refused + 1;
		END;
	END LOOP;
	INSERT INTO calls VALUES (made, refused);
END $$;
END
ok(wait_until(sub { ($fake->stats->{requests} // 0) >= 20 }), 'calls: they go on');
for my $n (1 .. 3)
{
	insert_users($node, 'pushed', "u$n", 1, 1);
	ok(settled($node), "calls: user $n is created meanwhile");
}
my $requests = $fake->stats->{requests};
ok(wait_until(sub { $fake->stats->{requests} > $requests }), 'calls: and they still go on');
$node->safe_psql('postgres', 'INSERT INTO stop VALUES (true)');
$loop->finish;
is($err, '', 'calls: no other error');
is(outcomes($node, 'pushed'), 'created 3', 'calls: the users are created');
my ($made, $refused) = split /\|/, $node->safe_psql('postgres', 'SELECT * FROM calls');
cmp_ok($made, '>', 20, 'calls: some were made');
cmp_ok($refused, '>', 0, 'calls: some were refused, with the SQLSTATE of a limit');

# Its words.
$fake->faults({ times => 1, action => { status => 429, headers => { 'Retry-After' => '3600' } } });
insert_users($node, 'pushed', 'v', 1, 1);
ok($node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM contacts_push.request WHERE http_status = 429 AND chatbot_id = 'pushed'}),
	'words: a worker waits');
my ($status, undef, $stderr) = $node->psql('postgres', <<'END');
\set VERBOSITY verbose
SELECT chatbase_create_contacts('called', jsonb_build_object('external_id', 'd' || n)) FROM generate_series(1, 100) n
END
isnt($status, 0, 'words: a hundred calls in a statement are too many then');
like($stderr, qr/53400.*calls have used their half of the key's budget/, 'words: that is said');
like($stderr, qr/HINT:.*Try again in 1 second, or leave the contacts to contacts_push\.enqueue\(\)/, 'words: and what to do');

$node->stop;
done_testing();
