# A row that cannot be deleted when it is over its retention, as somebody's trigger keeps it,
# keeps nothing else.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use ContactsPushTest;
use EngineTest qw(:DEFAULT worker_passes);
use FakeChatbase;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $fake = FakeChatbase->start;
my $node = new_cluster('not_tidied', $fake);

$node->safe_psql('postgres', <<'SQL');
CREATE FUNCTION keep_all() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'nothing is deleted here'; END $$;
CREATE TRIGGER keep_all BEFORE DELETE ON contacts_push.outbox FOR EACH STATEMENT EXECUTE FUNCTION keep_all();
ALTER TABLE contacts_push.outbox ENABLE ALWAYS TRIGGER keep_all;
INSERT INTO contacts_push.outbox (chatbot_id, external_id, status, settled_at)
VALUES ('bot', 'u1', 'superseded', now() - interval '1 year');
SQL
# a worker that begins looks at all rows
$node->restart;
ok(wait_until(sub { slurp_file($node->logfile) =~ /nothing is deleted here/ }), 'the row is found and stays');
ok(worker_passes($node), 'what comes is sent');
is($node->safe_psql('postgres', 'SELECT contacts_push.flush()'), 't', "and known to be, $_") for 1 .. 3;
like(slurp_file($node->logfile), qr/WARNING:  contacts_push: could not tidy up .*: nothing is deleted here/, 'why it stays is in the log');
my $log = slurp_file($node->logfile);
is(scalar(() = $log =~ /could not tidy up/g), 1, 'once, however often it is tried');
unlike($log, qr/(ERROR|FATAL):  nothing is deleted here/, 'and has ended no worker');

$node->stop;
done_testing();
