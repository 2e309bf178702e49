# The stand-in as a program: its command line, its ends, its connections, TLS,
# and its admin side.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;
use FakeChatbaseTest;
use File::Temp qw(tempdir);
use IO::Socket::INET;
use IPC::Open3;
use JSON::PP ();
use Symbol ();
use Test::More;

# The answers to what was written to the socket at once.
sub answers_to
{
	my ($socket, $text, $n) = @_;
	print {$socket} $text;
	return map { finish_post($socket) } 1 .. $n;
}

subtest 'command line' => sub {
	my ($status, $out, $err) = run_program('--help');
	is $status, 0, 'help: exit status';
	like $out, qr/^Usage: fake_chatbase/, 'help: text';
	for my $option (qw(--port --key --chatbot --tls-cert --tls-key --limit --window --exit-with-stdin --help))
	{
		like $out, qr/^  \Q$option\E\b/m, "help: $option";
	}
	for my $args ([qw(--port 65536)], [qw(--port -1)], [qw(--port x)], [ '--port', '' ], ['--port'], [qw(--limit -1)],
		[qw(--window 0)], [ '--key', '' ], [ '--chatbot', '' ], ['--bogus'], ['argument'], [qw(--tls-cert x)], [qw(--tls-key x)])
	{
		($status, $out, $err) = run_program(@$args);
		is $status, 2, "@$args: exit status";
		like $err, qr/^Usage: fake_chatbase/m, "@$args: usage";
	}
	($status, $out, $err) = run_program(qw(--tls-cert /nonexistent/c --tls-key /nonexistent/k));
	is $status, 1, 'no such file: exit status';
	like $err, qr{cannot read /nonexistent/c: No such file}, 'no such file: message';
	($status, $out, $err) = run_program('--tls-cert', __FILE__, '--tls-key', __FILE__);
	is $status, 1, 'no certificate: exit status';
	is $out, '', 'no certificate: not ready';
};

subtest 'its beginning and its ends' => sub {
	my $first = start_fake('--exit-with-stdin');
	like $first->{line}, qr{^listening on http://127\.0\.0\.1:\d+\n$}, 'says where it listens';
	ok !IO::Socket::INET->new(PeerAddr => '127.0.0.2', PeerPort => $first->{port}), 'and nowhere else';
	my ($status, $out, $err) = run_program('--port', $first->{port});
	is $status, 1, 'a port that is taken';
	like $err, qr/cannot listen/, 'is not shared';
	is stop_fake($first), 0, 'ends with stdin';
	my $second = start_fake('--port', $first->{port});
	is $second->{port}, $first->{port}, 'the port that is asked for, used a moment ago';
	close $second->{stdin};
	is request('GET', '/_admin/stats')->{status}, 200, 'does not end with stdin unasked';
	is stop_fake($second, 'TERM'), 0, 'ends on SIGTERM';
	is stop_fake(start_fake(), 'INT'), 0, 'ends on SIGINT';

	start_fake();
	rule({ match => { to => 10 }, action => { hang => JSON::PP::true } }, { match => { to => 20 }, action => { delay_ms => 3_600_000 } },
		{ when => 'after', action => { delay_ms => 3_600_000 } });
	my @sockets = map { begin_post('c', [ contact("e$_") ]) } 1 .. 30;
	my $half = connection();
	print {$half} "POST /api/v1/chatbots/c/contacts HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{";
	ok wait_until(sub { stats()->{in_flight} == 31 }), 'with requests in flight';
	is stop_fake($fake, 'TERM'), 0, 'it ends all the same';
	is join('', map { finish_post($_)->{status} } @sockets, $half), '0' x 31, 'they get no answer';
};

subtest 'keys, chatbots and limit of the command line' => sub {
	start_fake(qw(--exit-with-stdin --key one --key two --chatbot c/1 --chatbot c2 --limit 3 --window 600000));
	my %one = (Authorization => 'Bearer one');
	is post('c%2F1', [ contact('a') ], %one)->{status}, 200, 'first key, first chatbot';
	is post('c2', [ contact('a') ], Authorization => 'Bearer two')->{status}, 200, 'second key, second chatbot';
	is post('c2', [ contact('b') ])->{status}, 401, 'the default key is not valid';
	my $answer = post('c3', [ contact('a') ], %one);
	is "$answer->{status} " . message($answer), '404 Resource not found', 'another chatbot';
	is post('c3', 'not JSON', %one)->{status}, 404, 'comes before the body';
	is post('c3', 'not JSON', %one)->{status}, 429, 'and the limit before that';
	is join(' ', map { $_->{key} } @{ admin('requests') }), '1 2 0 1 1 1', 'the log has which key each came with';
	is request('GET', '/_admin/contacts?chatbot=c3')->{status}, 404, 'the admin side has no other either';
	is request('POST', '/_admin/contacts?chatbot=c3', '{"users":[]}')->{status}, 404, 'nor takes contacts for it';
	is stop_fake($fake), 0, 'ends well';
};

start_fake('--exit-with-stdin');

subtest 'connections' => sub {
	my $post = sub {
		my ($id) = @_;
		my $body = encode({ users => [ contact($id) ] });
		return "POST /api/v1/chatbots/c/contacts HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer test-key\r\n"
		  . "Content-Type: application/json\r\nContent-Length: " . length($body) . "\r\n\r\n$body";
	};
	my $before = stats()->{connections};
	my $socket = connection();
	is join(' ', map { (answers_to($socket, $post->("k$_"), 1))[0]{status} } 1 .. 3), '200 200 200', 'is kept open';
	is stats()->{connections}, $before + 1, 'and counted once';
	is join(' ', map { contacts_of($_) } answers_to($socket, join('', map { $post->("p$_") } 1 .. 20), 20)),
	  join(' ', map { "p$_" } 1 .. 20), 'pipelined, in order';

	my $head = "POST /api/v1/chatbots/c/contacts HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer test-key\r\n"
	  . "Content-Type: application/json\r\n";
	my @parts = ('{"users":[', '{"external_id":"chunk"}', ']}');
	my $chunks = join '', map { sprintf "%x\r\n%s\r\n", length, $_ } @parts, '';
	is((answers_to($socket, $head . "Transfer-Encoding: chunked\r\n\r\n$chunks", 1))[0]{status}, 200, 'a chunked body');
	my $body = encode({ users => [ contact('expect') ] });
	my ($continue) = answers_to($socket, $head . "Expect: 100-continue\r\nContent-Length: " . length($body) . "\r\n\r\n", 1);
	is $continue->{status}, 100, 'a client that waits is told to go on';
	is((answers_to($socket, $body, 1))[0]{status}, 200, 'and does');
	my $held = join ' ', map { $_->{external_id} } @{ held('c') };
	is $held, join(' ', (map { "k$_" } 1 .. 3), (map { "p$_" } 1 .. 20), qw(chunk expect)), 'what is held';

	my $half = connection();
	print {$half} $head . "Content-Length: 1000\r\n\r\n{\"users\":[";
	ok wait_until(sub { stats()->{in_flight} == 1 }), 'a client that does not send all';
	close $half;
	ok wait_until(sub { stats()->{by_status}{dropped} == 1 }), 'is dropped when it goes';
	is stats()->{in_flight}, 0, 'and no more in flight';

	$half = connection();
	print {$half} $head . 'Content-Length: ' . length($body) . "\r\n\r\n{";
	ok wait_until(sub { stats()->{in_flight} == 1 }), 'a client that has sent a part';
	reset_fake();
	is((answers_to($half, substr($body, 1), 1))[0]{status}, 0, 'is not answered after a reset');
	is_deeply held('c'), [], 'and nothing is applied';
};

subtest 'statistics and the log' => sub {
	reset_fake();
	my $start = stats();
	ok abs($start->{started_at_ms} / 1000 - time) < 3600, 'when it was started';
	delete @$start{qw(connections started_at_ms)};
	is_deeply $start, { requests => 0, by_status => { dropped => 0 }, contacts => 0, created => 0, in_flight => 0,
		max_in_flight => 0, requests_with_key_elsewhere => 0 }, 'all is forgotten';
	post('a', [ contact('1'), contact('2') ]);
	post('a', [ contact('1') ]);
	post('b', [ map { contact("$_") } 1 .. 6 ]);
	post('b', [ {}, contact('x') ]);
	post('b', 'not JSON', Authorization => undef);
	admin('contacts?chatbot=b', { users => [ contact('preset') ] });
	my $stats = stats();
	is $stats->{requests}, 5, 'requests';
	is_deeply $stats->{by_status}, { 200 => 2, 409 => 1, 400 => 1, 401 => 1, dropped => 0 }, 'by status';
	is "$stats->{created} $stats->{contacts}", '8 9', 'created, and held with what was preset';
	is "$stats->{in_flight} $stats->{max_in_flight}", '0 1', 'in flight';
	my $log = admin('requests');
	is_deeply [ map { [ @$_{qw(number chatbot contacts status path external_ids key)}, $_->{authorization} ? 1 : 0 ] } @$log ],
	  [ [ 1, 'a', 2, 200, '/api/v1/chatbots/a/contacts', [ '1', '2' ], 1, 1 ],
		[ 2, 'a', 1, 409, '/api/v1/chatbots/a/contacts', ['1'], 1, 1 ],
		[ 3, 'b', 6, 200, '/api/v1/chatbots/b/contacts', undef, 1, 1 ],
		[ 4, 'b', 2, 400, '/api/v1/chatbots/b/contacts', [ '', 'x' ], 1, 1 ],
		[ 5, 'b', 0, 401, '/api/v1/chatbots/b/contacts', [], 0, 0 ] ], 'the log';
	my @times = map { $_->{at_ms} } @$log;
	is_deeply [ sort { $a <=> $b } @times ], \@times, 'in order of time';
	cmp_ok $times[0], '>', 0, 'since the start';

	my $n = 10_050;
	my $socket = connection();
	my @statuses;
	for my $i (1 .. $n / 50)
	{
		push @statuses, map { $_->{status} }
		  answers_to($socket, join('', map { "GET /x/$i/$_ HTTP/1.1\r\nHost: x\r\n\r\n" } 1 .. 50), 50);
	}
	is scalar(grep { $_ == 404 } @statuses), $n, 'many more requests';
	$log = admin('requests');
	is scalar @$log, 10_000, 'the log keeps the last 10,000';
	is "$log->[0]{path} $log->[-1]{path}", '/x/2/1 /x/201/50', 'the last ones';
};

subtest 'presets' => sub {
	reset_fake();
	admin('contacts?chatbot=p%20q', { users => [ map { contact("u$_", email => "u$_\@x") } 1 .. 20_000 ] });
	my $brief = admin('contacts?chatbot=p%20q&brief=1');
	is scalar @$brief, 20_000, 'any number';
	is_deeply [ map { $_->[0] } @$brief[ 0, 19_999 ] ], [qw(u1 u20000)], 'in order';
	is post('p%20q', [ contact('u777') ])->{status}, 409, 'they are there';
	is post('p%20q', [ contact('new', email => 'U20000@X') ])->{status}, 409, 'with their e-mails';
	is stats()->{requests}, 2, 'and were no requests';
	is request('POST', '/_admin/contacts?chatbot=p%20q', encode({ users => [ contact('n'), contact('u1') ] }))->{status}, 409, 'no doubles';
	is request('POST', '/_admin/contacts?chatbot=p%20q', '{"users":[{}]}')->{status}, 400, 'nor what is not valid';
	is scalar @{ admin('contacts?chatbot=p%20q&brief=1') }, 20_000, 'nothing of these';
	is request('GET', '/_admin/contacts')->{status}, 400, 'whose?';
	is request('GET', '/_admin/contacts?chatbot=%zz')->{status}, 400, 'whose, please?';
	is request('GET', '/_admin/faults')->{status}, 404, 'not on the admin side';
};

subtest 'settings that cannot be' => sub {
	for my $config ('[]', 'x', '{"limt":1}', '{"limit":-1}', '{"limit":"1"}', '{"limit":1.5}', '{"window_ms":0}', '{"retry_after":7}',
		'{"reset":"h"}', '{"shape":"x"}', '{"shape":null}', '{"order":1}', '{"strip_attributes":"x"}', '{"strip_attributes":["a",1]}',
		'{"limit":1,"order":"x"}')
	{
		my $answer = request('POST', '/_admin/config', $config);
		is $answer->{status}, 400, "'$config' is refused";
		ok length message($answer), 'with a reason';
	}
	my $answer = post('s', [ contact('a', custom_attributes => { a => 1 }) ]);
	ok !exists $answer->{headers}{'x-ratelimit-limit'}, 'no limit was set by them';
	is_deeply $answer->{data}{data}[0]{custom_attributes}, { a => 1 }, 'nor anything left out';
};

is stop_fake($fake), 0, 'ends well';

# openssl is what makes the certificate, so it is there to use it.
subtest 'TLS' => sub {
	my $dir = tempdir(CLEANUP => 1);
	is system("$FindBin::Bin/make_certificate", $dir), 0, 'certificate';
	is +(stat "$dir/server.key")[2] & 0777, 0600, 'its key is private';
	my $server = start_fake('--exit-with-stdin', '--tls-cert', "$dir/server.pem", '--tls-key', "$dir/server.key");
	like $server->{line}, qr{^listening on https://127\.0\.0\.1:\d+\n$}, 'says that it is https';
	my $ask = sub {
		my @args = @_;
		my $body = encode({ users => [ contact('tls') ] });
		my $pid = open3(my $in, my $out, my $err = Symbol::gensym(), qw(openssl s_client -quiet -verify_return_error),
			'-connect', "127.0.0.1:$server->{port}", @args);
		local $SIG{PIPE} = 'IGNORE';
		print {$in} "POST /api/v1/chatbots/c/contacts HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer test-key\r\n"
		  . "Content-Type: application/json\r\nConnection: close\r\nContent-Length: " . length($body) . "\r\n\r\n$body";
		$in->flush;
		my $answer = finish_post($out);
		close $in;
		waitpid $pid, 0;
		return $answer->{status};
	};
	is $ask->('-CAfile', "$dir/ca.pem", '-verify_ip', '127.0.0.1'), 200, 'a client that trusts it';
	is $ask->('-CAfile', "$dir/ca.pem", '-verify_hostname', 'localhost'), 409, 'by name, too';
	is $ask->('-CAfile', "$dir/ca.pem", '-verify_hostname', 'example.com'), 0, 'not by another name';
	is $ask->('-no-CAfile', '-no-CApath'), 0, 'one that does not trust it';
	is finish_post(begin_post('c', [ contact('plain') ]))->{status}, 0, 'one without TLS';
	is stop_fake($server), 0, 'ends well';
	is system("$FindBin::Bin/make_certificate 2>/dev/null") >> 8, 2, 'make_certificate wants a directory';
};

done_testing();
