# Custom attributes from a first contact that loses one to a chatbot that has them all; how the calls
# end when they are told to, and what they count.  Which types are told is in sql/register_attributes.sql.
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

# An answer that takes so long comes after all that is waited for here.
use constant LATE_MS => 60_000;

my $fake = FakeChatbase->start('--key', KEY);
$fake->config(schema => 'applied');
my $node = new_cluster('register_attributes', $fake);

sub register
{
	my ($relation, $dry_run, $database) = @_;
	return $node->safe_psql($database // 'postgres',
		"SELECT name, type, outcome FROM contacts_push.register_attributes('bot', '$relation'" . ($dry_run ? '' : ', false') . ')');
}
sub attributes { return join ' ', map { "$_->{name}:$_->{type}" } @{ $fake->admin('attributes?chatbot=bot') }; }
sub check { return $node->safe_psql('postgres', "SELECT what FROM contacts_push.check('bot') WHERE what LIKE '%custom attribute%' AND ok IS NOT true"); }

# ---- from the loss of an attribute to its being kept ----

$node->safe_psql('postgres', <<'END');
CREATE TABLE users (id integer PRIMARY KEY, plan text, seats integer, since date, vip boolean);
SELECT contacts_push.watch('users', 'bot',
	custom_attributes => $$jsonb_build_object('plan', plan, 'seats', seats, 'since', since, 'vip', vip)$$);
INSERT INTO users VALUES (1, 'gold', 5, '2026-01-31', true);
END
ok(settled($node), 'a contact is sent');
is(outcomes($node, 'bot'), 'created 1', 'and created');
ok(!exists $fake->admin('contacts?chatbot=bot')->[0]{custom_attributes}{plan}, 'without its attributes');
is($node->safe_psql('postgres', q{SELECT array_length(stripped_attributes, 1) FROM contacts_push.chatbot WHERE chatbot_id = 'bot'}),
	4, 'the worker has seen that');
is(check(), join("\n", map { "chatbot bot: custom attribute $_" } qw(plan seats since vip)), 'check() says so, of each once');

is(register('users', 1), join("\n", 'plan|text|would be created', 'seats|number|would be created', 'since|date|would be created',
		'vip|boolean|would be created'), 'what would be created');
is(attributes(), '', 'but is not');
is(register('users', 0), join("\n", 'plan|text|created', 'seats|number|created', 'since|date|created', 'vip|boolean|created'), 'is created');
is(attributes(), 'plan:text seats:number since:date vip:boolean', 'with the types of the columns');
is(register('users', 0), join("\n", map { "$_|exists" } 'plan|text', 'seats|number', 'since|date', 'vip|boolean'), 'once');
is(check(), '', 'check() finds all of them');

$node->safe_psql('postgres', q{INSERT INTO users VALUES (2, 'silver', 3, '2026-02-01', false)});
ok(settled($node), 'another contact is sent');
is_deeply($fake->admin('contacts?chatbot=bot')->[1]{custom_attributes},
	{ plan => 'silver', seats => 3, since => '2026-02-01', vip => JSON::PP::false }, 'and keeps them');

# ---- told to end ----

$node->safe_psql('postgres', 'TRUNCATE users; ALTER TABLE users ADD COLUMN nick text');
$node->safe_psql('postgres', q{SELECT contacts_push.unwatch('users'); SELECT contacts_push.watch('users', 'bot',
	custom_attributes => $$jsonb_build_object('nick', nick, 'plan', plan)$$)});
for my $case (
	[ 'the list', 'GET', q{SELECT * FROM contacts_push.register_attributes('bot', 'users')} ],
	[ 'the creation', 'POST', q{SELECT * FROM contacts_push.register_attributes('bot', 'users', false)} ],
	[ 'one alone', 'POST', q{SELECT contacts_push.create_attribute('bot', 'nick', 'text')} ])
{
	my ($name, $method, $sql) = @$case;
	$fake->faults({ match => { chatbot => 'bot', method => $method }, action => { delay_ms => LATE_MS } });
	my (undef, undef, $stderr) = $node->psql('postgres', "SET statement_timeout = '1s'; $sql");
	like($stderr, qr/canceling statement due to statement timeout/, "$name: statement_timeout ends it");
	my $session = start_call($node, $fake, $sql);
	$node->safe_psql('postgres', q{SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE backend_type = 'client backend' AND query LIKE 'SELECT%contacts_push.%' AND pid <> pg_backend_pid()});
	ok(wait_until(sub { $session->{run}->pump_nb; $session->{stderr} =~ /canceling statement due to user request/ }), "$name: can be cancelled");
	$session->quit;
}
$fake->faults();
# a request that was broken off is applied when its time comes, as a server would
$fake->release;
ok(wait_until(sub { $fake->in_flight == 0 }), 'nothing is under way');
is(register('users', 0), join("\n", 'nick|text|exists', 'plan|text|exists'), 'what was broken off is found to be there');

# a view that takes long
$node->safe_psql('postgres', <<'END');
CREATE FUNCTION slow(integer) RETURNS jsonb LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(600); RETURN ''{}''; END';
CREATE VIEW slow_users AS SELECT id AS external_id, slow(id) AS custom_attributes FROM users;
INSERT INTO users VALUES (3);
END
my (undef, undef, $stderr) = $node->psql('postgres', q{SET statement_timeout = '1s'; SELECT * FROM contacts_push.register_attributes('bot', 'slow_users')});
like($stderr, qr/canceling statement due to statement timeout/, 'statement_timeout ends the look at rows');

# ---- a database in another encoding ----

$node->safe_psql('postgres', q{CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'});
$node->safe_psql('latin', 'CREATE EXTENSION contacts_push; CREATE TABLE users (id integer PRIMARY KEY, plan text, city text);'
	. q{CREATE VIEW v AS SELECT id AS external_id, jsonb_build_object('plan', plan, 'city', city) AS custom_attributes FROM users});
$fake->admin('attributes?chatbot=bot', { name => 'city', type => 'text', label => "\x{5e02}" });
is(register('v', 1, 'latin'), join("\n", 'city|text|exists', 'plan|text|exists'), 'labels that it does not have do not matter');
$node->safe_psql('latin', q{SET client_encoding = 'UTF8'; SELECT contacts_push.create_attribute('bot', 'street', 'text', 'Straße')});
is((map { $_->{label} } grep { $_->{name} eq 'street' } @{ $fake->admin('attributes?chatbot=bot') })[0], "Stra\x{df}e", 'and its own arrive');

# ---- what counts ----

set_conf($node, 'contacts_push.requests_per_second' => 0.1);
$fake->faults({ times => 1, match => { method => 'POST', chatbot => 'other' }, action => { status => 429, headers => { 'Retry-After' => '3600' } } });
insert_users($node, 'other', 'u', 1, 1);
ok($node->poll_query_until('postgres',
		q{SELECT count(*) = 1 FROM contacts_push.request WHERE http_status = 429 AND finished_at IS NOT NULL}), 'budget: a worker waits');
my $refused = qr/53400: could not \w+ custom attribute.* in chatbot "bot": calls have used their half of the key's budget/;
for my $sql (q{SELECT * FROM contacts_push.register_attributes('bot', 'users')}, q{SELECT contacts_push.create_attribute('bot', 'late', 'text')})
{
	(undef, undef, $stderr) = $node->psql('postgres', "\\set VERBOSITY verbose\n" . "$sql;\n" x 5);
	like($stderr, $refused, 'budget: calls fail beyond their half');
}
set_conf($node, 'contacts_push.requests_per_second' => 100000);
$node->safe_psql('postgres', q{SELECT contacts_push.resume()});

unlike(slurp_file($node->logfile), qr/\Q@{[ KEY ]}\E/, 'the key is in no log');
$node->stop;

# ---- without shared_preload_libraries ----

my $plain = new_cluster('register_plain', $fake, preload => 0, extra => "contacts_push.api_key = '" . KEY . "'\n");
$plain->safe_psql('postgres', q{CREATE TABLE users (id integer PRIMARY KEY, score numeric);
	CREATE VIEW v AS SELECT id AS external_id, jsonb_build_object('score', score) AS custom_attributes FROM users});
is($plain->safe_psql('postgres', q{SELECT name, type, outcome FROM contacts_push.register_attributes('bot', 'v', false)}),
	'score|number|created', 'not preloaded: it works');
$plain->stop;

done_testing();
