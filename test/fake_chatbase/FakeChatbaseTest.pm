# FakeChatbaseTest.pm
#
# What the tests of the stand-in have in common: starting one, talking to it, and
# ending it.  No test is in here.
package FakeChatbaseTest;

use strict;
use warnings;

use Exporter qw(import);
use FindBin;
use IO::Socket::INET;
use IPC::Open3;
use JSON::PP;
use Symbol ();
use Time::HiRes qw(sleep time);

our @EXPORT = qw($fake PATIENCE admin begin_post connection contact contacts_of decode encode finish_post held
	message post request reset_fake restart_fake rule run_program start_fake stats stop_fake wait_until);

# Seconds after which something that must happen is given up: far more than any
# machine needs, so that no result depends on speed.
use constant PATIENCE => 120;

my $json = JSON::PP->new->canonical->utf8->allow_nonref;
my $program = "$FindBin::Bin/fake_chatbase";

# Something to run the server under, valgrind for one.
my @wrapper = split ' ', $ENV{FAKE_CHATBASE_WRAPPER} // '';

# The server that the functions below talk to when they are given no other.
our $fake;

sub encode { return $json->encode($_[0]); }
sub decode { return $json->decode($_[0]); }

# Starts a server with these arguments; a hash of url, port, line, pid, stdin.
sub start_fake
{
	my @args = @_;
	my %server;
	$server{pid} = open3($server{stdin}, $server{stdout}, '>&STDERR', @wrapper, $program, @args);
	$server{line} = readline($server{stdout}) // '';
	($server{url}, $server{port}) = $server{line} =~ m{^listening on (https?://127\.0\.0\.1:(\d+))$}
	  or die "the server did not come up: $server{line}";
	$fake = \%server;
	return $fake;
}

# Waits for its end; exit status, or the signal as a negative number.
sub end_of
{
	my ($server) = @_;
	my $deadline = time + PATIENCE;
	while (waitpid($server->{pid}, 1) == 0)    # 1: WNOHANG
	{
		if (time > $deadline) { kill 'KILL', $server->{pid}; }
		sleep 0.01;
	}
	return $? & 127 ? -($? & 127) : $? >> 8;
}

# Ends a server, by a signal or (without one) by closing its stdin.
sub stop_fake
{
	my ($server, $signal) = @_;
	if   ($signal) { kill $signal, $server->{pid}; }
	else           { close $server->{stdin}; }
	return end_of($server);
}

sub restart_fake
{
	my @args = @_;
	stop_fake($fake, 'TERM') == 0 or die "the server did not end well";
	return start_fake(@args);
}

# Runs the program to its end; exit status, stdout, stderr.
sub run_program
{
	my @args = @_;
	my $pid = open3(my $in, my $out, my $err = Symbol::gensym(), @wrapper, $program, @args);
	local $/;
	my ($stdout, $stderr) = (scalar readline($out), scalar readline($err));
	waitpid $pid, 0;
	return ($? >> 8, $stdout // '', $stderr // '');
}

# A new connection to the server.
sub connection
{
	return IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $fake->{port})
	  // die "no connection: $!";
}

# Any request over a connection that is kept; the answer as finish_post() gives it.
# One write a request: a second one would wait for the acknowledgement of the first.
sub request
{
	my ($method, $path, $body, %headers) = @_;
	$body //= '';
	$headers{'Content-Length'} = length $body if $method ne 'GET';
	my $head = join '', map { "$_: $headers{$_}\r\n" } sort keys %headers;
	$fake->{kept} //= connection();
	print { $fake->{kept} } "$method $path HTTP/1.1\r\nHost: x\r\n$head\r\n$body";
	my $answer = finish_post($fake->{kept});
	delete $fake->{kept} if $answer->{closed} or ($answer->{headers}{connection} // '') eq 'close';
	return $answer;
}

# Admin side: GET, or POST of a structure; dies unless it is done.
sub admin
{
	my ($path, $data) = @_;
	my $response = request(defined $data ? 'POST' : 'GET', "/_admin/$path",
		defined $data ? encode($data) : undef);
	die "$path: $response->{status} $response->{content}" if $response->{status} != 200;
	return $response->{data};
}

sub stats { return admin('stats'); }
sub rule { admin('faults', [@_]); return; }
sub held { return admin("contacts?chatbot=$_[0]"); }
sub contact { my ($id, %more) = @_; return { external_id => $id, %more }; }

# Forgets everything, the configuration too.
sub reset_fake
{
	admin('reset', {});
	admin('config', { limit => 0, window_ms => 1000, retry_after => 'seconds', reset => 'ms',
			shape => 'array', order => 'input', strip_attributes => [], list_order => 'arrival', attributes => 'merge',
			nulls => 'clear', phonenumbers => 'any', delete_status => 200, other_calls => 0,
			schema => 'ignored', attribute_names => 'any',
			chatbot_not_found => 'Resource not found', contact_not_found => 'Contact not found' });
	return;
}

# POSTs to the API: chatbot as it stands in the path, a structure or a text, and
# headers in place of the usual (undef leaves one out).
sub post
{
	my ($chatbot, $users, %headers) = @_;
	%headers = (Authorization => 'Bearer test-key', 'Content-Type' => 'application/json', %headers);
	delete $headers{$_} for grep { !defined $headers{$_} } keys %headers;
	return request('POST', "/api/v1/chatbots/$chatbot/contacts",
		ref $users ? encode({ users => $users }) : $users, %headers);
}

sub message { return $_[0]{data}{message}; }

# The external_ids of an answer's data.
sub contacts_of { return join ' ', map { $_->{external_id} } @{ $_[0]{data}{data} }; }

# Sends a POST over a connection of its own (or the one given) without waiting.
sub begin_post
{
	my ($chatbot, $users, $socket) = @_;
	my $body = ref $users ? encode({ users => $users }) : $users;
	$socket //= connection();
	print {$socket} "POST /api/v1/chatbots/$chatbot/contacts HTTP/1.1\r\nHost: x\r\n"
	  . "Authorization: Bearer test-key\r\nContent-Type: application/json\r\n"
	  . 'Content-Length: ' . length($body) . "\r\n\r\n$body";
	return $socket;
}

# The answer: status (0: the connection ended without one), headers, content, data
# (content decoded, if it is JSON), closed (true: ended before the whole answer).
sub finish_post
{
	my ($socket) = @_;
	my %answer = (status => 0, content => '', headers => {});
	local $SIG{ALRM} = sub { die "no answer and no end\n" };
	alarm PATIENCE;
	my $line = readline $socket;
	if (defined $line and $line =~ m{^HTTP/1\.1 (\d+)})
	{
		$answer{status} = $1;
		while (defined($line = readline $socket) and $line =~ /^([^:]+): (.*?)\r\n$/)
		{
			$answer{headers}{ lc $1 } = $2;
		}
		read $socket, $answer{content}, $answer{headers}{'content-length'} // 0;
	}
	alarm 0;
	$answer{closed} = !$answer{status} || length $answer{content} < ($answer{headers}{'content-length'} // 0);
	$answer{data} = eval { decode($answer{content}) };
	return \%answer;
}

# Waits until the code returns true; false if it never does.
sub wait_until
{
	my ($code) = @_;
	my $deadline = time + PATIENCE;
	until ($code->())
	{
		return 0 if time > $deadline;
		sleep 0.01;
	}
	return 1;
}

1;
