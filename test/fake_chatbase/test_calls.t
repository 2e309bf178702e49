# What the stand-in answers to the calls beside create, under each reading of the reference.

use strict;
use warnings;
use utf8;

use FindBin;
use lib $FindBin::Bin;
use FakeChatbaseTest;
use Encode qw(encode_utf8);
use Test::More;

start_fake('--exit-with-stdin', '--key', 'test-key');
reset_fake();

# A call: what follows the chatbot's contacts in the path, and the data of an update.
sub call
{
	my ($method, $chatbot, $rest, $data) = @_;
	my %headers = (Authorization => 'Bearer test-key');
	$headers{'Content-Type'} = 'application/json' if defined $data;
	return request($method, "/api/v1/chatbots/$chatbot/contacts$rest",
		defined $data ? ref $data ? encode({ data => $data }) : $data : undef, %headers);
}

sub told { my $answer = call(@_); return "$answer->{status} " . (message($answer) // ''); }
sub ids { return join ' ', map { $_->{external_id} } @{ $_[0]{data}{data} }; }

subtest 'one contact' => sub {
	my $id = 'a/b ü?#';
	my $path = '/a%2Fb%20%C3%BC%3F%23';
	my $made = post('g', [ contact($id, email => 'a@x', custom_attributes => { plan => 'gold' }), contact('b') ])
	  ->{data}{data}[0];
	my $answer = call('GET', 'g', $path);

	is_deeply $answer->{data}, { message => 'Success', data => $made }, 'comes as it was created';
	is told('GET', 'g', '/none'), '404 Contact not found', 'another is not there';
	is told('GET', 'never', '/b'), '404 Contact not found', 'nor in a chatbot without any';
	is request('GET', '/api/v1/chatbots/g/contacts/b')->{status}, 401, 'not without a key';
	is call('GET', 'g', '/b/')->{status}, 404, 'no such path';
	is call('GET', 'g', '/%ff')->{status}, 400, 'not UTF-8';
	is call('PUT', 'g', '/b', {})->{headers}{allow}, 'DELETE, GET, PATCH', 'says which methods there are';
	my ($line) = grep { $_->{number} == 2 } @{ admin('requests') };
	is_deeply [ @$line{qw(method path chatbot contacts status external_ids)} ],
	  [ 'GET', "/api/v1/chatbots/g/contacts$path", 'g', 1, 200, [$id] ], 'is in the log';
	admin('config', { contact_not_found => 'Resource not found' });
	is told('GET', 'g', '/none'), '404 Resource not found', 'in other words';
	reset_fake();
};

subtest 'pages' => sub {
	post('l', [ map { contact("l$_") } 1 .. 25 ]);
	my $answer = call('GET', 'l', '?page=2&per_page=10');

	is ids($answer), join(' ', map { "l$_" } 11 .. 20), 'the second';
	is $answer->{data}{total}, 25, 'of so many contacts';
	is_deeply $answer->{data}{pages}, { page => 2, per_page => 10, total_pages => 3 }, 'and pages';
	is ids(call('GET', 'l', '?page=3&per_page=10')), 'l21 l22 l23 l24 l25', 'the last';
	is told('GET', 'l', '?page=4&per_page=10'), '400 Page out of range', 'none behind it';
	is scalar @{ call('GET', 'l', '')->{data}{data} }, 25, '100 a page';
	is call('GET', 'l', "?$_")->{status}, 400, $_ for qw(page=0 page=x per_page=9 per_page=1001 per_page=);
	is_deeply call('GET', 'none', '')->{data}{data}, [], 'a chatbot without contacts has one that is empty';
	my ($line) = grep { $_->{number} == 2 } @{ admin('requests') };
	is $line->{path}, '/api/v1/chatbots/l/contacts?page=2&per_page=10', 'the log has the page';

	admin('config', { list_order => 'newest' });
	is ids(call('GET', 'l', '?per_page=10')), join(' ', map { "l$_" } reverse 16 .. 25), 'newest first';
	post('l', [ contact('l26'), contact('l27') ]);
	is ids(call('GET', 'l', '?page=2&per_page=10')), join(' ', map { "l$_" } reverse 8 .. 17), 'pages shift';
	admin('config', { list_order => 'scattered' });
	my @scattered = map { split ' ', ids(call('GET', 'l', "?page=$_&per_page=10")) } 1 .. 3;
	isnt "@scattered", join(' ', map { "l$_" } 1 .. 27), 'scattered';
	is join(' ', sort @scattered), join(' ', sort map { "l$_" } 1 .. 27), 'but all';
	reset_fake();
};

subtest 'updates' => sub {
	my %old = (external_id => 'u', name => 'Old', email => 'old@x', custom_attributes => { plan => 'gold', age => 7 });
	my $begin = sub {
		reset_fake();
		admin('config', {@_});
		return post('u', [ \%old, contact('other', email => 'taken@x', phonenumber => '+1') ])->{data}{data}[0]{id};
	};
	my $becomes = sub {
		my ($name, $data, %expected) = @_;
		my $answer = call('PATCH', 'u', '/u', $data);
		is $answer->{status}, 200, "$name: status";
		my %got = %{ $answer->{data}{data} };
		delete @got{qw(id created_at updated_at)};
		is_deeply \%got, { %old, %expected }, $name;
		is_deeply held('u')->[0], $answer->{data}{data}, "$name: held so";
	};

	my $id = $begin->();
	$becomes->('one member', { name => 'New' }, name => 'New');
	is held('u')->[0]{id}, $id, 'it stays who it is';
	$begin->();
	$becomes->('merged', { custom_attributes => { age => 8, vip => JSON::PP::true } },
		custom_attributes => { plan => 'gold', age => 8, vip => JSON::PP::true });
	$begin->();
	$becomes->('a null attribute', { custom_attributes => { age => undef } }, custom_attributes => { plan => 'gold' });
	$begin->(attributes => 'replace');
	$becomes->('replaced', { custom_attributes => { age => 8, plan => undef } }, custom_attributes => { age => 8 });
	$begin->(nulls => 'ignored');
	$becomes->('ignored nulls', { name => undef, custom_attributes => { age => undef } });
	$begin->(nulls => 'refused');
	is told('PATCH', 'u', '/u', { name => undef }), '400 Invalid request data', 'a refused null';
	is told('PATCH', 'u', '/u', { custom_attributes => { age => undef } }), '400 Invalid request data', 'of an attribute';
	$begin->(known_attributes => ['age']);
	$becomes->('a schema', { custom_attributes => { age => 8, new => 1 } }, custom_attributes => { age => 8 });
	$begin->();
	my $answer = call('PATCH', 'u', '/u', { name => undef });
	ok !exists $answer->{data}{data}{name}, 'a null clears';

	$begin->();
	$becomes->('another external_id', { external_id => 'v' }, external_id => 'v');
	is told('PATCH', 'u', '/u', {}), '404 Contact not found', 'the old one is gone';
	is call('GET', 'u', '/v')->{status}, 200, 'the new one is there';
	is told('PATCH', 'u', '/v', { external_id => 'other' }), '409 Email already exists', 'a taken external_id';
	is told('PATCH', 'u', '/v', { email => 'TAKEN@x' }), '409 Email already exists', 'a taken e-mail';
	is call('PATCH', 'u', '/v', { email => 'OLD@x' })->{status}, 200, 'its own in another case';
	is post('u', [ contact('third', email => 'old@X') ])->{status}, 409, 'still its own';
	is call('PATCH', 'u', '/v', { email => 'new@x' })->{status}, 200, 'a new e-mail';
	is post('u', [ contact('third', email => 'old@x') ])->{status}, 200, 'frees the old one';
	is call('PATCH', 'u', '/v', { phonenumber => '+1' })->{status}, 200, 'a phone number is anybody\'s';
	for my $body ('{}', '{"data":null}', '{"data":[]}', '[]', '', '{"data":{}', '{"data":{"email":"x"}}', '{"data":{"name":1}}')
	{
		is told('PATCH', 'u', '/v', $body), '400 Invalid request data', "not an update: $body";
	}
	is request('PATCH', '/api/v1/chatbots/u/contacts/v', '{"data":{}}', Authorization => 'Bearer test-key')->{status},
	  400, 'not said to be JSON';
	reset_fake();
};

subtest 'phone numbers that belong to one' => sub {
	admin('config', { phonenumbers => 'unique' });
	is post('p', [ contact('a', phonenumber => '+1'), contact('b', phonenumber => '+2') ])->{status}, 200, 'two';
	is post('p', [ contact('c', phonenumber => '+2') ])->{status}, 409, 'one of them again';
	is post('p', [ contact('c', phonenumber => '+3'), contact('d', phonenumber => '+3') ])->{status}, 409, 'twice at once';
	is scalar @{ held('p') }, 2, 'nothing of it is applied';
	is call('PATCH', 'p', '/a', { phonenumber => '+2' })->{status}, 409, 'by an update';
	is call('PATCH', 'p', '/a', { phonenumber => '+1', name => 'A' })->{status}, 200, 'its own';
	is call('DELETE', 'p', '/b')->{status}, 200, 'deleted';
	is call('PATCH', 'p', '/a', { phonenumber => '+2' })->{status}, 200, 'frees it';
	reset_fake();
};

subtest 'deletions' => sub {
	my $made = post('d', [ map { contact($_, email => "$_\@x") } qw(a b c) ])->{data}{data};

	is_deeply call('DELETE', 'd', '/b')->{data}, { message => 'Success', data => $made->[1] }, 'says what it was';
	is told('DELETE', 'd', '/b'), '404 Contact not found', 'once';
	is_deeply held('d'), [ @$made[ 0, 2 ] ], 'the others stay';
	is stats()->{contacts}, 2, 'and are counted';
	is post('d', [ contact('new', email => 'b@x') ])->{status}, 200, 'the e-mail is free';
	admin('config', { delete_status => 204 });
	my $answer = call('DELETE', 'd', '/a');
	is "$answer->{status} $answer->{content}", '204 ', 'without a body';
	is join(' ', map { $_->{external_id} } @{ held('d') }), 'c new', 'done all the same';
	reset_fake();
};

# Against a model in Perl: the tables lose and move entries, so that lookups cross gaps.
subtest 'creates, updates and deletions at random' => sub {
	my (%email_of, %taken);
	my ($agreed, $rounds) = (0, 4000);
	srand 4711;
	for (1 .. $rounds)
	{
		my ($id, $email, $kind) = ('id' . int rand 300, 'm' . int(rand 300) . '@x', int rand 3);
		my $there = exists $email_of{$id};
		my $free = !$taken{$email} || $taken{$email} eq $id;
		my $expected = $kind == 0 ? (!$there && $free ? 200 : 409) : !$there ? 404 : $kind == 1 && !$free ? 409 : 200;
		my $answer = $kind == 0 ? post('m', [ contact($id, email => $email) ])
		  : $kind == 1 ? call('PATCH', 'm', "/$id", { email => $email }) : call('DELETE', 'm', "/$id");
		$agreed++ if $answer->{status} == $expected;
		next if $expected != 200;
		delete $taken{ delete $email_of{$id} } if $there;
		($email_of{$id}, $taken{$email}) = ($email, $id) if $kind != 2;
	}
	is $agreed, $rounds, 'every answer';
	is_deeply { map { $_->{external_id} => $_->{email} } @{ held('m') } }, \%email_of, 'and what is held';
};

subtest 'a server without these calls' => sub {
	post('o', [ contact('a') ]);
	for my $case ([ 404, 'Resource not found' ], [ 405, 'Method not allowed' ], [ 501, 'Not implemented' ])
	{
		admin('config', { other_calls => $case->[0] });
		is told(@$_), "@$case", "$case->[0]: $_->[0]" for [ 'GET', 'o', '' ], [ 'GET', 'o', '/a' ],
		  [ 'PATCH', 'o', '/a', { name => 'A' } ], [ 'DELETE', 'o', '/a' ];
		is post('o', [ contact("o$case->[0]") ])->{status}, 200, "$case->[0]: create";
	}
	reset_fake();
	is request('POST', '/_admin/config', encode($_))->{status}, 400, encode($_)
	  for { other_calls => 200 }, { delete_status => 202 }, { nulls => 'x' }, { list_order => 1 }, { attributes => 'x' },
	  { phonenumbers => JSON::PP::true }, { contact_not_found => 4 }, { known_attributes => 'plan' };
};

subtest 'custom attributes' => sub {
	my $path = '/api/v1/chatbots/s/custom-attributes';
	my %json = (Authorization => 'Bearer test-key', 'Content-Type' => 'application/json');
	my %plan = (name => 'plan', type => 'text', label => 'Plan');
	my $create = sub { return request('POST', $path, ref $_[0] ? encode($_[0]) : $_[0], %json); };
	my $list = sub { return request('GET', $path, undef, Authorization => 'Bearer test-key'); };

	is_deeply $list->()->{data}, { message => 'Success', data => [] }, 'none';
	my $answer = $create->({ %plan, other => 1 });
	is_deeply $answer->{data}, { message => 'Success', data => { %plan, description => '', archived => JSON::PP::false } },
	  'one is created';
	is $create->({ %plan, type => 'date' })->{status}, 409, 'once';
	is $create->({ %plan, name => 'Old-1', type => 'date', archived => JSON::PP::true })->{status}, 200, 'an archived one';
	is_deeply [ map { "$_->{name} $_->{type} " . ($_->{archived} ? 1 : 0) } @{ $list->()->{data}{data} } ],
	  [ 'plan text 0', 'Old-1 date 1' ], 'both are listed';
	is_deeply admin('attributes?chatbot=s'), $list->()->{data}{data}, 'and held so';
	for my $case ([ name => '1st' ], [ name => 'a b' ], [ name => '' ], [ name => 'email' ], [ type => 'money' ], [ label => undef ],
		[ archived => 'no' ])
	{
		my $refused = $create->({ %plan, @$case });
		is "$refused->{status} $refused->{data}{issues}[0]{field}", "400 $case->[0]", encode($case);
	}
	is $create->($_)->{status}, 400, "not an attribute: $_" for '[]', '', '{"name"';
	is request('POST', $path, encode(\%plan), Authorization => 'Bearer test-key')->{status}, 400, 'not said to be JSON';
	is request('GET', $path)->{status}, 401, 'not without a key';
	is request('PATCH', $path, '{}', %json)->{headers}{allow}, 'GET, POST', 'says which methods there are';
	admin('config', { attribute_names => 'snake' });
	is $create->({ %plan, name => $_ })->{status}, 400, "another server refuses $_" for 'a-b', 'aB';
	is $create->({ %plan, name => 'a_1' })->{status}, 200, 'and takes a_1';

	admin('config', { schema => 'applied' });
	is_deeply post('s', [ contact('c', custom_attributes => { plan => 'gold', unknown => 1 }) ])->{data}{data}[0]{custom_attributes},
	  { plan => 'gold' }, 'others are not kept of a contact';
	ok !exists post('t', [ contact('c', custom_attributes => { plan => 'gold' }) ])->{data}{data}[0]{custom_attributes}{plan},
	  'each chatbot has its own';
	admin('config', { other_calls => 404 });
	is $list->()->{status}, 404, 'a server without the call';
	reset_fake();
	is_deeply $list->()->{data}{data}, [], 'all are forgotten';
};

subtest 'the same rules as for create' => sub {
	admin('config', { limit => 2, window_ms => 600_000 });
	is join(' ', map { call('GET', 'r', '')->{status} } 1 .. 3), '200 200 429', 'the limit of the key';
	reset_fake();
	post('r', [ contact('a'), contact('b') ]);
	rule({ match => { method => 'DELETE', external_id => '^a$' }, action => { status => 500 } });
	is join(' ', map { call(@$_)->{status} } [ 'GET', 'r', '/a' ], [ 'DELETE', 'r', '/a' ], [ 'DELETE', 'r', '/b' ]),
	  '200 500 200', 'faults by method and external_id';
	rule({ when => 'after', match => { method => 'PATCH' }, action => { drop => JSON::PP::true } });
	is call('PATCH', 'r', '/a', { name => 'A' })->{status}, 0, 'a lost answer';
	is held('r')->[0]{name}, 'A', 'to what was done';
	is stats()->{by_status}{dropped}, 1, 'is counted';
};

is stop_fake($fake), 0, 'ends well';

start_fake('--exit-with-stdin', '--chatbot', 'known');
admin('config', { chatbot_not_found => 'Chatbot not found' });
is told('GET', 'unknown', $_), '404 Chatbot not found', "unknown chatbot: '$_'" for '', '/a';
is stop_fake($fake), 0, 'ends well';

done_testing();
