# A user's key that changes several times before the worker gets to it, and circles of such: the
# contact at Chatbase has the last of them in the end, and is the same contact.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use ContactsPushTest;
use FakeChatbase;
use Test::More;

my $fake = FakeChatbase->start;
my $node = new_cluster('key_chains', $fake);

$node->safe_psql('postgres', <<'END');
CREATE TABLE users (id int PRIMARY KEY, email text UNIQUE);
SELECT contacts_push.watch('users', 'chains', updates => true, deletes => true);
INSERT INTO users SELECT i, 'u' || i || '@example.com' FROM generate_series(1, 20) i;
END
ok(settled($node), 'there are users');

# Who the contacts are at Chatbase.
my %id_of = map { ($_->{email} => $_->{id}) } @{ $fake->admin('contacts?chatbot=chains') };

# Whoever has these e-mails has these keys, at Chatbase and in the table, and is who it was.
sub has_keys
{
	my ($what, %wanted) = @_;
	ok(settled($node), "$what: settled");
	my %held = map { ($_->{email} => $_) } @{ $fake->admin('contacts?chatbot=chains') };
	for my $email (sort keys %wanted)
	{
		is(($held{$email}{external_id} // 'none') . ' ' . ($held{$email}{id} // 'none'),
			"$wanted{$email} " . ($id_of{$email} // $held{$email}{id}), "$what: $email");
	}
	is(scalar keys %held, $node->safe_psql('postgres', 'SELECT count(*) FROM users'), "$what: nobody else is there");
	return;
}

# Has statements committed one by one before the worker sees any of them.
sub together
{
	my (@statements) = @_;
	$node->safe_psql('postgres', "SELECT contacts_push.pause('chains')");
	$node->safe_psql('postgres', $_) for @statements;
	$node->safe_psql('postgres', "SELECT contacts_push.resume('chains')");
	return;
}

sub change { my ($from, $to) = @_; return "UPDATE users SET id = $to WHERE id = $from"; }

together(change(1, 101), change(101, 102));
has_keys('twice', 'u1@example.com' => 102);

together(change(2, 201), map { change($_, $_ + 1) } 201 .. 209);
has_keys('ten times', 'u2@example.com' => 210);

together(change(3, 301), "INSERT INTO users VALUES (3, 'new\@example.com')", change(301, 302));
has_keys('twice, and the first key used again', 'u3@example.com' => 302, 'new@example.com' => 3);

together('BEGIN; ' . change(4, 401) . '; ' . change(401, 402) . '; COMMIT');
has_keys('twice in a transaction', 'u4@example.com' => 402);

together(change(5, 501), "UPDATE users SET email = 'changed\@example.com' WHERE id = 501", change(501, 502));
$id_of{'changed@example.com'} = $id_of{'u5@example.com'};
has_keys('and another e-mail between', 'changed@example.com' => 502);

$fake->faults({ match => { method => 'PATCH' }, times => 1, when => 'after', action => { drop => FakeChatbase::true } });
together(change(6, 601), change(601, 602));
has_keys('whose first answer is lost', 'u6@example.com' => 602);
$fake->faults;

together('BEGIN; ' . change(7, -1) . '; ' . change(8, 7) . '; ' . change(-1, 8) . '; COMMIT',
	change(9, 901), change(901, 902),
	'BEGIN; ' . change(10, -1) . '; ' . change(11, 10) . '; ' . change(-1, 11) . '; COMMIT');
has_keys('beside others that are swapped', 'u7@example.com' => 8, 'u8@example.com' => 7,
	'u9@example.com' => 902, 'u10@example.com' => 11, 'u11@example.com' => 10);

together(change(12, 1201), change(1201, 1202), 'DELETE FROM users WHERE id = 1202');
has_keys('and deleted at last');
ok(!(grep { $_->{email} eq 'u12@example.com' } @{ $fake->admin('contacts?chatbot=chains') }), 'it is not there');

together('DELETE FROM users WHERE id = 13', change(14, 13));
has_keys('the key of a user who is deleted', 'u14@example.com' => 13);

together(change(15, 1501), 'DELETE FROM users WHERE id = 1501', change(16, 15));
has_keys('the key of one who changed it, and was deleted', 'u16@example.com' => 15);

$node->stop;
done_testing();
