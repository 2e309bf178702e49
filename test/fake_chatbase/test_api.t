# What the stand-in answers as the API, without any fault.

use strict;
use warnings;
use utf8;

use FindBin;
use lib $FindBin::Bin;
use FakeChatbaseTest;
use Encode qw(encode_utf8);
use Test::More;
use Time::Local qw(timegm);

start_fake('--exit-with-stdin', '--key', 'test-key', '--key', 'second');
reset_fake();

# Seconds since 1970 of an HTTP date.
sub str2time
{
	my ($day, $month, $year, @clock) = $_[0] =~ /^\w+, (\d+) (\w+) (\d+) (\d+):(\d+):(\d+) GMT$/;
	my %months = map { (qw(Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec))[$_] => $_ } 0 .. 11;
	return timegm(reverse(@clock), $day, $months{$month}, $year);
}

sub status_of { return post(@_)->{status}; }

subtest 'contacts come back as the API shows them' => sub {
	my %given = (
		external_id       => 'user_123',
		name              => 'Jöhn "Doe"',
		email             => 'john@example.com',
		phonenumber       => '+1234567890',
		stripe_accounts   => [ { label => 'main', stripe_id => 'cus_1', stripe_email => 'j@example.com' } ],
		custom_attributes => { department => 'Sales', deep => [ { a => [ 1, 2.5e3, undef ] } ] });
	my $before = time;
	my $answer = post('c1', [ {%given}, contact('plain') ]);
	my ($full, $plain) = @{ $answer->{data}{data} };

	is $answer->{status}, 200, 'status';
	is message($answer), 'Success', 'message';
	is $answer->{headers}{'content-type'}, 'application/json', 'type';
	ok !exists $answer->{headers}{'x-ratelimit-limit'}, 'no rate headers without a limit';
	my %rest = %$full;
	like delete $rest{id}, qr/^contact_[0-9a-f]{16}$/, 'id';
	my $created = delete $rest{created_at};
	ok $created >= $before && $created <= time, 'created_at is now';
	is delete $rest{updated_at}, $created, 'updated_at too';
	is_deeply \%rest, \%given, 'every member as it was given';
	is_deeply [ sort keys %$plain ], [qw(created_at external_id id updated_at)], 'nothing is made up';
	is_deeply held('c1'), $answer->{data}{data}, 'and held so';
	is_deeply admin('contacts?chatbot=c1&brief=1'), [ map { [ $_->{external_id}, $_->{id} ] } $full, $plain ],
	  'in brief too';
	is_deeply held('never%20seen'), [], 'a chatbot without contacts';
};

subtest 'number of contacts' => sub {
	is status_of('n', []), 400, 'none';
	is status_of('n', [ map { contact("n$_") } 1 .. 1001 ]), 400, 'one too many';
	is scalar @{ held('n') }, 0, 'nothing of it is applied';
	my $answer = post('n', [ map { contact("n$_") } 1 .. 1000 ]);
	is $answer->{status}, 200, 'as many as may be';
	is contacts_of($answer), join(' ', map { "n$_" } 1 .. 1000), 'in order';
	my %ids = map { $_->{id} => 1 } @{ held('n') };
	is scalar keys %ids, 1000, 'each with an id of its own';
};

subtest 'the key' => sub {
	my @users = (contact('k'));
	for my $case ([ undef, 'No API key provided.' ], [ 'Basic dGVzdA==', 'No API key provided.' ],
		[ 'Bearer ', 'No API key provided.' ], [ 'Bearer wrong', 'Invalid API key' ],
		[ 'Bearer test-key2', 'Invalid API key' ], [ 'Bearer test-ke', 'Invalid API key' ])
	{
		my $answer = post('k', \@users, Authorization => $case->[0]);
		is $answer->{status}, 401, ($case->[0] // 'none') . ': status';
		is message($answer), $case->[1], ($case->[0] // 'none') . ': message';
	}
	is scalar @{ held('k') }, 0, 'nothing was applied';
	is status_of('k', [ contact('k1') ], Authorization => 'bearer second'), 200, 'a second key, scheme in lower case';
};

subtest 'the path' => sub {
	is status_of('a%2Fb%20%c3%bc', [ contact('p') ]), 200, 'escaped';
	is scalar @{ held('a%2fb+%C3%BC') }, 1, 'is decoded';
	my ($last) = grep { $_->{number} } reverse @{ admin('requests') };
	is $last->{chatbot}, 'a/b ü', 'so it is in the log';
	is $last->{path}, '/api/v1/chatbots/a%2Fb%20%c3%bc/contacts', 'beside the path as it came';
	for my $path (qw(%zz %2 % a%00b), '', 'a/b')
	{
		is status_of($path, [ contact('p2') ]), 404, "not a chatbot: '$path'";
	}
	my $before = stats()->{requests};
	my $answer = request('PUT', '/api/v1/chatbots/c1/contacts');
	is $answer->{status}, 405, 'another method';
	is $answer->{headers}{allow}, 'GET, POST', 'says which ones';
	is request('POST', '/chatbots/c1/contacts', '{}')->{status}, 404, 'outside of the base';
	is request('POST', '/api/v1/chatbots/c1/contacts/', '{}')->{status}, 404, 'more behind it';
	is stats()->{requests}, $before, 'none of these counts';
};

subtest 'what is not valid' => sub {
	my @bad = (
		'{}', '[]', '"x"', '{"users":null}', '{"users":{}}', '{"users":[null]}', '{"users":[[]]}', '{"users":["x"]}',
		map { "{\"users\":[{\"external_id\":\"good\"},$_]}" } (
			'{}', '{"external_id":null}', '{"external_id":1}', '{"external_id":""}', '{"external_id":["a"]}',
			'{"name":"a"}', '{"external_id":"a","name":null}', '{"external_id":"a","name":1}',
			'{"external_id":"a","email":""}', '{"external_id":"a","email":"x"}', '{"external_id":"a","email":"@x"}',
			'{"external_id":"a","email":"x@"}', '{"external_id":"a","email":7}', '{"external_id":"a","phonenumber":123}',
			'{"external_id":"a","stripe_accounts":{}}', '{"external_id":"a","stripe_accounts":[1]}',
			'{"external_id":"a","stripe_accounts":[{}]}', '{"external_id":"a","stripe_accounts":[{"label":"a"}]}',
			'{"external_id":"a","stripe_accounts":[{"stripe_id":"a"}]}',
			'{"external_id":"a","stripe_accounts":[{"label":1,"stripe_id":"a"}]}',
			'{"external_id":"a","stripe_accounts":[{"label":"a","stripe_id":"a","stripe_email":"x"}]}',
			'{"external_id":"a","stripe_accounts":[{"label":"a","stripe_id":"a","stripe_email":null}]}',
			'{"external_id":"a","custom_attributes":[]}', '{"external_id":"a","custom_attributes":"x"}'));
	for my $body (@bad)
	{
		my $answer = post('v', $body);
		is "$answer->{status} " . message($answer), '400 Invalid request data', $body;
	}
	my $answer = post('v', [ contact('x') ], 'Content-Type' => 'text/plain');
	is "$answer->{status} " . message($answer), '400 Content-Type must be application/json', 'not said to be JSON';
	is_deeply held('v'), [], 'nothing is applied';
	is status_of('v', [ contact('y') ], 'Content-Type' => 'Application/JSON; charset=utf-8'), 200, 'type with a parameter';
	is status_of('v', '{"more":[1],"users":[{"external_id":"z","x":null}]}'), 200, 'members that are not known';
	is status_of('v', '{"users":1,"users":[{"external_id":1,"external_id":"zz"}]}'), 200, 'the last of a name counts';
	is join(' ', map { $_->{external_id} } @{ held('v') }), 'y z zz', 'these are applied';
};

subtest 'what is not JSON' => sub {
	my $contact = '{"external_id":"%s","custom_attributes":{"v":%s}}';
	my @bad_values = ('01', '1.', '.5', '+1', '1e', '1e+', '-', '0x1', 'nul', 'nulll', 'True', 'NaN', '[1,]', '[,1]', '[1 2]',
		'{"a"}', '{"a":}', '{a:1}', '{"a":1,}', '[', '{', '"', '"\\x"', '"\\u12"', '"\\u12g4"', '"\\ud800"', '"\\udc00"',
		'"\\ud800\\u0041"', "\"\t\"", "\"\x01\"", "'a'", '/**/1', '');
	for my $value (@bad_values)
	{
		is status_of('j', sprintf '{"users":[' . $contact . ']}', 'bad', $value), 400, "value $value";
	}
	for my $bytes ("\x80", "\xc0\xaf", "\xc3", "\xe0\x80\x80", "\xed\xa0\x80", "\xf0\x80\x80\x80", "\xf4\x90\x80\x80", "\xff")
	{
		is status_of('j', "{\"users\":[{\"external_id\":\"a$bytes\"}]}"), 400, 'bytes ' . unpack 'H*', $bytes;
	}
	for my $body ('', ' ', '{"users":[{"external_id":"a"}]', '{"users":[{"external_id":"a"}]} x', '{"users":[{"external_id":"a"}]}}',
		'{"users":[{"external_id":"a"}]' . ',' . '}', "\xef\xbb\xbf{}", '{"users":[{"external_id":"a"}],"x":' . '[' x 2000 . ']' x 2000 . '}')
	{
		is status_of('j', $body), 400, 'body ' . substr unpack('H*', $body), 0, 60;
	}
	is_deeply held('j'), [], 'nothing is applied';
	my $n = 0;
	for my $value ('0', '-0', '-1.5E-7', '1e10', 'true', 'false', 'null', '[]', '{}', ' [ 1 , { "a" : [ ] } ] ', '"\\u0000"',
		'"\\"\\\\\\/\\b\\f\\n\\r\\t"', '"\\ud83d\\ude00"', "\"\x7f\"", '[' x 400 . ']' x 400)
	{
		my $answer = post('j', sprintf "\n {\"users\" :\t[" . $contact . ' ] } ', 'good' . ++$n, $value);
		is $answer->{status}, 200, "value $value";
		is_deeply $answer->{data}{data}[0]{custom_attributes}{v}, decode($value), 'and comes back';
	}
};

subtest 'who is there already' => sub {
	my $conflict = '409 One or more external IDs or emails already exist.';
	my $told = sub { my $answer = post(@_); return "$answer->{status} " . message($answer); };

	is status_of('d', [ contact('a', email => 'Ann@Example.com'), contact('b') ]), 200, 'two to begin with';
	is $told->('d', [ contact('a') ]), $conflict, 'external_id';
	is $told->('d', [ contact('c', email => 'aNN@eXAMPLE.COM') ]), $conflict, 'e-mail, in another case';
	is $told->('d', [ contact('new', email => 'new@x'), contact('b') ]), $conflict, 'one of two';
	is $told->('d', [ contact('e'), contact('e') ]), $conflict, 'external_id twice in one request';
	is $told->('d', [ contact('f', email => 'f@x'), contact('g', email => 'F@x') ]), $conflict, 'e-mail twice in one request';
	is status_of('d', [ contact('A'), contact('Ann@Example.com') ]), 200, 'external_ids know case, and are no e-mails';
	is status_of('d', [ map { contact($_, email => "$_\@x") } qw(new e f g) ]), 200, 'nothing was left of what was refused';
	is status_of('other', [ contact('a', email => 'Ann@Example.com') ]), 200, 'another chatbot is another matter';
	is status_of('d', encode_utf8('{"users":[{"external_id":"é😀"}]}')), 200, 'as UTF-8';
	is $told->('d', '{"users":[{"external_id":"\\u00e9\\uD83D\\ude00"}]}'), $conflict, 'is the same as escaped';
	is $told->('d', '{"users":[{"\\u0065xternal_id":"\\u0061"}]}'), $conflict, 'names may be escaped too';
	is status_of('d', [ contact('É', email => 'É@x') ]), 200, 'beyond ASCII...';
	is status_of('d', [ contact('E', email => 'é@x') ]), 200, '...case is not folded';
};

# Against a model in Perl: random batches over few names, so that most collide.
subtest 'all or nothing, at random' => sub {
	my (%ids, %emails);
	my ($agreed, $accepted, $rounds) = (0, 0, 600);
	srand 4711;
	for (1 .. $rounds)
	{
		my @users = map { contact('id' . int rand 1500, int rand 3 ? (email => 'm' . int(rand 1500) . '@x') : ()) } 1 .. 1 + int rand 4;
		my (%new_ids, %new_emails);
		my $good = 1;
		for my $user (@users)
		{
			$good = 0 if $ids{ $user->{external_id} } or $new_ids{ $user->{external_id} }++;
			next unless $user->{email};
			$good = 0 if $emails{ $user->{email} } or $new_emails{ $user->{email} }++;
		}
		$agreed++ if status_of('m', \@users) == ($good ? 200 : 409);
		next unless $good;
		$accepted++;
		@ids{ keys %new_ids } = values %new_ids;
		@emails{ keys %new_emails } = values %new_emails;
	}
	is $agreed, $rounds, 'every answer';
	cmp_ok $accepted, '>', $rounds / 10, 'many were accepted';
	cmp_ok $accepted, '<', $rounds * 9 / 10, 'many were refused';
	is_deeply [ sort map { $_->{external_id} } @{ held('m') } ], [ sort keys %ids ], 'and what is held';
};

subtest 'of several at once, one wins' => sub {
	my @sockets;
	my %seen;
	for my $round (1 .. 40)
	{
		my @users = map { contact("r$round.$_") } 1 .. 20;
		$sockets[$_] = begin_post('race', \@users, $sockets[$_]) for 0 .. 7;
		$seen{ join ' ', sort map { finish_post($_)->{status} } @sockets }++;
	}
	is_deeply \%seen, { '200 409 409 409 409 409 409 409' => 40 }, 'always';
	is scalar @{ held('race') }, 40 * 20, 'held once';
};

subtest 'the rate limit' => sub {
	# Ten minutes: no window ends in this test but by a reset.
	my $limit = sub { admin('reset', {}); admin('config', { limit => 2, window_ms => 600_000, @_ }); };
	my $number = 0;
	my $ask = sub { return post('l', [ contact('l' . ++$number) ], @_); };

	$limit->();
	my $start = time;
	my @answers = map { $ask->() } 1 .. 4;
	is join(' ', map { $_->{status} } @answers), '200 200 429 429', 'two of four';
	is message($answers[2]), 'Rate limit exceeded. Please try again later.', 'message';
	is join(' ', map { $_->{headers}{'x-ratelimit-limit'} } @answers), '2 2 2 2', 'limit';
	is join(' ', map { $_->{headers}{'x-ratelimit-remaining'} } @answers), '1 0 0 0', 'remaining';
	my %resets = map { $_->{headers}{'x-ratelimit-reset'} => 1 } @answers;
	is scalar keys %resets, 1, 'one window';
	my ($reset) = keys %resets;
	ok $reset >= ($start + 600) * 1000 && $reset <= (time + 601) * 1000, 'ends in ten minutes, in ms';
	ok !exists $answers[1]{headers}{'retry-after'}, 'nothing to retry after a 200';
	my $wait = $answers[3]{headers}{'retry-after'};
	ok $wait <= 600 && $wait >= $reset / 1000 - time - 1, 'Retry-After in seconds';
	is scalar @{ held('l') }, 2, 'nothing more was applied';

	is status_of('l', [ contact('other key') ], Authorization => 'Bearer second'), 200, 'another key has a window of its own';
	my $stranger = $ask->(Authorization => 'Bearer x');
	is "$stranger->{status} $stranger->{headers}{'x-ratelimit-remaining'}", '401 2', 'a stranger uses up nothing';
	is request('GET', '/_admin/stats')->{status}, 200, 'the admin side has no limit';

	for my $case ([ date => qr/^\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT$/ ], [ none => undef ], [ soon => qr/^soon$/ ])
	{
		$limit->(retry_after => $case->[0]);
		my $last = (map { $ask->() } 1 .. 3)[2];
		is $last->{status}, 429, "$case->[0]: status";
		if ($case->[1]) { like $last->{headers}{'retry-after'}, $case->[1], "$case->[0]: header"; }
		else            { ok !exists $last->{headers}{'retry-after'}, "$case->[0]: no header"; }
	}
	$limit->(retry_after => 'date');
	my $dated = (map { $ask->() } 1 .. 3)[2]{headers};
	is str2time($dated->{'retry-after'}), int(($dated->{'x-ratelimit-reset'} + 999) / 1000),
	  'the date is the end of the window';

	$limit->(reset => 's');
	ok abs($ask->()->{headers}{'x-ratelimit-reset'} - time - 600) <= 60, 'reset in seconds';
	$limit->(reset => 'none');
	ok !exists $ask->()->{headers}{'x-ratelimit-reset'}, 'no reset';

	$limit->(limit => 1, window_ms => 50);
	is $ask->()->{status}, 200, 'a short window';
	ok wait_until(sub { $ask->()->{status} == 200 }), 'is followed by another';
	reset_fake();
	is join(' ', map { $ask->()->{status} } 1 .. 4), '200 200 200 200', 'no limit any more';
};

subtest 'shapes of an answer' => sub {
	my @users = map { contact("s$_", custom_attributes => { a => $_, b => [ $_ ], c => 'x' }) } 1 .. 3;

	admin('config', { shape => 'created' });
	my $answer = post('s1', \@users);
	is_deeply [ map { $_->{external_id} } @{ $answer->{data}{data}{created} } ], [qw(s1 s2 s3)], 'data.created';
	admin('config', { shape => 'array', order => 'reverse' });
	is contacts_of(post('s2', \@users)), 's3 s2 s1', 'reverse';
	admin('config', { order => 'input', strip_attributes => [qw(a c)] });
	$answer = post('s3', \@users);
	is contacts_of($answer), 's1 s2 s3', 'in order again';
	is_deeply [ map { $_->{custom_attributes} } @{ $answer->{data}{data} } ], [ map { { b => [$_] } } 1 .. 3 ], 'attributes left out';
	is_deeply held('s3'), $answer->{data}{data}, 'and not held';
	admin('config', { strip_attributes => [qw(a b c)] });
	is_deeply post('s4', \@users)->{data}{data}[1]{custom_attributes}, {}, 'all of them';
	reset_fake();
	is_deeply post('s5', \@users)->{data}{data}[1]{custom_attributes}, $users[1]{custom_attributes}, 'none of them';
};

is stop_fake($fake), 0, 'ends well';

done_testing();
