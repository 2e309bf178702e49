# Where the library is not preloaded, a session can give its settings any value before it
# is loaded.  By that nobody has contacts or the key sent anywhere but where the server says.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use ContactsPushTest;
use FakeChatbase;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $fake = FakeChatbase->start('--key', KEY, '--key', 'other-key');
my $elsewhere = FakeChatbase->start('--key', KEY, '--key', 'other-key');
my $file = PostgreSQL::Test::Utils::tempdir() . '/key';
append_to_file($file, KEY . "\n");
chmod 0600, $file;
my $node = new_cluster('late', $fake, preload => 0, extra => <<"END");
contacts_push.api_key_file = '$file'
contacts_push.api_key = 'other-key'
END
$node->safe_psql('postgres', <<'END');
CREATE ROLE plain LOGIN;
GRANT EXECUTE ON FUNCTION chatbase_create_contacts(text, jsonb) TO plain;
GRANT USAGE ON SCHEMA contacts_push TO plain;
CREATE TABLE users (id integer PRIMARY KEY, email text);
GRANT INSERT ON users TO plain;
SELECT contacts_push.watch('users', 'bot');
END

my $number = 0;

# A call in a session with options: SQLSTATE, or 'sent'.
sub call
{
	my ($role, $options, $before) = @_;
	local $ENV{PGOPTIONS} = $options;
	$number++;
	my ($status, $stdout, $stderr) = $node->psql('postgres', <<"END", on_error_stop => 0, extra_params => [ '--username', $role ]);
\\set VERBOSITY verbose
@{[ $before // '' ]}
SELECT 'se' || 'nt' FROM chatbase_create_contacts('c', '{"external_id": "$number"}');
END
	note($stderr) if $stderr ne '';
	return $stderr =~ /ERROR:  (\w{5}):/ ? $1 : $stdout;
}

is(call('plain', ''), 'sent', 'without options it is sent');
for my $setting ('base_url=' . $elsewhere->base_url, 'base_url=https://www.chatbase.co/api/v1', 'ca_file=/nowhere',
	'connect_timeout=5s', 'api_key_file=', 'api_key_file=/nowhere', 'api_key=third-key', 'max_response_bytes=1024',
	'requests_per_second=1')
{
	is(call('plain', "-c contacts_push.$setting"), '42501', "refused: $setting");
}
is(call('plain', '-c contacts_push.request_timeout=30s'), 'sent', 'what everybody may set is no reason');
is(call('plain', '', 'SET contacts_push.base_url = \'' . $elsewhere->base_url . "';"), 'sent', 'what is SET before is dropped');
is($elsewhere->stats->{requests}, 0, 'nothing came elsewhere');
is($fake->stats->{requests}, 3, 'but where the server says');

# a superuser may
my $superuser = $node->safe_psql('postgres', 'SELECT current_user');
is(call($superuser, '-c contacts_push.base_url=' . $elsewhere->base_url), 'sent', 'a superuser may set it');
is($elsewhere->stats->{requests}, 1, 'and it is sent there');

# and no statement of an application's fails for it
{
	local $ENV{PGOPTIONS} = '-c contacts_push.base_url=https://example.com';
	is($node->psql('postgres', q{INSERT INTO users VALUES (1, 'one@example.com')}, extra_params => [ '--username', 'plain' ]),
		0, 'a watched table can be written');
}
is($node->safe_psql('postgres', 'SELECT external_id FROM contacts_push.outbox'), '1', 'and its rows are enqueued');

$node->stop;
done_testing();
