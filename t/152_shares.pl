# Deletions, new contacts and changes share the budget: none waits for all of another.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use ContactsPushTest;
use EngineTest;
use FakeChatbase;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use constant USERS => 5500;

my $fake = FakeChatbase->start;
my $node = new_cluster('shares', $fake);

$node->safe_psql('postgres', <<"END");
CREATE TABLE users (id int PRIMARY KEY, name text);
SELECT contacts_push.watch('users', 'bot', external_id => 'id', name => 'name');
SELECT contacts_push.push_changes('bot', updates => true, deletes => true);
INSERT INTO users SELECT i, 'User ' || i FROM generate_series(1, @{[USERS]}) i;
END
ok(settled($node), 'users are created');

# One request at a time, and the requests that leave are what is counted: a machine may be slow.
set_conf($node, 'contacts_push.requests_per_second' => 10, 'contacts_push.max_concurrent_requests' => 1);
$node->safe_psql('postgres', "UPDATE users SET name = name || '!' WHERE id <= 5000");
ok(wait_until(sub { grep { $_->{method} eq 'PATCH' } whole_log($fake) }), 'changes are under way');

my $before = 0;
for my $i (1 .. 5)
{
	my $since = whole_log($fake);
	$node->safe_psql('postgres', "INSERT INTO users VALUES (10000 + $i, 'New')");
	ok(wait_until(sub { status_of($node, 'bot', 10000 + $i) eq 'created' }), "new user $i is created beside 5,000 changes");
	my @later = (whole_log($fake))[ $since .. scalar(whole_log($fake)) - 1 ];
	my $until = 0;
	$until++ while $until < @later && $later[$until]{method} ne 'POST';
	# what had left before, and what the commit met
	cmp_ok($until, '<=', 20, "within 2 s at 10 requests a second: after $until others");
}

# While new contacts, each alone, and deletions wait, a tenth at least is for the others.
set_conf($node, 'contacts_push.batch_size' => 1);
$node->safe_psql('postgres', <<'END');
BEGIN;
INSERT INTO users SELECT 20000 + i, 'New' FROM generate_series(1, 300) i;
DELETE FROM users WHERE id > 5000 AND id <= 5300;
COMMIT;
END
ok(wait_until(sub { grep { $_->{method} eq 'DELETE' } whole_log($fake) }), 'deletions are under way');
my $since = whole_log($fake);
set_conf($node, 'contacts_push.requests_per_second' => 100);
ok(wait_until(sub { whole_log($fake) >= $since + 100 }), 'a hundred requests leave');
my %methods;
$methods{ $_->{method} }++ for (whole_log($fake))[ $since .. $since + 99 ];
cmp_ok($methods{POST} // 0, '>=', 9, 'new contacts among them');
cmp_ok($methods{PATCH} // 0, '>=', 9, 'changes among them');
cmp_ok($methods{DELETE} // 0, '>=', 50, 'deletions first');
note join ', ', map { "$_ $methods{$_}" } sort keys %methods;

$node->stop;
done_testing();
