# Several users get the e-mail that one can have, and e-mails go from one user to another.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use ContactsPushTest;
use EngineTest qw(:DEFAULT chatbot_settled);
use FakeChatbase;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $fake = FakeChatbase->start;
my $node = new_cluster('one_email', $fake);
$fake->config(phonenumbers => 'unique');

sub sql { return $node->safe_psql('postgres', $_[0]); }

sub newest
{
	return sql("SELECT string_agg(status || ' ' || n, ', ' ORDER BY status) FROM (SELECT status::text, count(*) AS n FROM"
		  . " (SELECT DISTINCT ON (external_id) status FROM contacts_push.outbox ORDER BY external_id, seq DESC) o GROUP BY status) s");
}

# What Chatbase has, and what the view says.
sub same
{
	my ($what) = @_;
	ok(chatbot_settled($node, 'bot'), "$what: settled");
	is(join("\n", sort map { "$_->{external_id} $_->{email}" } @{ $fake->admin('contacts?chatbot=bot') }),
		join("\n", sort split /\n/, sql(q{SELECT external_id || ' ' || email FROM users_contacts})), "$what: Chatbase has what the view says");
	return;
}

sql(<<'END');
CREATE TABLE users (id int PRIMARY KEY, email text, phone text);
SELECT contacts_push.watch('users', 'bot', external_id => 'id', email => 'email', phonenumber => 'phone', updates => true, deletes => true);
INSERT INTO users SELECT i, i || '@example.com', '+49 ' || i FROM generate_series(1, 9) i
END
same('users');

# By a mistake, with and without another member that they have in common.
sql(q{UPDATE users SET email = 'all@example.com'});
ok(chatbot_settled($node, 'bot'), 'one e-mail for all: settled');
is(newest(), 'conflict 8, updated 1', 'one e-mail for all: one has it');
sql(q{UPDATE users SET email = id || '@example.org', phone = '+49 ' || (id % 3)});
ok(chatbot_settled($node, 'bot'), 'one phone number for three: settled');
is(newest(), 'conflict 6, updated 3', 'one phone number for three: one of each three has it');
sql(q{UPDATE users SET email = 'all@example.com', phone = '+49 0'});
ok(chatbot_settled($node, 'bot'), 'both for all: settled');
is(newest(), 'conflict 8, updated 1', 'both for all: one has them');
sql(q{UPDATE users SET email = id || '@example.net', phone = NULL});
same('mended');

# Users who come for one who goes, in one transaction, in either order.
sql(q{BEGIN; DELETE FROM users WHERE id = 1; INSERT INTO users VALUES (11, '1@example.net'); COMMIT});
same('deleted, then inserted');
sql(q{BEGIN; INSERT INTO users VALUES (12, '2@example.net'); DELETE FROM users WHERE id = 2; COMMIT});
same('inserted, then deleted');
sql(q{BEGIN; INSERT INTO users VALUES (13, '3@example.net'); UPDATE users SET email = 'free@example.net' WHERE id = 3; COMMIT});
same('inserted, then freed');

$node->stop;
done_testing();
