# What the stand-in does wrong when it is told to.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;
use FakeChatbaseTest;
use JSON::PP ();
use Test::More;
use Time::HiRes qw(time);

start_fake('--exit-with-stdin');

my $number = 0;

# One new contact for a chatbot (c if not given), or those given.
sub ask
{
	my ($chatbot, @users) = @_;
	return post($chatbot // 'c', @users ? \@users : [ contact('n' . ++$number) ]);
}

sub status_of { return ask(@_)->{status}; }
sub fresh { reset_fake(); rule(@_); return; }
sub asked { my ($n) = @_; return join ' ', map { status_of() } 1 .. $n; }

subtest 'which request a rule is for' => sub {
	my %fail = (action => { status => 500 });

	fresh({ match => { from => 2, to => 3 }, %fail });
	is asked(5), '200 500 500 200 200', 'from, to';
	fresh({ match => { from => 3 }, %fail });
	is asked(4), '200 200 500 500', 'from alone';
	fresh({ match => { to => 1 }, %fail });
	is asked(3), '500 200 200', 'to alone';
	fresh({ match => { every => 3, phase => 1 }, %fail });
	is asked(7), '500 200 200 500 200 200 500', 'every, phase';
	fresh({ match => { every => 2 }, %fail });
	is asked(4), '200 500 200 500', 'every alone';
	fresh({ match => { chatbot => 'other' }, %fail });
	is status_of('c') . status_of('other') . status_of('others'), '200500200', 'chatbot';
	fresh({ match => { external_id => '^(a|b+)[0-9]$' }, %fail });
	is status_of('c', contact('x'), contact('a1')), 500, 'external_id of any contact';
	is status_of('c', contact('a11'), contact('ba1')), 200, 'external_id of none';
	is status_of('c', contact('bbb2', email => 'broken')), 500, 'of a request that would be refused';
	is status_of('c', { external_id => 7 }), 400, 'of a contact that has no such string';
	fresh({ match => { external_id => '^q', from => 2, chatbot => 'c' }, %fail });
	is status_of('c', contact('q1')), 200, 'all conditions: not the number';
	is status_of('c', contact('x1')), 200, 'all conditions: not the contact';
	is status_of('d', contact('q2')), 200, 'all conditions: not the chatbot';
	is status_of('c', contact('q3')), 500, 'all conditions';
	fresh({ times => 2, match => {}, %fail });
	is asked(4), '500 500 200 200', 'times';
	fresh({ match => { from => 2 }, action => { status => 503 } }, { action => { status => 502 } });
	is asked(3), '502 503 503', 'the first that matches';
	fresh({ times => 1, action => { status => 503 } }, { times => 1, action => { status => 502 } });
	is asked(3), '503 502 200', 'one that is used up matches no more';
	rule();
	is asked(1), '200', 'no rules';
};

subtest 'a share of the requests' => sub {
	my $draw = sub {
		my ($percent, $seed) = @_;
		fresh({ match => { percent => $percent, seed => $seed }, action => { status => 500 } });
		return asked(400);
	};
	my $quarter = $draw->(25, 7);
	my $hits = () = $quarter =~ /500/g;
	cmp_ok abs($hits - 100), '<', 40, "about a quarter ($hits of 400)";
	is $draw->(25, 7), $quarter, 'the same ones again';
	isnt $draw->(25, 8), $quarter, 'others with another seed';
	unlike $draw->(0, 7), qr/500/, 'none';
	unlike $draw->(100, 7), qr/200/, 'all';
};

subtest 'before: nothing is applied' => sub {
	fresh({ action => { status => 503, message => 'Try "later"', headers => { 'Retry-After' => '7', 'X-Y' => 'z' } } });
	my $answer = ask();
	is $answer->{status}, 503, 'status';
	is message($answer), 'Try "later"', 'message';
	is $answer->{headers}{'retry-after'}, 7, 'a header';
	is $answer->{headers}{'x-y'}, 'z', 'another';
	rule({ action => { body => '<html>', headers => { 'Content-Type' => 'text/html' } } });
	$answer = ask();
	is "$answer->{status} $answer->{content}", '500 <html>', 'a body alone has status 500';
	is $answer->{headers}{'content-type'}, 'text/html', 'a header in place of one';
	rule({ action => { status => 200, body => '' } });
	$answer = ask();
	is "$answer->{status} [$answer->{content}]", '200 []', 'an empty body';
	for my $case ([ 400, 'Invalid request data' ], [ 401, 'Invalid API key' ], [ 404, 'Resource not found' ],
		[ 409, 'One or more external IDs or emails already exist.' ],
		[ 429, 'Rate limit exceeded. Please try again later.' ], [ 500, 'Internal server error' ])
	{
		rule({ action => { status => $case->[0] } });
		is message(ask()), $case->[1], "usual message of $case->[0]";
	}
	rule({ action => { status => 404 } });
	is message(post('c', [ contact('a') ], Authorization => undef)), 'Resource not found', 'comes before the key';
	is_deeply held('c'), [], 'nothing was applied';
	rule({ action => { headers => { 'X-Y' => 'only' } } });
	$answer = ask();
	is "$answer->{status} $answer->{headers}{'x-y'}", '200 only', 'headers alone replace nothing';
	is scalar @{ held('c') }, 1, 'so that it is applied';
};

subtest 'after: applied, then answered otherwise' => sub {
	fresh({ when => 'after', action => { status => 500 } });
	is status_of('c', contact('a')), 500, 'status';
	is scalar @{ held('c') }, 1, 'applied';
	rule();
	is status_of('c', contact('a')), 409, 'so that it is there';
	rule({ when => 'after', action => { body => 'what?' } });
	my $answer = ask();
	is "$answer->{status} $answer->{content}", '200 what?', 'a body alone has status 200';
	rule({ when => 'after', action => { status => 200, body => '{"message":"Success","data":' } });
	is status_of('c', contact('a')), 200, 'even where it was refused';
	is scalar @{ held('c') }, 2, 'which changes nothing';
	is stats()->{created}, 2, 'created counts what was applied';
};

subtest 'refuse' => sub {
	fresh({ match => { external_id => '^bad' }, action => { refuse => JSON::PP::true } });
	my $answer = ask('c', contact('good'), contact('bad1'));
	is "$answer->{status} " . message($answer), '400 Invalid request data', 'as the validation does';
	ok !exists $answer->{data}{issues}, 'naming nobody';
	is status_of('c', contact('good')), 200, 'the good one alone';
	rule({ match => { external_id => '^bad' }, action => { refuse => JSON::PP::true, name_culprit => JSON::PP::true } });
	$answer = ask('c', contact('x'), contact('y'), contact('bad2'), contact('bad3'));
	is $answer->{status}, 400, 'named: status';
	is scalar @{ $answer->{data}{issues} }, 1, 'one issue';
	is $answer->{data}{issues}[0]{field}, 'users[2].email', 'the first that matches';
	ok length $answer->{data}{issues}[0]{message}, 'with a message';
	rule({ action => { refuse => JSON::PP::true, status => 422, message => 'no' } });
	$answer = ask();
	is "$answer->{status} " . message($answer), '422 no', 'with another status and message';
	is scalar @{ held('c') }, 1, 'nothing else was applied';
};

subtest 'drop' => sub {
	fresh({ action => { drop => JSON::PP::true } });
	is status_of('c', contact('a')), 0, 'no answer';
	is_deeply held('c'), [], 'not applied';
	rule({ when => 'after', action => { drop => JSON::PP::true } });
	is status_of('c', contact('a')), 0, 'no answer either';
	is scalar @{ held('c') }, 1, 'but applied';
	is stats()->{by_status}{dropped}, 2, 'counted as dropped';
	is join(' ', map { $_->{status} } @{ admin('requests') }), '0 0', 'logged as 0';
	rule();
	is status_of(), 200, 'and then all is well';
};

subtest 'cut and huge bodies' => sub {
	fresh({ when => 'after', action => { cut_body => 40 } });
	my $answer = ask();
	is $answer->{status}, 200, 'cut after: status';
	is length $answer->{content}, 40, 'bytes that arrive';
	cmp_ok $answer->{headers}{'content-length'}, '>', 100, 'bytes that were announced';
	like $answer->{content}, qr/^\{"message":"Success","data":\[\{"id":/, 'of the real answer';
	is scalar @{ held('c') }, 1, 'applied';
	for my $n (0, 1)
	{
		rule({ action => { cut_body => $n } });
		$answer = ask();
		is "$answer->{status} " . length $answer->{content}, "500 $n", "cut to $n before";
		cmp_ok $answer->{headers}{'content-length'}, '>', $n, 'more was announced';
	}
	rule({ action => { status => 200, body => 'abcdef', cut_body => 3 } });
	is ask()->{content}, 'abc', 'a body of the rule, cut';
	rule({ action => { status => 200, body => 'abcdef', cut_body => 100 } });
	$answer = ask();
	is $answer->{content}, 'abcdef', 'cut behind its end: whole';
	ok !$answer->{closed}, 'and not closed';

	for my $bytes (1000, 65536, 3_000_000)
	{
		rule({ action => { huge_body => $bytes } });
		$answer = ask();
		is "$answer->{status} " . length $answer->{content}, "200 $bytes", "a body of $bytes bytes";
		is message($answer), 'Success', 'is JSON';
	}
	rule({ action => { huge_body => 1_000_000_000, cut_body => 100_000, status => 500 } });
	$answer = ask();
	is "$answer->{status} $answer->{headers}{'content-length'} " . length $answer->{content}, '500 1000000000 100000', 'huge and cut';
	is scalar @{ held('c') }, 1, 'nothing of these was applied';
	rule({ when => 'after', action => { huge_body => 5000 } });
	is length ask()->{content}, 5000, 'after';
	is scalar @{ held('c') }, 2, 'applied';
};

subtest 'omit' => sub {
	fresh({ when => 'after', action => { omit => 2 } });
	my @users = map { contact("o$_") } 1 .. 5;
	is contacts_of(ask('c', @users)), 'o1 o2 o3', 'the last are missing';
	is scalar @{ held('c') }, 5, 'all are applied';
	admin('config', { order => 'reverse' });
	is contacts_of(ask('d', @users)), 'o5 o4 o3', 'the last of data, in reverse';
	is contacts_of(ask('d', contact('x'))), '', 'more than there are';
	is status_of('d', contact('x')), 409, 'a refusal is left alone';
};

subtest 'redirect' => sub {
	fresh({ action => { redirect => "$fake->{url}/elsewhere" } });
	my $answer = ask();
	is "$answer->{status} $answer->{headers}{location}", "302 $fake->{url}/elsewhere", 'found';
	rule({ action => { redirect => 'https://example.com/', status => 308 } });
	$answer = ask();
	is "$answer->{status} $answer->{headers}{location}", '308 https://example.com/', 'permanent';
	is_deeply held('c'), [], 'nothing was applied';
	is stats()->{requests_with_key_elsewhere}, 0, 'nobody came elsewhere';
	is request('POST', '/elsewhere', 'x')->{status}, 404, 'somebody does, without a key';
	is stats()->{requests_with_key_elsewhere}, 0, 'which is harmless';
	request('GET', '/elsewhere?x=1', undef, Authorization => 'Bearer test-key');
	is stats()->{requests_with_key_elsewhere}, 1, 'and with a key';
	my @log = map { [ @$_{qw(number method path chatbot status)}, $_->{authorization} ? 1 : 0 ] } @{ admin('requests') };
	is_deeply [ @log[ 2, 3 ] ],
	  [ [ 0, 'POST', '/elsewhere', undef, 404, 0 ], [ 0, 'GET', '/elsewhere', undef, 404, 1 ] ], 'both are in the log';
};

subtest 'delays' => sub {
	fresh({ action => { delay_ms => 200 } });
	my $start = time;
	is status_of('c', contact('a')), 200, 'a delay alone replaces nothing';
	cmp_ok time - $start, '>=', 0.2, 'takes its time';
	rule({ action => { delay_ms => 100, status => 503 } });
	$start = time;
	is status_of(), 503, 'with a status';
	cmp_ok time - $start, '>=', 0.1, 'takes its time too';
	rule({ action => { delay_ms => 1, drop => JSON::PP::true } });
	is status_of(), 0, 'with a drop';

	fresh({ action => { delay_ms => 3_600_000 } });
	my $late = begin_post('c', [ contact('a') ]);
	ok wait_until(sub { stats()->{in_flight} == 1 }), 'an hour before';
	is_deeply held('c'), [], 'nothing is applied yet';
	rule({ when => 'after', action => { delay_ms => 3_600_000 } });
	my $later = begin_post('c', [ contact('b') ]);
	ok wait_until(sub { @{ held('c') } == 1 }), 'an hour after: applied at once';
	is stats()->{in_flight}, 2, 'both wait';
	is join(' ', map { $_->{status} } @{ admin('requests') }), '-1 -1', 'and are not answered';
	reset_fake();
	is finish_post($_)->{status}, 0, 'dropped by a reset' for $late, $later;
	is_deeply held('c'), [], 'and not applied';

	# Later answers first: the delays are no queue.
	fresh({ match => { external_id => 'slow' }, action => { delay_ms => 3_600_000 } },
		{ match => { external_id => '^x[0-9]+$' }, action => { delay_ms => 50 } });
	my $slow = begin_post('c', [ contact('slow') ]);
	my @quick = map { begin_post('c', [ contact("x$_") ]) } 1 .. 200;
	is join(' ', map { finish_post($_)->{status} } @quick), join(' ', (200) x 200), 'many are delayed and answered';
	is stats()->{in_flight}, 1, 'while one still waits';
	undef $slow;

	fresh({ action => { delay_ms => 3_600_000 } });
	my $gone = begin_post('c', [ contact('orphan') ]);
	ok wait_until(sub { stats()->{in_flight} == 1 }), 'a client that goes meanwhile';
	close $gone;
	admin('release', {});
	ok wait_until(sub { stats()->{in_flight} == 0 }), 'its request has its time';
	is scalar @{ held('c') }, 1, 'and is applied then';
	fresh({ when => 'after', action => { delay_ms => 3_600_000 } });
	$gone = begin_post('c', [ contact('orphan') ]);
	ok wait_until(sub { @{ held('c') } == 1 }), 'a client that goes afterwards';
	close $gone;
	admin('release', {});
	ok wait_until(sub { stats()->{in_flight} == 0 }), 'its request has its time, too';
	is_deeply stats()->{by_status}, { 200 => 1, dropped => 0 }, 'and counts as it would have been answered';

	fresh({ match => { external_id => 'refused' }, action => { delay_ms => 3_600_000, status => 503 } },
		{ match => { external_id => 'hangs' }, action => { hang => JSON::PP::true } },
		{ action => { delay_ms => 3_600_000 } });
	my @delayed = map { begin_post('c', [ contact($_) ]) } 'refused', 'a', 'b';
	my $hangs = begin_post('c', [ contact('hangs') ]);
	ok wait_until(sub { stats()->{in_flight} == 4 }), 'delayed for long, and one hangs';
	is_deeply held('c'), [], 'nothing is applied yet';
	admin('release', {});
	is join(' ', map { finish_post($_)->{status} } @delayed), '503 200 200', 'released: answered as if the time had passed';
	is scalar @{ held('c') }, 2, 'and applied';
	is stats()->{in_flight}, 1, 'what hangs, hangs on';
	$late = begin_post('c', [ contact('later') ]);
	ok wait_until(sub { stats()->{in_flight} == 2 }), 'one that comes later is delayed again';
	undef $_ for $hangs, $late;
};

# Far more than there are threads, none of which a held request may occupy.
subtest 'hang' => sub {
	my $n = 600;
	fresh({ match => { external_id => '^h' }, action => { hang => JSON::PP::true } });
	my @sockets = map { begin_post('c', [ contact("h$_") ]) } 1 .. $n;
	ok wait_until(sub { stats()->{in_flight} == $n }), "$n hang";
	is status_of('c', contact('x')), 200, 'others are served meanwhile';
	is stats()->{max_in_flight}, $n + 1, 'so that many at most';
	is scalar @{ held('c') }, 1, 'nothing of them is applied';
	close shift @sockets;
	ok wait_until(sub { stats()->{by_status}{dropped} == 1 }), 'a client that goes is noticed';
	is stats()->{in_flight}, $n - 1, 'the others hang on';
	reset_fake();
	is join('', map { finish_post($_)->{status} } @sockets), '0' x ($n - 1), 'until a reset, which answers none';
	ok wait_until(sub { stats()->{in_flight} == 0 }), 'none is left';
	is stats()->{by_status}{dropped}, 0, 'they count no more';
	rule({ when => 'after', action => { hang => JSON::PP::true } });
	my $socket = begin_post('c', [ contact('h1') ]);
	ok wait_until(sub { @{ held('c') } == 1 }), 'hang after: applied';
	close $socket;
	ok wait_until(sub { stats()->{in_flight} == 0 }), 'and left by its client';
};

subtest 'rules that cannot be' => sub {
	fresh({ action => { status => 503 } });
	for my $rules ('', '{}', '[1]', '[{"acton":{}}]', '[{"match":{"form":1}}]', '[{"match":{"from":0}}]',
		'[{"match":{"from":"1"}}]', '[{"match":{"from":3,"to":2}}]', '[{"match":{"every":0}}]', '[{"match":{"every":2,"phase":2}}]',
		'[{"match":{"phase":1}}]', '[{"match":{"percent":101}}]', '[{"match":{"percent":"5"}}]', '[{"match":{"external_id":"("}}]',
		'[{"match":{"chatbot":1}}]', '[{"when":"during"}]', '[{"when":1}]', '[{"times":-1}]', '[{"action":{"status":99}}]',
		'[{"action":{"status":1000}}]', '[{"action":{"message":1}}]', '[{"action":{"delay_ms":-1}}]', '[{"action":{"drop":1}}]',
		'[{"action":{"omit":1}}]', '[{"action":{"name_culprit":true}}]', '[{"action":{"headers":{"a":1}}}]', '[{"action":[]}]',
		'[{"action":{"cut_body":-1}}]', '[{"action":{"huge_body":0}}]', '[{}', '[] x')
	{
		my $answer = request('POST', '/_admin/faults', $rules);
		is $answer->{status}, 400, "'$rules' is refused";
		ok length message($answer), 'with a reason';
	}
	is status_of(), 503, 'the old rule is still there';
};

is stop_fake($fake), 0, 'ends well';
done_testing();
