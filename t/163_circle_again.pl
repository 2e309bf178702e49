# Keys that were swapped in a circle, were refused for their e-mails, and move on by one: the
# worker decides on them and goes on, whatever waits for whom.
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
my $node = new_cluster('circle_again', $fake);

sub sql { return $node->safe_psql('postgres', $_[0]); }

sql(<<'SQL');
CREATE TABLE users (id integer PRIMARY KEY DEFERRABLE, name text, email text);
SELECT contacts_push.watch('users', 'bot', updates => true, deletes => true);
INSERT INTO users VALUES (1, 'a', 'a@example.com'), (2, 'b', 'b@example.com'), (3, 'c', 'c@example.com');
SQL
ok(settled($node), 'users are created');
sql('UPDATE users SET id = id % 3 + 1');
ok(settled($node), 'their keys are swapped in a circle');
sql(q{SELECT * FROM contacts_push.reconcile('bot', fix => true)});
ok(settled($node), 'and that is to be mended');
sql('UPDATE users SET id = id + 1');
ok(settled($node), 'then each gets the next key');
sql(q{INSERT INTO users VALUES (9, 'i', 'i@example.com')});
ok(settled($node), 'and who comes later is settled');
ok(exists $fake->held('bot')->{9}, 'and created');

$node->stop;
done_testing();
