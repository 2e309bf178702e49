# What others have put where CREATE EXTENSION looks does not run with the rights of whoever
# installs it, and what stands in a chatbot's id or a contact stays in there.
use strict;
use warnings;
use utf8;

use FindBin;
use lib "$FindBin::Bin/lib";

use ContactsPushTest;
use Encode qw(encode_utf8);
use FakeChatbase;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $fake = FakeChatbase->start;
my $node = new_cluster('withstood', $fake, extension => 0);

# traps in a schema that everybody may write, along the installer's search_path
$node->safe_psql('postgres', <<'END');
CREATE ROLE planter LOGIN;
CREATE DATABASE planted;
END
$node->safe_psql('planted', <<'END');
GRANT ALL ON SCHEMA public TO planter;
CREATE TABLE public.ran (what text, who text);
GRANT ALL ON public.ran TO PUBLIC;
END
$node->safe_psql('planted', <<'END', extra_params => [ '--username', 'planter' ]);
CREATE FUNCTION spring(what text) RETURNS boolean LANGUAGE plpgsql AS
	$$BEGIN INSERT INTO public.ran VALUES (what, current_user); RETURN true; END$$;
DO $$
DECLARE
	f record;
	o record;
BEGIN
	-- functions of the server's own names, for the very types and for others
	FOR f IN SELECT * FROM unnest(ARRAY['octet_length', 'clock_timestamp', 'now', 'quote_ident', 'format', 'count',
			'unnest', 'lower', 'upper', 'coalesce_', 'pg_get_userbyid', 'aclexplode', 'acldefault', 'pg_extension_config_dump',
			'decode', 'encode', 'replace', 'concat', 'round', 'rpad', 'repeat']) AS n(name)
	LOOP
		EXECUTE format('CREATE FUNCTION %I(text) RETURNS text LANGUAGE sql AS $f$SELECT spring(%L)::text$f$', f.name, f.name);
		EXECUTE format('CREATE FUNCTION %I(VARIADIC "char"[]) RETURNS text LANGUAGE sql AS $f$SELECT spring(%L)::text$f$', f.name, f.name);
		EXECUTE format('CREATE FUNCTION %I(oid, oid) RETURNS text LANGUAGE sql AS $f$SELECT spring(%L)::text$f$', f.name, f.name);
	END LOOP;
	FOR o IN SELECT * FROM unnest(ARRAY['=', '<>', '>=', '<=', '||', '->>', '+', '-', '/', '*', '~'],
			ARRAY['eq', 'ne', 'ge', 'le', 'cat', 'get', 'plus', 'minus', 'div', 'times', 'match']) AS n(operator, name),
		unnest(ARRAY['text', 'integer', 'bigint', 'name', 'regclass', 'oid', '"char"', 'varchar']) AS t(type)
	LOOP
		EXECUTE format('CREATE FUNCTION op_%s(%s, %2$s) RETURNS boolean LANGUAGE sql AS $f$SELECT spring(%L)$f$', o.name, o.type, o.operator);
		EXECUTE format('CREATE OPERATOR %s (LEFTARG = %s, RIGHTARG = %2$s, PROCEDURE = op_%s)', o.operator, o.type, o.name);
	END LOOP;
END$$;
CREATE DOMAIN text_ AS text;
CREATE TYPE status AS ENUM ('planted');
CREATE TYPE contact AS (planted text);
CREATE TABLE outbox (planted text DEFAULT spring('outbox')::text);
CREATE VIEW pg_extension AS SELECT spring('pg_extension') AS extname;
CREATE VIEW pg_publication AS SELECT spring('pg_publication') AS puballtables;
CREATE VIEW pg_depend AS SELECT spring('pg_depend') AS deptype;
END
$node->safe_psql('planted', q{SET search_path = public, pg_catalog; SELECT octet_length('a'::text)});
is($node->safe_psql('planted', 'SELECT what FROM ran'), 'octet_length', 'the traps work');
$node->safe_psql('planted', 'TRUNCATE ran');
$node->safe_psql('planted', <<'END');
SET search_path = public, pg_catalog;
CREATE EXTENSION contacts_push;
CREATE TABLE users (id pg_catalog.int4 PRIMARY KEY, email pg_catalog.text);
SELECT contacts_push.watch('users', 'bot');
INSERT INTO users VALUES (1, 'one@example.com');
CALL contacts_push.backfill('users');
SELECT contacts_push.flush();
SELECT contacts_push.pause();
SELECT contacts_push.resume();
SELECT contacts_push.retry();
SELECT * FROM contacts_push.progress;
SELECT * FROM contacts_push.contact_status;
SELECT * FROM contacts_push.worker;
SELECT contacts_push.unwatch('users');
END
is($node->safe_psql('planted', q{SELECT DISTINCT what OPERATOR(pg_catalog.||) ' as ' OPERATOR(pg_catalog.||) who FROM ran}),
	'', 'nothing that was planted has run');
is($node->safe_psql('planted', q{SELECT status FROM contacts_push.outbox}), 'created', 'and it works');

# what has the names of its own has it refused, and is not taken over
for my $object ('SCHEMA contacts_push', 'SCHEMA contacts_push_internal')
{
	$node->safe_psql('postgres', "CREATE $object AUTHORIZATION planter");
	my ($status, $stdout, $stderr) = $node->psql('postgres', 'CREATE EXTENSION contacts_push');
	like($stderr, qr/ERROR:  schema "\w+" already exists/, "planted: $object");
	$node->safe_psql('postgres', "DROP $object");
}
$node->safe_psql('postgres', <<'END');
CREATE FUNCTION chatbase_create_contacts(chatbot_id text, users jsonb) RETURNS text LANGUAGE sql AS $$SELECT ''$$;
ALTER FUNCTION chatbase_create_contacts OWNER TO planter;
END
my ($status, $stdout, $stderr) = $node->psql('postgres', 'CREATE EXTENSION contacts_push');
like($stderr, qr/ERROR:  function "chatbase_create_contacts" already exists/, 'planted: the function');
$node->safe_psql('postgres', 'DROP FUNCTION chatbase_create_contacts; CREATE EXTENSION contacts_push');

# ids and contacts that try to be more than a part of a path, a header or a string
my @chatbots = ('a/b', '../c', 'a?b=c', 'a#b', 'a b', "a\r\nX-Injected: b", 'a%0d%0aX-Injected: b', '%2e%2e', 'a;b', "a'b", 'a"b',
	'a\\b', 'ä€', 'a@b:c');
my @external_ids = ('a","email":"b', '{"a":1}', 'a\\', 'a\\"', "a\nb", "a\r\n\r\nPOST / HTTP/1.1", "a\tb", '</script>', "\x{2028}",
	"'; DROP TABLE users; --", '$$', '%s%n', "\x01", '[', ']', "\x{1F600}");
my $quote = sub { my ($text) = @_; $text =~ s/'/''/g; return encode_utf8("'$text'"); };
my $fill = join ";\n", map {
	my $chatbot = $_;
	"INSERT INTO contacts_push.outbox (chatbot_id, external_id, contact) SELECT " . $quote->($chatbot)
	  . ", e, jsonb_build_object('name', e, 'custom_attributes', jsonb_build_object(e, e)) FROM unnest(ARRAY["
	  . join(', ', map { $quote->($_) } @external_ids) . ']) AS e'
} @chatbots;
$node->safe_psql('postgres', $fill);
ok(settled($node), 'all is settled');
is($node->safe_psql('postgres', q{SELECT string_agg(DISTINCT status::text, ',') FROM contacts_push.outbox}), 'created', 'all is created');
for my $chatbot (@chatbots)
{
	my $bytes = encode_utf8($chatbot);
	(my $shown = $bytes) =~ s/[^ -~]/./g;
	is(join('|', sort map { encode_utf8($_) } keys %{ $fake->held($bytes) }),
		join('|', sort map { encode_utf8($_) } @external_ids), "$shown: has what was enqueued, and no more");
}
my %asked = map { $_->{chatbot} => 1 } grep { $_->{number} > 0 } $fake->requests;
is(join('|', sort map { encode_utf8($_) } keys %asked), join('|', sort map { encode_utf8($_) } @chatbots, 'bot'), 'no other chatbot was asked');
is(scalar(grep { $_->{number} == 0 } $fake->requests), 0, 'and nothing else');

# by a call, too
is($node->safe_psql('postgres', "DO \$do\$ BEGIN " . join('; ', map { "PERFORM * FROM chatbase_create_contacts(" . $quote->("call $_") . ", jsonb_build_object('external_id', " . $quote->($_) . '))' } @chatbots) . '; END$do$'),
	'', 'calls succeed');
is(join('|', map { join ',', map { encode_utf8($_) } keys %{ $fake->held(encode_utf8("call $_")) } } @chatbots),
	join('|', map { encode_utf8($_) } @chatbots), 'and each has arrived at its chatbot');

$node->stop;
done_testing();
