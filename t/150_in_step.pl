# Users are created, change their e-mails and keys, are deleted and come again, while worker and
# server are killed: afterwards Chatbase has exactly what the view says, and nothing that was
# there before was touched, whatever the API's reference leaves open.
#
# Takes long: thousands of statements, and several crashes.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use ContactsPushTest;
use EngineTest;
use FakeChatbase;
use JSON::PP;
use List::Util qw(shuffle);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

# Contacts that are there from the beginning, and no user's.
use constant FOREIGN => 20;

my $json = JSON::PP->new->canonical;
my $fake = FakeChatbase->start;
my $node = new_cluster('in_step', $fake, extra => <<'END');
restart_after_crash = on
contacts_push.batch_size = 500
END
seed_random();

# What the stand-in has, as external_id => all but what it adds itself.
sub at_chatbase
{
	my ($chatbot) = @_;
	my %held;
	for my $contact (@{ $fake->admin("contacts?chatbot=$chatbot") })
	{
		my %kept = %$contact;
		delete @kept{qw(id created_at updated_at)};
		die "$kept{external_id} is held twice" if exists $held{ $kept{external_id} };
		$held{ $kept{external_id} } = $json->encode(\%kept);
	}
	return \%held;
}

# What the view says, in the same form.
sub in_view
{
	my ($table) = @_;
	my %wanted;
	for my $line (split /\n/, $node->safe_psql('postgres', "SELECT jsonb_strip_nulls(to_jsonb(v)) FROM ${table}_contacts v"))
	{
		my $contact = $json->decode($line);
		$contact->{external_id} = "$contact->{external_id}";
		$wanted{ $contact->{external_id} } = $json->encode($contact);
	}
	return \%wanted;
}

# The first differences between the two; '' if there are none.
sub differences
{
	my ($held, $wanted) = @_;
	my @wrong;
	for my $id (sort keys %{ { %$held, %$wanted } })
	{
		my ($is, $should) = ($held->{$id} // 'not there', $wanted->{$id} // 'not there');
		push @wrong, "$id is $is, should be $should" if $is ne $should;
	}
	return join "\n", @wrong > 5 ? (@wrong[ 0 .. 4 ], scalar(@wrong) . ' in all') : @wrong;
}

# A statement on a server that may be restarting just now: until it has been committed.
sub run
{
	my ($sql) = @_;
	wait_until(sub { (try_psql($node, 'postgres', "BEGIN; $sql; COMMIT"))[0] == 0 }) or die "cannot run: $sql";
	return;
}

sub kill_worker
{
	my (undef, $pid) = try_psql($node, 'postgres',
		"SELECT pid FROM pg_stat_activity WHERE backend_type = 'contacts_push worker' AND datname = 'postgres'");
	kill 'KILL', $pid if $pid ne '';
	return;
}

# Each changes one user that is there, and is one that can be done twice: whoever does not know
# whether a statement was committed before a crash runs it again.
my $fresh = 0;
my %changes = (
	email => sub {
		my ($table, $users) = @_;
		my $id = (keys %$users)[ rand keys %$users ];
		$fresh++;
		return "UPDATE $table SET email = 'new$fresh\@example.com' WHERE id = $id";
	},
	delete => sub {
		my ($table, $users) = @_;
		my $id = (keys %$users)[ rand keys %$users ];
		delete $users->{$id};
		return "DELETE FROM $table WHERE id = $id";
	},
	key => sub {
		my ($table, $users) = @_;
		my $id = (keys %$users)[ rand keys %$users ];
		my $new = 1_000_000 + ++$fresh;
		delete $users->{$id};
		$users->{$new} = 1;
		return "UPDATE $table SET id = $new WHERE id = $id";
	},
	again => sub {
		my ($table, $users) = @_;
		my $id = (keys %$users)[ rand keys %$users ];
		$fresh++;
		return "DELETE FROM $table WHERE id = $id",
		  "INSERT INTO $table (id, email, name) VALUES ($id, 'again$fresh\@example.com', 'Again $fresh') ON CONFLICT DO NOTHING";
	});

# Has users of a chatbot do all that: counts says how often each; kills: crashes meanwhile.
sub in_step
{
	my ($chatbot, %options) = @_;
	my $table = "users_$chatbot";
	my %users;
	my @work;

	$fake->config(list_order => 'arrival', attributes => 'merge', nulls => 'clear', phonenumbers => 'any',
		delete_status => 200, chatbot_not_found => 'Resource not found', contact_not_found => 'Contact not found',
		order => 'input', strip_attributes => [], %{ $options{config} // {} });
	$fake->preset($chatbot, map { { external_id => "old$_", email => "old$_\@example.com", name => "Old $_" } } 1 .. FOREIGN);
	my $before = at_chatbase($chatbot);
	run(<<"END");
CREATE TABLE $table (id int PRIMARY KEY, email text UNIQUE, name text, phone text);
SELECT contacts_push.watch('$table', '$chatbot', external_id => 'id', email => 'email', name => 'name',
	phonenumber => 'phone', custom_attributes => 'jsonb_build_object(''number'', id, ''mail'', email)');
SELECT contacts_push.push_changes('$chatbot', updates => true, deletes => true)
END
	my $users = $options{users};
	my $step = int($users / 10);
	for my $from (map { $_ * $step + 1 } 0 .. 9)
	{
		my $to = $from + $step - 1;
		run("INSERT INTO $table SELECT i, 'u' || i || '\@example.com', 'User ' || i, '+49 30 ' || i FROM generate_series($from, $to) i ON CONFLICT DO NOTHING");
		@users{ $from .. $to } = (1) x $step;
		# changes follow from the beginning on
		push @work, '' if $from == 1;
	}
	@work = shuffle(map { ($_) x $options{$_} } grep { $options{$_} } sort keys %changes);
	push @work, ('kill') x ($options{kills} // 0) if $options{kills};
	for my $change (shuffle(@work))
	{
		if ($change eq 'kill')
		{
			usleep(rand 300_000);
			rand() < 0.5 ? kill_worker() : kill_and_start($node);
			next;
		}
		run($_) for $changes{$change}->($table, \%users);
	}
	ok(wait_until(sub { is_up($node) }), "$chatbot: the server is there");
	ok(settled($node), "$chatbot: all is settled");
	is(differences(at_chatbase($chatbot), { %{ in_view($table) }, %$before }), '',
		"$chatbot: Chatbase has what the view says, and what was there before");
	is($node->safe_psql('postgres', 'SELECT count(*) FROM contacts_push.request WHERE finished_at IS NULL'), 0,
		"$chatbot: no request is open");
	note "$chatbot: " . outcomes($node, $chatbot);
	note $node->safe_psql('postgres', "SELECT string_agg(DISTINCT status || ' ' || external_id || ': ' || error, E'\\n') FROM contacts_push.outbox WHERE chatbot_id = '$chatbot' AND status IN ('conflict', 'rejected', 'failed')");
	return;
}

my %few = (users => 200, email => 30, delete => 20, key => 20, again => 10, kills => 1);
in_step('merge', %few);
in_step('replace', %few, config => { attributes => 'replace' });
in_step('no_content', %few, config => { delete_status => 204 });
in_step('resource', %few, config => { contact_not_found => 'Resource not found' });
in_step('reverse', %few, config => { order => 'reverse', list_order => 'scattered' });
in_step('phones', %few, config => { phonenumbers => 'unique' });
in_step('no_nulls', %few, config => { nulls => 'refused' });
in_step('ignored', %few, config => { nulls => 'ignored' });

# Slow answers: some before the contacts are applied, some after, so that a crash meets all
# that can be under way.
$fake->faults(
	{ match => { every => 5, phase => 0 }, action => { delay_ms => 40 } },
	{ match => { every => 5, phase => 1 }, when => 'after', action => { delay_ms => 60 } });
in_step('whole', users => 10_000, email => 500, delete => 200, key => 50, again => 30, kills => 6);

$node->stop;
done_testing();
